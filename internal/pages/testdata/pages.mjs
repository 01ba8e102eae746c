// The pages, in a browser, on servers as they are: SERVER has the sample papers, KEYED a few of them for who has KEY.
import fs from 'node:fs';
import { assert, axe, finish, open, scrolls, shot, test } from '../../browser/harness.mjs';
import { evil, live, papers, points } from './fake.mjs';

const { SERVER, KEYED, KEY } = process.env;
const ids = ['ARXIV:1908.10084', 'ARXIV:2104.08821'];
const call = (path, body) => fetch(SERVER + path, { method: 'POST', body: JSON.stringify(body) }).then(async (r) => { const answer = await r.json(); assert.ok(r.ok, JSON.stringify(answer)); return answer; });

// visit opens a page as it is to be: with what another part of the program answers, unless a test says otherwise.
async function visit(path, { fakes = true, server = SERVER, ...options } = {}) {
  const page = await open(options);
  if (fakes) {
    await page.route('**/map/points*', (r) => r.fulfill({ body: small, contentType: 'application/octet-stream' }));
    await page.route('**/map/papers*', (r) => r.fulfill({ body: papers(r.request().url(), ids), contentType: 'application/json' }));
    await page.route('**/status/live', (r) => r.fulfill({ json: live }));
  }
  await page.goto(server + path);
  return page;
}
const small = points(2000, 12);

// good holds of every page: nothing thrown, nothing refused by the policy, nothing kept, nothing asked of others.
async function good(page, { errors = [] } = {}) {
  assert.deepEqual(page.seen.errors, []);
  assert.deepEqual(page.seen.csp, []);
  assert.deepEqual(page.seen.dialogs, []);
  assert.deepEqual(page.seen.console.filter((l) => l.startsWith('error') && !errors.some((e) => l.includes(e))), []);
  assert.deepEqual(page.seen.requests.map((r) => r.url).filter((u) => !u.startsWith(SERVER) && !u.startsWith(KEYED) && !u.startsWith('blob:')), []);
  assert.equal(await page.evaluate(async () => document.cookie + localStorage.length + sessionStorage.length + (await indexedDB.databases()).length + (await caches.keys().catch(() => [])).length), '0000');
}
const hits = (page) => page.locator('.hit:not(.ghosts)');
const titles = (page) => page.locator('.hit h2 a, .hit h3 a').allTextContents();
const found = async (page, n) => { await page.waitForFunction((n) => document.querySelectorAll('.hit:not(.ghosts)').length === n && !document.querySelector('.hits[aria-busy]'), n); };
const spoken = (page, what) => page.waitForFunction((what) => document.getElementById('live').textContent.includes(what), what);

await test('without scripts', async () => {
  const page = await visit('/?q=sentence+embeddings&f=year+%3D+2019', { javaScript: false });
  assert.ok((await titles(page)).some((t) => t.startsWith('Sentence-BERT')));
  assert.equal(await page.locator('input[name=q]').inputValue(), 'sentence embeddings');
  await page.locator('.hit h2 a', { hasText: 'Sentence-BERT' }).click();
  assert.ok(page.url().endsWith('/paper/ARXIV:1908.10084'));
  assert.match(await page.locator('.abstract').textContent(), /^Feeding two sentences/);
  assert.deepEqual(await page.locator('.links a').evaluateAll((as) => as.map((a) => a.href)), ['https://doi.org/10.18653/v1/D19-1410', 'https://arxiv.org/abs/1908.10084']);
  await page.goto(`${SERVER}/map`);
  assert.match(await page.locator('main').textContent(), /needs JavaScript/);
});

await test('headers', async () => {
  for (const [path, status] of [['/', 200], ['/?q=a', 200], ['/?q=a&filter=nothing+%3D+1', 400], ['/paper/ARXIV:1908.10084', 200], ['/paper/ARXIV%3A1908.10084', 200], ['/paper/none', 404], ['/paper/a//b', 200], ['/list', 200], ['/map', 200], ['/status', 200]]) {
    const r = await fetch(SERVER + path, { redirect: 'follow' });
    if (path !== '/paper/a//b') assert.equal(r.status, status, path);
    assert.equal(r.headers.get('content-security-policy'), "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'", path);
    assert.equal(r.headers.get('x-content-type-options'), 'nosniff', path);
  }
});

await test('addresses are made alike', async () => {
  const same = JSON.parse(fs.readFileSync(new URL('same.json', import.meta.url)));
  const page = await visit('/');
  const got = await page.evaluate(async ({ filters, paths }) => {
    const at = document.querySelector('script[src$="app.js"]').src;
    const { filterOf } = await import(at.replace('app.js', 'search.js')), { pathOf } = await import(at.replace('app.js', 'dom.js'));
    const one = (p, n) => p.get(n) ?? '';
    return { filters: filters.map(([q]) => { const p = new URLSearchParams(q); return [q, filterOf({ f: p.getAll('f'), from: one(p, 'from'), to: one(p, 'to'), filter: one(p, 'filter') })]; }), paths: paths.map(([id]) => [id, pathOf(id)]) };
  }, same);
  assert.deepEqual(got, same);
  await good(page);
});

await test('search as one types', async () => {
  const page = await visit('/');
  await page.locator('.hero .figure').waitFor();
  assert.equal(await page.locator('.hero .figure').textContent(), '302');
  assert.equal(await page.evaluate(() => document.activeElement.type), 'search');
  let held;
  await page.route('**/v1/search', async (r) => { // the answer to what was typed first comes last
    if (JSON.parse(r.request().postData()).query.text === 'graph') { held = r; await new Promise((ok) => setTimeout(ok, 1200)); }
    await r.continue().catch(() => {});
  });
  await page.keyboard.type('graph', { delay: 20 });
  await page.waitForTimeout(300);
  assert.ok(held);
  await page.keyboard.type(' of neighbours', { delay: 20 });
  await found(page, 10);
  const first = await titles(page);
  await page.waitForTimeout(1200);
  assert.deepEqual(await titles(page), first);
  assert.equal(new URL(page.url()).searchParams.get('q'), 'graph of neighbours');
  const asked = page.seen.requests.filter((r) => r.url.endsWith('/v1/search')).length;
  assert.ok(asked <= 4, `${asked} searches`);
  await spoken(page, '10 papers, and there are more');
  assert.ok(await page.locator('.hit mark').count() > 3);
  assert.equal(await page.title(), 'graph of neighbours · embedd');
  await page.unroute('**/v1/search');

  // What was looked for before is a step back, and what is open in the page is what is in the address.
  await page.waitForTimeout(2100);
  await page.locator('input[type=search]').fill('protein structure');
  await page.waitForURL(/protein/);
  await found(page, 10);
  await page.locator('.choice label', { hasText: 'Words' }).click();
  await page.waitForURL(/mode=lexical/);
  await page.goBack();
  await page.waitForFunction(() => !location.search.includes('lexical'));
  assert.equal(await page.locator('input[type=search]').inputValue(), 'protein structure');
  await page.goBack();
  await page.waitForURL(/graph/);
  await found(page, 10);
  assert.deepEqual(await titles(page), first);
  await page.reload();
  await found(page, 10);
  assert.deepEqual(await titles(page), first);
  await good(page);
});

await test('nothing moves', async () => {
  const page = await open();
  await page.addInitScript(() => { window.__moved = 0; new PerformanceObserver((l) => { for (const e of l.getEntries()) if (!e.hadRecentInput) window.__moved += e.value; }).observe({ type: 'layout-shift', buffered: true }); });
  for (const path of ['/?q=sentence+embeddings', '/paper/ARXIV:1908.10084', '/', '/status']) {
    await page.goto(SERVER + path);
    await page.waitForTimeout(700);
    const moved = await page.evaluate(() => window.__moved);
    assert.ok(moved < 0.05, `${path}: ${moved}`);
  }
});

await test('filters and facets', async () => {
  const page = await visit('/?q=language');
  await found(page, 10);
  await page.locator('.value', { hasText: 'ICLR' }).click();
  await page.locator('.chip', { hasText: 'venue: ICLR' }).waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll('.hit .facts')].every((f) => f.textContent.includes('ICLR')) && !document.querySelector('.hits[aria-busy]'));
  await page.locator('.value', { hasText: 'EMNLP' }).first().click();
  await page.waitForURL(/EMNLP/);
  await page.waitForFunction(() => [...document.querySelectorAll('.hit .facts')].every((f) => /ICLR|EMNLP/.test(f.textContent)) && [...document.querySelectorAll('.hit .facts')].some((f) => f.textContent.includes('EMNLP')));
  assert.equal(await page.locator('.value[aria-pressed=true]').count(), 2);
  await page.getByLabel('First year').fill('2020');
  await page.getByLabel('First year').press('Enter');
  await page.locator('.chip', { hasText: 'year from 2020' }).waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll('.hit time')].every((t) => Number(t.textContent) >= 2020));
  await page.locator('.chip', { hasText: 'ICLR' }).click();
  await page.waitForFunction(() => document.querySelectorAll('.chip').length === 2);
  await page.goBack();
  await page.waitForFunction(() => document.querySelectorAll('.chip').length === 3);
  const own = page.locator('#own');
  await own.fill('venu = "ACL"');
  await own.press('Enter');
  await page.waitForFunction(() => document.querySelector('#own-says').textContent.includes('is it venue?'));
  assert.equal(await own.getAttribute('aria-invalid'), 'true');
  await own.fill('venue = "ACL" OR venue = "EMNLP"');
  await own.press('Enter');
  await page.waitForFunction(() => !document.querySelector('[aria-invalid]') && document.querySelectorAll('.hit').length > 0);
  // Without a query the papers that meet the filter are shown.
  await page.goto(`${SERVER}/?f=venue+%3D+%22ACL%22`);
  await found(page, 10);
  await page.getByRole('button', { name: 'More papers' }).click();
  await found(page, 15);
  // Years, and an order by them.
  await page.goto(`${SERVER}/?q=language&sort=newest`);
  await found(page, 100);
  const years = (await page.locator('.hit time').allTextContents()).map(Number);
  assert.deepEqual(years, [...years].sort((a, b) => b - a));
  await page.locator('select').selectOption('recent');
  await page.waitForURL(/sort=recent/);
  await found(page, 10);
  await good(page, { errors: ['400'] });
});

await test('page by page, why, and what is related', async () => {
  const page = await visit('/?q=sentence+embeddings');
  await found(page, 10);
  assert.equal(page.seen.requests.filter((r) => r.url.endsWith('/v1/search')).length, 0); // it came with the page
  await page.getByRole('button', { name: 'More papers' }).click();
  await found(page, 20);
  assert.equal(new Set(await titles(page)).size, 20);
  const first = hits(page).first();
  await first.locator('.why').click();
  await first.locator('.sentences li').first().waitFor();
  assert.match(await first.locator('.because').first().textContent(), /by meaning.*by words/);
  assert.ok(await first.locator('.terms li').count() >= 2);
  await first.locator('.near').click();
  await first.locator('.kin li').nth(4).waitFor();
  assert.match(await first.locator('.band').getAttribute('title'), /alike/);
  // A way into a paper and back is where one was.
  await first.locator('.why').click();
  await first.locator('.near').click();
  await hits(page).nth(12).locator('h2 a').hover();
  await page.waitForTimeout(300);
  const where = await page.evaluate(() => scrollY);
  await hits(page).nth(12).locator('h2 a').click();
  await page.locator('.paper .abstract').waitFor();
  await page.goBack();
  await found(page, 20);
  assert.ok(Math.abs(await page.evaluate(() => scrollY) - where) < 50);
  await page.goto(`${SERVER}/?q=zzzzqqq&mode=lexical`);
  await page.getByText('No paper has these words.').waitFor();
  await page.goto(`${SERVER}/?q=${'long words about nothing much '.repeat(100)}`);
  await page.getByText('more than the model reads').waitFor();
  await good(page);
});

await test('keys of the keyboard', async () => {
  const page = await visit('/?q=graph+search');
  await found(page, 10);
  const at = () => page.evaluate(() => [...document.querySelectorAll('.hit')].findIndex((x) => x.contains(document.activeElement)));
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.type), 'search');
  await page.keyboard.press('ArrowDown');
  assert.equal(await at(), 0);
  await page.keyboard.press('j');
  await page.keyboard.press('ArrowDown');
  assert.equal(await at(), 2);
  await page.keyboard.press('k');
  assert.equal(await at(), 1);
  await page.keyboard.press('l');
  await page.waitForFunction(() => document.getElementById('list-count').textContent === '1');
  assert.match(page.url(), /#list=/);
  await page.keyboard.press('w');
  await hits(page).nth(1).locator('.sentences').waitFor();
  await page.keyboard.press('?');
  await page.locator('dialog[open]').waitFor();
  assert.deepEqual(await axe(page), []);
  await page.keyboard.press('Escape');
  const title = (await titles(page))[1];
  await hits(page).nth(1).locator('h2 a').focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction((t) => document.querySelector('.paper h1')?.textContent === t, title);
  // By the tab key alone: the skip link first, and everything has a ring.
  await page.goto(`${SERVER}/?q=graph`);
  await found(page, 10);
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  for (let i = 0; i < 25; i++) {
    await page.keyboard.press('Tab');
    const ring = await page.evaluate(() => { const e = document.activeElement, s = getComputedStyle(e), n = e.nextElementSibling && getComputedStyle(e.nextElementSibling); return s.outlineStyle !== 'none' || n?.outlineStyle !== 'none' || e.outerHTML.slice(0, 90); });
    assert.equal(ring, true);
  }
  await good(page);
});

await test('a paper', async () => {
  const page = await visit('/paper/ARXIV:1908.10084');
  await found(page, 20);
  assert.equal(page.seen.requests.filter((r) => r.url.includes('/v1/papers/')).length, 0);
  assert.deepEqual(await page.locator('.links a').evaluateAll((as) => as.map((a) => a.href)), ['https://doi.org/10.18653/v1/D19-1410', 'https://arxiv.org/abs/1908.10084']);
  assert.ok(await page.locator('figure circle').count() >= 5);
  await hits(page).first().locator('.why').click();
  await hits(page).first().locator('.pair blockquote').nth(1).waitFor();
  await page.locator('label', { hasText: 'Before 2019' }).click();
  await page.waitForFunction(() => [...document.querySelectorAll('.hit time')].every((t) => Number(t.textContent) < 2019) && document.querySelectorAll('.hit').length > 3);
  await page.locator('.paper .add').click();
  assert.equal(await page.locator('.paper .add').textContent(), 'On the list');
  await page.goto(`${SERVER}/paper/none/at%20all`);
  await page.getByRole('heading', { name: 'There is no such paper' }).waitFor();
  await page.getByText('none/at all').waitFor();
  await good(page, { errors: ['404'] });
});

await test('the reading list', async () => {
  const page = await visit('/?q=sentence+embeddings');
  await found(page, 10);
  await hits(page).nth(0).locator('.add').click();
  await hits(page).nth(1).locator('.add').click();
  await page.locator('nav a', { hasText: 'List' }).click();
  await page.locator('.shelf li.yes a').nth(1).waitFor();
  await found(page, 20);
  const before = await titles(page);
  await page.locator('#add').fill('1908.10084');
  await page.locator('#add').press('Enter');
  await page.locator('.shelf a', { hasText: 'Sentence-BERT' }).waitFor();
  await page.locator('#add').fill('no such paper');
  await page.locator('#add').press('Enter');
  await page.getByText('No paper has the id no such paper.').waitFor();
  await page.locator('.shelf li', { hasText: 'Sentence-BERT' }).getByRole('button', { name: /^Less like this/ }).click();
  await page.locator('.shelf li.no', { hasText: 'Sentence-BERT' }).waitFor();
  await page.waitForFunction((t) => JSON.stringify([...document.querySelectorAll('.hit h3 a')].map((a) => a.textContent)) !== JSON.stringify(t) && !document.querySelector('.hits[aria-busy]'), before);
  await page.locator('select').selectOption('best_score');
  await found(page, 20);
  const there = page.url(), now = await titles(page);
  assert.match(there, /#list=.+&not=ARXIV:1908\.10084&by=best_score$/);
  const other = await visit(there.slice(SERVER.length));
  await found(other, 20);
  assert.deepEqual(await titles(other), now);
  await other.goto(`${SERVER}/list#ARXIV:1908.10084,ARXIV:2104.08821`);
  await other.reload();
  await other.locator('.shelf li.yes a').nth(1).waitFor();
  await found(other, 20);
  const [file] = await Promise.all([other.waitForEvent('download'), other.getByRole('button', { name: 'BibTeX' }).click()]);
  assert.match(fs.readFileSync(await file.path(), 'utf8'), /^@inproceedings\{reimers2019,\n  title = \{\{Sentence-BERT/);
  while (await other.getByRole('button', { name: /^Remove/ }).count()) await other.getByRole('button', { name: /^Remove/ }).first().click();
  await other.getByText('There is nothing on the list yet').waitFor();
  assert.equal(new URL(other.url()).hash, '');
  // Ids as odd as they may be go along and come back.
  const odd = ['a,b', 'c&d=e', 'f#g+h%20', 'i/../j', '&list=k', '"<>'];
  const back = await other.evaluate(async (odd) => {
    const { shelf } = await import(document.querySelector('script[src$="app.js"]').src.replace('app.js', 'api.js'));
    shelf.yes = odd; const hash = shelf.hash(); location.hash = hash; shelf.yes = []; shelf.read(location.hash); return shelf.yes;
  }, odd);
  assert.deepEqual(back, odd);
  await good(page, { errors: ['404'] });
});

await test('the map', async () => {
  const many = points(118_000);
  for (const options of [{}, { dark: true }]) {
    const page = await open(options);
    await page.route('**/map/points*', (r) => r.fulfill({ body: many, contentType: 'application/octet-stream' }));
    await page.route('**/map/papers*', (r) => r.fulfill({ body: papers(r.request().url(), ids), contentType: 'application/json' }));
    await page.goto(`${SERVER}/map${options.dark ? '?by=year' : ''}`);
    await page.locator('.map[data-ready]').waitFor();
    await page.waitForTimeout(500);
    if (!options.dark) {
      const times = await page.evaluate(async () => {
        const canvas = document.querySelector('canvas.points'), out = [];
        canvas.setPointerCapture = () => {};
        const send = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: x, clientY: y, button: 0, bubbles: true }));
        send('pointerdown', 700, 400);
        let last = performance.now();
        for (let i = 0; i < 120; i++) {
          send('pointermove', 700 + 90 * Math.sin(i / 8), 400 + 60 * Math.cos(i / 8));
          await new Promise((ok) => requestAnimationFrame(ok));
          out.push(performance.now() - last);
          last = performance.now();
        }
        send('pointercancel', 700, 400);
        return out.sort((a, b) => a - b);
      });
      console.log(`118,000 points, drawn by ${await page.locator('.map').getAttribute('data-draws')}: a frame takes ${times[60].toFixed(1)} ms in the median, ${times[113].toFixed(1)} ms at 95 % while it is moved`);
      assert.ok(times[60] < 100, `${times[60]} ms a frame`);
    }
    await shot(page, `map-many-${options.dark ? 'dark' : 'light'}`);
    await good(page);
  }
  const page = await visit('/map');
  await page.locator('.map[data-ready]').waitFor();
  await page.locator('.topics button').nth(1).click();
  await page.waitForURL(/[?&]z=/);
  await page.waitForTimeout(500);
  const box = await page.locator('canvas.points').boundingBox();
  let there = false;
  for (let i = 0; i < 60 && !there; i++) { // a point, near the middle
    await page.mouse.move(box.x + box.width / 2 + (i % 10) * 12, box.y + box.height / 2 + Math.floor(i / 10) * 12);
    await page.waitForTimeout(30);
    there = await page.locator('canvas.points').evaluate((c) => c.style.cursor === 'pointer');
  }
  assert.ok(there);
  await page.locator('.tip b', { hasText: /^Paper \d+/ }).waitFor();
  await page.mouse.wheel(0, -400);
  await page.waitForTimeout(400);
  await page.locator('canvas.points').focus();
  for (const k of ['ArrowLeft', 'ArrowUp', '+', '-', '0', '+']) await page.keyboard.press(k);
  await page.waitForFunction(() => document.querySelector('.tip b') && !document.querySelector('.tip').hidden);
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/paper\/ARXIV/);
  await page.goBack();
  await page.locator('.map[data-ready]').waitFor();
  await good(page);
  const none = await visit('/map', { fakes: false });
  await none.getByText('The map is not made yet.').waitFor();
  assert.deepEqual(await axe(none), []);
  const broken = await open();
  await broken.route('**/map/points', (r) => r.fulfill({ body: 'EMAP, but not really' }));
  await broken.goto(`${SERVER}/map`);
  await broken.getByText('The map cannot be read.').waitFor();
});

await test('the state', async () => {
  const page = await visit('/status');
  await page.getByRole('heading', { name: 'How alike' }).waitFor();
  await page.getByText('99.3 %').waitFor();
  await page.getByText('41,200 of 118,747').waitFor();
  assert.match(await page.locator('.figures').first().textContent(), /302 papers.*302 vectors.*384 dimensions/);
  assert.ok(!/NaN|undefined|\[object/.test(await page.locator('main').innerText()));
  await good(page);
  const bare = await visit('/status', { fakes: false });
  await bare.getByRole('heading', { name: 'How alike' }).waitFor();
  assert.equal(await bare.locator('.live > *').count(), 0);
});

await test('away, slow, busy', async () => {
  const page = await visit('/?q=graph');
  await found(page, 10);
  await page.context().setOffline(true);
  await page.locator('input[type=search]').fill('graph colouring');
  await page.getByText('The server cannot be reached.').waitFor();
  assert.deepEqual(await axe(page), []);
  await shot(page, 'away-light-desktop');
  await page.context().setOffline(false);
  await found(page, 10);
  await page.route('**/v1/search', async (r) => { await new Promise((ok) => setTimeout(ok, 4000)); await r.continue().catch(() => {}); });
  await page.locator('input[type=search]').fill('slow');
  await page.getByText('Still searching …').waitFor();
  await page.unroute('**/v1/search');
  await page.route('**/v1/search', (r) => r.fulfill({ status: 429, headers: { 'Retry-After': '1' }, json: { code: 8, message: 'too many searches' } }));
  await page.locator('input[type=search]').fill('busy');
  await page.getByText('The server is busy.').waitFor();
  await page.unroute('**/v1/search');
  await page.getByRole('button', { name: 'Try again' }).click();
  await found(page, 10);
  await page.route('**/v1/search', (r) => r.fulfill({ status: 200, body: '<html>a proxy' }));
  await page.locator('input[type=search]').fill('odd');
  await page.getByText('cannot be read').waitFor();
  await good(page, { errors: ['ERR_INTERNET_DISCONNECTED', '429'] });
});

await test('what papers say stays text', async () => {
  await call('/v1/collections', { name: 'odd', settings: {} }).catch((e) => { throw new Error(`collection: ${e.message}`); });
  const odd = evil.map((e, i) => ({ id: i % 3 === 0 ? `odd:${i}:${e}`.slice(0, 400) : `odd:${i}`, title: e, abstract: `${e} payload ${e}`, authors: [e, `A. ${e}`], venue: e, year: 2000 + (i % 20), doi: i % 2 ? e : `10.1/${e}`.slice(0, 200),
    url: i % 2 ? `javascript:${e}` : e, metadata: { [`k${i % 5}`]: e } }));
  for (const p of odd) { // one after the other: what is refused is not stored, and that is well
    await fetch(`${SERVER}/v1/papers:upsert`, { method: 'POST', body: JSON.stringify({ collection: 'odd', papers: [p] }) });
  }
  const { papers: stored } = await (await fetch(`${SERVER}/v1/papers?collection=odd&pageSize=100`)).json();
  assert.ok(stored.length >= 30, `${stored.length} stored`);
  const page = await visit('/?q=payload+script&in=odd&mode=hybrid');
  const calm = async (where) => {
    assert.equal(await page.evaluate(() => window.__done), undefined, where);
    assert.equal(await page.evaluate(() => document.querySelectorAll('main iframe, main img, main object, main embed, main base, main meta, main style, main link, main video, main script, main math').length), 0, where);
    const links = await page.evaluate(() => [...document.querySelectorAll('a[href]')].map((a) => a.protocol));
    assert.deepEqual([...new Set(links)].filter((p) => p !== 'http:' && p !== 'https:'), [], where);
  };
  await found(page, 10);
  for (let i = 1; i < 3; i++) { await page.getByRole('button', { name: 'More papers' }).click(); await found(page, 10 * (i + 1)); }
  for (const b of await page.locator('.why').all()) await b.click();
  await page.waitForTimeout(600);
  await calm('search');
  for (const p of stored.slice(0, 16)) {
    await page.evaluate((id) => { const a = document.createElement('a'); a.href = `/paper/${encodeURIComponent(id)}?in=odd`; document.querySelector('main').append(a); a.click(); }, p.id);
    await page.locator('.paper h1').filter({ hasNotText: 'no such paper' }).first().waitFor();
    await calm(p.id);
  }
  for (const p of stored.slice(16, 24)) { // from the server
    await page.goto(`${SERVER}/paper/${encodeURIComponent(p.id)}?in=odd`);
    await page.locator('.paper .add').waitFor();
    await calm(p.id);
  }
  await page.goto(`${SERVER}/list?in=odd#list=${stored.slice(0, 20).map((p) => encodeURIComponent(encodeURIComponent(p.id))).join(',')}`);
  await page.reload();
  await page.locator('.shelf li.yes a').nth(19).waitFor();
  await calm('list');
  for (const q of evil.slice(0, 6)) {
    await page.goto(`${SERVER}/?q=${encodeURIComponent(q)}&mode=${encodeURIComponent(q)}&filter=${encodeURIComponent(q)}&f=${encodeURIComponent(q)}&in=${encodeURIComponent(q)}`);
    await page.waitForTimeout(60);
    await calm(q);
  }
  await good(page, { errors: ['400', '404'] });
});

await test('a server with keys', async () => {
  const page = await visit('/?q=sentence+embeddings', { server: KEYED });
  await page.getByRole('heading', { name: 'This server asks for a key' }).waitFor();
  assert.deepEqual(await axe(page), []);
  await shot(page, 'key-light-desktop');
  await page.locator('#key').fill('embedd_wrong');
  await page.keyboard.press('Enter');
  await page.locator('.key .wrong').waitFor();
  await page.locator('#key').fill(KEY);
  await page.keyboard.press('Enter');
  await found(page, 10);
  await hits(page).first().locator('h2 a').click();
  await page.locator('.paper .abstract').waitFor();
  await hits(page).nth(3).waitFor();
  await page.goBack();
  await found(page, 10);
  assert.ok(page.seen.requests.every((r) => !r.url.includes(KEY)));
  await good(page, { errors: ['401'] });
  const linked = await visit(`/status#key=${KEY}`, { server: KEYED });
  await linked.getByText('384 dimensions').waitFor();
  assert.equal(new URL(linked.url()).hash, '');
  assert.ok(!(await linked.content()).includes(KEY));
  await good(linked);
});

await test('in each shape', async () => {
  const places = { start: '/', search: '/?q=sentence+embeddings', paper: '/paper/ARXIV:1908.10084', list: '/list#list=ARXIV:1908.10084,ARXIV:2104.08821&not=ARXIV:1205.2618', map: '/map', status: '/status' };
  const settle = async (page, name) => {
    await page.locator({ start: '.hero .figure', search: '.hit .acts', paper: '.related .hit .acts', list: '.found .hit .acts', map: '.map[data-ready]', status: '.spread' }[name]).first().waitFor();
    await page.waitForTimeout(150);
  };
  for (const dark of [false, true]) {
    for (const phone of [false, true]) {
      const page = await visit('/', { dark, phone, reducedMotion: true });
      for (const [name, path] of Object.entries(places)) {
        await page.goto(SERVER + path);
        if (path.includes('#')) await page.reload();
        await settle(page, name);
        if (name === 'search' || name === 'paper') { await hits(page).first().locator('.why').click(); await hits(page).first().locator('.sentences').waitFor(); }
        assert.deepEqual(await axe(page), [], `${name}, ${dark ? 'dark' : 'light'}, ${phone ? 'phone' : 'desktop'}`);
        assert.ok(await scrolls(page) <= 0, `${name} is wider than the window`);
        await shot(page, `${name}-${dark ? 'dark' : 'light'}-${phone ? 'phone' : 'desktop'}`);
      }
      await good(page);
      await page.context().close(); // a server takes so many connections of one machine
    }
  }
  // 320 px, 200 % of a small window, and from right to left.
  for (const options of [{ width: 320, height: 640 }, { width: 640, height: 400, scale: 2 }, { width: 375, height: 720, rtl: true }, { width: 1280, height: 800, rtl: true, only: ['search', 'paper'] }, { width: 1280, height: 800, forcedColors: true, only: ['search'] }]) {
    const { rtl, only, ...of } = options, page = await visit('/', of);
    if (rtl) await page.addInitScript(() => document.addEventListener('DOMContentLoaded', () => { document.documentElement.dir = 'rtl'; }));
    for (const [name, path] of Object.entries(places).filter(([name]) => !only || only.includes(name))) {
      await page.goto(SERVER + path);
      if (path.includes('#')) await page.reload();
      await settle(page, name);
      assert.ok(await scrolls(page) <= 0, `${name} is wider than the window: ${JSON.stringify(options)}`);
      if (name === 'search') await shot(page, `search-${rtl ? 'rtl-' : ''}${of.forcedColors ? 'forced-' : ''}${of.width}`);
    }
    await page.context().close();
  }
  const paper = await visit('/?q=sentence+embeddings');
  await found(paper, 10);
  await paper.emulateMedia({ media: 'print' });
  assert.equal(await paper.locator('.facets').isVisible(), false);
  assert.ok(await hits(paper).first().isVisible());
});

await finish();
