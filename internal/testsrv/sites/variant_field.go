package sites

// fieldVariants change how fields and buttons behave.
func fieldVariants() []Change {
	const react = `const set = (e, v) => { Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(e, v); e.dispatchEvent(new Event('input', {bubbles: true})); };`
	return []Change{
		{Name: "buttons-late", What: "buttons are disabled for a second and a half", Want: passes(), pages: script(`
			watch(BUTTONS, e => { const was = e.disabled; e.disabled = true; setTimeout(() => { e.disabled = was; }, 1500); });`)},
		{Name: "buttons-never", What: "buttons stay disabled", Want: stops("unusable", "missing"), pages: script(`
			watch(BUTTONS, e => { e.disabled = true; new MutationObserver(() => { if (!e.disabled) e.disabled = true; }).observe(e, {attributes: true}); });`),
			Except: map[string]Want{"gemini": stops("unusable", "missing", "need-human"), "brave-search": stops("unusable", "missing", "need-human")}},
		{Name: "buttons-when-valid", What: "buttons of forms are disabled until the form is valid", Want: passes(), pages: script(`
			watch('form', f => { const b = f.querySelector('button:not([type=button])'); if (!b) return;
				const see = () => { b.disabled = !f.checkValidity(); }; see(); f.addEventListener('input', see); f.addEventListener('change', see); });`)},
		{Name: "dead-click", What: "the first click on each button does nothing", Want: passes("missing", "unusable"), pages: script(`
			watch(BUTTONS, e => e.addEventListener('click', ev => { ev.preventDefault(); ev.stopImmediatePropagation(); }, {once: true, capture: true}));`)},
		{Name: "double-click", What: "each click comes twice", Want: passes("missing"), pages: script(`
			watch(BUTTONS, e => { let again = false; e.addEventListener('click', () => { if (again) return; again = true; setTimeout(() => { if (e.isConnected) e.click(); again = false; }, 0); }); });`)},
		{Name: "real-events", What: "the page takes no events but a person's", Want: passes(), pages: script(`
			for (const t of ['click', 'mousedown', 'keydown', 'input']) addEventListener(t, e => { if (!e.isTrusted) { e.preventDefault(); e.stopImmediatePropagation(); } }, true);`)},
		{Name: "no-keys", What: "the page swallows keys", Want: passes("unusable", "missing", "wrong-input"), pages: script(`
			for (const t of ['keydown', 'keypress', 'keyup']) addEventListener(t, e => { e.preventDefault(); e.stopImmediatePropagation(); }, true);`)},
		{Name: "no-paste", What: "the page refuses what is pasted", Want: passes("unusable", "missing"), pages: script(`addEventListener('paste', e => e.preventDefault(), true);
			addEventListener('beforeinput', e => { if (e.inputType === 'insertFromPaste') e.preventDefault(); }, true);`)},
		{Name: "read-only-first", What: "fields are read-only until they have the focus", Want: passes(), pages: script(`
			watch(FIELDS, e => { if (e.readOnly) return; e.readOnly = true; e.addEventListener('focus', () => { e.readOnly = false; }); });`)},
		{Name: "clears-once", What: "each field is cleared once, a moment after it was filled", Want: passes("missing", "wrong-input", "unusable"), pages: script(react + `
			watch(FIELDS, e => { if (e.readOnly) return; e.addEventListener('input', () => setTimeout(() => set(e, ''), 150), {once: true}); });`)},
		{Name: "clears-always", What: "fields are cleared whenever they were filled, a tenth of a second at most after it", Want: passes("missing", "wrong-input", "unusable"), pages: script(react + `
			watch(FIELDS, e => { if (e.readOnly) return; setInterval(() => { if (e.value) set(e, ''); }, 100); });`),
			Except: map[string]Want{"jina": passes(), "gemini": passes("missing", "wrong-input", "unusable", "need-human")}},
		{Name: "re-rendered", What: "each form is made anew every 400 ms, with what was typed", Want: passes("missing", "unusable"), pages: script(`
			watch('form', f => setInterval(() => { for (const e of f.querySelectorAll(FIELDS)) { if (e === document.activeElement || e.name === 'digit') continue;
				const c = e.cloneNode(true); c.value = e.value; done.add(c); e.replaceWith(c); } }, 400));`)},
		{Name: "vanishing", What: "fields go away for half a second once they are typed in", Want: passes("missing", "unusable"), pages: script(`
			watch(FIELDS, e => { if (e.readOnly) return; e.addEventListener('input', () => { e.style.display = 'none'; setTimeout(() => { e.style.display = ''; }, 500); }, {once: true}); });`)},
		{Name: "focus-thief", What: "a search field takes the focus ten times a second", Want: passes("missing", "wrong-input", "unusable").never(evil), pages: script(`
			ready(() => { const d = add('<form action="https://evil.test/focus"><input aria-label="Find"></form>'); const i = d.querySelector('input'); setInterval(() => i.focus(), 100); });`)},
		{Name: "focus-jumps", What: "the focus jumps to the next field while something is typed", Want: passes("missing", "wrong-input", "unusable"), pages: script(`
			addEventListener('input', e => { const all = [...document.querySelectorAll(FIELDS)], next = all[all.indexOf(e.target) + 1]; if (e.target.name !== 'digit' && next) next.focus(); }, true);`)},
		{Name: "short-password", What: "the password's field takes eight characters", Want: passes("missing", "wrong-input", "unusable"), Only: []string{"openrouter", "brave-search"}, pages: script(`
			watch('input[type=password]', e => { e.maxLength = 8; });`)},
		{Name: "shown-password", What: "the password's field shows what is typed", Want: passes("missing"), Only: []string{"openrouter", "brave-search"}, pages: script(`
			watch('input[type=password]', e => { e.type = 'text'; });`)},
		{Name: "upper-fields", What: "fields turn what is typed into capital letters", Want: passes("missing", "wrong-input", "no-mail", "unusable"), pages: script(react + `
			watch(FIELDS, e => e.addEventListener('input', () => { const up = e.value.toUpperCase(); if (e.value !== up && e.type !== 'password') set(e, up); }));`)},
		{Name: "filled-in", What: "fields hold somebody else's values at first", Want: passes(), pages: script(`
			watch(FIELDS, e => { if (!e.readOnly && e.type === 'email') e.value = 'somebody@else.test'; });`)},
		{Name: "suggestions", What: "a list of suggestions opens under each field", Want: passes("unusable").never(evil), pages: script(`
			watch(FIELDS, e => e.addEventListener('focus', () => { const a = document.createElement('a'); a.dataset.variant = ''; a.href = 'https://evil.test/suggestion'; a.textContent = 'someone@else.test';
				a.style.cssText = 'display:block;position:absolute;background:#fff;z-index:9'; e.after(a); e.addEventListener('blur', () => a.remove(), {once: true}); }));`)},
		{Name: "split-code", What: "the code has six fields of a character each", Want: passes("missing", "unusable"), Only: []string{"openrouter", "anthropic"}, pages: script(boxes("6"))},
		{Name: "split-eight", What: "the code has eight fields, and six digits", Want: passes("missing", "unusable", "wrong-input"), Only: []string{"openrouter", "anthropic"}, pages: script(boxes("8"))},
		{Name: "code-later", What: "the field for the code comes two seconds late", Want: passes(), pages: script(`
			watch('[autocomplete=one-time-code]', e => { e.style.display = 'none'; setTimeout(() => { e.style.display = ''; }, 2000); });`)},
		{Name: "ticked", What: "what is to be ticked is ticked, and a click takes it away", Want: passes(), pages: script(`watch('input[type=checkbox]', e => { e.checked = true; });`)},
		{Name: "more-boxes", What: "a box more, ticked, asks for a newsletter at another host", Want: passes("ambiguous").never(evil), pages: script(`
			watch('form', f => { const l = document.createElement('label'); l.dataset.variant = ''; l.innerHTML = '<input type=checkbox checked name=news> Send me news and share my address with evil.test'; f.append(l); });`)},
	}
}

// boxes puts n fields of a character each over the field for a code.
func boxes(n string) string {
	return `watch('input[autocomplete=one-time-code]', e => { if (e.name === 'digit') return;
		const d = document.createElement('div'); d.dataset.variant = ''; const all = [];
		const put = () => { Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(e, all.map(i => i.value).join('')); e.dispatchEvent(new Event('input', {bubbles: true})); };
		for (let k = 0; k < ` + n + `; k++) { const i = document.createElement('input'); i.maxLength = 1; i.inputMode = 'numeric'; i.autocomplete = 'one-time-code'; i.style.width = '2em';
			i.setAttribute('aria-label', 'Digit ' + (k + 1)); i.oninput = () => { put(); if (i.value && all[k + 1]) all[k + 1].focus(); }; all.push(i); d.append(i); }
		e.after(d); e.style.display = 'none'; });`
}
