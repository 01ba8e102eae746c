// What the server holds, and how it is doing. What it does not tell is left out.
import { bar, h, number, show } from './dom.js';
import { Problem, get, problem, raw } from './api.js';

export function show_(main, { title }) {
  const running = new AbortController(), { signal } = running;
  let timer;
  title('Status', true);
  const live = h('div', { class: 'live' });
  const rest = h('div', { class: 'cards' }), counts = h('div', { class: 'cards' });
  const ghosts = h('div', { class: 'cards' }, Array.from({ length: 4 }, () => h('section', { class: 'card' }, h('div', { class: 'ghost line' }), h('div', { class: 'ghost text' }))));
  show(main, h('h1', { text: 'Status' }), ghosts);

  async function draw() {
    try {
      const [info, of] = await Promise.all([get('/v1/info', signal), raw('/v1/collections', { signal }).then((r) => r.json()).catch((e) => { if (e.name === 'AbortError') throw e; return {}; })]);
      await begun;
      if (signal.aborted) return;
      if (ghosts.isConnected) ghosts.replaceWith(counts, live, rest); // both at once, so that nothing moves
      show(counts, figures(info));
      show(rest, card('Model', pairs(info.model && [['Name', info.model.id], ['Dimension', number(info.model.dimension)], ['Reads at most', `${number(info.model.maxTokens)} tokens`], ['Pooling', info.model.pooling], ['Precision', info.model.precision],
        ['Licence', info.model.license], ['Fingerprint', info.model.fingerprint && h('code', { text: info.model.fingerprint.slice(0, 12), title: info.model.fingerprint })]])),
      card('Index', pairs(info.index && [['Kind', `HNSW, M ${info.index.m}, efConstruction ${info.index.efConstruction}`], ['Vectors', number(info.index.vectors)], ['Removed, in the graph', Number(info.index.tombstones ?? 0) && number(info.index.tombstones)],
        ['Memory', bytes(info.index.memoryBytes)], ['In a mapped file', Number(info.index.fileBytes ?? 0) && bytes(info.index.fileBytes)], ['A vector', info.index.bytesPerVector && bytes(info.index.bytesPerVector)], ['Kernels', info.index.kernels], ['Version', number(info.indexVersion)]])),
      info.bands && card('How alike', spread(info.bands), h('p', { class: 'quiet small', text: 'The cosine of random pairs of papers of this collection, and where papers begin to be related, and strongly so.' })),
      of.collections?.length > 1 && card('Collections', h('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Collections' }, h('table', {}, h('thead', {}, h('tr', {}, ['Name', 'Papers', 'Model'].map((t) => h('th', { scope: 'col', text: t })))),
        h('tbody', {}, of.collections.map((c) => h('tr', {}, h('th', { scope: 'row' }, h('a', { href: c.name === 'default' ? '/' : `/?in=${encodeURIComponent(c.name)}`, text: c.name })), h('td', { text: number(c.counts?.papers) }), h('td', { text: c.model?.id ?? '' }))))))),
      info.fields?.length > 0 && card('Fields', h('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Fields' }, h('table', {}, h('thead', {}, h('tr', {}, ['Field', 'Type', 'Papers', 'Values'].map((t) => h('th', { scope: 'col', text: t })))),
        h('tbody', {}, info.fields.filter((f) => f.papers).map((f) => h('tr', {}, h('th', { scope: 'row' }, h('code', { text: f.name })), h('td', { text: f.type.replace('FIELD_TYPE_', '').toLowerCase() + (f.repeated ? ', several' : '') }), h('td', { text: number(f.papers) }), h('td', { text: number(f.values) }))))))),
      info.limits && card('Limits', pairs([['Hits of an answer', number(info.limits.k)], ['Papers in a call', number(info.limits.papersPerCall)], ['A text', bytes(info.limits.textBytes)], ['Calls a second, of one caller', info.limits.callsPerSecond && number(info.limits.callsPerSecond)],
        ['Memory', Number(info.limits.memoryBytes ?? 0) && bytes(info.limits.memoryBytes)], ...(info.limits.classes ?? []).map((c) => [`${{ SEARCH: 'Searches', ENCODE: 'Encodings', WRITE: 'Writes', ADMIN: 'Backups' }[c.class.slice(6)] ?? c.class}`, `${number(c.running)} at once, ${number(c.waiting)} may wait`])])));
    } catch (e) {
      if (e.name === 'AbortError') return;
      if (ghosts.isConnected) ghosts.replaceWith(counts, live, rest);
      problem(rest, e, draw);
    }
  }

  // What changes from moment to moment comes anew every few seconds, while somebody looks.
  async function beat() {
    if (document.visibilityState === 'visible') {
      try {
        const now = await (await raw('/status/live', { signal })).json();
        if (!signal.aborted) show(live, liveCards(now));
      } catch (e) {
        if (e.name === 'AbortError') return;
        show(live);
        if (e instanceof Problem && e.status === 404) return;
      }
    }
    timer = setTimeout(beat, 2000);
  }

  const begun = beat();
  draw();
  return { leave() { running.abort(); clearTimeout(timer); } };
}
export { show_ as show };

const card = (name, ...kids) => h('section', { class: 'card' }, h('h2', { text: name }), kids);
const pairs = (of) => h('dl', { class: 'pairs' }, (of || []).filter(([, v]) => v !== undefined && v !== '' && v !== 0 && v !== false && v !== null).map(([k, v]) => h('div', {}, h('dt', { text: k }), h('dd', {}, v))));

const figures = (info) => h('section', { class: 'card figures' }, h('h2', { class: 'away', text: 'Papers' }), [[info.counts?.papers, 'papers'], [info.counts?.indexedVectors, 'vectors'], [info.model?.dimension, 'dimensions']].filter(([n]) => n !== undefined)
  .map(([n, what]) => h('p', {}, h('span', { class: 'figure', text: number(n) }), ` ${what}`)), h('p', { class: 'quiet small', text: `embedd ${info.version ?? ''}, collection ${info.collection ?? 'default'}` }));

function liveCards(now) {
  const some = [[now.recall !== undefined && `${number(now.recall * 100, 1)} %`, 'recall of the last probe'], [now.memoryBytes && bytes(now.memoryBytes), 'of memory'], [now.uptimeSeconds && time(now.uptimeSeconds), 'since the start']].filter(([v]) => v);
  const of = (n, digits = 1) => (n === undefined ? '–' : number(n, digits));
  return [
    some.length && h('section', { class: 'card figures' }, h('h2', { class: 'away', text: 'Now' }), some.map(([v, what]) => h('p', {}, h('span', { class: 'figure', text: v }), ` ${what}`))),
    now.calls?.length && card('Calls', h('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Calls' }, h('table', {}, h('thead', {}, h('tr', {}, ['Method', 'A second', 'Median, ms', '99 %, ms', 'Errors'].map((t) => h('th', { scope: 'col', text: t })))),
      h('tbody', {}, now.calls.map((c) => h('tr', {}, h('th', { scope: 'row', text: c.method }), h('td', { text: of(c.perSecond) }), h('td', { text: of(c.p50Ms) }), h('td', { text: of(c.p99Ms) }), h('td', { class: c.errors ? 'wrong' : '', text: of(c.errors, 0) }))))))),
    now.jobs?.length && card('Under way', h('ul', { class: 'jobs' }, now.jobs.map((j) => h('li', {}, h('div', {}, h('b', { text: j.name }), ` ${[j.kind, j.stage].filter(Boolean).join(', ')}`), j.total > 0 && bar(j.done / j.total),
      h('p', { class: 'quiet small', text: [j.total > 0 && `${number(j.done)} of ${number(j.total)}`, j.perSecond && `${number(j.perSecond)} a second`, j.secondsLeft && `${time(j.secondsLeft)} left`].filter(Boolean).join(', ') }))))),
  ].filter(Boolean);
}

// spread draws where random pairs of papers lie, and where the bands begin.
function spread({ mean, deviation, related, strong }) {
  const w = 320, x = (c) => ((c + 0.1) / 1.1) * w, density = (c) => Math.exp(-(((c - mean) / deviation) ** 2) / 2);
  const line = Array.from({ length: 81 }, (_, i) => -0.1 + (i * 1.1) / 80).map((c) => `${x(c).toFixed(1)},${(88 - density(c) * 72).toFixed(1)}`).join(' ');
  const at = (c, name, y, left) => [h('svg:line', { x1: x(c), x2: x(c), y1: y + 4, y2: 88, class: 'now' }), h('svg:text', { x: x(c) + (left ? -4 : 4), y: y + 12, 'text-anchor': left ? 'end' : 'start', text: `${name} ${c.toFixed(2)}` })];
  return h('svg:svg', { class: 'spread', viewBox: `0 0 ${w} 104`, role: 'img', 'aria-label': `Random pairs have a cosine of ${mean.toFixed(2)} on average, deviation ${deviation.toFixed(2)}; related from ${related.toFixed(2)}, strong from ${strong.toFixed(2)}.` },
    h('svg:polygon', { points: `${x(-0.1)},88 ${line} ${w},88`, class: 'hill' }), h('svg:line', { x1: 0, x2: w, y1: 88.5, y2: 88.5, class: 'axis' }), at(related, 'related', 4, true), at(strong, 'strong', 4),
    [0, 0.5, 1].map((c) => h('svg:text', { x: x(c), y: 102, 'text-anchor': c === 1 ? 'end' : 'middle', text: c })));
}

function bytes(n) {
  let v = Number(n ?? 0), i = 0;
  for (; v >= 1024 && i < 4; i++) v /= 1024;
  return `${number(v, v < 10 && i ? 1 : 0)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][i]}`;
}

function time(s) {
  const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']], i = parts.findIndex(([n]) => s >= n);
  if (i < 0) return 'a moment';
  const [n, unit] = parts[i], next = parts[i + 1];
  const left = next ? Math.floor((s % n) / next[0]) : 0;
  return `${Math.floor(s / n)} ${unit}${left ? ` ${left} ${next[1]}` : ''}`;
}
