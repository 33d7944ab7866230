package chrome

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// Some of what a browser offers opens a window without a page's asking for one,
// which asks for its first document before anybody hears of it. There is none of
// it here, and no host's document comes from another.
func TestNoWindowsOfTheBrowsersOwn(t *testing.T) {
	s := newSite(t)
	for path, answer := range map[string]string{
		"/.well-known/web-identity": `{"provider_urls":["https://` + evil + `/fedcm.json"]}`,
		"/fedcm.json":               `{"accounts_endpoint":"/accounts","client_metadata_endpoint":"/meta","id_assertion_endpoint":"/token","login_url":"/login"}`,
	} {
		s.handle(evil+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, answer)
		})
	}
	s.handle(evil+"/accounts", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	s.page(evil+"/login", `<p>caught`)
	var accept string
	s.handle(shop+"/", func(w http.ResponseWriter, r *http.Request) {
		accept = r.Header.Get("Accept")
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<p id=out>-</p><button id=sign>Sign in</button><button id=pay>Pay</button><script>
			const told = p => p.then(() => 'yes', e => e.name).then(s => out.textContent += ' ' + s);
			sign.onclick = () => told((async () => navigator.credentials.get({identity: {mode: 'active', providers: [{configURL: 'https://`+evil+`/fedcm.json', clientId: 'x'}]}}))());
			pay.onclick = () => told((async () => new PaymentRequest([{supportedMethods: 'https://`+evil+`/pay'}], {total: {label: 'x', amount: {currency: 'USD', value: '1'}}}).show())())</script>`)
	})
	r := launch(t, s)
	r.proxy.listed = func(string) bool { return true }
	r.open(shop + "/")
	r.click("#sign")
	r.until("an answer", func(recipe.View) bool { return len(strings.Fields(r.read("#out"))) == 2 })
	r.click("#pay")
	r.until("an answer", func(recipe.View) bool { return len(strings.Fields(r.read("#out"))) == 3 })
	if v := s.visited(evil); len(v) > 0 {
		t.Errorf("the other host was asked for %q", v)
	}
	if strings.Contains(accept, "signed-exchange") {
		t.Errorf("a host may answer with what another has signed: %s", accept)
	}
}

// No name is looked up by the browser itself: not for what WebRTC connects to
// either, nor on the local network.
func TestNamesAreTheProxys(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<p id=out>-</p><script>(async () => {
		const p = new RTCPeerConnection({iceServers: [{urls: ['turn:turn.canary.example:3478?transport=tcp', 'stun:stun.canary.example:3478'], username: 'a', credential: 'b'}]}), q = new RTCPeerConnection();
		p.createDataChannel('x');
		await p.setLocalDescription(await p.createOffer());
		await q.setRemoteDescription(p.localDescription);
		await q.setLocalDescription(await q.createAnswer());
		await p.setRemoteDescription(q.localDescription);
		const add = (name, i) => p.addIceCandidate({candidate: 'candidate:' + i + ' 1 udp 2122260222 ' + name + ' 5000 typ host', sdpMid: '0'});
		await add('host.canary.example', 3);
		await add('canary.local', 4);
		out.textContent = 'done' })()</script>`)
	// The browser writes down what its network does.
	path, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	wrapped := filepath.Join(filepath.Dir(passableDir(t)), "browser.sh")
	if err := os.WriteFile(wrapped, []byte("#!/bin/sh\nexec '"+path+"' --log-net-log=\"$HOME/net.json\" \"$@\"\n"), 0o755); err != nil { //nolint:gosec // Another user runs it.
		t.Fatal(err)
	}
	r := launch(t, s, func(o *Options) { o.Path = wrapped })
	asked := make(chan struct{})
	once := sync.OnceFunc(func() { close(asked) })
	r.proxy.listed = func(host string) bool {
		if host == "turn.canary.example" {
			once()
		}
		return host == shop
	}
	r.open(shop + "/")
	r.until("the candidates", func(recipe.View) bool { return r.read("#out") == "done" })
	<-asked // what goes by the proxy is refused there
	var log string
	s.page(shop+"/mark", `<p>x`)
	for strings.Count(log, shop+"/mark") < 3 { // what was before is written by then
		r.open(shop + "/mark")
		b, err := os.ReadFile(filepath.Join(r.profile.dir, "net.json"))
		if err != nil {
			t.Fatal(err)
		}
		log = string(b)
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "canary") && !strings.Contains(line, `"line":"CONNECT `) {
			t.Errorf("the browser looks a name up: %s", line)
		}
	}
}
