// A map of made-up papers, in the form that the server's has, and what it says of a point.
export function points(n, k = 40) {
  let seed = 7;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const normal = () => Math.sqrt(-2 * Math.log(random() + 1e-9)) * Math.cos(2 * Math.PI * random());
  const words = ['graph neural networks', 'image segmentation', 'language models', 'galaxy rotation', 'protein folding', 'quantum error correction', 'reinforcement learning', 'graphene transport',
    'number theory', 'speech recognition', 'recommendation', 'diffusion models', 'retrieval', 'causal inference', 'optimisation', 'string theory', 'lattice QCD', 'exoplanets', 'superconductors', 'epidemics'];
  const clusters = Array.from({ length: k }, (_, i) => ({ label: words[i % 20] + (i >= 20 ? ` and ${words[(i * 7 + 3) % 20]}` : ''), x: (random() - 0.5) * 20, y: (random() - 0.5) * 14, papers: 0 }));
  const spread = clusters.map(() => 0.4 + random() * 1.1);
  const x = new Float32Array(n), y = new Float32Array(n), cluster = new Uint16Array(n), year = new Int16Array(n);
  for (let i = 0; i < n; i++) {
    const c = Math.floor(random() ** 1.4 * k);
    x[i] = clusters[c].x + normal() * spread[c]; y[i] = clusters[c].y + normal() * spread[c];
    cluster[i] = c; clusters[c].papers++;
    year[i] = random() < 0.02 ? 0 : 2025 - Math.floor(30 * random() ** 2);
  }
  const about = Buffer.from(JSON.stringify({ clusters, computed: '2026-11-20T10:00:00Z', papers: n }));
  const head = Buffer.alloc(16), length = Buffer.alloc(4);
  head.write('EMAP'); head.writeUInt32LE(1, 4); head.writeUInt32LE(n, 8); head.writeUInt32LE(k, 12);
  length.writeUInt32LE(about.length);
  return Buffer.concat([head, ...[x, y, cluster, year].map((a) => Buffer.from(a.buffer)), length, about]);
}

export const papers = (url, ids) => JSON.stringify(new URL(url).searchParams.getAll('at').map((i) => ({ at: Number(i), id: ids[i % ids.length], title: `Paper ${i}: of things that lie near each other`, year: 1990 + (i % 35) })));

export const live = { calls: [{ method: 'Search', perSecond: 41.2, p50Ms: 3.1, p99Ms: 18.4, errors: 0 }, { method: 'Related', perSecond: 12.9, p50Ms: 0.6, p99Ms: 2.2, errors: 2 }],
  recall: 0.993, memoryBytes: 312475648, uptimeSeconds: 93784, jobs: [{ name: 'default', kind: 'index', stage: 'encode', done: 41200, total: 118747, perSecond: 610, secondsLeft: 127 }] };

// What a paper may say that a page must not do.
const script = 'window.__done=1';
export const evil = [
  `<script>${script}</script>`, `<img src=x onerror="${script}">`, `<svg onload=${script}>`, `<svg><script>${script}</script></svg>`, `"><script>${script}</script>`, `'><img src=x onerror=${script}>`,
  `</script><script>${script}</script>`, `</title><script>${script}</script>`, `</noscript><img src=x onerror=${script}>`, `</template><img src=x onerror=${script}>`, `<iframe srcdoc="<script>parent.__done=1</script>">`,
  `<a href="javascript:${script}">x</a>`, `javascript:${script}`, `<body onload=${script}>`, `<details open ontoggle=${script}>`, `<math><mtext><img src=x onerror=${script}></mtext></math>`, `<!--<img src=x onerror=${script}>-->`,
  `<style>*{background:url(https://elsewhere.test/x)}</style>`, `<link rel=stylesheet href=https://elsewhere.test/x.css>`, `<base href=https://elsewhere.test/>`, `<meta http-equiv=refresh content="0;url=https://elsewhere.test/">`,
  `<form action=https://elsewhere.test/><button>x</button></form>`, `{{constructor.constructor('${script}')()}}`, `\${${script}}`, `&lt;script&gt;${script}&lt;/script&gt;`, `\u2028${script}\u2029`, `%3Cscript%3E${script}%3C/script%3E`,
  `\u202E<script>${script}</script>`, `<scr\u0000ipt>`.replace('\u0000', ''), `<object data="data:text/html,<script>${script}</script>">`, `<embed src=javascript:${script}>`, `<input autofocus onfocus=${script}>`,
  `<video><source onerror=${script}></video>`, `<marquee onstart=${script}>`, `]]><script>${script}</script>`, `*/ ${script} /*`, `<img src="data:image/svg+xml,<svg onload=${script}>">`, `<xss style="animation:x" onanimationstart=${script}>`,
];
