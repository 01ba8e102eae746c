// Papers that mean harm: each has one attack in one of its fields.

export const fields = ['title', 'abstract', 'authors', 'venue', 'url', 'id', 'doi', 'arxivId'];

// attacks gives papers whose year is 2000 and the place of the attacked field. A script that runs sets window.harmed, what loads asks a host.
export function attacks(host) {
  const js = 'window.harmed=1';
  const patterns = [
    `<script>${js}</script>`, `<script src="${host}/s.js"></script>`, `</title><script>${js}</script>`, `</style><script>${js}</script>`, `</textarea><script>${js}</script>`,
    `--><script>${js}</script><!--`, `<scr<script>ipt>${js}</scr</script>ipt>`, `<script\u00a0>${js}</script>`,
    `<img src=x onerror=${js}>`, `<img src="${host}/i.png">`, `"><img src=x onerror="${js}">`, `<img/src/onerror=${js}>`, `<image href=x onerror=${js}>`,
    `<svg onload=${js}>`, `<svg><script>${js}</script></svg>`, `<svg><animate onbegin=${js} attributeName=x dur=1s>`, `<svg><use href="${host}/u.svg#x"></use></svg>`,
    `<math><mtext><style><img src=x onerror=${js}></style></mtext></math>`, `<iframe src="javascript:${js}"></iframe>`, `<iframe srcdoc="<script>parent.${js}</script>"></iframe>`,
    `<object data="${host}/o"></object>`, `<link rel=stylesheet href="${host}/c.css">`, `<style>@import "${host}/i.css";</style>`,
    `<style>*{background:url(${host}/b)}</style>`, `<base href="${host}/">`, `<meta http-equiv=refresh content="0;url=${host}/r">`, `<form action="${host}/f"><button autofocus onfocus=${js}>x</button></form>`,
    `<details open ontoggle=${js}>x</details>`, `<video><source onerror=${js}></video>`, `<input autofocus onfocus=${js}>`,
    `<template shadowrootmode=open><script>${js}</script></template>`, `<noscript><p title="</noscript><img src=x onerror=${js}>">`,
    `javascript:${js}`, `JaVaScRiPt:${js}//`, `java\u200bscript:${js}`, `data:text/html,<script>${js}</script>`, `//evil.test/x" onmouseover="${js}`,
    `" autofocus onfocus="${js}" x="`, `' style='animation:k 1s' onanimationstart='${js}' x='`, `\${${js}}`, `{{constructor.constructor('${js}')()}}`, 
    `\u202e\u2066<b>turned round</b>`, `&lt;script&gt;${js}&lt;/script&gt;`, 
    `<a href="javascript:${js}">x</a>`, `<xss style="position:fixed;inset:0" onclick=${js}>`,
    `https://user:pass@evil.test/#<img src=x onerror=${js}>`, `http://evil.test/"onclick="${js}`, 'A'.repeat(400),
  ];
  const papers = [];
  fields.forEach((field, f) => patterns.forEach((attack, i) => {
    const p = { id: `harm:${field}:${i}`, title: `A paper about retrieval, ${field} ${i}`, abstract: 'It finds papers by their vectors.', authors: ['Eve'], year: 2000 + f, venue: 'Harm', url: '' };
    p[field] = field === 'authors' ? [attack, attack] : field === 'id' ? attack : attack;
    if (field === 'title') p.title += ` ${i}`; // or some were the same work
    papers.push(p);
  }));
  return papers;
}
