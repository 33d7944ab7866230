// For a browser that we did not start, whose new windows cannot be stopped
// before they ask for something: what would open one stays in the tab.
(() => {
  if (globalThis.agentkeys) {
    const stay = (e) => { if (e?.target?.toLowerCase?.() === '_blank') e.target = '_self'; };
    addEventListener('click', (ev) => { for (const n of ev.composedPath()) stay(n); }, true);
    addEventListener('submit', (ev) => { stay(ev.target); ev.submitter?.removeAttribute('formtarget'); }, true);
    return;
  }
  window.open = (u) => { if (u) location.href = new URL(u, document.baseURI); return null; };
})();
