// <related-papers>: papers that are related to the one of this page. docs/widget.md says how to use it.
// Text from elsewhere becomes text nodes alone, and addresses are looked at before they become links.
(() => {
  if (customElements.get('related-papers')) return;
  const script = (document.currentScript ?? document.querySelector('script[src*="/related-papers."]'))?.src; // a module has no currentScript

  const names = 'heading loading empty failed again why here there none strong related weak others found'.split(' ');
  const labels = Object.fromEntries(Object.entries({
    en: 'Related papers|Looking for related papers…|No related papers were found.|Related papers cannot be shown at the moment.|Try again|Why related?|This page|That paper|They are alike as a whole; no two sentences stand out.|closely related|related|loosely related|et al.|Related papers found:',
    de: 'Verwandte Arbeiten|Verwandte Arbeiten werden gesucht…|Keine verwandten Arbeiten gefunden.|Verwandte Arbeiten lassen sich gerade nicht anzeigen.|Noch einmal versuchen|Warum verwandt?|Diese Seite|Jene Arbeit|Sie ähneln sich im Ganzen; keine zwei Sätze stechen hervor.|eng verwandt|verwandt|entfernt verwandt|u. a.|Verwandte Arbeiten gefunden:',
    fr: 'Articles apparentés|Recherche d’articles apparentés…|Aucun article apparenté n’a été trouvé.|Les articles apparentés ne peuvent pas être affichés pour l’instant.|Réessayer|Pourquoi ?|Cette page|L’autre article|Ils se ressemblent dans l’ensemble ; aucune paire de phrases ne se distingue.|très proche|apparenté|plus éloigné|et al.|Articles apparentés trouvés :',
    es: 'Artículos relacionados|Buscando artículos relacionados…|No se encontraron artículos relacionados.|Los artículos relacionados no se pueden mostrar en este momento.|Intentar de nuevo|¿Por qué?|Esta página|El otro artículo|Se parecen en conjunto; no destaca ningún par de frases.|muy relacionado|relacionado|poco relacionado|y otros|Artículos relacionados encontrados:',
  }).map(([lang, all]) => [lang, Object.fromEntries(all.split('|').map((label, i) => [names[i], label]))]));

  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
:host{display:block;color:var(--related-papers-color,inherit);font:var(--related-papers-font,inherit);line-height:1.5;text-align:start;overflow-wrap:anywhere;
--m:var(--related-papers-muted,color-mix(in srgb,currentColor 78%,transparent));--b:var(--related-papers-border,color-mix(in srgb,currentColor 16%,transparent));--a:var(--related-papers-accent,currentColor)}
:host([hidden]){display:none}
:host([theme]){color-scheme:light dark;color:var(--related-papers-color,light-dark(#1d1f23,#e4e6ea));background:var(--related-papers-background,light-dark(#fff,#17191d));
--a:var(--related-papers-accent,light-dark(#1a5fb4,#8fbcff));border:1px solid var(--b);border-radius:var(--related-papers-radius,.6em);padding:1.1em 1.25em .5em}
:host([theme=light]){color-scheme:light}
:host([theme=dark]){color-scheme:dark}
*{box-sizing:border-box}
section:focus{outline:0}
#h{font-size:1.125em;font-weight:600;line-height:1.3;margin:0 0 .6em;text-wrap:balance}
ol{list-style:none;margin:0;padding:0}
li{padding-block:var(--related-papers-gap,.75em);border-block-start:1px solid var(--b)}
a,.t{color:inherit;font-weight:500;line-height:1.4;text-wrap:pretty}
a{text-decoration:underline 1px color-mix(in srgb,var(--a) 40%,transparent);text-underline-offset:.2em}
a:hover{color:var(--a);text-decoration-color:currentColor}
a:focus-visible,button:focus-visible{outline:2px solid var(--a);outline-offset:2px;border-radius:2px}
p{margin:0}
p,.s{color:var(--m)}
.m,.s,.w,dl{font-size:.875em}
.f,.g{display:flex;flex-wrap:wrap;align-items:center;column-gap:1.5em}
.f{padding-block-start:.1em}
.s{white-space:nowrap}
.s::before{content:"";display:inline-block;inline-size:.5em;block-size:.5em;margin-inline-end:.45em;border-radius:50%;border:1px solid var(--a)}
.strong::before{background:var(--a)}
.related::before{background:linear-gradient(to right,var(--a) 50%,transparent 50%)}
button{font:inherit;color:inherit;background:none;border:0;padding:.1em 0;min-block-size:24px;cursor:pointer;text-align:start}
.w{color:var(--m)}
.w:hover{color:inherit}
.w::after{content:"";display:inline-block;inline-size:.38em;block-size:.38em;margin-inline-start:.55em;border:solid;border-width:0 1.5px 1.5px 0;transform:translateY(-.2em) rotate(45deg)}
.w[aria-expanded=true]::after{transform:rotate(225deg)}
dl{margin:.35em 0 .25em;padding-inline-start:.9em;border-inline-start:2px solid var(--a)}
dt{color:var(--m)}
dd{margin:0 0 .5em;text-wrap:pretty}
dd:last-child{margin:0}
.r{border:1px solid var(--b);border-radius:.4em;padding:.3em .9em;margin-block:.6em .5em}
.r:hover{border-color:currentColor}
.h{position:absolute;inline-size:1px;block-size:1px;margin:-1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
section{display:flow-root}
[aria-busy=true]{display:flex;flex-direction:column}
[aria-busy=true]>p{order:1}
.k{padding-block:var(--related-papers-gap,.75em);border-block-start:1px solid var(--b);animation:k 1.6s ease-in-out infinite alternate}
.k::before,.k::after{content:"";display:block;block-size:.9em;margin-block:.25em;inline-size:72%;border-radius:.25em;background:var(--b)}
.k::after{block-size:.7em;margin-block:.65em .3em;inline-size:46%}
.k:nth-child(even)::before{inline-size:58%}
@keyframes k{to{opacity:.4}}
@media (prefers-reduced-motion:reduce){.k{animation:none}}
@media print{:host([theme]){color-scheme:light!important}button{display:none}li{break-inside:avoid}}`);

  // make makes an element; what it contains is elements and text.
  const make = (name, attributes, ...content) => {
    const e = document.createElement(name);
    for (const a in attributes) if (attributes[a] != null) e.setAttribute(a, attributes[a]);
    e.append(...content);
    return e;
  };

  // web is an address as it may stand in a link; nothing, where it is not of the web.
  const web = (address) => {
    try {
      const u = new URL(address);
      return /^https?:$/.test(u.protocol) ? u.href : undefined;
    } catch {}
  };
  const escape = (id) => encodeURI(id).replace(/[?#]/g, encodeURIComponent);
  const link = (p) => web(p.url) ?? (p.doi ? web('https://doi.org/' + escape(p.doi)) : p.arxivId ? web('https://arxiv.org/abs/' + escape(p.arxivId)) : undefined);

  // ofPage is what the page says of its paper: the queries to try, one after the other.
  const ofPage = () => {
    const meta = (...wanted) => {
      for (const name of wanted) for (const m of document.querySelectorAll('meta[content]')) {
        if ((m.getAttribute('name') || m.getAttribute('property') || '').toLowerCase() === name && m.content.trim()) return m.content.trim();
      }
    };
    const doi = (...texts) => {
      for (const t of texts.flat()) {
        const found = /\b10\.\d{4,9}\/\S+/.exec(t?.value ?? t);
        if (found) return 'DOI:' + found[0];
      }
    };
    let data = {};
    for (const s of document.querySelectorAll('script[type="application/ld+json"]')) {
      try {
        const json = JSON.parse(s.textContent);
        data = [json, json['@graph']].flat(2).find((o) => /ScholarlyArticle/.test(o?.['@type'])) ?? data;
      } catch {}
    }
    const arxiv = meta('citation_arxiv_id');
    const paperId = doi(meta('citation_doi')) ?? (arxiv && 'ARXIV:' + arxiv) ?? doi(meta('dc.identifier'), data.identifier, data['@id'], data.sameAs);
    const texts = [
      [meta('citation_title'), meta('citation_abstract')],
      [meta('dc.title'), meta('dc.description', 'dcterms.abstract')],
      [meta('og:title'), meta('og:description')],
      [data.headline ?? data.name, data.abstract ?? data.description],
    ];
    const [title, abstract] = texts.find(([title]) => typeof title == 'string') ?? [];
    return [paperId && { paperId }, title && { paper: { title, abstract: typeof abstract == 'string' ? abstract : undefined } }];
  };

  const bands = ['weak', 'related', 'strong'];
  const bandOf = (hit) => (hit.band ?? '').slice(5).toLowerCase(); // BAND_STRONG
  const bdi = (text) => make('bdi', {}, text);
  const pause = (seconds, signal) => new Promise((done) => {
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener('abort', () => { clearTimeout(timer); done(); });
  });

  customElements.define('related-papers', class extends HTMLElement {
    static observedAttributes = ['paper-id', 'text', 'count', 'band', 'filter', 'collection', 'server', 'key', 'heading', 'level', 'lang'];
    #root = this.attachShadow({ mode: 'open' });
    #inside = this.attachInternals?.();
    #seen; // what tells when the element comes into sight
    #stop; // what ends the requests that run
    #state = 'loading';
    #hits;
    #query;
    #due; // an attribute has changed

    connectedCallback() {
      this.#root.adoptedStyleSheets = [sheet];
      this.#seen = new IntersectionObserver((entries) => {
        if (!entries.some((e) => e.isIntersecting)) return;
        this.#seen.disconnect();
        this.#load();
      }, { rootMargin: '200px' });
      this.reload();
    }

    disconnectedCallback() {
      this.#seen.disconnect();
      this.#stop?.abort();
      this.#seen = undefined;
    }

    attributeChangedCallback(name, before, now) {
      if (!this.#seen || before === now) return;
      if (/heading|level|lang/.test(name)) this.#render();
      else if (!this.#due) {
        this.#due = true; // several may change at once
        queueMicrotask(() => {
          this.#due = false;
          this.reload();
        });
      }
    }

    // reload asks anew, once the element is in sight.
    reload() {
      if (!this.#seen) return;
      this.#stop?.abort();
      this.#show('loading');
      this.#seen.disconnect();
      const { top, bottom, width } = this.getBoundingClientRect();
      if (width && top < innerHeight + 200 && bottom > -200) this.#load(); // does not wait for the next frame
      else this.#seen.observe(this);
    }

    async #load() {
      const { signal } = this.#stop = new AbortController();
      const text = this.getAttribute('text'), paperId = this.getAttribute('paper-id');
      let queries = paperId || text ? [paperId && { paperId }, text ? { text } : ofPage()[1]] : ofPage();
      queries = queries.filter(Boolean);
      try {
        let answer = {};
        for (const query of queries) {
          try {
            this.#query = query;
            answer = await this.#ask('v1/search', {
              query, k: this.#number('count', 5, 50), filter: this.getAttribute('filter') ?? '',
            }, signal);
            break;
          } catch (e) { // a paper that is not known may have a text
            if (e.status !== 404 || query === queries.at(-1)) throw e;
          }
        }
        // Where there are too few papers to tell bands, hits have none.
        const least = bands.indexOf(this.getAttribute('band') ?? 'related');
        this.#hits = (answer.hits ?? []).filter((hit) => !hit.band || bands.indexOf(bandOf(hit)) >= least);
        this.#show(this.#hits.length ? 'loaded' : 'empty');
        this.#tell('load', { hits: this.#hits, query: this.#query });
      } catch (e) {
        if (signal.aborted) return;
        this.#show(e.status === 404 ? 'empty' : 'failed');
        this.#tell('error', { status: e.status ?? 0, message: e.message });
        console.warn('related-papers:', e.message); // for the page's owner
      }
    }

    async #ask(path, body, signal, again = true) {
      // Without a key and a type of content a browser asks at once, and not first whether it may.
      const key = this.getAttribute('key'), headers = key ? { Authorization: 'Bearer ' + key } : {};
      const server = this.getAttribute('server')?.replace(/\/?$/, '/') ?? script;
      const res = await fetch(new URL(path, new URL(server ?? '/', document.baseURI)), {
        method: 'POST', headers, body: JSON.stringify({ ...body, collection: this.getAttribute('collection') ?? '' }), credentials: 'omit', signal: AbortSignal.any([signal, AbortSignal.timeout(20000)]),
      });
      const wait = +(res.headers.get('Retry-After') ?? 1);
      if (again && /429|503/.test(res.status) && wait <= 30) {
        await pause(wait, signal);
        return this.#ask(path, body, signal, false);
      }
      const answer = await res.json().catch((e) => { if (res.ok) throw e; });
      if (!res.ok) throw Object.assign(new Error(answer?.message ?? res.statusText), { status: res.status });
      return answer;
    }

    #number(attribute, usual, most) {
      return Math.min(Math.max(parseInt(this.getAttribute(attribute)) || usual, 1), most);
    }

    #tell(name, detail) {
      return this.dispatchEvent(new CustomEvent('related-papers:' + name, { detail, bubbles: true, composed: true, cancelable: true }));
    }

    #show(state) {
      this.#state = state;
      try {
        this.#inside.states.clear();
        this.#inside.states.add(state);
      } catch {} // a browser without them
      this.#render();
    }

    #render() {
      const state = this.#state, hits = state === 'loaded' ? this.#hits : [];
      const lang = (this.closest('[lang]')?.lang || document.documentElement.lang).slice(0, 2).toLowerCase(), spoken = labels[lang] ? lang : 'en', l = labels[spoken];
      const old = this.#root.querySelector('section'), focused = this.#root.activeElement;
      // The status is one element for good, so that what it says is announced.
      const section = old ?? make('section', { part: 'root', tabindex: -1, 'aria-labelledby': 'h' }, make('p', { role: 'status', part: 'status' }));
      const status = section.querySelector('[role]');
      section.querySelectorAll(':scope>:not([role=status])').forEach((e) => e.remove());
      section.lang = spoken;
      section.setAttribute('aria-busy', state === 'loading');
      status.before(make('h' + this.#number('level', 2, 6), { id: 'h', part: 'heading' }, bdi(this.getAttribute('heading') ?? l.heading)));
      status.className = hits.length ? 'h' : '';
      status.replaceChildren(bdi(hits.length ? `${l.found} ${hits.length}` : l[state]));
      if (state === 'loading') section.append(make('div', { 'aria-hidden': true }, ...Array.from({ length: Math.min(this.#number('count', 5, 50), 5) }, () => make('div', { class: 'k' }))));
      if (state === 'failed') {
        const again = make('button', { type: 'button', class: 'r', part: 'retry' }, bdi(l.again));
        again.onclick = () => { this.reload(); };
        section.append(again);
      }
      if (hits.length) section.append(make('ol', { part: 'list', role: 'list' }, ...hits.map((hit, i) => this.#item(hit, i, l))));
      if (!old) this.#root.append(section);
      else if (focused && !focused.isConnected) section.focus();
    }

    #item(hit, i, l) {
      const p = hit.paper ?? {}, href = link(p), authors = p.authors ?? [], band = bandOf(hit);
      const title = make(href ? 'a' : 'span', { part: 'title', class: 't', dir: 'auto', href, rel: href && 'noopener nofollow ugc' }, p.title || p.id || '');
      title.onclick = (e) => { if (!this.#tell('click', { id: p.id, rank: i + 1, href })) e.preventDefault(); };
      const facts = [authors.slice(0, 3).join(', ') + (authors[3] ? ' ' + l.others : ''), [p.venue, p.year].filter(Boolean).join('\u00a0·\u00a0')].filter(Boolean).join(' · ');
      const why = make('button', { type: 'button', class: 'w', part: 'why', id: 'w' + i, 'aria-expanded': false, 'aria-controls': 'e' + i, 'aria-describedby': 't' + i }, bdi(l.why));
      const more = make('div', { id: 'e' + i, part: 'explanation', hidden: '' });
      title.id = 't' + i;
      why.onclick = () => {
        more.hidden = !more.hidden;
        why.setAttribute('aria-expanded', !more.hidden);
        if (!more.hidden && !more.querySelector('dl')) this.#explain(p.id, more, l);
      };
      return make('li', { part: 'item' }, title,
        make('div', { class: 'f' }, facts ? make('p', { class: 'm', part: 'meta' }, bdi(facts)) : '', 
          make('div', { class: 'g' }, l[band] ? make('span', { class: 's ' + band, part: 'band' }, bdi(l[band])) : '', why)), more);
    }

    // explain shows the two sentences that are most alike.
    async #explain(id, into, l) {
      const say = (text) => into.replaceChildren(make('p', { class: 'm', role: 'status' }, bdi(text)));
      const { signal } = this.#stop;
      say('…');
      into.setAttribute('aria-busy', true);
      try {
        const { explanation: e } = await this.#ask('v1/explain', { query: this.#query, id }, signal);
        const here = e.querySentences?.[e.best?.querySentence ?? 0], there = e.sentences?.[e.best?.sentence ?? 0];
        if (!e.best || !here || !there) say(l.none);
        else into.replaceChildren(make('dl', {}, ...[[l.here, here], [l.there, there]].flatMap(([name, s]) => [make('dt', {}, bdi(name)), make('dd', { part: 'sentence' }, bdi(s.text))])));
      } catch {
        say(l.failed); // when it is opened again, it asks again
      }
      into.removeAttribute('aria-busy');
    }
  });
})();
