package sites

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"
)

// digest is what is kept of a cookie, a token, a code or a key.
type digest [sha256.Size]byte

func digestOf(text string) digest { return sha256.Sum256([]byte(text)) }

// Account is what a Site knows of somebody.
type Account struct {
	Address string
	// Confirmed: the owner of the address has shown that it is theirs.
	Confirmed bool
	// Asked is how often somebody asked to sign up with the address, and Logins
	// how often somebody came in.
	Asked, Logins int
	Phone         bool // a number was confirmed
}

// account is kept without its password.
type account struct {
	Account
	salt, password []byte // nil: there is none
}

// session is what a cookie stands for.
type session struct {
	csrf    string
	account *account          // nil: nobody is signed in
	pending string            // address that this session wants confirmed
	data    map[string]string // of the pages
}

// Accounts returns who signed up, in that order.
func (s *Site) Accounts() (list []Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		list = append(list, a.Account)
	}
	return list
}

// resume returns the session of a request's cookie, or begins one.
func (s *Site) resume(c *call) *session {
	if cookie, err := c.Cookie(s.plan.cookie); err == nil {
		s.mu.Lock()
		ses, spent := s.sessions[digestOf(cookie.Value)], s.spent[digestOf(cookie.Value)]
		s.mu.Unlock()
		switch {
		case ses != nil:
			return ses
		case spent:
			// A request that was under way while somebody signed in must not take
			// the new cookie away again.
			return &session{csrf: random(43, urlSafe), data: map[string]string{}}
		}
	}
	return s.begin(c, &session{data: map[string]string{}})
}

// begin gives the browser a cookie for a session. Its form token is new.
func (s *Site) begin(c *call, ses *session) *session {
	id := random(43, urlSafe)
	ses.csrf = random(43, urlSafe)
	s.mu.Lock()
	s.sessions[digestOf(id)] = ses
	s.mu.Unlock()
	http.SetCookie(c.w, &http.Cookie{
		Name: s.plan.cookie, Value: id, Path: "/", Domain: s.plan.domain,
		MaxAge: 7 * 24 * 3600, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return ses
}

// account is who is signed in, nil for nobody.
func (c *call) account() *account {
	if c.session == nil {
		return nil
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.session.account
}

// enterAs signs somebody in. The session before that is worth nothing then:
// whoever gave a victim its cookie would be signed in too.
func (c *call) enterAs(a *account) {
	if cookie, err := c.Cookie(c.s.plan.cookie); err == nil {
		c.s.mu.Lock()
		if d := digestOf(cookie.Value); c.s.sessions[d] != nil {
			delete(c.s.sessions, d)
			c.s.spent[d] = true
		}
		c.s.mu.Unlock()
	}
	c.s.mu.Lock()
	a.Confirmed = true
	a.Logins++
	data := map[string]string{}
	if c.session != nil {
		data = c.session.data
	}
	c.s.mu.Unlock()
	c.session = c.s.begin(c, &session{account: a, data: data})
}

// leave signs the browser out.
func (c *call) leave() {
	c.s.mu.Lock()
	c.session.account, c.session.pending = nil, ""
	c.s.mu.Unlock()
}

// find returns the account of an address, nil if there is none.
func (s *Site) find(address string) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if strings.EqualFold(a.Address, address) {
			return a
		}
	}
	return nil
}

// join notes that an address wants an account. password "" leaves it without.
// Until it is confirmed, whoever asks last sets the password.
func (s *Site) join(address, password string) *account {
	a := s.find(address)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a == nil {
		a = &account{Account: Account{Address: strings.ToLower(address)}}
		s.accounts = append(s.accounts, a)
	}
	a.Asked++
	if !a.Confirmed && password != "" {
		a.salt = make([]byte, 16)
		_, _ = rand.Read(a.salt)
		a.password = stretch(password, a.salt)
	}
	return a
}

// knows reports whether a password is that of the account.
func (a *account) knows(password string) bool {
	return a.password != nil && subtle.ConstantTimeCompare(a.password, stretch(password, a.salt)) == 1
}

// stretch digests a password, with few rounds: those kept here are made up.
func stretch(password string, salt []byte) []byte {
	sum, err := pbkdf2.Key(sha256.New, password, salt, 4096, sha256.Size)
	if err != nil {
		panic(err) // salt and length are ours
	}
	return sum
}

// plausible reports whether a text may be a mail address, as a form does.
func plausible(address string) bool {
	local, domain, ok := strings.Cut(address, "@")
	return ok && local != "" && strings.Contains(domain, ".") && len(address) <= 254 && !strings.ContainsAny(address, " \t\r\n<>\"")
}

// rate counts what one peer or session sent within a minute.
type rate struct {
	since time.Time
	n     int
}

// allow counts a form, and reports whether peer and session may send it.
func (s *Site) allow(c *call) bool {
	peer, _, _ := strings.Cut(c.RemoteAddr, ":")
	names := []string{"peer " + peer, "session " + c.session.csrf}
	now := s.opts.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := true
	for _, n := range names {
		r := s.rates[n]
		if r == nil || now.Sub(r.since) >= time.Minute {
			r = &rate{since: now}
			s.rates[n] = r
		}
		r.n++
		ok = ok && r.n <= s.opts.Rate
	}
	return ok
}
