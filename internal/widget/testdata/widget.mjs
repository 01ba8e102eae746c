// The widget in real pages. Pages are served here, under names that end in .test, so that they are of other origins than the servers'.
import fs from 'node:fs';
import http from 'node:http';
import { test, open, axe, shot, scrolls, finish, assert } from '../../browser/harness.mjs';
import { attacks, fields } from './attacks.mjs';

const { PAGES, OPEN, CLOSED, KEY, NOBODY, ELEMENT, INTEGRITY } = process.env;
const A = `http://a.test:${PAGES}`, B = `http://b.test:${PAGES}`;
const SBERT = 'ARXIV:1908.10084';

// strict is the policy that a careful page has: nothing but what the widget says that it needs.
const strict = (server = OPEN) => `default-src 'none'; script-src ${server}${ELEMENT} ${server}/related-papers.js 'self'; style-src 'self'; connect-src ${server}; img-src 'none'; `
  + "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const css = `:root{color-scheme:light dark}body{margin:0 auto;max-inline-size:44rem;padding:2rem 1.25rem;font:1.0625rem/1.6 Georgia,"DejaVu Serif",serif;color:#222;background:#fdfdfb;overflow-wrap:anywhere}
h1{line-height:1.2;font-size:1.75rem}aside{margin-block-start:2.5rem;font-family:system-ui,"DejaVu Sans",sans-serif;font-size:.9375rem}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#121314}}`;
const escape = (s) => s.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const pages = new Map(), strays = [];
let made = 0;
const server = http.createServer((req, res) => {
  const page = pages.get(req.url);
  if (req.url === '/page.css') res.writeHead(200, { 'Content-Type': 'text/css' }).end(css);
  else if (page) res.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', ...(page.policy && { 'Content-Security-Policy': page.policy }) }).end(page.html);
  else {
    if (req.url !== '/favicon.ico') strays.push(`${req.headers.host}${req.url}`);
    res.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(+PAGES, '127.0.0.1', ready));

// page serves a page and gives its path. It listens to the widget's events before anything else.
const listen = `window.events=[];for(const n of['load','error','click'])addEventListener('related-papers:'+n,e=>{events.push({name:n,at:performance.now(),...e.detail});if(n==='click'&&window.stay)e.preventDefault()})`;
pages.set('/listen.js', { html: '' });
const makePage = (body, { head = '', policy = strict(), lang = 'en', dir = 'ltr', src = OPEN + '/related-papers.js', script = `<script defer src="${src}"></script>` } = {}) => {
  const path = `/${++made}`;
  pages.set(path, { policy, html: `<!doctype html><html lang="${lang}" dir="${dir}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>A paper</title>
<link rel="stylesheet" href="/page.css">${head}${script}</head><body><main>${body}</main></body></html>` });
  return path;
};
const article = (widget) => `<h1>Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks</h1><p>Nils Reimers, Iryna Gurevych · 2019</p>
<p>Feeding two sentences jointly through BERT gives accurate similarity scores, but searching or clustering a collection this way needs one network pass for every pair, which quickly becomes impractical.</p><aside>${widget}</aside>`;
const tag = (attributes = {}) => `<related-papers${Object.entries(attributes).map(([n, v]) => ` ${n}="${escape(String(v))}"`).join('')}></related-papers>`;

// visit opens a page, and waits until its widget is in a state.
const visit = async (path, state = 'loaded', options = {}, origin = A) => {
  const page = options.page ?? await open(options);
  if (!options.page) await page.addInitScript(listen);
  if (options.route) await options.route(page);
  await page.goto(origin + path);
  if (state) await page.locator(`related-papers:state(${state})`).first().waitFor();
  return page;
};
const show = (attributes, state, options = {}) => visit(makePage(article(tag(attributes)), options), state, options, options.origin);
const clean = (page) => { // nothing went wrong that nobody asked for
  assert.deepEqual(page.seen.errors, []);
  assert.deepEqual(page.seen.csp, []);
  assert.deepEqual(page.seen.dialogs, []);
  for (const r of page.seen.requests) assert.ok(r.url.startsWith(A + '/') || r.url.startsWith(OPEN + '/') || r.url.startsWith(CLOSED + '/') , r.url);
};
const post = async (path, body) => {
  const res = await fetch(OPEN + path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  const answer = await res.json();
  assert.ok(res.ok, JSON.stringify(answer).slice(0, 500));
  return answer;
};
const titles = (page) => page.locator('related-papers').first().locator('[part=title]').allTextContents();
const events = (page) => page.evaluate(() => window.events);
let violations = 0, looked = 0;
const accessible = async (page) => { // the page with the widget, by every rule of WCAG 2.2 and good practice
  const found = await axe(page, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
  looked++;
  violations += found.length;
  assert.deepEqual(found, []);
};
// held has requests wait until release is called.
const held = () => {
  let release;
  const released = new Promise((r) => { release = r; });
  return { release, route: (page) => page.route('**/v1/search', async (route) => { await released; await route.continue(); }) };
};
const slow = (ms) => (page) => page.route('**/v1/search', async (route) => { await new Promise((r) => setTimeout(r, ms)); await route.continue().catch(() => {}); });
const refuse = (status, headers = {}, times = Infinity) => (page) => page.route('**/v1/search', (route) => (route.request().method() === 'POST' && times-- > 0
  ? route.fulfill({ status, headers: { 'Access-Control-Allow-Origin': A, 'Access-Control-Expose-Headers': 'Retry-After', ...headers }, json: { code: 8, message: 'too many' } }) : route.continue()));

await test('related papers of a paper', async () => {
  const page = await show({ 'paper-id': 'DOI:10.18653/v1/D19-1410' });
  assert.equal((await titles(page)).length, 4); // the next one is weak
  assert.equal((await titles(page))[0], 'On the Sentence Embeddings from Pre-trained Language Models');
  const link = page.locator('[part=title]').first();
  assert.equal(await link.getAttribute('href'), 'https://doi.org/10.18653/v1/2020.emnlp-main.733');
  assert.equal(await link.getAttribute('rel'), 'noopener nofollow ugc');
  assert.match(await page.locator('[part=meta]').first().innerText(), /^Bohan Li, Hao Zhou, Junxian He et al\. · EMNLP\u00a0·\u00a02020$/);
  assert.equal(await page.locator('[part=band]').first().innerText(), 'related');
  assert.deepEqual((await page.context().cookies()), []);
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length), 0);
  assert.deepEqual(page.seen.requests.filter((r) => r.url.includes('/v1/')).map((r) => r.method), ['POST']); // nothing first
  clean(page);
});

await test('first render', async () => {
  const times = [];
  for (let i = 0; i < 5; i++) { // each context has a cache of its own, which is empty
    const page = await open();
    await page.addInitScript(listen + `;customElements.whenDefined('related-papers').then(()=>performance.mark('script-ran'));
      addEventListener('related-papers:load',()=>{performance.mark('rendered');requestAnimationFrame(()=>setTimeout(()=>performance.mark('painted')))})`);
    await page.goto(A + makePage(article(tag({ 'paper-id': SBERT }))));
    await page.waitForFunction(() => performance.getEntriesByName('painted').length);
    times.push(await page.evaluate(() => ['rendered', 'painted'].map((m) => Math.round(performance.measure(m, 'script-ran', m).duration))));
    clean(page);
  }
  console.log(`first render after the script ran, ms, with an empty cache: ${times.map((t) => t[0]).join(', ')}; painted: ${times.map((t) => t[1]).join(', ')}`);
});

await test('looks', async () => {
  for (const dark of [false, true]) for (const phone of [false, true]) {
    const page = await show({ 'paper-id': SBERT }, 'loaded', { dark, phone, scale: phone ? 2 : 1 });
    await page.locator('[part=why]').first().click();
    await page.locator('[part=sentence]').first().waitFor();
    assert.equal(await scrolls(page), 0);
    await accessible(page);
    await shot(page, `widget-${dark ? 'dark' : 'light'}-${phone ? 'phone' : 'desktop'}`);
    clean(page);
  }
  for (const [theme, dark] of [['auto', false], ['auto', true], ['light', true], ['dark', false]]) {
    const page = await show({ 'paper-id': SBERT, theme, count: 3 }, 'loaded', { dark });
    await accessible(page);
    await shot(page, `widget-theme-${theme}${dark ? '-in-dark' : ''}`, 'aside');
  }
});

await test('states', async () => {
  for (const dark of [false, true]) {
    const name = dark ? '-dark' : '';
    const { route, release } = held();
    let page = await show({ 'paper-id': SBERT }, 'loading', { dark, reducedMotion: true, route });
    const section = page.locator('[part=root]');
    assert.equal(await section.getAttribute('aria-busy'), 'true');
    assert.equal(await page.getByRole('status').innerText(), 'Looking for related papers…');
    assert.equal(await page.locator('.k').first().evaluate((e) => getComputedStyle(e).animationName), 'none');
    await accessible(page);
    await shot(page, `widget-loading${name}`, 'aside');
    release();
    await page.locator('related-papers:state(loaded)').waitFor();
    assert.equal(await section.getAttribute('aria-busy'), 'false');
    assert.equal(await page.getByRole('status').textContent(), 'Related papers found: 4');

    page = await show({ 'paper-id': SBERT, band: 'strong' }, 'empty', { dark });
    assert.equal(await page.getByRole('status').innerText(), 'No related papers were found.');
    await accessible(page);
    await shot(page, `widget-empty${name}`, 'aside');

    page = await show({ 'paper-id': SBERT, server: NOBODY }, 'failed', { dark, policy: strict() + '; connect-src ' + NOBODY, route: (p) => p.route(NOBODY + '/**', (r) => r.abort('connectionrefused')) });
    assert.equal(await page.getByRole('status').innerText(), 'Related papers cannot be shown at the moment.');
    await accessible(page);
    await shot(page, `widget-failed${name}`, 'aside');
  }
});

await test('an explanation', async () => {
  let fails = true;
  const page = await show({ 'paper-id': SBERT }, 'loaded', { route: (p) => p.route('**/v1/explain', (r) => (fails ? r.abort() : r.continue())) });
  assert.equal(page.seen.requests.filter((r) => r.url.endsWith('/v1/explain')).length, 0); // not before it is wanted
  const why = page.locator('[part=why]').first(), more = page.locator('[part=explanation]').first();
  await why.click();
  await more.getByText('Related papers cannot be shown at the moment.').waitFor();
  await accessible(page);
  fails = false; // closed and opened, it asks again, until there is one
  for (let i = 0; i < 4; i++) await why.click();
  await more.locator('dl').waitFor();
  assert.deepEqual(await more.locator('dt').allInnerTexts(), ['This page', 'That paper']);
  assert.equal(await more.locator('dd').first().innerText(), 'Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks');
  const asked = page.seen.requests.filter((r) => r.url.endsWith('/v1/explain')).length;
  await why.click();
  await why.click();
  assert.equal(page.seen.requests.filter((r) => r.url.endsWith('/v1/explain')).length, asked);
  assert.deepEqual(page.seen.errors, []);
});

await test('a server that is not there', async () => {
  const page = await show({ 'paper-id': SBERT, server: NOBODY }, 'failed', { policy: strict(NOBODY).replace('script-src', `script-src ${OPEN}/related-papers.js`) });
  const [e] = await events(page);
  assert.deepEqual([e.name, e.status], ['error', 0]);
  assert.deepEqual(page.seen.errors, []);
  assert.equal(await page.locator('h1').isVisible(), true);
  // It is asked again, when somebody says so; whoever uses the keyboard stays where they are.
  await page.getByRole('button', { name: 'Try again' }).focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => window.events.length === 2);
  assert.equal(await page.evaluate(() => document.activeElement.shadowRoot.activeElement.getAttribute('part')), 'root');
});

await test('too many requests', async () => {
  let page = await show({ 'paper-id': SBERT }, 'loaded', { route: refuse(429, { 'Retry-After': '1' }, 1) });
  assert.equal(page.seen.requests.filter((r) => r.method === 'POST').length, 2);
  page = await show({ 'paper-id': SBERT }, 'failed', { route: refuse(503, { 'Retry-After': '1' }) }); // once, and no more
  assert.equal(page.seen.requests.filter((r) => r.method === 'POST').length, 2);
  assert.deepEqual((await events(page)).map((e) => [e.name, e.status, e.message]), [['error', 503, 'too many']]);
  page = await show({ 'paper-id': SBERT }, 'failed', { route: refuse(429, { 'Retry-After': '3600' }, 1) });
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('related-papers:state(loaded)').waitFor();

  // The real limit of a publishable key.
  page = await visit(makePage(article(tag({ 'paper-id': SBERT, server: CLOSED, key: KEY, hidden: '' })), { policy: strict(CLOSED).replace('script-src', `script-src ${OPEN}/related-papers.js`) }), '');
  const statuses = await page.evaluate(async ([server, key]) => {
    const asked = Array.from({ length: 40 }, () => fetch(server + '/v1/search', { method: 'POST', headers: { Authorization: 'Bearer ' + key, 'Content-Type': 'application/json' }, body: '{"query":{"text":"x"}}' }));
    const all = (await Promise.all(asked)).map((r) => r.status);
    document.querySelector('related-papers').hidden = false;
    return all;
  }, [CLOSED, KEY]);
  assert.ok(statuses.includes(429) && statuses.includes(200), statuses.join());
  await page.locator('related-papers:state(loaded)').waitFor();
});

await test('a publishable key', async () => {
  const options = { policy: strict(CLOSED), src: CLOSED + '/related-papers.js' };
  const path = makePage(article(tag({ 'paper-id': SBERT, key: KEY, band: 'strong' })), options);
  await new Promise((r) => setTimeout(r, 1000)); // the rate of before
  let page = await visit(path);
  assert.equal((await titles(page)).length, 5); // so few papers have no bands, and none is left out for its own
  await page.locator('[part=why]').first().click();
  await page.locator('[part=sentence]').first().waitFor();
  clean(page);

  // Not for another origin: the browser keeps the answer from the page, which stays as it is.
  page = await visit(path, 'failed', {}, B);
  assert.deepEqual((await events(page)).map((e) => [e.name, e.status]), [['error', 0]]);
  assert.match(page.seen.console.join('\n'), /has been blocked by CORS policy/);
  assert.deepEqual(page.seen.errors, []);
  assert.equal(await page.locator('h1').innerText(), 'Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks');
  await shot(page, 'widget-wrong-origin');

  // Nor for one that another key is for, whose page may read why.
  page = await visit(path, 'failed', {}, `http://c.test:${PAGES}`);
  const [e] = await events(page);
  assert.equal(e.status, 401);
  assert.match(e.message, /the key is not for this origin/);
  // Nor without a key.
  page = await visit(makePage(article(tag({ 'paper-id': SBERT })), options), 'failed');
  assert.deepEqual((await events(page)).map((e) => [e.name, e.status]), [['error', 401]]);
});

await test('integrity', async () => {
  const told = await (await fetch(OPEN + '/related-papers.json')).json();
  assert.deepEqual([told.src, told.integrity], [ELEMENT, INTEGRITY]);
  const script = (hash) => told.tag.replace('src="', `src="${OPEN}`).replace(told.integrity, hash);
  const page = await visit(makePage(article(tag({ 'paper-id': SBERT })), { script: script(INTEGRITY) }));
  assert.equal((await titles(page)).length, 4);
  clean(page);
  const wrong = await visit(makePage(article('<related-papers>Papers <a href="/more">elsewhere</a></related-papers>'), { script: script('sha384-' + 'A'.repeat(64)) }), '');
  await wrong.waitForTimeout(200);
  assert.match(wrong.seen.console.join('\n'), /integrity/);
  assert.equal(await wrong.evaluate(() => customElements.get('related-papers')), undefined);
  assert.equal(await wrong.getByRole('link', { name: 'elsewhere' }).isVisible(), true); // what stands inside is for where the script does not run
});

await test('what the page says of its paper', async () => {
  const json = (o) => `<script type="application/ld+json">${JSON.stringify(o)}</script>`;
  const meta = (o) => Object.entries(o).map(([n, c]) => `<meta ${n.startsWith('og:') ? 'property' : 'name'}="${n}" content="${escape(c)}">`).join('');
  const title = 'Dense Passage Retrieval', abstract = 'Passages are found by dense vectors of questions.';
  const text = { paper: { title, abstract } }, doi = { paperId: 'DOI:10.18653/v1/D19-1410' };
  const table = [
    [meta({ citation_doi: '10.18653/v1/D19-1410', citation_title: title }), doi],
    [meta({ citation_doi: 'https://doi.org/10.18653/v1/D19-1410' }), doi],
    [meta({ citation_arxiv_id: '1908.10084' }), { paperId: SBERT }],
    [meta({ 'DC.Identifier': 'doi:10.18653/v1/D19-1410' }), doi],
    [json({ '@type': 'ScholarlyArticle', identifier: { '@type': 'PropertyValue', propertyID: 'doi', value: '10.18653/v1/D19-1410' } }), doi],
    [json({ '@graph': [{ '@type': 'WebPage', name: 'no' }, { '@type': ['Article', 'ScholarlyArticle'], sameAs: ['https://doi.org/10.18653/v1/D19-1410'] }] }), doi],
    [meta({ citation_doi: '10.9999/nobody.knows', citation_title: title, citation_abstract: abstract, 'og:title': 'no' }), text],
    [meta({ citation_title: title, citation_abstract: abstract, 'DC.Title': 'no' }), text],
    [meta({ 'DC.Title': title, 'DC.Description': abstract, 'og:title': 'no' }), text],
    [meta({ 'og:title': title, 'og:description': abstract }) + json({ '@type': 'ScholarlyArticle', name: 'no' }), text],
    [json({ '@type': 'ScholarlyArticle', headline: title, abstract }), text],
    ['<script type="application/ld+json">{broken</script>' + json([{ '@type': 'ScholarlyArticle', name: title, description: abstract }]), text],
    [meta({ citation_title: title, citation_abstract: '' }), { paper: { title } }],
  ];
  let page = await open();
  await page.addInitScript(listen);
  for (const [head, want] of table) {
    await visit(makePage(article(tag({ band: 'weak' })), { head }), 'loaded', { page });
    assert.equal(JSON.stringify((await events(page))[0].query), JSON.stringify(want), head);
    assert.ok((await titles(page)).length > 0, head);
  }
  clean(page);
  // Attributes come first, and a text where the paper is not known.
  page = await show({ 'paper-id': 'DOI:10.9999/nobody.knows', text: 'dense retrieval', band: 'weak' }, 'loaded', { head: meta({ citation_doi: '10.18653/v1/D19-1410' }) });
  assert.deepEqual((await events(page))[0].query, { text: 'dense retrieval' });
  page = await show({ 'paper-id': 'DOI:10.9999/nobody.knows', band: 'weak' }, 'loaded', { head: meta({ citation_title: title }) });
  assert.equal((await events(page))[0].query.paper.title, title);
  page = await show({ 'paper-id': 'DOI:10.9999/nobody.knows' }, 'empty');
  assert.deepEqual((await events(page)).map((e) => [e.name, e.status]), [['error', 404]]);
  page = await show({}, 'empty'); // the page says nothing
  assert.equal(page.seen.requests.filter((r) => r.url.includes('/v1/')).length, 0);
});

await test('events, attributes, coming and going', async () => {
  const page = await show({ 'paper-id': SBERT, count: 2 });
  await page.evaluate(() => { window.stay = true; });
  await page.locator('[part=title]').nth(1).click();
  const all = await events(page);
  assert.deepEqual(all.map((e) => e.name), ['load', 'click']);
  assert.equal(all[0].hits.length, 2);
  assert.deepEqual([all[1].id, all[1].rank, all[1].href], ['ARXIV:2007.01852', 2, 'https://doi.org/10.18653/v1/2022.acl-long.62']);
  assert.equal(page.url().startsWith(A), true); // the page said no

  await page.evaluate(() => { const e = document.querySelector('related-papers'); e.setAttribute('count', 3); e.setAttribute('filter', 'year >= 2021'); });
  await page.waitForFunction(() => window.events.filter((e) => e.name === 'load').length === 2);
  const filtered = (await events(page)).at(-1).hits;
  assert.equal(filtered.length, 3);
  assert.ok(filtered.every((h) => h.paper.year >= 2021));
  assert.equal(page.seen.requests.filter((r) => r.url.endsWith('/v1/search') && r.method === 'POST').length, 2); // two changes, one request

  for (const [lang, heading] of [['de-AT', 'Verwandte Arbeiten'], ['fr', 'Articles apparentés'], ['es', 'Artículos relacionados'], ['ja', 'Related papers']]) {
    await page.evaluate((l) => document.querySelector('related-papers').setAttribute('lang', l), lang);
    assert.equal(await page.getByRole('heading', { level: 2 }).innerText(), heading);
  }
  await page.evaluate(() => { const e = document.querySelector('related-papers'); e.setAttribute('heading', '<b>More</b>'); e.setAttribute('level', 3); });
  assert.equal(await page.getByRole('heading', { level: 3 }).innerText(), '<b>More</b>');
  assert.equal(page.seen.requests.filter((r) => r.url.endsWith('/v1/search') && r.method === 'POST').length, 2); // words need no request

  // Taken out while it asks: the request ends, nothing is told.
  await slow(500)(page);
  await Promise.all([page.waitForRequest('**/v1/search'), page.evaluate(() => { window.gone = document.querySelector('related-papers'); window.gone.reload(); })]);
  await page.evaluate(() => window.gone.remove());
  const before = (await events(page)).length;
  await page.waitForTimeout(700);
  assert.equal((await events(page)).length, before);
  await page.evaluate(() => document.querySelector('aside').append(window.gone)); // and back
  await page.waitForFunction((n) => window.events.length > n, before);
  assert.equal((await titles(page)).length, 3);
  clean(page);
});

await test('lazy', async () => {
  const page = await visit(makePage(`<div id="tall"></div>${article(tag({ 'paper-id': SBERT }))}`));
  await page.evaluate(() => document.querySelector('related-papers').remove());
  await page.evaluate((id) => {
    const e = document.createElement('related-papers'), far = document.createElement('div');
    e.setAttribute('paper-id', id);
    far.style.blockSize = '5000px';
    document.querySelector('aside').append(far, e);
    window.events.length = 0;
  }, SBERT);
  const asked = () => page.seen.requests.filter((r) => r.url.endsWith('/v1/search') && r.method === 'POST').length;
  const before = asked();
  await page.waitForTimeout(200);
  assert.equal(asked(), before);
  await page.locator('related-papers').scrollIntoViewIfNeeded();
  await page.locator('related-papers:state(loaded)').waitFor();
  assert.equal(asked(), before + 1);
});

await test('keyboard', async () => {
  const page = await show({ 'paper-id': SBERT, count: 2 });
  const at = () => page.evaluate(() => { let e = document.activeElement; while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement; return e?.getAttribute('part'); });
  const walk = [];
  for (let i = 0; i < 4; i++) {
    await page.keyboard.press('Tab');
    walk.push(await at());
  }
  assert.deepEqual(walk, ['title', 'why', 'title', 'why']);
  const why = page.getByRole('button', { name: 'Why related?' }).nth(1);
  assert.notEqual(await why.evaluate((e) => getComputedStyle(e).outlineStyle), 'none');
  assert.equal(await why.getAttribute('aria-expanded'), 'false');
  await page.keyboard.press('Enter');
  await page.locator('[part=sentence]').nth(1).waitFor();
  assert.equal(await why.getAttribute('aria-expanded'), 'true');
  await shot(page, 'widget-keyboard', 'aside');
  await page.keyboard.press('Space');
  assert.equal(await page.locator('[part=sentence]').first().isVisible(), false);
});

await test('right to left, in large, in small, in print, in forced colours', async () => {
  let page = await show({ 'paper-id': SBERT, heading: 'أبحاث ذات صلة', theme: 'auto' }, 'loaded', { lang: 'ar', dir: 'rtl' });
  await page.locator('[part=why]').first().click();
  await page.locator('[part=sentence]').first().waitFor();
  const box = await page.locator('[part=root]').boundingBox(), h = await page.locator('[part=heading] bdi').boundingBox(), t = await page.locator('[part=meta] bdi').first().boundingBox();
  for (const b of [h, t]) assert.ok(Math.abs(b.x + b.width - box.x - box.width) < 2, `not at the right: ${JSON.stringify([b, box])}`);
  await accessible(page);
  await shot(page, 'widget-rtl');

  page = await show({ 'paper-id': SBERT }, 'loaded', { width: 640, height: 400, scale: 2 }); // what a window of 1280 at 200 % is
  assert.equal(await scrolls(page), 0);
  await shot(page, 'widget-zoom');
  page = await show({ 'paper-id': SBERT }, 'loaded', { width: 320, height: 600 });
  await page.locator('[part=why]').first().click();
  await page.locator('[part=sentence]').first().waitFor();
  assert.equal(await scrolls(page), 0);
  await page.evaluate(() => { document.documentElement.style.fontSize = '200%'; });
  assert.equal(await scrolls(page), 0);

  page = await show({ 'paper-id': SBERT, theme: 'dark' }, 'loaded', { forcedColors: true });
  await shot(page, 'widget-forced-colours', 'aside');
  await page.emulateMedia({ media: 'print', forcedColors: 'none' });
  await shot(page, 'widget-print', 'aside');
});

await test('papers that mean harm', async () => {
  const papers = attacks(`http://evil.test:${PAGES}`);
  assert.ok(papers.length >= 300, `${papers.length} papers`);
  await post('/v1/collections', { name: 'harm', settings: {} });
  for (let i = 0; i < papers.length; i += 80) await post('/v1/papers:upsert', { papers: papers.slice(i, i + 80), collection: 'harm' });
  const counted = await (await fetch(OPEN + '/v1/papers:count?collection=harm')).json();
  assert.equal(+counted.papers, papers.length, JSON.stringify(counted));

  const harmless = async (page) => {
    assert.equal(await page.evaluate(() => window.harmed), undefined);
    clean(page);
    assert.deepEqual(strays, []);
  };
  let found = 0, explained = 0;
  const years = [...new Set(papers.map((p) => p.year))];
  const widgets = years.map((year) => tag({ text: 'papers about retrieval', collection: 'harm', filter: `year = ${year}`, band: 'weak', count: 50 })).join('');
  for (const policy of [strict(), '']) { // without a policy nothing would stop what the widget lets through
    const page = await visit(makePage(article(widgets), { policy }), '');
    for (const [i, year] of years.entries()) {
      const widget = page.locator('related-papers').nth(i);
      await widget.scrollIntoViewIfNeeded();
      await widget.and(page.locator(':state(loaded)')).waitFor();
      const shown = (await widget.locator('[part=title]').allTextContents()).map((s) => s.replace(/\s+/g, ' '));
      assert.deepEqual(shown.sort(), papers.filter((p) => p.year === year).map((p) => p.title.replace(/\s+/g, ' ')).sort());
      if (['title', 'abstract'].includes(fields[year - 2000])) { // what explanations show
        await widget.locator('[part=why]').evaluateAll((all) => { for (const b of all) b.click(); });
        await page.waitForFunction((n) => !document.querySelectorAll('related-papers')[n].shadowRoot.querySelector('[aria-busy=true]'), i);
        explained += await widget.locator('dl').count();
      }
      found += shown.length;
    }
    assert.deepEqual((await page.locator('a[part=title]').evaluateAll((all) => all.map((a) => a.protocol))).filter((p) => !/^https?:$/.test(p)), []);
    assert.equal(await scrolls(page), 0);
    await harmless(page);
    if (policy) await shot(page, 'widget-harm', 'related-papers');
  }
  for (const year of years) {
    const page = await visit('', '', {}, `${OPEN}/fragment/related?document=1&collection=harm&band=weak&count=50&text=papers+about+retrieval&filter=year+%3D+${year}`);
    assert.equal(await page.locator('.related-papers-item').count(), papers.filter((p) => p.year === year).length);
    assert.deepEqual((await page.locator('a').evaluateAll((all) => all.map((a) => a.protocol))).filter((p) => !/^https?:$/.test(p)), []);
    await harmless(page);
  }
  // As what is asked for, as the words of the page, and in what errors say back.
  const ids = papers.filter((p) => fields[p.year - 2000] === 'id').map((p) => p.id);
  const page = await visit(makePage(article('<div id="here"></div>')), '');
  await page.evaluate((all) => {
    for (const attack of all) {
      const e = document.createElement('related-papers');
      for (const a of ['paper-id', 'text', 'heading', 'lang', 'theme', 'level', 'count', 'band']) e.setAttribute(a, attack);
      e.setAttribute('collection', 'harm');
      document.querySelector('#here').append(e);
      e.reload();
    }
  }, ids);
  for (let i = 1; i <= ids.length; i++) {
    await page.locator('related-papers').nth(i - 1).scrollIntoViewIfNeeded();
    await page.waitForFunction((n) => window.events.length >= n, i);
  }
  await harmless(page);
  let all = '';
  for (const id of ids.map(encodeURIComponent)) {
    for (const query of [`id=${id}&band=weak`, `text=${id}&heading=${id}&band=weak&count=1`, `id=${id}${id}`, `lang=${id}&id=1&${id}=1`]) {
      const res = await fetch(`${OPEN}/fragment/related?collection=harm&${query}`);
      assert.match(res.headers.get('content-type'), /^text\/html/);
      all += await res.text();
    }
  }
  const pieces = await visit(makePage(all, { policy: '', script: '' }), ''); // within a page that has no policy
  assert.equal(await pieces.locator('.related-papers').count(), 4 * ids.length);
  await harmless(pieces);
  console.log(`${papers.length} papers that mean harm: each shown in the widget with a policy and without, ${explained} explanations, and all in fragments; no script ran, no report, no other host`);
  assert.equal(found, 2 * papers.length);
});

await test('the fragment', async () => {
  for (const dark of [false, true]) for (const phone of [false, true]) {
    const page = await visit('', '', { dark, phone }, `${OPEN}/fragment/related?document=1&id=${SBERT}&count=4`);
    assert.equal(await page.locator('.related-papers-item').count(), 4);
    assert.equal(await page.locator('body').evaluate((b) => getComputedStyle(b).paddingTop), '16px'); // the style has the hash of the policy
    assert.equal(await scrolls(page), 0);
    await accessible(page);
    assert.deepEqual(page.seen.csp, []);
    await shot(page, `fragment-${dark ? 'dark' : 'light'}-${phone ? 'phone' : 'desktop'}`);
  }
  const page = await visit('', '', {}, `${OPEN}/fragment/related?document=1&id=nobody&lang=fr`);
  assert.match(await page.locator('body').innerText(), /ne peuvent pas être affichés[^]*no paper has the id "nobody"/);
  await shot(page, 'fragment-error');
  // In a frame of another origin, without scripts.
  const frame = await visit(makePage(`<h1>A paper</h1><iframe title="Related papers" src="${OPEN}/fragment/related?document=1&amp;id=${SBERT}"></iframe>`, { policy: `default-src 'none'; style-src 'self'; frame-src ${OPEN}`, script: '' }), '', { javaScript: false });
  assert.equal(await frame.frameLocator('iframe').locator('.related-papers-item').count(), 4);
});

await test('the page of the documentation', async () => {
  const text = fs.readFileSync('../../docs/widget.md', 'utf8');
  const snippets = [...text.matchAll(/```html\n([^]*?)```/g)].map((m) => m[1]);
  assert.ok(snippets.length >= 5, `${snippets.length} snippets`);
  const policies = [...text.matchAll(/```\nContent-Security-Policy: ([^]*?)```/g)].map((m) => m[1].replaceAll('\n', ' ').replaceAll('https://papers.example.org', OPEN).replace(/\/related-papers\.[0-9a-z…]+\.js/, ELEMENT));
  assert.ok(policies.length >= 1);
  for (const [i, snippet] of snippets.entries()) {
    const html = snippet.replaceAll('embedd_…', KEY).replaceAll('https://papers.example.org', snippet.includes('key=') ? CLOSED : OPEN)
      .replace(/related-papers\.…\.js/, ELEMENT.slice(1)).replace('sha384-…', INTEGRITY);
    const whole = /related-papers[^<]*\.js/.test(html), element = html.includes('<related-papers');
    const page = await visit(makePage(html, { policy: '', script: element && !whole ? undefined : '', head: '<meta name="citation_doi" content="10.18653/v1/D19-1410">' }), element ? 'loaded' : '');
    if (element) assert.ok((await titles(page)).length, snippet);
    else if (html.includes('<iframe')) await page.frameLocator('iframe').locator('.related-papers-item').first().waitFor();
    assert.deepEqual(page.seen.errors, [], snippet);
    await page.context().close();
  }
  for (const policy of policies) {
    const page = await visit(makePage(article(tag({ 'paper-id': SBERT })), { policy, src: OPEN + ELEMENT }));
    await page.locator('[part=why]').first().click();
    await page.locator('[part=sentence]').first().waitFor();
    assert.deepEqual(page.seen.csp, []);
  }
  console.log(`${snippets.length} snippets and ${policies.length} policies of docs/widget.md`);
});

console.log(`axe: ${violations} violations in ${looked} pages`);
await finish();
server.close();
server.closeAllConnections();
