package broker

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
)

// How many login mails go out in mailWindow: for one peer to one address, for
// all peers to one address, and for one peer. The second is higher, so that no
// single stranger can keep a person from logging in.
const (
	mailWindow   = 15 * time.Minute
	mailsFromTo  = 5
	mailsTo      = 30
	mailsFrom    = 20
	mailSendTime = 20 * time.Second
)

// beginMail keeps the login, counts it and sends its link. The mail goes out
// before the answer: what a mail server has taken over survives us, and so
// does the login.
func (b *Broker) beginMail(ctx context.Context, id, peer, address string, rec loginRecord) error {
	address, err := parseEmail(address)
	if err != nil {
		return err
	}
	secret := randomToken()
	rec.Email, rec.Token = address, digest("mail", id, secret)
	err = b.change(ctx, "mail/"+peer, func(*tries) error {
		writes, err := b.countMail(ctx, address, peer)
		if err != nil {
			return err
		}
		return b.apply(ctx, Change{Writes: append(writes, put(Key{kindLogin, id}, 0, rec, rec.Ends))})
	})
	if err != nil {
		return err
	}
	// Not the request's context: whoever hangs up would learn nothing, but the
	// mail is counted.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), mailSendTime)
	defer stop()
	link := b.o.Origin + "/login/mail#" + id + "." + secret
	if err := b.o.Mailer.Send(ctx, address, "Sign in to AgentKeys", fmt.Sprintf(mailText, link, int(LoginLife/time.Minute))); err != nil {
		// The mailer's own words may have the address, or the mail.
		b.o.Log.Warn("a login mail could not be sent", "type", fmt.Sprintf("%T", err))
		return fmt.Errorf("%w: the mail server", ErrUnavailable)
	}
	return nil
}

const mailText = `Somebody, we hope you, wants to sign in to AgentKeys on a device of theirs.

If it is you, open this link:

%s

It works once, within %d minutes. If it shows a code, type it on the device
where you began, and tell it to nobody.

If it is not you, do nothing. Nobody can sign in without this mail.
`

// parseEmail accepts a bare address of printable ASCII, and returns it in
// lower case, which names the person.
func parseEmail(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	local, domain, ok := strings.Cut(s, "@")
	if err != nil || a.Name != "" || a.Address != s || len(s) > 254 || len(local) > 64 || !ok ||
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"()<>[]:;,\`, r) }) ||
		strings.Contains(domain, "@") || !strings.Contains(strings.Trim(domain, "."), ".") {
		return "", requestError("the address is not a plain e-mail address")
	}
	return strings.ToLower(s), nil
}

// mailbox is what limits count an address by: what stands behind a + of the
// local part names no other person.
func mailbox(address string) string {
	local, domain, _ := strings.Cut(address, "@")
	local, _, _ = strings.Cut(local, "+")
	return local + "@" + domain
}

// countMail returns the writes that count a mail. *LimitError.
func (b *Broker) countMail(ctx context.Context, address, peer string) ([]Write, error) {
	now, box := b.o.Now(), mailbox(address)
	var writes []Write
	for _, l := range []struct {
		name string
		most int
	}{{digest("from-to", peer, box), mailsFromTo}, {digest("to", box), mailsTo}, {digest("from", peer), mailsFrom}} {
		k := Key{kindMail, l.name}
		rec, version, err := get[limitRecord](ctx, b.o.State, k)
		switch {
		case errors.Is(err, ErrAbsent):
			rec = limitRecord{Until: now.Add(mailWindow).UTC().Truncate(time.Millisecond)}
		case err != nil:
			return nil, err
		}
		if rec.Count >= l.most {
			return nil, &LimitError{Wait: rec.Until.Sub(now)}
		}
		rec.Count++
		writes = append(writes, put(k, version, rec, rec.Until))
	}
	return writes, nil
}

// ProveMail consumes the token of a mailed link. ErrLogin.
func (b *Broker) ProveMail(ctx context.Context, id, secret string) (out brokerapi.Handoff, err error) {
	err = b.change(ctx, "login/"+id, func(*tries) error {
		rec, version, err := b.open(ctx, id, brokerapi.LoginEmail)
		if err != nil {
			return err
		}
		if !same(rec.Token, digest("mail", id, secret)) {
			return ErrLogin
		}
		out, err = b.prove(ctx, id, rec, version, "email:"+rec.Email)
		return err
	})
	return out, err
}

// randomToken returns 256 random bits.
func randomToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}
