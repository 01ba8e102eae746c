// The collection from above. Points are drawn by the graphics card, where there is one, or else into the pixels of a picture.
import { h, icon, number, pathOf, plural, say, show, within } from './dom.js';
import { Problem, collection, problem, raw } from './api.js';

const dark = matchMedia('(prefers-color-scheme: dark)');
const still = matchMedia('(prefers-reduced-motion: reduce)');
const clamp = (v, a, b) => Math.max(a, Math.min(b, v));

export function show_(main, { go, title }) {
  const running = new AbortController(), { signal } = running;
  title('Map', true);
  let leave = () => {};
  show(main, h('h1', { class: 'away', text: 'Map' }), h('div', { class: 'map waits' }, h('div', { class: 'opening' }, h('p', { class: 'big', text: 'The collection from above' }), h('p', { class: 'quiet', text: 'Each point is a paper, and papers that are alike lie near each other.' }))));
  const box = main.querySelector('.map');

  async function draw() {
    try {
      const res = await raw(withCollection('/map/points'), { signal });
      const points = read(await res.arrayBuffer());
      // What the map is stands there before it does, and a page that is touched answers in between.
      await new Promise((ok) => { setTimeout(ok, 100); requestAnimationFrame(() => requestAnimationFrame(ok)); });
      if (signal.aborted) return;
      box.classList.remove('waits');
      leave = chart(box, points, go, signal);
    } catch (e) {
      if (e.name === 'AbortError') return;
      if (e.status === 404) {
        show(box, h('div', { class: 'none' }, h('p', { text: 'The map is not made yet.' }), h('p', { class: 'quiet' }, 'Run ', h('code', { text: 'embedd map' }), ', and load this page again.')));
      } else problem(box, e, draw);
    }
  }
  draw();
  return { leave() { running.abort(); leave(); } };
}
export { show_ as show };

const withCollection = (to) => (collection() ? `${to}${to.includes('?') ? '&' : '?'}collection=${encodeURIComponent(collection())}` : to);

// read takes the points out of their file: "EMAP", version, n and the number of clusters; x, y, cluster and year of each; and JSON about the clusters.
export function read(buffer) {
  const head = new DataView(buffer), wrong = new Problem('The map cannot be read.');
  if (buffer.byteLength < 16 || head.getUint32(0) !== 0x454d4150 || head.getUint32(4, true) !== 1) throw wrong;
  const n = head.getUint32(8, true), end = 16 + 12 * n;
  if (buffer.byteLength < end + 4) throw wrong;
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, end + 4, head.getUint32(end, true))));
  return { n, about, x: new Float32Array(buffer, 16, n), y: new Float32Array(buffer, 16 + 4 * n, n), cluster: new Uint16Array(buffer, 16 + 8 * n, n), year: new Int16Array(buffer, 16 + 10 * n, n) };
}

function chart(box, points, go, signal) {
  const { n, x, y, cluster, year, about } = points, clusters = about.clusters ?? [];
  let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity, first = 9999, last = 0;
  for (let i = 0; i < n; i++) {
    if (x[i] < x0) x0 = x[i]; if (x[i] > x1) x1 = x[i]; if (y[i] < y0) y0 = y[i]; if (y[i] > y1) y1 = y[i];
    if (year[i] > 0) { if (year[i] < first) first = year[i]; if (year[i] > last) last = year[i]; }
  }
  if (!n) { show(box, h('div', { class: 'none' }, h('p', { text: 'There are no papers on the map.' }))); return () => {}; }
  let grid; // made when it is first asked, after the first picture
  const index = () => (grid ??= gridOf(points, x0, x1, y0, y1));
  const asked = new URLSearchParams(location.search);

  let canvas = h('canvas', { class: 'points', tabindex: 0, role: 'application', 'aria-label': `Map of ${plural(n, 'paper', 'papers')}. Arrows move it, plus and minus zoom, 0 shows all, Enter opens the paper in the middle.`, 'aria-describedby': 'map-card' });
  const over = h('canvas', { class: 'labels', 'aria-hidden': 'true' });
  const card = h('div', { class: 'tip', id: 'map-card', hidden: true });
  const by = h('select', { 'aria-label': 'Colour', onchange: () => { paint(); draw(); keepAddress(); } }, h('option', { value: '', text: 'Colour by topic' }), last > 0 && h('option', { value: 'year', text: 'Colour by year' }));
  by.value = asked.get('by') === 'year' && last ? 'year' : '';
  const legend = h('div', { class: 'legend' });
  const swatches = [];
  const topics = h('details', { class: 'topics', open: matchMedia('(min-width: 60rem)').matches }, h('summary', {}, h('span', { text: plural(clusters.length, 'topic', 'topics') })),
    h('ul', {}, clusters.map((c, i) => [c, i]).sort((a, b) => (b[0].papers ?? 0) - (a[0].papers ?? 0)).map(([c, i]) => {
      const swatch = h('svg:svg', { viewBox: '0 0 8 8', width: 8, height: 8, 'aria-hidden': 'true' }, h('svg:circle', { cx: 4, cy: 4, r: 4 }));
      swatches.push([swatch.firstChild, i]);
      return h('li', {}, h('button', { class: 'plain', onclick: () => { fly(c.x, c.y, Math.max(view.s, fit * 4)); say(`${c.label}, ${plural(c.papers, 'paper', 'papers')}`); } }, swatch, h('span', { dir: 'auto', text: c.label }), h('span', { class: 'n', text: number(c.papers) })));
    })));
  const zoom = (by) => fly(view.x, view.y, view.s * by);
  show(box, canvas, over, h('div', { class: 'side' }, h('div', { class: 'top-line' }, by, legend), clusters.length > 0 && topics),
    h('div', { class: 'zoom' }, h('button', { 'aria-label': 'Nearer', onclick: () => zoom(2) }, icon('plus')), h('button', { 'aria-label': 'Farther', onclick: () => zoom(0.5) }, icon('minus')), h('button', { 'aria-label': 'Show all', onclick: () => all(true) }, icon('near'))),
    h('p', { class: 'stamp quiet small', text: `${plural(n, 'paper', 'papers')}${about.computed ? `, ${new Date(about.computed).toLocaleDateString(undefined, { dateStyle: 'medium' })}` : ''}` }), card);

  // What is looked at: the middle, and how many pixels a unit is.
  const view = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, s: 1 };
  let w = 1, hh = 1, dpr = 1, fit = 1, placed = false;
  const colours = new Uint8Array(4 * n), packed = new Uint32Array(colours.buffer);
  let draws = asked.get('draw') === '2d' ? null : glOf(canvas, points, asked.get('draw') === 'gl');
  if (!draws) {
    const other = canvas.cloneNode(); // a canvas has one kind of context for good
    canvas.replaceWith(other);
    canvas = other;
    draws = pictureOf(canvas, points, packed);
  }
  box.dataset.draws = draws.name;
  canvas.addEventListener('webglcontextlost', (e) => { e.preventDefault(); });
  canvas.addEventListener('webglcontextrestored', () => { draws = glOf(canvas, points, true); paint(); draw(); });

  function paint() {
    const yearly = by.value === 'year', of = yearly ? year : cluster, known = new Uint32Array(65536); // 0 is no colour of a point
    for (let i = 0; i < n; i++) {
      const k = of[i] & 0xffff;
      if (known[k] === 0) {
        const [r, g, b] = !yearly ? topicColour(k) : year[i] > 0 ? ramp((year[i] - first) / Math.max(1, last - first)) : grey();
        known[k] = 255 << 24 | b << 16 | g << 8 | r;
      }
      packed[i] = known[k];
    }
    draws.colours(colours);
    for (const [circle, i] of swatches) circle.setAttribute('fill', css(topicColour(i)));
    legend.hidden = by.value !== 'year';
    show(legend, h('span', { text: first }), h('svg:svg', { viewBox: '0 0 60 8', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, Array.from({ length: 20 }, (_, i) => h('svg:rect', { x: i * 3, width: 3.2, height: 8, fill: css(ramp(i / 19)) }))), h('span', { text: last }));
  }

  function size() {
    const r = box.getBoundingClientRect();
    w = Math.max(1, r.width); hh = Math.max(1, r.height);
    dpr = Math.min(devicePixelRatio || 1, 2);
    const of = draws.name === '2d' && n > 20000 ? 1 : dpr; // four times the pixels are too many then
    canvas.width = Math.round(w * of); canvas.height = Math.round(hh * of);
    over.width = Math.round(w * dpr); over.height = Math.round(hh * dpr);
    const left = w > 960 && topics.open ? 260 : 0; // what the list of topics covers
    const was = fit;
    fit = 0.9 * Math.min((w - left) / (x1 - x0 || 1), hh / (y1 - y0 || 1));
    if (!placed) {
      placed = true;
      all();
      const z = Number(asked.get('z'));
      if (z > 0 && Number.isFinite(z) && asked.has('x')) Object.assign(view, { x: Number(asked.get('x')) || 0, y: Number(asked.get('y')) || 0, s: clamp(z, 1, 4000) * fit });
    } else view.s *= fit / was;
    draw();
  }

  function all(slowly) {
    const left = w > 960 && topics.open ? 260 : 0;
    const to = [(x0 + x1) / 2 - left / 2 / fit, (y0 + y1) / 2, fit];
    slowly ? fly(...to) : Object.assign(view, { x: to[0], y: to[1], s: to[2] });
  }

  const pointSize = () => clamp(clamp(Math.sqrt((w * hh) / n) * 0.14, 1.5, 5) * (view.s / fit) ** 0.45, 1.5, 9);
  const sx = (i) => (x[i] - view.x) * view.s + w / 2, sy = (i) => hh / 2 - (y[i] - view.y) * view.s;

  let frame = 0;
  function draw() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draws.draw(view, w, hh, pointSize());
      labels();
    });
  }

  // Labels: topics with most papers first, each where no other is yet; and titles, where there are few points.
  let hovered = -1, titled = [];
  const names = new Map();
  const ink = { light: ['#1c1d1f', '#fbfaf7'], dark: ['#f0eee9', '#15171a'] };
  const order = clusters.map((c, i) => ({ ...c, i })).sort((a, b) => (b.papers ?? 0) - (a.papers ?? 0));
  function labels() {
    const c = over.getContext('2d');
    c.setTransform(dpr, 0, 0, dpr, 0, 0);
    c.clearRect(0, 0, w, hh);
    c.textBaseline = 'middle';
    c.lineJoin = 'round';
    c.lineWidth = 4;
    const taken = [], [fill, halo] = ink[dark.matches ? 'dark' : 'light'];
    const put = (text, px, py, font, wide, alpha, centred) => {
      c.font = font;
      let s = text.length > wide ? `${text.slice(0, wide - 1)}…` : text;
      const tw = c.measureText(s).width, left = centred ? px - tw / 2 : px, b = [left - 6, py - 11, left + tw + 6, py + 11];
      if (b[2] < 0 || b[0] > w || b[3] < 0 || b[1] > hh || taken.some((t) => b[0] < t[2] && b[2] > t[0] && b[1] < t[3] && b[3] > t[1])) return;
      taken.push(b);
      c.globalAlpha = alpha;
      c.strokeStyle = halo; c.fillStyle = fill;
      c.strokeText(s, left, py); c.fillText(s, left, py);
    };
    if (hovered >= 0) {
      c.globalAlpha = 1; c.lineWidth = 2; c.strokeStyle = fill;
      c.beginPath(); c.arc(sx(hovered), sy(hovered), pointSize() / 2 + 4, 0, 7); c.stroke();
      c.lineWidth = 4;
    }
    const near = view.s / fit;
    for (const o of order) put(o.label ?? '', (o.x - view.x) * view.s + w / 2, hh / 2 - (o.y - view.y) * view.s, `600 ${near < 1.5 ? 12.5 : 14}px system-ui, sans-serif`, 42, titled.length ? 0.55 : 1, true);
    for (const i of titled) if (names.has(i)) put(names.get(i).title || names.get(i).id, sx(i) + pointSize() / 2 + 5, sy(i), '12px system-ui, sans-serif', 56, 0.95, false);
    if (keyed) {
      c.globalAlpha = 0.8; c.strokeStyle = fill; c.lineWidth = 1;
      c.beginPath(); c.moveTo(w / 2 - 8, hh / 2); c.lineTo(w / 2 + 8, hh / 2); c.moveTo(w / 2, hh / 2 - 8); c.lineTo(w / 2, hh / 2 + 8); c.stroke();
    }
    c.globalAlpha = 1;
  }

  // namesOf asks what the papers of some points are called, once for each.
  async function namesOf(of) {
    const missing = of.filter((i) => !names.has(i)).slice(0, 100);
    if (missing.length) {
      const res = await raw(withCollection(`/map/papers?${missing.map((i) => `at=${i}`).join('&')}&computed=${encodeURIComponent(about.computed)}`), { signal });
      for (const p of await res.json()) names.set(p.at, p);
      for (const i of missing) if (!names.has(i)) names.set(i, { title: 'A paper that has gone since the map was drawn' });
    }
  }

  // rested is called when the view has stood still.
  let resting;
  function moved() {
    titled = [];
    card.hidden = true;
    draw();
    clearTimeout(resting);
    resting = setTimeout(async () => {
      if (asked.has('x') || view.s !== fit) keepAddress();
      if (view.s < fit * 2) return;
      const seen = index().within((0 - w / 2) / view.s + view.x, w / 2 / view.s + view.x, view.y - hh / 2 / view.s, view.y + hh / 2 / view.s, 61);
      if (seen.length > 60) return;
      try {
        await namesOf(seen);
        titled = seen;
        draw();
      } catch { /* the points stay without */ }
    }, 250);
  }

  function keepAddress() {
    if (signal.aborted) return;
    const p = new URLSearchParams(location.search);
    p.set('x', view.x.toPrecision(5)); p.set('y', view.y.toPrecision(5)); p.set('z', (view.s / fit).toPrecision(3));
    if (by.value) p.set('by', by.value); else p.delete('by');
    history.replaceState(history.state, '', `/map?${p}${location.hash}`);
  }

  function zoomAt(px, py, factor) {
    const s = clamp(view.s * factor, fit * 0.5, fit * 4000), wx = (px - w / 2) / view.s + view.x, wy = (hh / 2 - py) / view.s + view.y;
    Object.assign(view, { s, x: wx - (px - w / 2) / s, y: wy - (hh / 2 - py) / s });
    moved();
  }

  let flight = 0;
  function fly(tx, ty, ts) {
    cancelAnimationFrame(flight);
    ts = clamp(ts, fit * 0.5, fit * 4000);
    if (still.matches) { Object.assign(view, { x: tx, y: ty, s: ts }); moved(); return; }
    const from = { ...view }, begun = performance.now();
    const step = (now) => {
      const t = clamp((now - begun) / 320, 0, 1), e = 1 - (1 - t) ** 3;
      Object.assign(view, { x: from.x + (tx - from.x) * e, y: from.y + (ty - from.y) * e, s: from.s * (ts / from.s) ** e });
      moved();
      if (t < 1) flight = requestAnimationFrame(step);
    };
    flight = requestAnimationFrame(step);
  }

  // The card of a point: what it is called, and by touch and keys a link to it.
  let asking = 0;
  async function tell(i, px, py, withLink) {
    hovered = i;
    draw();
    if (i < 0) { card.hidden = true; canvas.style.cursor = ''; return; }
    canvas.style.cursor = 'pointer';
    const mine = ++asking;
    if (!names.has(i)) await new Promise((r) => setTimeout(r, 60));
    if (mine !== asking) return;
    try { await namesOf([i]); } catch { return; }
    if (mine !== asking || hovered !== i) return;
    const p = names.get(i), topic = clusters[cluster[i]]?.label;
    const text = p.title || p.id;
    show(card, withLink && p.id ? h('a', { href: pathOf(p.id), dir: 'auto', text }) : h('b', { dir: 'auto', text }), h('span', { class: 'quiet', text: [p.year || '', topic].filter(Boolean).join(' · ') }));
    card.hidden = false;
    const r = card.getBoundingClientRect();
    card.style.left = `${clamp(px + 14, 8, Math.max(8, w - r.width - 8))}px`;
    card.style.top = `${py + 18 + r.height > hh ? Math.max(8, py - r.height - 12) : py + 18}px`;
    if (keyed) say(`${text}${p.year ? `, ${p.year}` : ''}`);
  }
  const at = (px, py, within) => index().nearest((px - w / 2) / view.s + view.x, (hh / 2 - py) / view.s + view.y, within / view.s);
  const open = async (i) => { try { await namesOf([i]); if (names.get(i).id) go(pathOf(names.get(i).id)); } catch { /* nothing to open */ } };

  const fingers = new Map();
  let pressed = null, keyed = false;
  const where = (e) => { const r = canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
  canvas.addEventListener('pointerdown', (e) => {
    if (e.button) return;
    cancelAnimationFrame(flight);
    canvas.setPointerCapture(e.pointerId);
    fingers.set(e.pointerId, where(e));
    pressed = fingers.size === 1 ? { at: where(e), moved: false } : null;
    keyed = false;
  });
  canvas.addEventListener('pointermove', (e) => {
    const [px, py] = where(e);
    if (!fingers.has(e.pointerId)) {
      if (e.pointerType !== 'touch') { const i = at(px, py, pointSize() / 2 + 6); if (i !== hovered || i >= 0 && card.hidden) tell(i, px, py, false); }
      return;
    }
    const before = fingers.get(e.pointerId);
    fingers.set(e.pointerId, [px, py]);
    if (fingers.size === 2) {
      const [other] = [...fingers].filter(([id]) => id !== e.pointerId).map(([, p]) => p);
      const gap = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
      zoomAt((px + other[0]) / 2, (py + other[1]) / 2, gap([px, py]) / gap(before));
      view.x -= (px - before[0]) / 2 / view.s; view.y += (py - before[1]) / 2 / view.s;
      return;
    }
    if (pressed && !pressed.moved && Math.hypot(px - pressed.at[0], py - pressed.at[1]) < 4) return;
    if (pressed) pressed.moved = true;
    hovered = -1;
    view.x -= (px - before[0]) / view.s; view.y += (py - before[1]) / view.s;
    moved();
  });
  const up = (e) => {
    if (!fingers.delete(e.pointerId)) return;
    if (e.type === 'pointerup' && pressed && !pressed.moved) {
      const [px, py] = where(e), i = at(px, py, pointSize() / 2 + (e.pointerType === 'touch' ? 18 : 6));
      if (e.pointerType === 'touch') tell(i, px, py, true); else if (i >= 0) open(i);
    }
    pressed = null;
  };
  canvas.addEventListener('pointerup', up);
  canvas.addEventListener('pointercancel', up);
  canvas.addEventListener('pointerleave', (e) => { if (e.pointerType !== 'touch' && !keyed && !fingers.size && !card.querySelector('a')) tell(-1); });
  canvas.addEventListener('dblclick', (e) => zoomAt(...where(e), 2));
  canvas.addEventListener('wheel', (e) => { e.preventDefault(); cancelAnimationFrame(flight); zoomAt(...where(e), Math.exp(-clamp(e.deltaY * (e.deltaMode ? 20 : 1), -240, 240) * (e.ctrlKey ? 0.008 : 0.002))); }, { passive: false });
  canvas.addEventListener('blur', () => { keyed = false; draw(); });
  let naming;
  canvas.addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const step = (e.shiftKey ? 200 : 60) / view.s;
    const act = { ArrowLeft: () => { view.x -= step; }, ArrowRight: () => { view.x += step; }, ArrowUp: () => { view.y += step; }, ArrowDown: () => { view.y -= step; }, '+': () => zoomAt(w / 2, hh / 2, 1.5), '=': () => zoomAt(w / 2, hh / 2, 1.5), '-': () => zoomAt(w / 2, hh / 2, 1 / 1.5), 0: () => all(), Enter: () => { if (hovered >= 0) open(hovered); } }[e.key];
    if (!act) return;
    e.preventDefault();
    keyed = true;
    act();
    if (e.key === 'Enter') return;
    moved();
    clearTimeout(naming);
    naming = setTimeout(() => { const i = at(w / 2, hh / 2, 80); tell(i, i < 0 ? 0 : sx(i), i < 0 ? 0 : sy(i), false); }, 150);
  });

  const watch = new ResizeObserver(() => { size(); moved(); });
  const shade = () => { paint(); draw(); };
  paint();
  watch.observe(box);
  dark.addEventListener('change', shade);
  box.dataset.ready = '';
  return () => { watch.disconnect(); dark.removeEventListener('change', shade); cancelAnimationFrame(frame); cancelAnimationFrame(flight); clearTimeout(resting); clearTimeout(naming); draws.end?.(); };
}

// glOf draws by WebGL. Without a card it is some five times slower than pictureOf, and not taken unless it is asked for.
function glOf(canvas, { n, x, y }, anyhow) {
  const gl = canvas.getContext('webgl2', { antialias: false, alpha: true, premultipliedAlpha: true, failIfMajorPerformanceCaveat: !anyhow, powerPreference: 'low-power' });
  if (!gl) return null;
  if (!anyhow && /swiftshader|llvmpipe|software|basic render/i.test(gl.getParameter(gl.getExtension('WEBGL_debug_renderer_info')?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER))) {
    gl.getExtension('WEBGL_lose_context')?.loseContext();
    return null;
  }
  const shader = (type, text) => { const s = gl.createShader(type); gl.shaderSource(s, text); gl.compileShader(s); return s; };
  const program = gl.createProgram();
  gl.attachShader(program, shader(gl.VERTEX_SHADER, `#version 300 es
    in float x, y; in vec4 colour; uniform vec4 view; uniform float size; out vec4 c;
    void main() { gl_Position = vec4((x - view.x) * view.z, (y - view.y) * view.w, 0, 1); gl_PointSize = size; c = colour; }`));
  gl.attachShader(program, shader(gl.FRAGMENT_SHADER, `#version 300 es
    precision highp float; in vec4 c; uniform float size; out vec4 o;
    void main() { float d = length(gl_PointCoord - 0.5) * size; float a = 0.82 * clamp(size * 0.5 - d + 0.5, 0.0, 1.0); if (a <= 0.0) discard; o = vec4(c.rgb * a, a); }`));
  ['x', 'y', 'colour'].forEach((name, i) => gl.bindAttribLocation(program, i, name));
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  const buffer = (at, data, width, type, scaled) => {
    const b = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, b);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, width, type, scaled, 0, 0);
    return b;
  };
  buffer(0, x, 1, gl.FLOAT, false);
  buffer(1, y, 1, gl.FLOAT, false);
  const colour = buffer(2, new Uint8Array(4 * n), 4, gl.UNSIGNED_BYTE, true);
  const at = gl.getUniformLocation(program, 'view'), big = gl.getUniformLocation(program, 'size');
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  return {
    name: 'gl',
    colours(c) { gl.bindBuffer(gl.ARRAY_BUFFER, colour); gl.bufferSubData(gl.ARRAY_BUFFER, 0, c); },
    draw(view, w, hh, size) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform4f(at, view.x, view.y, (2 * view.s) / w, (2 * view.s) / hh);
      gl.uniform1f(big, (size * canvas.width) / w);
      gl.drawArrays(gl.POINTS, 0, n);
    },
    end() { gl.getExtension('WEBGL_lose_context')?.loseContext(); },
  };
}

// pictureOf writes the pixels itself.
function pictureOf(canvas, { n, x, y }, packed) {
  const c = canvas.getContext('2d');
  let picture, pixels;
  return {
    name: '2d',
    colours() {},
    draw(view, cw, ch, wide) {
      const w = canvas.width, hh = canvas.height, k = w / cw, s = view.s * k;
      if (picture?.width !== w || picture.height !== hh) { picture = c.createImageData(w, hh); pixels = new Uint32Array(picture.data.buffer); }
      pixels.fill(0);
      const size = Math.max(1, Math.round(wide * k)), half = size >> 1, dx = w / 2 - view.x * s - half, dy = hh / 2 + view.y * s - half;
      // How much of each pixel a point covers, and where that is all of it. What lies alone is fainter than what lies on others.
      const mask = new Uint32Array(size * size);
      for (let r = 0; r < size; r++) for (let q = 0; q < size; q++) mask[r * size + q] = size < 3 ? 190 : Math.round(255 * clamp(size / 2 + 0.5 - Math.hypot(r + 0.5 - size / 2, q + 0.5 - size / 2), 0, 1));
      const right = w - size, low = hh - size;
      for (let i = 0; i < n; i++) {
        const px = (x[i] * s + dx) | 0, py = (dy - y[i] * s) | 0;
        if (px < 0 || py < 0 || px > right || py > low) continue;
        const colour = packed[i];
        let row = py * w + px;
        for (let r = 0, m = 0; r < size; r++, row += w) {
          for (let q = 0; q < size; q++, m++) {
            const a = mask[m];
            if (a === 0) continue;
            if (pixels[row + q] === 0) pixels[row + q] = (colour & 0xffffff) | a << 24;
            else if (a > 127) pixels[row + q] = colour;
          }
        }
      }
      c.putImageData(picture, 0, 0);
    },
  };
}

// gridOf finds points by place: cells, and the points of each side by side.
function gridOf({ n, x, y }, x0, x1, y0, y1) {
  const g = clamp(Math.round(Math.sqrt(n) / 2), 1, 512), kx = g / (x1 - x0 || 1), ky = g / (y1 - y0 || 1);
  const col = (v) => clamp(Math.floor((v - x0) * kx), 0, g - 1), row = (v) => clamp(Math.floor((v - y0) * ky), 0, g - 1);
  const begin = new Uint32Array(g * g + 1), of = new Uint32Array(n), cell = new Uint32Array(n);
  for (let i = 0; i < n; i++) begin[(cell[i] = row(y[i]) * g + col(x[i])) + 1]++;
  for (let i = 0; i < g * g; i++) begin[i + 1] += begin[i];
  const next = begin.slice();
  for (let i = 0; i < n; i++) of[next[cell[i]]++] = i;
  const each = (a, b, c, d, what) => {
    for (let r = row(c); r <= row(d); r++) for (let q = begin[r * g + col(a)], end = begin[r * g + col(b) + 1]; q < end; q++) if (what(of[q])) return;
  };
  return {
    nearest(px, py, within) {
      let best = -1, least = within * within;
      each(px - within, px + within, py - within, py + within, (i) => { const d = (x[i] - px) ** 2 + (y[i] - py) ** 2; if (d <= least) least = d, best = i; });
      return best;
    },
    within(a, b, c, d, most) {
      const out = [];
      each(a, b, c, d, (i) => x[i] >= a && x[i] <= b && y[i] >= c && y[i] <= d && out.push(i) >= most);
      return out;
    },
  };
}

// Colours: topics go round the circle of hues by the golden angle, at one lightness; years from faint to strong.
const topicColour = (i) => (i === 0xffff ? grey() : oklch(dark.matches ? 0.76 : 0.6, i % 3 === 2 ? 0.08 : 0.13, (200 + i * 137.508) % 360));
const grey = () => (dark.matches ? [92, 97, 104] : [190, 188, 182]);
const ramp = (t) => (dark.matches ? oklch(0.4 + 0.48 * t, 0.05 + 0.08 * t, 300 - 130 * t) : oklch(0.84 - 0.46 * t, 0.06 + 0.07 * t, 90 + 150 * t));
const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;
// Björn Ottosson's OKLab, https://bottosson.github.io/posts/oklab/
function oklch(l, c, hue) {
  const a = c * Math.cos((hue * Math.PI) / 180), b = c * Math.sin((hue * Math.PI) / 180);
  const [p, q, r] = [l + 0.3963377774 * a + 0.2158037573 * b, l - 0.1055613458 * a - 0.0638541728 * b, l - 0.0894841775 * a - 1.291485548 * b].map((v) => v ** 3);
  return [4.0767416621 * p - 3.3077115913 * q + 0.2309699292 * r, -1.2684380046 * p + 2.6097574011 * q - 0.3413193965 * r, -0.0041960863 * p - 0.7034186147 * q + 1.707614701 * r]
    .map((v) => Math.round(255 * clamp(v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055, 0, 1)));
}
