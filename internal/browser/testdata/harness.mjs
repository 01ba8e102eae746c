import http from 'node:http';
import fs from 'node:fs';
import { test, open, axe, shot, scrolls, finish, assert } from '../harness.mjs';

const server = http.createServer((req, res) => {
  const strict = req.url === '/strict';
  res.setHeader('Content-Type', 'text/html; charset=utf-8');
  if (strict) res.setHeader('Content-Security-Policy', "default-src 'none'; require-trusted-types-for 'script'");
  res.end(`<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>A page</title><main><h1>A page</h1><p>العربية עברית</p>${strict ? '<script>document.x = 1</script>' : '<img src="data:,">'}</main>`);
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const port = server.address().port;

await test('what becomes of a page is seen', async () => {
  const page = await open();
  await page.goto(`http://a.test:${port}/`);
  await page.evaluate(() => { console.warn('a warning'); setTimeout(() => { throw new Error('uncaught'); }); setTimeout(() => alert('hello')); });
  await page.waitForTimeout(100);
  assert.deepEqual(page.seen.console, ['warning: a warning']);
  assert.match(page.seen.errors[0], /uncaught/);
  assert.deepEqual(page.seen.dialogs, ['hello']);
  assert.equal(page.seen.requests[0].url, `http://a.test:${port}/`);
  assert.deepEqual(page.seen.csp, []);
  assert.match((await axe(page)).join('\n'), /image-alt/);
  assert.equal(await scrolls(page), 0);
  assert.ok(fs.statSync(await shot(page, 'harness')).size > 0);
});

await test('a policy is held, and looking at its page does not break it', async () => {
  const page = await open({ dark: true, phone: true, reducedMotion: true, locale: 'de-DE' });
  await page.goto(`http://127.0.0.1:${port}/strict`);
  assert.match(page.seen.csp.join('\n'), /script-src-elem inline/);
  const before = page.seen.csp.length;
  assert.deepEqual(await axe(page), []);
  assert.equal(page.seen.csp.length, before);
  assert.deepEqual(await page.evaluate(() => [matchMedia('(prefers-color-scheme: dark)').matches, matchMedia('(prefers-reduced-motion)').matches, navigator.language, innerWidth]),
    [true, true, 'de-DE', 375]);
});

await test('no other host is found', async () => {
  const page = await open();
  await assert.rejects(page.goto('http://example.org/'), /ERR_NAME_NOT_RESOLVED/);
});

await finish();
server.close();
