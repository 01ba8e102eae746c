// The reading list: what is like it, and unlike what is not wanted.
import { h, icon, pathOf, plural, say, show, within } from './dom.js';
import { get, post, problem, shelf } from './api.js';
import { facts, ghosts, hit } from './hits.js';

const strategies = [['', 'Near the middle of the list'], ['best_score', 'Near any one of them'], ['sum_scores', 'Near all of them'], ['sequence', 'Going on from the last ones']];

const papers = new Map(); // by the id that was asked with

export function show_(main, { title }) {
  const running = new AbortController(), { signal } = running;
  let asked;
  title('Reading list', true);
  const field = h('input', { type: 'text', id: 'add', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', placeholder: 'ARXIV:1908.10084', required: true, maxlength: 512 });
  const says = h('p', { class: 'wrong small', role: 'status' });
  const items = h('ul', { class: 'shelf' });
  const by = h('select', { 'aria-label': 'How the list is read', onchange: () => shelf.strategy(by.value) }, strategies.map(([value, name]) => h('option', { value, text: name })));
  const exports = h('div', { class: 'buttons' },
    h('button', { class: 'plain', onclick: copy }, icon('copy'), 'Copy link'),
    h('button', { class: 'plain', onclick: () => save('reading-list.bib', 'application/x-bibtex', bibtex(chosen())) }, icon('save'), 'BibTeX'),
    h('button', { class: 'plain', onclick: () => save('reading-list.json', 'application/json', JSON.stringify(chosen(), null, 2)) }, icon('save'), 'JSON'));
  const list = h('ol', { class: 'hits' });
  const found = h('section', { class: 'found', 'aria-labelledby': 'like-title' }, h('div', { class: 'over' }, h('h2', { id: 'like-title', text: 'Papers like these' }), by), list);
  const none = h('div', { class: 'none' }, h('p', {}, 'There is nothing on the list yet. Add papers by their ids here, or with ', h('b', { text: 'Add to list' }), ' beside each paper.'),
    h('p', { class: 'quiet', text: 'The list is in the address of this page and nowhere else: keep the link, or share it.' }), h('p', {}, h('a', { href: within('/'), text: 'Search for papers' })));
  show(main, h('h1', { text: 'Reading list' }),
    h('div', { class: 'cols even' }, h('section', { class: 'own', 'aria-label': 'On the list' },
      h('form', { class: 'line', onsubmit: add }, h('label', { for: 'add', class: 'away', text: 'Id of a paper' }), field, h('button', { class: 'solid', text: 'Add' })), says, items, exports, none), found));

  async function add(e) {
    e.preventDefault();
    const id = field.value.trim();
    if (!id) return;
    says.textContent = '';
    try {
      const { paper } = await get(`/v1/papers/${encodeURIComponent(id)}`, signal);
      papers.set(paper.id, paper);
      field.value = '';
      shelf.put(paper.id, 'yes');
      say(`Added: ${paper.title || paper.id}`);
    } catch (e) {
      if (e.name !== 'AbortError') says.textContent = e.status === 404 ? `No paper has the id ${id}.` : e.message;
    }
  }

  const chosen = () => shelf.yes.map((id) => papers.get(id)).filter((p) => p && !p.missing);

  async function copy(e) {
    const button = e.currentTarget;
    try {
      await navigator.clipboard.writeText(location.href);
      show(button, icon('check'), 'Copied');
      say('Copied');
      setTimeout(() => show(button, icon('copy'), 'Copy link'), 2000);
    } catch { says.textContent = 'The browser does not let the page copy; take the link from its address.'; }
  }

  // Titles come one by one, a few at a time.
  async function titles() {
    const missing = [...shelf.yes, ...shelf.no].filter((id) => !papers.has(id));
    await Promise.all(Array.from({ length: 4 }, async () => {
      for (let id; (id = missing.shift()) !== undefined;) {
        try {
          papers.set(id, (await get(`/v1/papers/${encodeURIComponent(id)}`, signal)).paper);
        } catch (e) {
          if (e.name === 'AbortError') return;
          if (e.status === 404) papers.set(id, { id, missing: true });
        }
        drawItems();
      }
    }));
  }

  function drawItems() {
    const focus = document.activeElement?.dataset?.act;
    const item = (id, side) => {
      const p = papers.get(id), other = side === 'yes' ? 'no' : 'yes';
      return h('li', { class: side }, h('div', {}, p && !p.missing ? [h('a', { href: pathOf(id), dir: 'auto', text: p.title || id }), facts(p, 3)] : [h('span', { dir: 'auto', text: id }), h('p', { class: p ? 'wrong small' : 'facts', text: p ? 'No paper has this id.' : ' ' })]),
        h('div', { class: 'buttons' },
          h('button', { class: 'plain', dataset: { act: `turn ${id}` }, 'aria-label': `${side === 'yes' ? 'Less like this' : 'More like this'}: ${p?.title || id}`, onclick: () => shelf.put(id, other) }, icon(side === 'yes' ? 'minus' : 'plus'), side === 'yes' ? 'Less like this' : 'More like this'),
          h('button', { class: 'plain', dataset: { act: `away ${id}` }, 'aria-label': `Remove ${p?.title || id}`, onclick: () => { shelf.put(id, ''); say('Removed'); } }, icon('close'), 'Remove')));
    };
    show(items, shelf.yes.length > 0 && h('li', { class: 'head', text: 'More like these' }), shelf.yes.map((id) => item(id, 'yes')), shelf.no.length > 0 && h('li', { class: 'head', text: 'Less like these' }), shelf.no.map((id) => item(id, 'no')));
    if (focus) ([...items.querySelectorAll('button')].find((b) => b.dataset.act === focus) ?? field).focus();
  }

  async function recommend() {
    asked?.abort();
    const mine = asked = new AbortController();
    signal.addEventListener('abort', () => mine.abort(), { once: true });
    found.hidden = !shelf.yes.length;
    if (!shelf.yes.length) { show(list); return; }
    list.setAttribute('aria-busy', 'true');
    if (!list.children.length) show(list, ghosts(4));
    const there = (ids) => ids.filter((id) => !papers.get(id)?.missing);
    try {
      if (!there(shelf.yes).length) { show(list); return; }
      const answer = await post('/v1/recommend', { positiveIds: there(shelf.yes), negativeIds: there(shelf.no), k: 20, view: 'PAPER_VIEW_FULL', strategy: shelf.by ? `STRATEGY_${shelf.by.toUpperCase()}` : undefined }, mine.signal);
      const hits = answer.hits ?? [], top = hits.reduce((m, x) => Math.max(m, x.score ?? 0), 0);
      show(list, hits.map((x) => {
        const of = shelf.yes[x.why?.example ?? -1];
        return hit(x, { query: { paperId: of ?? shelf.yes.at(-1) }, top, mode: 'dense', pairs: true, level: 'h3' });
      }));
      say(`${plural(hits.length, 'paper', 'papers')} like these`);
    } catch (e) {
      if (e.name !== 'AbortError') problem(list, e, recommend);
    } finally {
      if (mine === asked) list.removeAttribute('aria-busy');
    }
  }

  function draw() {
    by.value = shelf.by;
    none.hidden = shelf.count > 0;
    exports.hidden = !shelf.count;
    drawItems();
    titles().then(() => !signal.aborted && recommend());
  }
  shelf.listeners.add(draw);
  draw();
  return { leave() { shelf.listeners.delete(draw); running.abort(); } };
}
export { show_ as show };

// save has the browser keep a text as a file.
function save(name, type, text) {
  const to = URL.createObjectURL(new Blob([text], { type }));
  const a = document.createElement('a');
  a.href = to;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(to), 1000);
}

// bibtex has each paper under a name of its first author and year.
export function bibtex(of) {
  const names = new Set();
  const plain = (s) => String(s).replace(/\\/g, '\\textbackslash{}').replace(/[{}]/g, '\\$&').replace(/[&%$#_]/g, '\\$&').replace(/\s+/g, ' ');
  return of.map((p) => {
    let name = `${(p.authors?.[0] ?? p.id).split(/\s+/).at(-1).normalize('NFKD').replace(/[^a-zA-Z0-9]/g, '').toLowerCase() || 'paper'}${p.year ?? ''}`;
    for (let i = 0; names.has(name + (i ? String.fromCharCode(96 + i) : '')); i++) if (names.has(name + String.fromCharCode(97 + i)) === false) { name += String.fromCharCode(97 + i); break; }
    names.add(name);
    const fields = [['title', p.title && `{${plain(p.title)}}`], ['author', p.authors?.map(plain).join(' and ')], ['year', p.year], [p.venue ? 'booktitle' : '', p.venue && plain(p.venue)], ['doi', p.doi], ['eprint', p.arxivId], ['archiveprefix', p.arxivId && 'arXiv'], ['url', p.url]]
      .filter(([k, v]) => k && v).map(([k, v]) => `  ${k} = {${v}}`);
    return `@${p.venue ? 'inproceedings' : 'misc'}{${name},\n${fields.join(',\n')}\n}\n`;
  }).join('\n');
}
