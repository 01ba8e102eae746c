// A paper, and those that are related to it.
import { h, icon, number, pathOf, plural, say, show, web, within } from './dom.js';
import { get, post, problem } from './api.js';
import { addButton, facts, ghosts, hit } from './hits.js';

const size = 20;

export function show_(main, { data, title }) {
  const running = new AbortController(), { signal } = running;
  const id = decoded(location.pathname.slice('/paper/'.length)) || new URLSearchParams(location.search).get('id') || '';
  const article = h('article', { class: 'paper' });
  const related = h('section', { class: 'related', 'aria-labelledby': 'related-title' });
  show(main, article, related);

  async function draw() {
    show(article, h('div', { class: 'ghost title' }), h('div', { class: 'ghost line' }), h('div', { class: 'ghost text tall' }));
    try {
      const answer = data ?? await get(`/v1/papers/${encodeURIComponent(id)}`, signal);
      data = undefined;
      drawPaper(answer);
      drawRelated(answer.paper);
    } catch (e) {
      if (e.name === 'AbortError') return;
      show(related);
      if (e.status === 404) {
        title('No such paper');
        show(article, h('h1', { text: 'There is no such paper' }), h('p', {}, 'No paper has the id ', h('code', { text: id }), '.'), h('p', {}, h('a', { href: within('/'), text: 'Search for it' })));
      } else problem(article, e, draw);
    }
  }

  function drawPaper({ paper, textUse, aliases = [], sameWork = [] }) {
    title(paper.title || paper.id);
    const doi = paper.doi?.startsWith('10.') ? `https://doi.org/${encodeURI(paper.doi).replace(/[?#]/g, encodeURIComponent)}` : '';
    const out = (name, to) => h('a', { class: 'out', href: to, 'aria-label': `${name}, another site` }, name, icon('out'));
    const metadata = Object.entries(paper.metadata ?? {}).filter(([, v]) => v !== null && v !== '');
    show(article,
      h('h1', { dir: 'auto', text: paper.title || paper.id }),
      facts(paper, 24),
      h('div', { class: 'links' }, addButton(paper.id, 'add solid'), doi && out('DOI', doi), paper.arxivId && out('arXiv', `https://arxiv.org/abs/${encodeURI(paper.arxivId).replace(/[?#]/g, encodeURIComponent)}`), web(paper.url) && out('Web page', paper.url)),
      paper.abstract ? h('p', { class: 'abstract', dir: 'auto', text: paper.abstract }) : h('p', { class: 'quiet', text: 'There is no abstract.' }),
      textUse?.truncated && h('p', { class: 'note', text: `The text has ${number(textUse.tokenCount)} tokens, more than the model reads: what is related is found by the beginning of it.` }),
      sameWork.length > 0 && h('p', { class: 'small' }, 'Other versions of this work: ', sameWork.map((i, n) => [n ? ', ' : '', h('a', { href: pathOf(i), text: i })])),
      h('details', { class: 'more-of' }, h('summary', { text: 'Ids and metadata' }), h('dl', { class: 'pairs' },
        pair('Id', h('code', { text: paper.id })), paper.doi && pair('DOI', paper.doi), paper.arxivId && pair('arXiv', paper.arxivId),
        aliases.length > 0 && pair('Known as', aliases.join(', ')), metadata.map(([k, v]) => pair(k, typeof v === 'object' ? JSON.stringify(v) : String(v))), paper.expires && pair('Kept until', paper.expires))));
  }
  const pair = (name, value) => h('div', {}, h('dt', { text: name }), h('dd', { dir: 'auto' }, value));

  function drawRelated(paper) {
    let when = '', asked;
    const list = h('ol', { class: 'hits' }, ghosts(4));
    const years = h('div', { class: paper.year ? 'span' : 'span none-of' });
    const note = h('p', { class: 'quiet small' });
    const choice = paper.year ? h('fieldset', { class: 'choice' }, h('legend', { class: 'away', text: 'Of which time' }),
      [['', 'All'], ['newer', `After ${paper.year}`], ['older', `Before ${paper.year}`]].map(([value, name]) => h('label', {},
        h('input', { type: 'radio', name: 'when', value, checked: value === '', onchange: () => { when = value; load(); } }), h('span', { text: name })))) : null;
    show(related, h('div', { class: 'over' }, h('h2', { id: 'related-title', text: 'Related papers' }), choice), years, note, list);

    async function load() {
      asked?.abort();
      const mine = asked = new AbortController();
      signal.addEventListener('abort', () => mine.abort(), { once: true });
      list.setAttribute('aria-busy', 'true');
      try {
        const filter = when === 'newer' ? `year > ${paper.year}` : when === 'older' ? `year < ${paper.year}` : undefined;
        const answer = await post('/v1/related', { id: paper.id, k: size, view: 'PAPER_VIEW_FULL', filter }, mine.signal);
        const hits = answer.hits ?? [];
        note.textContent = hits.length ? '' : 'There are none.';
        const drawn = chart(paper, hits);
        years.classList.toggle('none-of', !drawn);
        show(years, drawn);
        show(list, hits.map((x) => hit(x, { query: { paperId: paper.id }, top: 1, mode: 'dense', pairs: true, level: 'h3' })));
        if (when) say(plural(hits.length, 'related paper', 'related papers'));
      } catch (e) {
        if (e.name !== 'AbortError') { years.classList.add('none-of'); show(years); problem(list, e, load); }
      } finally {
        list.removeAttribute('aria-busy');
      }
    }
    load();
  }

  // chart has the related papers by year and by how alike they are; each point is the paper below.
  function chart(paper, hits) {
    const of = hits.filter((x) => x.paper.year && x.cosine !== undefined);
    if (of.length < 5 || !paper.year) return null;
    const ys = of.map((x) => x.paper.year).concat(paper.year), cs = of.map((x) => x.cosine);
    const y0 = Math.min(...ys), y1 = Math.max(...ys), c0 = Math.min(...cs), c1 = Math.max(...cs);
    if (y0 === y1) return null;
    const w = Math.max(240, Math.min(832, related.clientWidth || 720)), hh = 132, x = (y) => 20 + ((y - y0) / (y1 - y0)) * (w - 40), up = (c) => 98 - ((c - c0) / (c1 - c0 || 1)) * 78;
    const step = Math.max(1, Math.ceil(((y1 - y0) * 56) / w)), ticks = [];
    for (let y = y1; y >= y0; y -= step) ticks.push(y);
    const point = (one, i) => {
      const dot = h('svg:circle', { cx: x(one.paper.year).toFixed(1), cy: up(one.cosine).toFixed(1), r: 5, class: `dot ${one.band ?? ''}` }, h('svg:title', { text: `${one.paper.title || one.paper.id}, ${one.paper.year}` }));
      const over = (on) => related.querySelectorAll('.hit')[i]?.classList.toggle('lit', on);
      dot.addEventListener('mouseenter', () => over(true));
      dot.addEventListener('mouseleave', () => over(false));
      dot.addEventListener('click', () => { const a = related.querySelectorAll('.hit h3 a')[i]; a?.focus(); a?.closest('.hit').scrollIntoView({ block: 'center' }); });
      return dot;
    };
    return h('figure', {}, h('svg:svg', { viewBox: `0 0 ${w} ${hh}`, role: 'img', 'aria-label': `The related papers by year, ${y0} to ${y1}; those higher up are more alike. They are listed below.` },
      h('svg:line', { x1: x(paper.year), x2: x(paper.year), y1: 8, y2: 106, class: 'now' }), h('svg:line', { x1: 8, x2: w - 8, y1: 106.5, y2: 106.5, class: 'axis' }),
      ticks.map((y) => h('svg:text', { x: x(y), y: 124, 'text-anchor': 'middle', text: y })), hits.map((one, i) => (of.includes(one) ? point(one, i) : null)).filter(Boolean).reverse()),
    h('figcaption', { class: 'quiet small', text: 'By year; higher is more alike. The line is this paper.' }));
  }

  draw();
  return { leave: () => running.abort() };
}
export { show_ as show };

function decoded(s) {
  try { return decodeURIComponent(s); } catch { return s; }
}
