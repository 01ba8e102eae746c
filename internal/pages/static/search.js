// Search as one types. What is asked is in the address, and nowhere else.
import { bar, h, icon, number, plural, say, show, within } from './dom.js';
import { get, post, problem } from './api.js';
import { ghosts, hit, wordsOf } from './hits.js';

const pause = 150; // ms after a key before it is searched for
const size = 10;

// Answers of this visit, by what was asked, so that a way back is at once.
const kept = new Map();
function keep(name, value) {
  kept.delete(name);
  kept.set(name, value);
  if (kept.size > 40) kept.delete(kept.keys().next().value);
}

// Conditions on one field are alternatives; all others must hold together. filter in render.go makes the same.
export function filterOf(s, but = '') {
  const by = new Map();
  for (const c of s.f) {
    const name = fieldOf(c) || c;
    if (name !== but) by.set(name, [...(by.get(name) ?? []), c]);
  }
  const all = [...by.values()].map((c) => (c.length > 1 ? `(${c.join(' OR ')})` : c[0]));
  if (/^-?\d+$/.test(s.from) && but !== 'year') all.push(`year >= ${Number(s.from)}`);
  if (/^-?\d+$/.test(s.to) && but !== 'year') all.push(`year <= ${Number(s.to)}`);
  const own = s.filter.trim();
  if (own) all.push(all.length ? `(${own})` : own);
  return all.join(' AND ');
}
const fieldOf = (c) => /^\s*([^=<>!:\s]+)\s*(=|:)/.exec(c)?.[1] ?? '';
const valueOf = (c) => { const v = c.replace(/^[^=:]*[=:]\s*/, ''); return v.startsWith('"') ? v.slice(1, -1).replace(/\\(.)/g, '$1').replace(/\\\*/g, '*') : v; };
const condition = (field, value, type) => `${field} = ${type === 'FIELD_TYPE_NUMBER' || type === 'FIELD_TYPE_BOOL' ? value : `"${value.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n').replace(/\r/g, '\\r').replace(/\t/g, '\\t')}"`}`;
const nameOf = (field) => field.replace(/^metadata\./, '').replaceAll('_', ' ');

const intro = 'Write a question, a title, or a whole abstract: papers are found by their meaning, and by their words.';
const modes = [['', 'Both'], ['dense', 'Meaning'], ['lexical', 'Words']];
const sorts = [['', 'Best first'], ['recent', 'Newer preferred'], ['newest', 'Newest of 100']];

function stateOf(search) {
  const p = new URLSearchParams(search);
  const one = (name, of) => (of.some(([v]) => v === p.get(name)) ? p.get(name) : '');
  return { q: p.get('q') ?? '', mode: one('mode', modes), sort: one('sort', sorts), f: p.getAll('f').filter(Boolean), from: p.get('from') ?? '', to: p.get('to') ?? '', filter: p.get('filter') ?? '', in: p.get('in') ?? '' };
}

function addressOf(s) {
  const p = new URLSearchParams();
  for (const name of ['q', 'mode', 'sort', 'from', 'to', 'filter', 'in']) if (s[name]) p.set(name, s[name]);
  for (const c of s.f) p.append('f', c);
  const of = p.toString();
  return of ? `/?${of}` : '/';
}

export function show_(main, { data, go, first, title }) {
  let s = stateOf(location.search), answers = [], running, timer, settle, committed = true, words, info;
  const input = h('input', { type: 'search', name: 'q', 'aria-label': 'Search for papers', placeholder: 'What are you looking for?', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', enterkeyhint: 'search', maxlength: 4000, value: s.q });
  const form = h('form', { class: 'ask', role: 'search', action: '/' }, input, h('button', { type: 'submit', class: 'away-slim', text: 'Search' }));
  const mode = h('fieldset', { class: 'choice' }, h('legend', { class: 'away', text: 'Search by' }),
    modes.map(([value, name]) => h('label', {}, h('input', { type: 'radio', name: 'mode', value, onchange: () => change({ mode: value }) }), h('span', { text: name }))));
  const sort = h('select', { 'aria-label': 'Order', onchange: () => change({ sort: sort.value }) }, sorts.map(([value, name]) => h('option', { value, text: name })));
  const chips = h('ul', { class: 'chips', 'aria-label': 'Filters that are set' });
  const own = h('input', { type: 'text', id: 'own', spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off', placeholder: 'year >= 2020 AND venue = "ACL"', 'aria-describedby': 'own-says', onchange: () => change({ filter: own.value }) });
  const ownSays = h('p', { id: 'own-says', class: 'quiet small' });
  const ownField = h('div', { class: 'field', hidden: true }, h('label', { for: 'own', class: 'head', text: 'A filter in words' }), own, ownSays);
  const facets = h('div', { class: 'fields' });
  const open = matchMedia('(min-width: 60rem)').matches;
  const aside = h('details', { class: 'facets', open }, h('summary', {}, icon('filter'), h('span', { text: 'Filters' })), h('div', {}, facets,
    ownField));
  const tally = h('p', { class: 'tally' });
  const list = h('ol', { class: 'hits' });
  const after = h('div', { class: 'after' });
  const found = h('section', { class: 'found', 'aria-label': 'Results' }, h('div', { class: 'over' }, tally, sort), chips, list, after);
  const hero = h('div', { class: 'hero' });
  show(main, h('h1', { class: 'away', text: 'Search' }), hero, h('div', { class: 'box' }, form, mode), h('div', { class: 'cols' }, h('aside', { 'aria-label': 'Filters' }, aside), found));

  form.addEventListener('submit', (e) => { e.preventDefault(); clearTimeout(timer); committed = true; s.q === input.value && answers.length ? list.querySelector('a')?.focus() : change({ q: input.value }); });
  input.addEventListener('input', (e) => { if (!e.isComposing) typed(); });
  input.addEventListener('compositionend', typed);

  function typed() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (input.value === s.q) return;
      address({ ...s, q: input.value }, !committed);
      committed = false;
      clearTimeout(settle);
      settle = setTimeout(() => { committed = true; }, 2000);
      draw();
    }, pause);
  }

  // address has the state in the address: as a place to come back to, or, while one types, instead of the last.
  function address(next, over) {
    s = next;
    const to = addressOf(s) + location.hash;
    if (over) history.replaceState(history.state, '', to);
    else { history.replaceState({ ...history.state, y: scrollY }, ''); history.pushState({ y: 0 }, '', to); }
  }

  function change(what) {
    clearTimeout(timer);
    committed = true;
    address({ ...s, q: input.value, ...what }, false);
    draw();
  }

  function draw() {
    running?.abort();
    running = new AbortController();
    const { signal } = running, asked = s.q.trim();
    words = wordsOf(s.q);
    for (const r of mode.querySelectorAll('input')) r.checked = r.value === s.mode;
    sort.value = s.sort;
    own.value = s.filter;
    const filter = filterOf(s), browsing = !asked && filter;
    document.body.classList.toggle('resting', !asked && !browsing);
    sort.hidden = !asked;
    document.title = `${asked || 'Search'} · embedd`;
    drawChips();
    drawFacets(signal);
    if (!asked && !browsing) { answers = []; show(list); show(after); show(tally); drawHero(signal); return; }
    const request = browsing
      ? { page: (token) => get(`/v1/papers?${new URLSearchParams({ pageSize: size, view: 'PAPER_VIEW_FULL', filter, ...(token && { pageToken: token }) })}`, signal) }
      : { page: (token) => post('/v1/search', { query: { text: s.q }, k: s.sort === 'newest' ? 100 : size, view: 'PAPER_VIEW_FULL', filter: filter || undefined, pageToken: token || undefined,
        mode: s.mode ? `MODE_${s.mode.toUpperCase()}` : undefined, halfLife: s.sort === 'recent' ? 5 : undefined }, signal) };
    const name = addressOf(s);
    if (data) { keep(name, [data]); data = undefined; }
    if (kept.has(name)) { answers = kept.get(name); list.removeAttribute('aria-busy'); drawHits(request, name); return; }
    load(request, name, '', signal);
  }

  async function load(request, name, token, signal) {
    const more = token !== '';
    list.setAttribute('aria-busy', 'true');
    const waits = setTimeout(() => { if (!more) { if (!list.querySelector('.hit:not(.ghosts)')) show(list, ghosts()); } else show(after, h('p', { class: 'quiet', text: 'More is coming …' })); }, list.children.length ? 250 : 0);
    const slow = setTimeout(() => { tally.textContent = 'Still searching …'; say('Still searching'); }, 3000);
    try {
      const answer = await request.page(token);
      answers = more ? [...answers, answer] : [answer];
      keep(name, answers);
      ownSays.className = 'quiet small';
      drawHits(request, name, more);
    } catch (e) {
      if (e.name === 'AbortError') return;
      const wrong = e.of?.('filter');
      if (wrong) {
        ownSays.className = 'wrong small';
        ownSays.textContent = wrong;
        own.setAttribute('aria-invalid', 'true');
        if (s.filter) aside.open = true;
      }
      if (more) { problem(after, e, () => load(request, name, token, signal)); return; }
      answers = [];
      show(list);
      show(after);
      tally.textContent = '';
      problem(list, e, wrong ? undefined : draw);
    } finally {
      clearTimeout(waits);
      clearTimeout(slow);
      if (!signal.aborted) list.removeAttribute('aria-busy');
    }
  }

  function drawHits(request, name, more) {
    own.removeAttribute('aria-invalid');
    drawSays();
    const browsing = !s.q.trim();
    const hits = answers.flatMap((a) => a.hits ?? (a.papers ?? []).map((paper) => ({ paper })));
    if (s.sort === 'newest' && !browsing) hits.sort((a, b) => (b.paper.year ?? 0) - (a.paper.year ?? 0));
    const top = hits.reduce((m, x) => Math.max(m, x.score ?? 0), 0);
    const of = { query: browsing ? null : { text: s.q }, words, top, mode: s.mode || 'hybrid' };
    const before = more ? list.children.length : 0;
    if (more && s.sort !== 'newest') list.append(...hits.slice(before).map((x) => hit(x, of)));
    else show(list, hits.map((x) => hit(x, of)));
    const last = answers.at(-1), next = s.sort === 'newest' && !browsing ? '' : last?.nextPageToken;
    const cut = answers[0]?.textUse?.truncated, late = last?.leftOut ?? [];
    tally.textContent = hits.length ? `${next ? 'The first ' : ''}${plural(hits.length, 'paper', 'papers')}` : '';
    const signal = running.signal;
    show(after,
      !hits.length && h('div', { class: 'none' }, h('p', { text: s.mode === 'lexical' ? 'No paper has these words.' : 'No paper is found.' }),
        filterOf(s) && h('button', { text: 'Search without filters', onclick: () => change({ f: [], from: '', to: '', filter: '' }) }),
        s.mode === 'lexical' && h('button', { text: 'Search by meaning too', onclick: () => change({ mode: '' }) })),
      next && h('button', { class: 'more', text: 'More papers', onclick: async () => { await load(request, name, next, signal); list.children[before_(hits)]?.querySelector('a')?.focus({ preventScroll: true }); } }));
    if (cut) show(after, h('p', { class: 'note' }, `What you wrote has ${number(answers[0].textUse.tokenCount)} tokens, more than the model reads${info?.model?.maxTokens ? ` (${number(info.model.maxTokens)})` : ''}: the rest counts by its words alone.`), [...after.childNodes]);
    if (late.length) after.prepend(h('p', { class: 'note', text: `There was no time for: ${late.join(', ')}.` }));
    if (!browsing || filterOf(s)) say(hits.length ? `${plural(hits.length, 'paper', 'papers')}${next ? ', and there are more' : ''}` : 'No paper is found');
  }
  const before_ = (hits) => hits.length;

  function drawSays() {
    ownSays.className = 'quiet small';
    show(ownSays, 'Conditions on year, venue, authors and what else papers have, joined by AND, OR and NOT.');
  }

  function drawChips() {
    const chip = (text, without) => h('li', {}, h('button', { class: 'chip', onclick: () => { change(without); (chips.querySelector('button') ?? input).focus(); } }, h('span', { dir: 'auto', text }), icon('close'), h('span', { class: 'away', text: 'take away' })));
    const years = [s.from && `from ${s.from}`, s.to && `to ${s.to}`].filter(Boolean).join(' ');
    show(chips, s.f.map((c, i) => chip(fieldOf(c) ? `${nameOf(fieldOf(c))}: ${valueOf(c)}` : c, { f: s.f.filter((_, n) => n !== i) })),
      years && chip(`year ${years}`, { from: '', to: '' }), s.filter && chip(s.filter, { filter: '' }));
    chips.hidden = !chips.children.length;
  }

  // Facets are of all papers that meet the filter; those of a field that is filtered by, as if it were not.
  let counted = '';
  async function drawFacets(signal) {
    const now = JSON.stringify([s.f, s.from, s.to, s.filter, s.in, document.body.classList.contains('resting')]);
    if (now === counted) return;
    try {
      info ??= await get('/v1/info').catch((e) => { if (e.status === 403) return { fields: [{ name: 'year', type: 'FIELD_TYPE_NUMBER', values: 2 }, { name: 'venue', values: 2 }, { name: 'authors', values: 2 }] }; throw e; });
      const fields = info.fields.filter((f) => !['id', 'doi', 'url', 'arxiv_id'].includes(f.name) && Number(f.values ?? 0) > 1 && !(Number(f.values) > 0.9 * Number(f.papers) && !f.repeated))
        .sort((a, b) => place(a) - place(b)).slice(0, 8);
      const set = new Set(s.f.map(fieldOf).concat(s.from || s.to ? 'year' : []));
      const ask = (of, but) => (of.length ? post('/v1/papers:count', { filter: filterOf(s, but) || undefined, facets: of.map((f) => ({ field: f.name, values: f.name === 'year' ? 60 : 8 })) }, signal) : {});
      const all = await Promise.all([ask(fields.filter((f) => !set.has(f.name)), ''), ...fields.filter((f) => set.has(f.name)).map((f) => ask([f], f.name))]);
      if (signal.aborted) return;
      counted = now;
      const by = new Map(all.flatMap((a) => a.facets ?? []).map((f) => [f.field, f]));
      show(facets, fields.filter((f) => by.get(f.name)?.values?.length).map((f) => (f.name === 'year' ? years(by.get('year')) : facet(f, by.get(f.name)))));
    } catch (e) {
      if (e.name !== 'AbortError' && !e.of?.('filter')) show(facets, h('p', { class: 'quiet small', text: 'No counts of papers to choose from.' }));
    } finally {
      ownField.hidden = false; // not before, so that nothing moves
    }
  }
  const place = (f) => ({ year: 0, venue: 1, authors: 2 }[f.name] ?? 3);

  function facet(f, counts) {
    const top = Math.max(...counts.values.map((v) => Number(v.papers)));
    const on = s.f.filter((c) => fieldOf(c) === f.name);
    const missing = on.filter((c) => !counts.values.some((v) => condition(f.name, v.value, f.type) === c));
    const row = (c, value, papers) => h('li', {}, h('button', { class: 'value', 'aria-pressed': String(s.f.includes(c)), onclick: () => { change({ f: s.f.includes(c) ? s.f.filter((x) => x !== c) : [...s.f, c] }); } },
      h('span', { class: 'name', dir: 'auto', text: value }), papers !== undefined && h('span', { class: 'n', text: number(papers) }), papers !== undefined && bar(papers / top)));
    return h('div', { class: 'field' }, h('h2', { class: 'head', text: nameOf(f.name) }), h('ul', { class: 'values' },
      missing.map((c) => row(c, valueOf(c))), counts.values.map((v) => row(condition(f.name, v.value, f.type), v.value, Number(v.papers)))),
    Number(counts.valuesTotal) > counts.values.length && h('p', { class: 'quiet small', text: `and ${number(Number(counts.valuesTotal) - counts.values.length)} more` }));
  }

  function years(counts) {
    const of = new Map(counts.values.map((v) => [Number(v.value), Number(v.papers)]));
    const all = [...of.keys()].sort((a, b) => a - b);
    const last = all.at(-1), begin = Math.max(all[0], last - 59);
    // A bar is wide enough for a finger, and stands for as many years as that takes.
    const step = Math.max(1, Math.ceil((last - begin + 1) / Math.max(4, Math.floor((facets.clientWidth || 232) / 24))));
    const bins = [];
    for (let end = last; end >= begin; end -= step) {
      const from = Math.max(begin, end - step + 1);
      bins.unshift({ from, to: end, n: Array.from({ length: end - from + 1 }, (_, i) => of.get(from + i) ?? 0).reduce((a, b) => a + b) });
    }
    const top = Math.max(...bins.map((b) => b.n));
    const field = (name, value) => h('input', { type: 'number', inputmode: 'numeric', 'aria-label': `${name} year`, value, placeholder: name === 'First' ? all[0] : last, onchange: (e) => change(name === 'First' ? { from: e.target.value } : { to: e.target.value }) });
    return h('div', { class: 'field' }, h('h2', { class: 'head', text: 'Year' }),
      h('div', { class: 'years', role: 'group', 'aria-label': 'Papers by year' }, bins.map(({ from, to, n }) => {
        const on = s.from === String(from) && s.to === String(to), inside = (!s.from || to >= Number(s.from)) && (!s.to || from <= Number(s.to));
        const name = `${from === to ? from : `${from}–${to}`}: ${plural(n, 'paper', 'papers')}`;
        return h('button', { class: inside ? 'year' : 'year out', disabled: !n, 'aria-pressed': String(on), 'aria-label': name, title: name,
          onclick: () => change(on ? { from: '', to: '' } : { from: String(from), to: String(to) }) },
        h('svg:svg', { viewBox: '0 0 10 40', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, h('svg:rect', { width: 10, y: 40 - Math.max(n ? 2 : 0.5, (n / top) * 40), height: Math.max(n ? 2 : 0.5, (n / top) * 40) })));
      })),
      h('div', { class: 'range' }, field('First', s.from), h('span', { text: '–', 'aria-hidden': 'true' }), field('Last', s.to)));
  }

  const headline = (n) => h('p', { class: 'big' }, h('span', {}, 'Search ', n > 0 && h('span', { class: 'figure', text: number(n) }), n === 1 ? ' paper' : ' papers'), h('span', { text: n === 1 ? 'by what it means' : 'by what they mean' }));
  async function drawHero(signal) {
    if (!info) show(hero, headline(0), h('p', { class: 'quiet', text: intro }));
    try {
      info ??= await get('/v1/info');
      if (signal.aborted) return;
      const n = Number(info.counts?.papers ?? 0);
      show(hero, n || !info.counts ? headline(n) : h('p', { class: 'big', text: 'There are no papers yet' }),
        n || !info.counts ? h('p', { class: 'quiet', text: intro })
          : h('p', { class: 'quiet' }, 'Bring some with ', h('code', { text: 'embedd index papers.jsonl' }), '.'));
    } catch { /* it is well without */ }
  }

  drawSays();
  draw();
  if (first && !s.q && matchMedia('(hover: hover)').matches) input.focus({ preventScroll: true });
  return { leave() { running?.abort(); clearTimeout(timer); clearTimeout(settle); document.body.classList.remove('resting'); } };
}
export { show_ as show };
