package sites

// markupVariants change how a page is written, and not what it says.
func markupVariants() []Change {
	return []Change{
		{Name: "new-ids", What: "every id is another one in every page", Want: passes(), pages: script(`
			watch('[id]', e => { const was = e.id, to = 'x' + Math.random().toString(36).slice(2);
				for (const l of document.querySelectorAll('label')) if (l.htmlFor === was) l.htmlFor = to;
				const find = document.getElementById.bind(document);
				document.getElementById = id => id === was ? e : find(id);
				e.id = to; });`)},
		{Name: "new-classes", What: "every class has another name", Want: passes(), pages: script(`
			watch('[class]', e => { e.className = 'c' + Math.random().toString(36).slice(2); });`)},
		{Name: "div-buttons", What: "buttons are div elements with a role", Want: passes(), pages: script(`
			watch(BUTTONS, e => { const d = document.createElement('div'); d.dataset.variant = ''; d.setAttribute('role', 'button'); d.tabIndex = 0;
				d.textContent = named(e).trim(); d.style.cssText = 'display:inline-block;padding:6px;border:1px solid';
				d.onclick = () => e.click(); e.after(d); e.style.display = 'none'; });`)},
		{Name: "nested-names", What: "the text of a button is in parts, with a picture", Want: passes(), pages: script(`
			watch('button', e => { const words = e.textContent.trim().split(/\s+/);
				e.innerHTML = '<svg width="9" height="9" aria-hidden="true"></svg>';
				words.forEach((w, i) => { const s = document.createElement('span'); s.dataset.variant = ''; s.textContent = (i ? ' ' : '') + w; e.append(s); }); });`)},
		{Name: "upper-case", What: "buttons shout", Want: passes(), pages: script(`watch(BUTTONS, e => name(e, named(e).toUpperCase()));`)},
		{Name: "white-space", What: "names hold line breaks, tabs and many blanks", Want: passes(), pages: script(`
			watch(BUTTONS, e => name(e, '\n\t  ' + named(e).trim().split(/\s+/).join(' \n  ') + '   '));`)},
		{Name: "hard-spaces", What: "names hold no-break spaces", Want: passes("missing"), pages: script(`
			watch(BUTTONS, e => name(e, named(e).trim().split(/\s+/).join('\u00a0')));`)},
		{Name: "zero-width", What: "names hold characters of no width", Want: passes("missing"), pages: script(`
			watch(BUTTONS, e => name(e, [...named(e).trim()].join('\u200b')));`)},
		{Name: "right-to-left", What: "labels and names run the other way", Want: passes("missing"), pages: script(`
			const back = t => '\u202e' + [...t.trim()].reverse().join('') + '\u202c';
			watch(BUTTONS, e => name(e, back(named(e))));
			watch('label', e => { for (const n of e.childNodes) if (n.nodeType === 3 && n.data.trim()) n.data = back(n.data); });`)},
		{Name: "homoglyphs", What: "names have Cyrillic letters that look the same", Want: passes("missing"), pages: script(`
			const swap = t => t.replace(/[aeopc]/g, c => ({a: '\u0430', e: '\u0435', o: '\u043e', p: '\u0440', c: '\u0441'})[c]);
			watch(BUTTONS, e => name(e, swap(named(e))));`)},
		{Name: "unknown-names", What: "buttons and links have names that nobody has heard of, and no hooks", Want: stops("missing"), pages: script(`
			watch(BUTTONS + ', a, [role=tab], [role=link]', e => { name(e, 'Zorble ' + Math.random().toString(36).slice(2, 6)); e.className = '';
				for (const a of [...e.attributes]) if (a.name.startsWith('data-') || a.name === 'title' || a.name === 'aria-label') e.removeAttribute(a.name);
				if (e.id) { const was = e.id, find = document.getElementById.bind(document); document.getElementById = id => id === was ? e : find(id); e.removeAttribute('id'); } });`)},
		{Name: "foreign-labels", What: "fields are labelled in another language", Want: passes("missing"), pages: script(`
			watch('label', e => { for (const n of e.childNodes) if (n.nodeType === 3 && n.data.trim()) n.data = 'Etiqueta'; });
			watch(FIELDS, e => { if (e.placeholder) e.placeholder = 'Escriba'; e.removeAttribute('aria-label'); });`)},
		{Name: "no-labels", What: "fields have no label at all", Want: passes("missing"), pages: script(`
			watch('label', e => { e.removeAttribute('for'); for (const n of e.childNodes) if (n.nodeType === 3) n.data = ''; });
			watch(FIELDS, e => { e.removeAttribute('aria-label'); e.removeAttribute('placeholder'); });`)},
		{Name: "open-shadow", What: "buttons are in open shadow roots", Want: passes(), pages: script(shadow("open"))},
		{Name: "closed-shadow", What: "buttons are in closed shadow roots", Want: passes("missing"), pages: script(shadow("closed"))},
		{Name: "shrunk", What: "the page is drawn at half its size", Want: passes(), pages: script(`
			ready(() => { document.body.style.transform = 'scale(.5)'; document.body.style.transformOrigin = '0 0'; });`)},
		{Name: "far-down", What: "everything is 6,000 pixels down", Want: passes(), pages: first(`<div data-variant style="height:6000px">Welcome.</div>`)},
		{Name: "inner-scroll", What: "the page scrolls inside a small box", Want: passes(), pages: script(`
			ready(() => { document.body.style.cssText += ';height:180px;overflow:auto;padding-top:300px;box-sizing:border-box'; });`)},
		{Name: "utf-16", What: "pages come in UTF-16", Want: passes(), pages: editing(inUTF16)},
		{Name: "deep", What: "elements are nested 3,000 deep beside the form", Want: passes(), pages: last(deepHTML)},
		{Name: "no-scripts", What: "a policy of the page forbids scripts", Want: passes("missing", "unusable"), pages: editing(func(e *edited) {
			e.header.Add("Content-Security-Policy-Report-Only", "default-src 'none'")
			if e.html() {
				e.body = atTop(e.body, `<meta http-equiv="Content-Security-Policy" content="script-src 'none'; require-trusted-types-for 'script'">`)
			}
		})},
	}
}

func shadow(mode string) string {
	return `watch(BUTTONS, e => { const host = document.createElement('span'); host.dataset.variant = '';
		const root = host.attachShadow({mode: '` + mode + `'}), b = document.createElement('button');
		b.type = 'button'; b.textContent = named(e).trim(); b.onclick = () => e.click();
		const same = () => { b.disabled = e.disabled; }; same(); new MutationObserver(same).observe(e, {attributes: true});
		root.append(b); e.after(host); e.style.display = 'none'; });`
}
