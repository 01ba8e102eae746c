// Calls of the server's own methods, the key that it may ask for, and the reading list that goes along from page to page.
import { h, show } from './dom.js';

// Kept in memory alone: gone with the page.
let key = '';
export const setKey = (k) => { key = k; };

// Problem is an answer that is none.
export class Problem extends Error {
  constructor(message, status = 0, fields = [], wait = 0) {
    super(message);
    Object.assign(this, { status, fields, wait });
  }
  // of is what is wrong with a field, where that is the matter.
  of(field) { return this.fields.find((f) => f.field === field || f.field.startsWith(`${field}.`))?.description; }
}

export const collection = () => new URLSearchParams(location.search).get('in') || undefined;

// post calls a method by its route, in the collection that is looked at.
export const post = (to, body, signal) => call(to, { method: 'POST', body: JSON.stringify({ ...body, collection: collection() }), headers: { 'Content-Type': 'application/json' }, signal });

// get reads a route.
export function get(to, signal) {
  const of = collection();
  return call(of ? `${to}${to.includes('?') ? '&' : '?'}collection=${encodeURIComponent(of)}` : to, { signal });
}

// raw asks as get does, and gives the answer as it is: what is not JSON.
export async function raw(to, init = {}) {
  for (let asked = 0; ; asked++) {
    const headers = { ...init.headers };
    if (key) headers.Authorization = `Bearer ${key}`;
    let res;
    try {
      res = await fetch(to, { ...init, headers, credentials: 'omit', redirect: 'error' });
    } catch (e) {
      if (e.name === 'AbortError') throw e;
      throw new Problem('The server cannot be reached.');
    }
    if (res.ok) return res;
    const wrong = await res.json().catch(() => null);
    if (res.status === 401) {
      await askKey(asked > 0 || key ? wrong?.message ?? 'That key is not known.' : '', init.signal);
      continue;
    }
    const fields = (wrong?.details ?? []).flatMap((d) => d.fieldViolations ?? []);
    throw new Problem(wrong?.message ?? `The server answers ${res.status}.`, res.status, fields, Number(res.headers.get('Retry-After')) || 0);
  }
}

async function call(to, init) {
  const res = await raw(to, init);
  try {
    return await res.json();
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Problem('The answer of the server cannot be read.');
  }
}

// askKey shows a field for the key, once for all calls that wait for it.
let asking, form;
function askKey(wrong, signal) {
  const main = document.getElementById('main');
  asking ??= new Promise((resolve) => {
    const field = h('input', { type: 'password', id: 'key', name: 'key', autocomplete: 'off', spellcheck: 'false', required: true, 'aria-describedby': 'key-says' });
    form = h('form', {
      class: 'key', 'aria-label': 'Key', onsubmit: (e) => {
        e.preventDefault();
        if (!field.value.trim()) return;
        key = field.value.trim();
        form.remove();
        asking = undefined;
        resolve();
      },
    },
    h('h2', { text: 'This server asks for a key' }),
    h('p', { id: 'key-says', class: wrong ? 'wrong' : 'quiet', text: wrong || 'It stays in this page, and is forgotten when the page is closed.' }),
    h('div', { class: 'line' }, h('label', { for: 'key', text: 'Key' }), field, h('button', { class: 'solid', text: 'Use it' })));
  });
  if (!form.isConnected) { // first, or after another page has taken its place
    main.prepend(form);
    form.querySelector('input').focus({ preventScroll: true });
  }
  const waits = asking;
  return !signal ? waits : Promise.race([waits, new Promise((_, no) => signal.addEventListener('abort', () => no(new DOMException('', 'AbortError')), { once: true }))]);
}

// problem shows what went wrong, and how to go on.
export function problem(where, e, again) {
  const rest = e instanceof Problem ? e.message : 'Something went wrong in this page.';
  if (!(e instanceof Problem)) console.error(e);
  const box = h('div', { class: 'problem', role: 'alert' }, h('p', { text: e.status === 429 ? 'The server is busy.' : rest }),
    e.status === 429 && h('p', { class: 'quiet', text: rest }), again && h('button', { onclick: again, text: 'Try again' }));
  show(where, /^[OU]L$/.test(where.tagName) ? h('li', {}, box) : box);
  if (again && e.status === 0) addEventListener('online', () => where.isConnected && again(), { once: true });
}

// The reading list: ids that are liked, and others that are not, in the order in which they were added; it is in the fragment of each address.
export const shelf = {
  yes: [], no: [], by: '',
  has: (id) => (shelf.yes.includes(id) ? 'yes' : shelf.no.includes(id) ? 'no' : ''),
  put(id, side) {
    for (const s of ['yes', 'no']) shelf[s] = shelf[s].filter((i) => i !== id);
    if (side && shelf.yes.length + shelf.no.length < 100) shelf[side] = [...shelf[side], id];
    changed();
  },
  strategy(by) { shelf.by = by; changed(); },
  // read takes a list out of a fragment: what hash makes, or plain ids with commas between them.
  read(fragment) {
    const plain = fragment.replace(/^#/, '');
    const p = new URLSearchParams(plain.includes('=') ? plain.replaceAll('+', '%2B') : '');
    const ids = (s) => [...new Set((s ?? '').split(',').filter(Boolean).map((i) => { try { return decodeURIComponent(i); } catch { return i; } }))].slice(0, 100);
    if (!plain.includes('=')) shelf.yes = location.pathname === '/list' ? ids(plain) : [], shelf.no = [], shelf.by = '';
    else shelf.yes = ids(p.get('list')), shelf.no = ids(p.get('not')).filter((i) => !shelf.yes.includes(i)), shelf.by = /^[a-z_]*$/.test(p.get('by') ?? '') ? p.get('by') ?? '' : '';
    return p;
  },
  hash() {
    // Escaped twice, once for a comma in an id, and once for the fragment's own marks; a colon and a slash may stand.
    const ids = (of) => of.map((i) => encodeURIComponent(encodeURIComponent(i)).replaceAll('%253A', ':').replaceAll('%252F', '/')).join(',');
    const parts = [shelf.yes.length && `list=${ids(shelf.yes)}`, shelf.no.length && `not=${ids(shelf.no)}`, shelf.by && `by=${shelf.by}`].filter(Boolean);
    return parts.length ? `#${parts.join('&')}` : '';
  },
  // count is how many there are; listeners are told after each change.
  get count() { return shelf.yes.length + shelf.no.length; },
  listeners: new Set(),
};

function changed() {
  history.replaceState(history.state, '', location.pathname + location.search + shelf.hash());
  for (const tell of shelf.listeners) tell();
}
