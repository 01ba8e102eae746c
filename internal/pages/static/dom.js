// Elements out of text and attributes alone: nothing here reads HTML, so that what papers say stays text.

const SVG = 'http://www.w3.org/2000/svg';

// h makes an element. on* are listeners, class, text and dataset mean what they say; false, null and undefined leave an attribute out. Children are nodes, or
// anything else as its text.
export function h(tag, props, ...kids) {
  const el = tag.includes(':') ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) el.addEventListener(name.slice(2), value);
    else if (name === 'text') el.textContent = value;
    else if (name === 'value') el.value = value;
    else if (name === 'href') link(el, value);
    else if (name === 'dataset') Object.assign(el.dataset, value);
    else el.setAttribute(name, value === true ? '' : value);
  }
  el.append(...kids.flat(Infinity).filter((k) => k !== null && k !== undefined && k !== false));
  return el;
}

// link gives an element an address, where the browser's own parser says that it is one of the web, or of this server.
export function link(el, to) {
  const u = safe(to);
  if (!u) return;
  el.setAttribute('href', u.origin === location.origin ? u.pathname + u.search + u.hash : u.href);
  if (u.origin !== location.origin) el.setAttribute('rel', 'noreferrer noopener');
}

function safe(to) {
  const u = URL.parse ? URL.parse(to, location.origin) : (() => { try { return new URL(to, location.origin); } catch { return null; } })();
  return u && (u.protocol === 'https:' || u.protocol === 'http:') && !u.username && !u.password ? u : null;
}

// web tells whether a paper's address may be shown as a link: a whole one, of another place.
export const web = (to) => /^https?:\/\//i.test(to ?? '') && safe(to) !== null;

// show puts nodes in the place of what is there.
export const show = (el, ...kids) => el.replaceChildren(...kids.flat(Infinity).filter((k) => k !== null && k !== undefined && k !== false));

// pathOf is the address of a paper's page; paperPath in render.go makes the same.
export function pathOf(id) {
  const escaped = encodeURIComponent(id), parts = id.split('/');
  const of = id === '.' || id === '..' ? `/paper/?id=${escaped}`
    : parts.some((p) => p === '' || p === '.' || p === '..') ? `/paper/${escaped}` : `/paper/${escaped.replaceAll('%2F', '/').replaceAll('%3A', ':')}`;
  return within(of);
}

// within keeps an address in the collection that is looked at.
export function within(to) {
  const of = new URLSearchParams(location.search).get('in');
  return of ? `${to}${to.includes('?') ? '&' : '?'}in=${encodeURIComponent(of)}` : to;
}

// say has screen readers read a line, once it has stood for a moment.
let saying;
export function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => { document.getElementById('live').textContent = text; }, 400);
}

// icon is a small drawing, of strokes.
const drawings = {
  plus: 'M8 3v10M3 8h10', check: 'M3 8.5 6.5 12 13 4.5', close: 'M4 4l8 8M12 4l-8 8', down: 'M4 6l4 4 4-4', minus: 'M3 8h10', copy: 'M6 2.5h7.5V10M2.5 6H10v7.5H2.5z',
  out: 'M6 3.5H3.5v9h9V10M9 2.5h4.5V7M13 3 7.5 8.5', save: 'M8 2v8M4.5 7 8 10.5 11.5 7M2.5 13.5h11', near: 'M8 8m-1.5 0a1.5 1.5 0 1 0 3 0a1.5 1.5 0 1 0-3 0M8 8m-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0',
  filter: 'M2 4h12M4.5 8h7M7 12h2', ask: 'M5.5 6a2.5 2.5 0 1 1 3.6 2.2C8.3 8.6 8 9 8 9.8M8 12.4v.2',
};
export const icon = (name) => h('svg:svg', { class: 'icon', viewBox: '0 0 16 16', width: 16, height: 16, 'aria-hidden': 'true', focusable: 'false' }, h('svg:path', { d: drawings[name] }));

// number writes a number as the reader's language does.
export const number = (n, digits = 0) => Number(n ?? 0).toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const plural = (n, one, many) => `${number(n)} ${Number(n) === 1 ? one : many}`;

// bar is a share as a line, 0 to 1.
export const bar = (share, kind = '') => {
  const width = Math.max(0, Math.min(1, share)) * 100;
  return h('svg:svg', { class: `share ${kind}`, viewBox: '0 0 100 4', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    h('svg:rect', { class: 'of', width: 100, height: 4 }), h('svg:rect', { class: 'is', width: width.toFixed(1), height: 4 }));
};
