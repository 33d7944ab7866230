// Blanks what no picture may show, and puts it back.
(() => {
  const dot = '\u2022';
  let undo = [];

  // telling reports whether a word is like a key, a code or a part of one.
  const telling = (w) => w.length >= 16 || /\d/.test(w) && (/^[\d\-.]+$/.test(w) ? (w.match(/\d/g).length >= 4 || w.length === 1) : w.length >= 6);
  const word = /[A-Za-z0-9_+\/=~.\-]+/g;
  const blank = (text) => text.replace(word, (w) => telling(w) ? dot.repeat(w.length) : w).replace(/\d(?:[ \u00a0]?\d){3,}/g, (d) => d.replace(/\d/g, dot));
  const hide = (e) => {
    if (e.style.opacity === '0' && e.style.getPropertyPriority('opacity')) return;
    const had = e.getAttribute('style');
    undo.push(() => had === null ? e.removeAttribute('style') : e.setAttribute('style', had));
    e.style.setProperty('transition', 'none', 'important');
    e.style.setProperty('animation', 'none', 'important');
    e.style.setProperty('opacity', '0', 'important');
  };
  const write = (n, text) => {
    if (n.data === text) return;
    const had = n.data;
    undo.push(() => { if (n.data === text) n.data = had; });
    n.data = text;
  };
  const texts = function* (root) {
    const w = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (w.nextNode()) yield w.currentNode;
  };
  const roots = function* (root) {
    yield root;
    for (const e of root.querySelectorAll('*')) if (e.shadowRoot) yield* roots(e.shadowRoot);
  };
  const drawn = (e) => ['::before', '::after'].some((p) => {
    const c = getComputedStyle(e, p).content;
    return c !== 'none' && c !== 'normal' && blank(c) !== c;
  });
  const field = (e) => e.isContentEditable || e.tagName === 'TEXTAREA' || e.tagName === 'SELECT' || e.tagName === 'CANVAS' ||
    e.tagName === 'INPUT' && (!['checkbox', 'radio', 'button', 'submit', 'reset'].includes(e.type) || blank(e.value) !== e.value) ||
    e.tagName === 'IMG' && (/^(data|blob):/.test(e.src) || blank(e.alt) !== e.alt) || e.tagName === 'OBJECT' || e.tagName === 'EMBED' || e.tagName === 'VIDEO';

  // mask blanks, and returns how much it had to.
  const mask = (...frames) => {
    const before = undo.length;
    for (const f of frames) if (f) hide(f);
    for (const root of roots(document)) {
      for (const e of root.querySelectorAll('*')) {
        if (field(e) || drawn(e)) { hide(e); continue; }
        // A word whose letters stand in elements of their own.
        if (e.firstElementChild && e.textContent.length < 300) {
          const t = e.textContent.replace(/\s+/g, ' ').trim();
          if (t && !t.includes(dot) && (!t.includes(' ') || /^[\d ]+$/.test(t)) && blank(t) !== t) for (const n of texts(e)) write(n, n.data.replace(/\S/g, dot));
        }
      }
      for (const n of texts(root)) {
        if (!['SCRIPT', 'STYLE', 'NOSCRIPT', 'TEMPLATE'].includes(n.parentNode?.tagName)) write(n, blank(n.data));
      }
    }
    return {count: undo.length - before};
  };
  const unmask = () => {
    for (const f of undo.reverse()) f();
    undo = [];
    return true;
  };
  Object.assign(globalThis.agentkeys, {mask, unmask});
})();
