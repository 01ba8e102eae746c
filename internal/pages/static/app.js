// What all pages have in common: one stays loaded while others are shown, so that the key, which is in memory alone, and the list go along.
import { h, say } from './dom.js';
import { setKey, shelf } from './api.js';

const main = document.getElementById('main');
const views = { search: () => import('./search.js'), paper: () => import('./paper.js'), list: () => import('./list.js'), map: () => import('./map.js'), status: () => import('./status.js') };

const nameOf = (path) => (path === '/' ? 'search' : path.startsWith('/paper/') ? 'paper' : { '/list': 'list', '/map': 'map', '/status': 'status' }[path]);

// takeFragment reads the key and the list out of the address, and leaves the list in it.
function takeFragment() {
  if (location.hash.length < 2) return;
  const p = shelf.read(location.hash);
  if (p.get('key')) setKey(p.get('key'));
  history.replaceState(history.state, '', location.pathname + location.search + shelf.hash());
}

let shown, turn = 0;

// draw shows the page of the address. data is the answer that the server has sent with it.
async function draw({ data, y = 0, first = false } = {}) {
  const name = nameOf(location.pathname), mine = ++turn;
  for (const a of document.querySelectorAll('nav a')) {
    if (nameOf(new URL(a.href).pathname) === name) a.setAttribute('aria-current', 'page'); else a.removeAttribute('aria-current');
  }
  let view;
  try {
    view = await views[name]();
  } catch { // the server was replaced by another version, or is gone
    if (mine !== turn) return;
    main.replaceChildren(h('div', { class: 'problem', role: 'alert' }, h('p', { text: 'The page cannot be loaded.' }), h('button', { text: 'Load it anew', onclick: () => location.reload() })));
    return;
  }
  if (mine !== turn) return;
  shown?.leave?.();
  document.body.dataset.view = name;
  main.replaceChildren();
  shown = view.show(main, { data, go, first, title, y });
  if (!first) {
    scrollTo(0, y);
    if (name !== 'search') main.focus({ preventScroll: true });
  } else if (y) scrollTo(0, y);
}

function title(text, quiet) {
  document.title = `${text} · embedd`;
  if (!quiet) say(text);
}

// go shows another page, or the same one for another address.
function go(to) {
  remember();
  const u = new URL(to, location.origin);
  u.hash = shelf.hash();
  history.pushState({ y: 0 }, '', u);
  return draw();
}

// remember keeps where the reader was in the page that is left.
const remember = () => history.replaceState({ ...history.state, y: scrollY }, '');

history.scrollRestoration = 'manual';
addEventListener('pagehide', remember);
let resting;
addEventListener('scroll', () => { clearTimeout(resting); resting = setTimeout(remember, 200); }, { passive: true });
addEventListener('popstate', (e) => { clearTimeout(resting); shelf.read(location.hash); changed(); draw({ y: e.state?.y ?? 0 }); });
addEventListener('hashchange', () => { takeFragment(); changed(); if (nameOf(location.pathname) === 'list') draw(); });

// ours is a link to another of these pages, or null.
function ours(e) {
  const a = e.target.closest?.('a[href]');
  return a && a.origin === location.origin && nameOf(a.pathname) && !a.target && !a.hasAttribute('download') && !a.classList.contains('skip') ? a : null;
}
// The list goes along into other tabs too.
for (const when of ['pointerdown', 'focusin']) {
  document.addEventListener(when, (e) => { const a = ours(e); if (a) a.hash = shelf.hash(); }, true);
}
document.addEventListener('click', (e) => {
  if (e.target.closest?.('a.skip')) { e.preventDefault(); main.focus(); main.scrollIntoView(); return; }
  const a = ours(e);
  if (!a || e.defaultPrevented || e.button || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
  e.preventDefault();
  go(a.href);
});

function changed() {
  const count = document.getElementById('list-count');
  count.hidden = !shelf.count;
  count.textContent = String(shelf.count);
  count.setAttribute('aria-label', `, ${shelf.count} papers`);
}
shelf.listeners.add(changed);

// Keys: single letters work outside of fields, and can be switched off.
let letters = true, help;
const keys = [['/', 'Go to the search field'], ['↓ ↑ or j k', 'Next and previous paper'], ['Enter', 'Open the paper'], ['l', 'Add it to the list, or take it off'], ['w', 'Why it was found'],
  ['r', 'What is related to it'], ['Esc', 'Back to the search field'], ['?', 'This help']];
function showHelp() {
  if (!help) {
    const onoff = h('input', { type: 'checkbox', checked: true, onchange: (e) => { letters = e.target.checked; } });
    help = h('dialog', { class: 'help', 'aria-labelledby': 'help-title' }, h('h2', { id: 'help-title', text: 'Keys' }),
      h('dl', {}, keys.map(([k, what]) => h('div', {}, h('dt', {}, k.split(' ').map((p) => (p === 'or' ? ' or ' : h('kbd', { text: p })))), h('dd', { text: what })))),
      h('label', { class: 'check' }, onoff, 'Single letters are keys'),
      h('form', { method: 'dialog' }, h('button', { class: 'solid', text: 'Close' })));
    help.addEventListener('click', (e) => { if (e.target === help) help.close(); });
    document.body.append(help);
  }
  help.showModal();
}
document.addEventListener('keydown', (e) => {
  if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || e.isComposing || document.querySelector('dialog[open]')) return;
  const inField = e.target.closest?.('input:not([type=radio]):not([type=checkbox]), textarea, select');
  const box = document.querySelector('input[type=search]');
  const items = [...document.querySelectorAll('.hit')];
  const at = items.findIndex((i) => i.contains(document.activeElement));
  const to = (i) => { const a = items[i]?.querySelector('h2 a, h3 a'); a?.focus(); a?.closest('.hit').scrollIntoView({ block: 'nearest' }); };
  const press = (what) => items[at]?.querySelector(what)?.click();
  const letter = letters && !inField ? e.key : '';
  if (e.key === 'Escape' && at >= 0 && box) box.focus();
  else if (e.key === 'ArrowDown' && (inField === box && box || at >= 0 || letter && e.target === document.body && items.length)) to(Math.min(at + 1, items.length - 1));
  else if (e.key === 'ArrowUp' && at >= 0 && !inField) at ? to(at - 1) : box?.focus();
  else if (letter === 'j') to(Math.min(at + 1, items.length - 1));
  else if (letter === 'k') to(Math.max(at - 1, 0));
  else if (letter === '/') box ? (box.focus(), box.select()) : go('/');
  else if (letter === '?') showHelp();
  else if (letter === 'l' && at >= 0) press('.add');
  else if (letter === 'l') document.querySelector('.paper .add')?.click();
  else if (letter === 'w' && at >= 0) press('.why');
  else if (letter === 'r' && at >= 0) press('.near');
  else return;
  e.preventDefault();
});

document.body.append(h('footer', { class: 'foot' }, h('button', { class: 'plain', onclick: showHelp }, 'Keys ', h('kbd', { text: '?' })), h('a', { href: '/v1/info', text: 'API', target: '_blank' })));

takeFragment();
changed();
let data;
try { data = JSON.parse(document.getElementById('data')?.textContent ?? 'null'); } catch { /* the page asks for it */ }
draw({ data, first: true, y: history.state?.y ?? 0 });
