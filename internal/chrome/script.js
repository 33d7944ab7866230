// Runs in a world of its own in each document: the page's scripts neither see
// nor change it. It reads what a person could see, and touches nothing but
// focus, selection and scrolling.
(() => {
  const maxElements = 2000, maxName = 256, maxText = 512;
  const skip = new Set(['SCRIPT', 'STYLE', 'NOSCRIPT', 'TEMPLATE', 'HEAD', 'OPTION', 'OPTGROUP', 'DATALIST', 'META', 'LINK', 'TITLE', 'BR', 'PATH']);
  const controls = new Set(['button', 'link', 'checkbox', 'radio', 'switch', 'tab', 'menuitem', 'menuitemcheckbox', 'menuitemradio', 'option', 'combobox', 'textbox', 'searchbox', 'spinbutton', 'slider', 'dialog', 'alertdialog', 'alert', 'status', 'heading', 'img']);
  const textless = new Set(['checkbox', 'radio', 'button', 'submit', 'reset', 'image', 'file', 'range', 'color', 'hidden']);
  const ids = new WeakMap(), elements = new Map();
  let last = 0, styles = new Map();

  const style = (e) => {
    let s = styles.get(e);
    if (!s) {
      // Each read of a computed style costs; most are asked for many times.
      const c = getComputedStyle(e);
      s = {display: c.display, position: c.position, transform: c.transform, clipPath: c.clipPath, clip: c.clip, x: c.overflowX, y: c.overflowY, pointerEvents: c.pointerEvents};
      s.plain = s.position === 'static' && s.transform === 'none' && s.clipPath === 'none' && s.x === 'visible' && s.y === 'visible';
      styles.set(e, s);
    }
    return s;
  };
  const up = (e) => e.assignedSlot || e.parentElement || (e.getRootNode() instanceof ShadowRoot ? e.getRootNode().host : null);
  const holds = (outer, e) => {
    for (; e; e = up(e)) if (e === outer) return true;
    return false;
  };
  const cut = (s, max) => {
    s = s.replace(/\s+/g, ' ').trim();
    if (s.length * 3 <= max) return s;
    const b = new TextEncoder().encode(s);
    return b.length <= max ? s : new TextDecoder().decode(b.slice(0, max)).replace(/\uFFFD$/, '');
  };
  const editable = (e) => e.isContentEditable || e.tagName === 'TEXTAREA' || e.tagName === 'INPUT' && !textless.has(e.type);
  const field = (e) => e.tagName === 'SELECT' || editable(e) && !(e.isContentEditable && e.parentElement?.isContentEditable) || e.tagName === 'INPUT';

  // box is the part of an element that can be brought into sight, in the
  // coordinates of the viewport, or null.
  const box = (e) => {
    if (!e.checkVisibility({opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true})) return null;
    let r = e.getBoundingClientRect();
    if (r.width < 1 || r.height < 1) {
      // An inline box around a larger child.
      return null;
    }
    const parts = e.getClientRects();
    if (parts.length > 1 && style(e).display === 'inline') r = parts[0];
    let l = r.left, t = r.top, rt = r.right, b = r.bottom;
    let fixed = false, absolute = false;
    for (let p = e; p; p = up(p)) {
      const s = style(p);
      if (s.plain) continue;
      const covers = s.position !== 'static' || s.transform !== 'none';
      if (s.clipPath !== 'none' && clipped(s.clipPath)) return null;
      if (s.position === 'absolute' && s.clip !== 'auto' && /rect\((0px|1px)[, ]+(0px|1px)[, ]+(0px|1px)[, ]+(0px|1px)\)/.test(s.clip)) return null;
      if (p !== e && !fixed && (!absolute || covers) && p !== document.documentElement && p !== document.body) {
        const {x, y} = s;
        if (x === 'hidden' || x === 'clip' || y === 'hidden' || y === 'clip') {
          const q = p.getBoundingClientRect();
          if (x === 'hidden' || x === 'clip') { l = Math.max(l, q.left); rt = Math.min(rt, q.right); }
          if (y === 'hidden' || y === 'clip') { t = Math.max(t, q.top); b = Math.min(b, q.bottom); }
          if (rt - l < 1 || b - t < 1) return null;
        }
      }
      if (covers) absolute = false;
      if (s.position === 'absolute') absolute = true;
      if (s.position === 'fixed') fixed = true;
    }
    const d = document.documentElement;
    const x0 = fixed ? 0 : -scrollX, y0 = fixed ? 0 : -scrollY;
    const x1 = x0 + (fixed ? innerWidth : Math.max(d.scrollWidth, innerWidth)), y1 = y0 + (fixed ? innerHeight : Math.max(d.scrollHeight, innerHeight));
    l = Math.max(l, x0); t = Math.max(t, y0); rt = Math.min(rt, x1); b = Math.min(b, y1);
    return rt - l < 1 || b - t < 1 ? null : {l, t, r: rt, b, x: (l + rt) / 2, y: (t + b) / 2};
  };
  const clipped = (path) => {
    const m = /^inset\(([\d.]+)(%|px)(?:\s+([\d.]+)(%|px))?/.exec(path);
    if (m) return m[2] === '%' && Number(m[1]) >= 50 || m[4] === '%' && Number(m[3]) >= 50;
    return /^(circle|ellipse)\(0(px|%)?[ )]/.test(path) || path === 'polygon(0px 0px, 0px 0px, 0px 0px)';
  };

  // place is where a person sees an element: its own box, or that of its label
  // for a box that is drawn by its label alone.
  const place = (e) => {
    const own = box(e);
    if (own || !(e.tagName === 'INPUT' && (e.type === 'checkbox' || e.type === 'radio'))) return own && {at: e, box: own};
    for (const l of e.labels || []) {
      const b = box(l);
      if (!b) continue;
      // Not where the label has a link, such as to the terms.
      const spots = [[b.x, b.y], ...[...l.getClientRects(), ...[...l.children].map((c) => c.getBoundingClientRect())].map((r) => [r.left + Math.min(8, r.width / 2), r.top + r.height / 2])];
      for (const [x, y] of spots) {
        const h = hit(x, y);
        const own = h?.closest('a, button, input, select, textarea, [role="button"], [role="link"]');
        if (h && holds(l, h) && (!own || own === e || !holds(l, own))) return {at: l, box: {...b, x, y}};
      }
      // Out of sight, or all of it covered.
      return {at: l, box: b};
    }
    return null;
  };
  const hit = (x, y) => {
    let e = document.elementFromPoint(x, y);
    while (e && e.shadowRoot) {
      const inner = e.shadowRoot.elementFromPoint(x, y);
      if (!inner || inner === e) break;
      e = inner;
    }
    return e;
  };
  const covered = (e, p) => {
    const {x, y} = p.box;
    if (x < 0 || y < 0 || x >= innerWidth || y >= innerHeight) return false;
    const h = hit(x, y);
    if (!h || holds(p.at, h) || holds(e, h)) return false;
    const label = h.closest('label');
    if (label && label.control === e || p.at.tagName === 'LABEL' && p.at.control === h) return false;
    if (!holds(h, p.at)) return true;
    // An outer element at the point: the inner one takes no clicks, or is in a
    // closed root, whose host stands for all of it.
    const root = p.at.getRootNode();
    return !(style(p.at).pointerEvents === 'none' || root instanceof ShadowRoot && root.mode === 'closed' && root.host === h);
  };

  // shown is the text of an element without what stands in fields.
  const shown = (e) => {
    if (e.tagName === 'INPUT') return ['button', 'submit', 'reset'].includes(e.type) ? e.value || (e.type === 'submit' ? 'Submit' : '') : '';
    if (e.tagName === 'TEXTAREA' || e.isContentEditable) return '';
    if (e.tagName === 'SELECT') return '';
    let text = e.innerText || '';
    for (const f of e.querySelectorAll('textarea, [contenteditable]')) {
      const t = f.isContentEditable ? f.innerText : f.value;
      if (t) text = text.split(t).join('');
    }
    return text;
  };
  // strip takes the values of fields out of a name that was computed from them.
  const strip = (text, e) => {
    const roots = [e, ...(e.labels || [])];
    for (const id of (e.getAttribute('aria-labelledby') || '').split(/\s+/)) {
      const r = id && e.getRootNode().getElementById?.(id);
      if (r) roots.push(r);
    }
    for (const r of roots) {
      if (editable(r)) text = without(text, r);
      for (const f of r.querySelectorAll('input, textarea, [contenteditable]')) if (editable(f)) text = without(text, f);
    }
    return text;
  };
  const without = (text, f) => {
    const v = f.isContentEditable ? f.innerText : f.value;
    return v && v.trim() ? text.split(v).join('').split(v.replace(/\s+/g, ' ').trim()).join('') : text;
  };

  const implicit = {A: 'link', BUTTON: 'button', TEXTAREA: 'textbox', SELECT: 'combobox', IMG: 'img', H1: 'heading', H2: 'heading', H3: 'heading', H4: 'heading', H5: 'heading', H6: 'heading', DIALOG: 'dialog', SUMMARY: 'button', LI: 'listitem', TABLE: 'table', TR: 'row', TD: 'cell', FORM: 'form', NAV: 'navigation', P: 'paragraph'};
  const inputs = {button: 'button', submit: 'button', reset: 'button', image: 'button', checkbox: 'checkbox', radio: 'radio', range: 'slider', number: 'spinbutton', search: 'searchbox'};
  // Only a browser that we did not start lacks computedRole and computedName;
  // what follows is the common part of the accessible name specification.
  const role = (e) => e.computedRole ?? ((e.getAttribute('role') || '').trim().split(/\s+/)[0] || (e.tagName === 'INPUT' ? inputs[e.type] || 'textbox' : e.tagName === 'A' && !e.hasAttribute('href') ? 'generic' : implicit[e.tagName] || 'generic'));
  const fromContent = new Set(['button', 'link', 'checkbox', 'radio', 'switch', 'tab', 'menuitem', 'option', 'heading', 'cell', 'row']);
  const name = (e) => {
    if (e.computedName !== undefined) return e.computedName;
    const by = (e.getAttribute('aria-labelledby') || '').split(/\s+/).map((i) => i && e.getRootNode().getElementById?.(i)).filter(Boolean);
    if (by.length) return by.map((b) => b.getAttribute('aria-label') || b.textContent).join(' ');
    return e.getAttribute('aria-label')?.trim() || [...e.labels || []].map((l) => l.innerText).join(' ') || e.getAttribute('alt') ||
      (fromContent.has(role(e)) && (shown(e) || [...e.querySelectorAll('img[alt], [aria-label]')].map((i) => i.getAttribute('aria-label') || i.alt).join(' ')) || '') ||
      e.getAttribute('title') || e.getAttribute('placeholder') || '';
  };

  const speaks = (e) => {
    for (let n = e.firstChild; n; n = n.nextSibling) if (n.nodeType === 3 && /\S/.test(n.data)) return true;
    return false;
  };
  const wanted = (e) => {
    switch (e.tagName) {
      case 'A': case 'AREA': return e.hasAttribute('href') || speaks(e);
      case 'BUTTON': case 'SELECT': case 'TEXTAREA': case 'SUMMARY': case 'LABEL': case 'DIALOG': return true;
      case 'INPUT': return e.type !== 'hidden';
      case 'IMG': return !!e.alt;
    }
    const r = e.getAttribute('role');
    return r && controls.has(r) || e.hasAttribute('tabindex') || e.hasAttribute('onclick') || e.hasAttribute('contenteditable') || speaks(e);
  };

  const look = ({css}, ...owners) => {
    styles = new Map();
    const out = [], matched = new Map();
    const walk = (root) => {
      css.forEach((sel, i) => {
        try {
          for (const e of root.querySelectorAll(sel)) matched.has(e) ? matched.get(e).push(i) : matched.set(e, [i]);
        } catch { /* not a selector that this browser knows */ }
      });
      for (let e = root.firstElementChild; e; e = e.nextElementSibling) visit(e);
    };
    const visit = (e) => {
      if (out.length >= maxElements || skip.has(e.tagName) || !(e instanceof HTMLElement) && !matched.has(e)) return;
      const isBox = e.tagName === 'INPUT' && (e.type === 'checkbox' || e.type === 'radio');
      if (style(e).display === 'none' && !isBox) return;
      if (matched.has(e) || wanted(e)) {
        const p = place(e);
        if (p) out.push(describe(e, p));
      }
      if (e.shadowRoot) walk(e.shadowRoot);
      for (let c = e.firstElementChild; c; c = c.nextElementSibling) visit(c);
    };
    const describe = (e, p) => {
      let id = ids.get(e);
      if (!id) { ids.set(e, id = ++last); elements.set(id, new WeakRef(e)); }
      const d = {i: id, t: e.tagName.toLowerCase(), r: role(e) || ''};
      const isField = field(e);
      const n = cut(strip(name(e) || '', e), maxName), text = cut(shown(e), maxText);
      if (n) d.n = n;
      if (text) d.x = text;
      if (e.labels?.length) d.l = cut(strip([...e.labels].map((l) => l.innerText).join(' '), e), maxText);
      if (e.type && typeof e.type === 'string' && (e.tagName === 'INPUT' || e.tagName === 'BUTTON')) d.y = e.type;
      if (matched.has(e)) d.c = matched.get(e);
      if (e.matches(':disabled') || e.closest('[aria-disabled="true"], [inert]')) d.d = true;
      if (covered(e, p)) d.v = true;
      if (e.checked === true || e.getAttribute('aria-checked') === 'true') d.k = true;
      if (isField && (e.isContentEditable ? !e.innerText.trim() : !e.value)) d.e = true;
      if (e.maxLength > 0) d.m = e.maxLength;
      if (isField && e.name) d.g = e.name;
      return d;
    };
    if (document.documentElement) walk(document);
    const nav = performance.getEntriesByType('navigation')[0];
    return JSON.stringify({
      url: location.href, origin: self.origin, state: document.readyState, status: nav?.responseStatus || 0, elements: out,
      frames: owners.map((o) => {
        const b = o && o.isConnected && box(o);
        return b ? {w: b.r - b.l, h: b.b - b.t, c: covered(o, {at: o, box: b}), u: typeof o.src === 'string' ? o.src : ''} : null;
      }),
    });
  };

  const find = (id) => {
    const e = elements.get(id)?.deref();
    return e?.isConnected ? e : null;
  };
  // aim brings an element into sight and returns its middle, if a click there
  // is a click on it.
  const aim = (id) => {
    const e = find(id);
    return e ? target(e) : null;
  };
  const target = (e) => {
    styles = new Map();
    let p = place(e);
    if (!p) return null;
    const out = () => p.box.x < 0 || p.box.y < 0 || p.box.x >= innerWidth || p.box.y >= innerHeight;
    if (out() || covered(e, p)) {
      p.at.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});
      styles = new Map();
      p = place(e);
      if (!p || out() || covered(e, p)) return null;
    }
    return {x: p.box.x, y: p.box.y};
  };
  // through turns a point in a frame into one of this document.
  const through = (owner, x, y) => {
    styles = new Map();
    if (!owner?.isConnected || !box(owner)) return null;
    const at = () => {
      const r = owner.getBoundingClientRect(), s = getComputedStyle(owner);
      return {x: x + r.left + owner.clientLeft + parseFloat(s.paddingLeft), y: y + r.top + owner.clientTop + parseFloat(s.paddingTop)};
    };
    const out = (p) => p.x < 0 || p.y < 0 || p.x >= innerWidth || p.y >= innerHeight;
    let p = at();
    if (out(p)) {
      owner.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});
      p = at();
      if (out(p)) scrollBy({left: p.x - innerWidth / 2, top: p.y - innerHeight / 2, behavior: 'instant'});
      p = at();
    }
    if (out(p)) return null;
    // A closed root shows its host at the point.
    const h = hit(p.x, p.y);
    return h === owner || owner.getRootNode().mode === 'closed' && owner.getRootNode().host === h ? p : null;
  };
  const active = () => {
    let e = document.activeElement;
    while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
    return e;
  };
  // arm notes whether the next click comes here at all: a frame with a process
  // of its own gets none before it is drawn.
  let came = false;
  const arm = () => {
    came = false;
    addEventListener('mousedown', () => { came = true; }, {capture: true, once: true});
    return true;
  };
  const arrived = () => ({on: came});
  // grab readies a field for typing: focused, with all it holds selected.
  const grab = (id) => {
    const e = find(id);
    if (!e || e.matches(':disabled') || e.readOnly) return null;
    if (active() !== e && !holds(e, active())) e.focus();
    if (e.isContentEditable) getSelection().selectAllChildren(e);
    else if (e.select) e.select();
    else return null;
    return {on: true};
  };
  // type writes over what grab selected, a character at a time, all in one turn:
  // no other page comes in between, and no key goes where the focus was led.
  const type = (id, text) => {
    let e = find(id), written = 0;
    if (!e || !grab(id)) return false;
    for (const c of text) {
      const a = active();
      if (a !== e && !holds(e, a)) {
        if (written === 1 && handsOn(e, a)) {
          e = a;
          written = 0;
        } else {
          e.focus();
          if (!e.isConnected || active() !== e) return false;
        }
      }
      Document.prototype.execCommand.call(document, 'insertText', false, c);
      written++;
    }
    return true;
  };
  // handsOn reports whether a field of one character gives the next one to
  // another field. None but such a field may.
  const handsOn = (e, a) => a?.tagName === 'INPUT' && editable(a) && !a.readOnly && !a.value && a.type === e.type &&
    (e.maxLength === 1 && a.maxLength === 1 || e.type !== 'password' && e.offsetWidth < 100 && a.offsetWidth < 100);
  const choose = (id, text) => {
    const e = find(id);
    if (!e || e.tagName !== 'SELECT' || e.disabled) return null;
    const norm = (s) => s.replace(/\s+/g, ' ').trim();
    const fit = [...e.options].filter((o) => !o.disabled && norm(o.label || o.text) === norm(text));
    if (fit.length !== 1) return null;
    e.focus();
    if (!fit[0].selected) {
      fit[0].selected = true;
      e.dispatchEvent(new InputEvent('input', {bubbles: true, composed: true}));
      e.dispatchEvent(new Event('change', {bubbles: true}));
    }
    return true;
  };
  const checked = (id) => {
    const e = find(id);
    return e && {on: e.checked === true || e.getAttribute('aria-checked') === 'true'};
  };
  // read returns base64 of UTF-8, which needs no escapes on its way.
  const read = (id) => {
    const e = find(id);
    if (!e) return null;
    const text = e.tagName === 'INPUT' || e.tagName === 'TEXTAREA' || e.tagName === 'SELECT' ? e.value : e.innerText ?? e.textContent;
    return new TextEncoder().encode(text.trim()).toBase64?.() ?? btoa(String.fromCharCode(...new TextEncoder().encode(text.trim())));
  };
  const ready = () => new Promise((done) => {
    if (document.readyState !== 'loading') done(true);
    else document.addEventListener('DOMContentLoaded', () => done(true), {once: true});
  });

  globalThis.agentkeys = {look, aim, through, arm, arrived, grab, type, choose, checked, read, ready};
})();
