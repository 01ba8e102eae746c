// How papers are shown: in a list of hits, with their words marked, and why they were found.
import { bar, h, icon, number, pathOf, say, show } from './dom.js';
import { Problem, post, problem, shelf } from './api.js';

// Words that say nothing of what is looked for.
const empty = new Set('a an and are as at be by for from has how in is it its of on or that the this to was what when which who will with we our can do does into than then their these they via using use'.split(' '));

// Not \b and \w: words are those of any script.
const segments = globalThis.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: 'word' }) : null;
function* words(text) {
  if (segments) for (const s of segments.segment(text)) { if (s.isWordLike) yield [s.index, s.segment]; } else for (const m of text.matchAll(/[\p{L}\p{N}\p{M}]+/gu)) yield [m.index, m[0]];
}

// stem cuts a word to what its forms have in common, roughly as the server's index does.
function stem(word) {
  const w = word.toLowerCase().normalize('NFKD').replace(/\p{M}/gu, '');
  const cut = w.replace(/(ational|ations?|ings?|edly|ies|ied|ed|es|s|ly|y|e)$/, '');
  return cut.length >= 3 ? cut : w;
}

// wordsOf are the stems of a query.
export function wordsOf(text) {
  const of = new Set();
  for (const [, w] of words((text ?? '').slice(0, 2000))) if (!empty.has(w.toLowerCase())) of.add(stem(w));
  return of;
}

// marked is a text with the words of a query marked.
export function marked(text, of) {
  if (!of?.size) return [text];
  const out = [];
  let at = 0;
  for (const [begin, w] of words(text)) {
    if (empty.has(w.toLowerCase()) || !of.has(stem(w))) continue;
    out.push(text.slice(at, begin), h('mark', { text: w }));
    at = begin + w.length;
  }
  return [...out, text.slice(at)];
}

// passage is the part of an abstract to show: from the sentence on that has most of the query's words.
function passage(text, of) {
  if (!of?.size || text.length < 300) return text;
  const sentences = text.split(/(?<=[.!?。])\s+/);
  let best = 0, most = 0;
  sentences.forEach((s, i) => {
    const has = new Set();
    for (const [, w] of words(s)) if (of.has(stem(w))) has.add(stem(w));
    if (has.size > most) most = has.size, best = i;
  });
  if (best === 0) return text;
  if (sentences.slice(best).join(' ').length < 160) best = Math.max(0, best - 1);
  return `${best ? '… ' : ''}${sentences.slice(best).join(' ')}`;
}

// facts is the line below a title.
export function facts(paper, most = 6) {
  const authors = paper.authors ?? [];
  const who = authors.slice(0, authors.length > most + 1 ? most : most + 1).join(', ');
  return h('p', { class: 'facts' }, who, authors.length > most + 1 && h('span', { class: 'quiet', text: ` and ${authors.length - most} others` }),
    paper.venue && [who && ' · ', paper.venue], paper.year && [(who || paper.venue) && ' · ', h('time', { datetime: String(paper.year), text: paper.year })]);
}

// addButton puts a paper on the reading list, and takes it off.
export function addButton(id, kind = 'add plain') {
  const button = h('button', { class: kind, onclick: () => { const on = shelf.has(id); shelf.put(id, on ? '' : 'yes'); say(on ? 'Taken off the list' : 'Added to the list'); } });
  const draw = () => {
    const on = shelf.has(id);
    button.setAttribute('aria-pressed', String(!!on));
    show(button, icon(on ? 'check' : 'plus'), on === 'no' ? 'Not wanted' : on ? 'On the list' : 'Add to list');
  };
  draw();
  const tell = () => (button.isConnected ? draw() : shelf.listeners.delete(tell));
  setTimeout(() => shelf.listeners.add(tell)); // once it is in the page
  return button;
}

const bands = {
  BAND_STRONG: ['strong', 'as alike as one in 2,000 random pairs of papers here, or more'],
  BAND_RELATED: ['related', 'as alike as one in 200 random pairs of papers here, or more'],
  BAND_WEAK: ['weak', 'no more alike than papers of about the same field'],
};

// hit is one paper of an answer. of.query is what it was found with, for why; of.words are marked; of.top is the score of the first.
export function hit(found, of) {
  const paper = found.paper, id = `why-${++made}`;
  const [band, means] = bands[found.band] ?? [];
  const score = found.score ?? 0;
  const panel = h('div', { class: 'because', id, hidden: true });
  const explained = of.query && h('button', { class: 'why plain', 'aria-expanded': 'false', 'aria-controls': id, onclick: () => toggle() }, 'Why', icon('down'));
  let asked = false;
  async function toggle() {
    panel.hidden = !panel.hidden;
    explained.setAttribute('aria-expanded', String(!panel.hidden));
    if (!panel.hidden && !asked) {
      asked = true;
      show(panel, h('div', { class: 'ghost line' }), h('div', { class: 'ghost line' }));
      try {
        const answer = found.explanation ? { explanation: found.explanation } : await post('/v1/explain', { query: of.query, id: paper.id });
        show(panel, because(found, answer.explanation ?? {}, of, means));
        say('Explained');
      } catch (e) {
        asked = false;
        problem(panel, e);
      }
    }
  }
  const kin = h('div', { class: 'because', id: `kin-${made}`, hidden: true });
  const near = h('button', { class: 'near plain', 'aria-expanded': 'false', 'aria-controls': kin.id, onclick: async () => {
    kin.hidden = !kin.hidden;
    near.setAttribute('aria-expanded', String(!kin.hidden));
    if (kin.hidden || kin.children.length) return;
    show(kin, h('div', { class: 'ghost line' }), h('div', { class: 'ghost line' }));
    try {
      const { hits = [] } = await post('/v1/related', { id: paper.id, k: 5 });
      show(kin, hits.length ? h('ul', { class: 'kin' }, hits.map((x) => h('li', {}, h('a', { href: pathOf(x.paper.id), dir: 'auto', text: x.paper.title || x.paper.id }),
        h('span', { class: 'quiet small', text: [x.paper.venue, x.paper.year].filter(Boolean).join(' · ') })))) : h('p', { class: 'quiet', text: 'Nothing is related to it.' }),
      h('p', { class: 'small' }, h('a', { href: pathOf(paper.id), text: 'All that is related' })));
      say(`${hits.length} related papers`);
    } catch (e) { problem(kin, e); }
  } }, icon('near'), 'Related');
  const text = paper.abstract ? passage(paper.abstract, of.words) : '';
  return h('li', { class: 'hit', dataset: { id: paper.id } }, h('article', {},
    h(of.level ?? 'h2', {}, h('a', { href: pathOf(paper.id), dir: 'auto' }, marked(paper.title || paper.id, of.words))),
    facts(paper),
    text && h('p', { class: 'text', dir: 'auto' }, marked(text, of.words)),
    h('div', { class: 'acts' },
      h('span', { class: 'score', title: `Score ${score.toFixed(3)}${found.cosine === undefined ? '' : `, cosine ${found.cosine.toFixed(3)}`}` },
        bar(of.top > 0 ? score / of.top : 0), h('span', { class: 'figure', text: number(score, score >= 10 ? 1 : 2) }), h('span', { class: 'away', text: ' score' })),
      band && h('span', { class: `band is-${band}`, title: means, text: band }),
      h('span', { class: 'buttons' }, explained, near, addButton(paper.id)),
    ),
    found.sameWork?.length > 0 && h('p', { class: 'quiet small' }, 'Also stored as ', found.sameWork.map((i, n) => [n ? ', ' : '', h('a', { href: pathOf(i), text: i })])),
    panel, kin));
}
let made = 0;

const ordinal = (n) => (n ? `${number(n)}${['th', 'st', 'nd', 'rd'][n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] ?? 'th'}` : 'not among the first');

// because is what a hit's place comes from: where it stands, sentences, words.
function because(found, why, of, means) {
  const read = (why.sentences ?? []).filter((s) => s.read);
  const value = (s) => (why.shares ? s.share ?? 0 : s.score ?? 0);
  const best = [...read].sort((a, b) => value(b) - value(a)).slice(0, 3), top = best.length ? value(best[0]) : 1;
  const pair = why.best && of.pairs && [why.querySentences?.[why.best.querySentence ?? 0], why.sentences?.[why.best.sentence ?? 0], why.best.score];
  const w = found.why ?? {};
  const places = [w.denseRank > 0 && of.mode !== 'lexical' && `${ordinal(w.denseRank)} by meaning`, (w.lexicalRank > 0 || of.mode === 'hybrid') && of.mode !== 'dense' && `${ordinal(w.lexicalRank)} by words`].filter(Boolean);
  const facts = [
    found.percentile !== undefined && `More alike than ${percent(found.percentile)} of random pairs of papers here${means ? `: ${means}` : ''}.`,
    places.length && `${places.join(', ')}${found.cosine !== undefined ? `; cosine ${found.cosine.toFixed(3)}` : ''}${found.bm25 ? `; words ${found.bm25.toFixed(1)}` : ''}.`,
    w.recency !== undefined && `Its age takes ${percent(1 - w.recency)} of the score.`,
  ].filter(Boolean);
  return [
    facts.length > 0 && h('p', { class: 'small' }, facts.join(' ')),
    pair?.[0] && pair[1] ? h('div', { class: 'pair' }, h('h3', { text: `The two sentences most alike, cosine ${(pair[2] ?? 0).toFixed(2)}` }),
      h('blockquote', { dir: 'auto', text: pair[0].text }), h('blockquote', { dir: 'auto' }, pair[1].text)) : null,
    best.length > 0 && h('div', {}, h('h3', { text: of.pairs ? 'What else speaks for it' : 'The sentences that speak for it' }),
      h('ol', { class: 'sentences' }, best.map((s) => h('li', {}, bar(top > 0 ? value(s) / top : 0), h('span', { dir: 'auto' }, marked(s.text, of.words)))))),
    why.terms?.length > 0 && h('div', {}, h('h3', { text: 'Words that both have, the rarest first' }),
      h('ul', { class: 'terms' }, why.terms.slice(0, 10).map((t) => h('li', { text: surface(t, found.paper) }, ' ', h('span', { class: 'quiet', text: (t.weight ?? 0).toFixed(1) }))))),
    !facts.length && !best.length && !why.terms?.length && h('p', { class: 'quiet', text: 'There is nothing more to say of it.' }),
  ];
}

const percent = (share) => `${number(share * 100, share > 0.999 && share < 1 ? 2 : share > 0.99 ? 1 : 0)} %`;

// surface is a word as the paper writes it: places are counted in bytes.
function surface(term, paper) {
  const at = term.paper?.[0], text = at && paper[at.field];
  if (!text) return term.term;
  return new TextDecoder().decode(new TextEncoder().encode(text).slice(at.begin ?? 0, at.end)) || term.term;
}

// ghosts stand where hits will be, as high as these.
export const ghosts = (n = 5) => Array.from({ length: n }, () => h('li', { class: 'hit ghosts', 'aria-hidden': 'true' }, h('div', { class: 'ghost title' }), h('div', { class: 'ghost line' }), h('div', { class: 'ghost text' }), h('div', { class: 'ghost line short' })));

export { Problem };
