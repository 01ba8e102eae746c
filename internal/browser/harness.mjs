// What tests in a browser need, for scripts that browser.Run runs:
//
//   import { test, open, axe, shot, finish, assert } from '../../browser/harness.mjs';
//
//   await test('the page has a title', async () => {
//     const page = await open({ dark: true, phone: true });  // a context of its own, closed with the test
//     await page.goto(process.env.SERVER);
//     assert.equal(await page.title(), 'embedd');
//     assert.deepEqual(page.seen.errors, []);                // see open for what else is seen
//     assert.deepEqual(await axe(page), []);
//     await shot(page, 'start');
//   });
//   await finish();
//
// Names that end in .test are this machine (a.test and b.test are two sites); no other host is found.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const require = createRequire(new URL('../../tools/', import.meta.url));
const { chromium } = require('playwright-core');

export { assert };

let browser, contexts = [], failed = 0, tests = 0;

// launch gives the browser, one for the script. It is seldom needed: open calls it.
export async function launch() {
  browser ??= await chromium.launch({
    executablePath: process.env.EMBEDD_CHROMIUM || '/usr/bin/chromium',
    chromiumSandbox: process.getuid?.() !== 0, // Chromium does not start as root with one
    args: ['--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost', '--disable-dev-shm-usage',
      '--font-render-hinting=none', '--force-color-profile=srgb'],
  });
  return browser;
}

// open gives a page in a context of its own, which is closed with the test. What becomes of it is in page.seen:
//   console    lines of the console, as 'error: text'
//   errors     exceptions that nobody caught
//   csp        violations of a content security policy, in any frame: the directive and what was blocked
//   requests   each request: url, method, type (script, fetch, ...)
//   responses  each response: url, status
//   dialogs    alerts and the like, which are dismissed
export async function open({ width = 1280, height = 800, phone = false, dark = false, reducedMotion = false, forcedColors = false, locale = 'en-US',
  scale = 1, javaScript = true, ...others } = {}) {
  const context = await (await launch()).newContext({
    viewport: phone ? { width: 375, height: 720 } : { width, height }, isMobile: phone, hasTouch: phone, deviceScaleFactor: scale,
    colorScheme: dark ? 'dark' : 'light', reducedMotion: reducedMotion ? 'reduce' : 'no-preference', forcedColors: forcedColors ? 'active' : 'none',
    locale, javaScriptEnabled: javaScript, ...others,
  });
  context.setDefaultTimeout(10_000);
  contexts.push(context);
  const seen = { console: [], errors: [], csp: [], requests: [], responses: [], dialogs: [] };
  await context.exposeBinding('__violation', (_, v) => { seen.csp.push(v); });
  await context.addInitScript(() => {
    const tell = window.__violation;
    window.addEventListener('securitypolicyviolation', (e) => tell(`${e.effectiveDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber} ${e.sample}`), true);
  });
  const page = await context.newPage();
  page.seen = seen;
  page.on('console', (m) => {
    seen.console.push(`${m.type()}: ${m.text()}`);
    if (/content security policy|trusted ?(type|html|script)/i.test(m.text())) seen.csp.push(m.text());
  });
  page.on('pageerror', (e) => seen.errors.push(e.stack || String(e)));
  page.on('dialog', (d) => { seen.dialogs.push(d.message()); d.dismiss().catch(() => {}); });
  context.on('request', (r) => seen.requests.push({ url: r.url(), method: r.method(), type: r.resourceType() }));
  context.on('response', (r) => seen.responses.push({ url: r.url(), status: r.status() }));
  return page;
}

// axe gives what axe-core finds wrong with a page, a line for each element; options are those of axe.run, and context says where to look.
export async function axe(page, options = {}, context = undefined) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8') + ';undefined');
  const { violations } = await page.evaluate(([c, o]) => window.axe.run(c ?? document, { resultTypes: ['violations'], ...o }), [context, options]);
  return violations.flatMap((v) => v.nodes.map((n) => `${v.id} (${v.impact}): ${n.target.flat().join(' ')}: ${n.failureSummary.replaceAll('\n', ' ')}`));
}

const pictures = process.env.EMBEDD_SCREENSHOTS || fs.mkdtempSync(path.join(os.tmpdir(), 'screenshots-'));

// shot keeps a screenshot: of the whole page, or of what a selector finds. It gives the file's path.
export async function shot(page, name, selector) {
  const file = path.join(pictures, `${name}.png`);
  await (selector ? page.locator(selector).first().screenshot({ path: file, animations: 'disabled' }) : page.screenshot({ path: file, fullPage: true, animations: 'disabled' }));
  return file;
}

// scrolls tells by how many pixels a page is wider than its window.
export const scrolls = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

// test runs a part of the script. One that fails says so, and the next ones run all the same. EMBEDD_ONLY chooses by a part of the name.
export async function test(name, run) {
  if (process.env.EMBEDD_ONLY && !name.includes(process.env.EMBEDD_ONLY)) return;
  const begun = performance.now();
  tests++;
  try {
    await run();
    console.log(`ok    ${name} (${Math.round(performance.now() - begun)} ms)`);
  } catch (e) {
    failed++;
    console.log(`FAIL  ${name}: ${String(e.stack ?? e).replaceAll('\n', '\n      ')}`);
  } finally {
    for (const context of contexts.splice(0)) await context.close().catch(() => {});
  }
}

// finish closes the browser; call it at the script's end.
export async function finish() {
  await browser?.close();
  console.log(`${tests - failed} of ${tests} tests passed`);
  process.exitCode = failed || !tests ? 1 : 0;
}
