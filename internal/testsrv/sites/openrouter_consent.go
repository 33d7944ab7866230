package sites

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"
)

// byAddress is the host of routes that answer to whoever has no name for the
// site, only an address.
const byAddress = "by-address"

// ConsentUser is who agrees at the site's address, where nobody can be signed
// in: its cookies are for its names.
const ConsentUser = "owner@openrouter.test"

// consentLife is how long a consent waits to be used.
const consentLife = 10 * time.Minute

// consent is one that is asked for (request) or was given (code).
type consent struct {
	account             string
	callback, challenge string
	given               bool
	until               time.Time
}

// consentRoutes play OpenRouter's form of OAuth with PKCE: no client is
// registered, and the callback comes with each request. At the site's address
// anybody is its owner, at its name who is signed in.
func consentRoutes() []route {
	ask := func(c *call) answer { return c.askConsent() }
	give := func(c *call) answer { return c.giveConsent() }
	return []route{
		{on: "GET /auth", signedIn: true, do: ask},
		{on: "POST /auth", signedIn: true, do: give},
		{host: byAddress, on: "GET /auth", open: true, do: ask},
		{host: byAddress, on: "POST /auth", open: true, do: give},
	}
}

var consentBody = body(`<form class="card" method="post" action="/auth"><h1>Authorize {{.Client}}</h1>
<p class="sub">It wants to make a key that spends your credits. You are {{.Who}}.</p>
<input type="hidden" name="csrf" value="{{.CSRF}}"><input type="hidden" name="request" value="{{.Request}}">
<button class="main" name="answer" value="authorize">Authorize</button>
<button class="full" name="answer" value="cancel">Cancel</button></form>`)

// callbackTo returns where a consent may lead: https, or this machine.
func callbackTo(raw string) (*url.URL, bool) {
	u, err := url.Parse(raw)
	return u, err == nil && u.User == nil && u.Fragment == "" &&
		(u.Scheme == "https" && u.Hostname() != "" || u.Scheme == "http" && u.Hostname() == "localhost")
}

func (c *call) askConsent() answer {
	q := c.URL.Query()
	back, ok := callbackTo(q.Get("callback_url"))
	switch {
	case !ok:
		return notice(http.StatusBadRequest, "Invalid callback", "The callback URL must be https, or http://localhost.")
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		return notice(http.StatusBadRequest, "Invalid request", "A code challenge of method S256 is needed.")
	}
	who := ConsentUser
	if a := c.account(); a != nil {
		who = a.Address
	}
	id := c.s.keepConsent(consent{account: who, callback: back.String(), challenge: q.Get("code_challenge")})
	return answer{page: &page{title: "Authorize", body: consentBody, data: map[string]any{"Client": back.Host, "Who": who, "Request": id}}}
}

func (c *call) giveConsent() answer {
	asked, ok := c.s.takeConsent(c.field("request"), false)
	if a := c.account(); !ok || a != nil && a.Address != asked.account {
		return notice(http.StatusBadRequest, "Invalid request", "This request has expired. Start again.")
	}
	back, _ := callbackTo(asked.callback)
	q := back.Query()
	if c.field("answer") == "authorize" {
		if c.s.find(asked.account) == nil {
			c.s.confirm(c.s.join(asked.account, ""))
		}
		asked.given = true
		q.Set("code", c.s.keepConsent(asked))
	} else {
		q.Set("error", "access_denied")
	}
	back.RawQuery = q.Encode()
	return answer{to: back.String()}
}

// ConsentAPI is the endpoint that turns a code into a key, as it stands below
// the base of OpenRouter's API. It fits testsrv.Options.Extra.
func (s *Site) ConsentAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/auth/keys", func(w http.ResponseWriter, r *http.Request) {
		status, out := s.exchange(io.LimitReader(r.Body, maxForm))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(out)
	})
	return mux
}

func (s *Site) exchange(from io.Reader) (status int, out any) {
	no := func(status int, why string) (int, any) {
		return status, map[string]any{"error": map[string]any{"code": status, "message": why}}
	}
	var q struct {
		Code     string `json:"code"`
		Verifier string `json:"code_verifier"`
		Method   string `json:"code_challenge_method"`
	}
	if json.NewDecoder(from).Decode(&q) != nil || q.Code == "" {
		return no(http.StatusBadRequest, "Invalid request")
	}
	given, ok := s.takeConsent(q.Code, true) // once, whatever comes of it
	sum := sha256.Sum256([]byte(q.Verifier))
	switch {
	case q.Method != "S256":
		return no(http.StatusBadRequest, "Invalid code_challenge_method")
	case !ok || base64.RawURLEncoding.EncodeToString(sum[:]) != given.challenge:
		return no(http.StatusForbidden, "Invalid code or code_verifier")
	}
	key, _ := s.make(given.account, "authorized")
	return http.StatusOK, map[string]any{"key": key, "user_id": "user_" + random(20, alnum)}
}

// keepConsent keeps one under a name that nobody guesses.
func (s *Site) keepConsent(k consent) string {
	id := random(43, urlSafe)
	s.mu.Lock()
	defer s.mu.Unlock()
	k.until = s.opts.Now().Add(consentLife)
	s.consents[digestOf(id)] = k
	return id
}

// takeConsent returns one that is still good, and forgets it.
func (s *Site) takeConsent(id string, given bool) (consent, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.consents[digestOf(id)]
	delete(s.consents, digestOf(id))
	return k, ok && k.given == given && s.opts.Now().Before(k.until)
}

// confirm notes that the address of an account is its owner's.
func (s *Site) confirm(a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Confirmed = true
}
