package verifymail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// No way to print an answer or a refusal shows a link, a code or any text of
// the mail.
func TestNothingOfTheMailIsPrinted(t *testing.T) {
	canaries := []string{"271828", "fake-token", "CANARY", "canary", "noreply", "evil.example"}
	mails := map[string]func(*letter){
		"a code":         plain(good + "CANARY"),
		"a link":         page1(a(clerk, "canary")),
		"no link":        plain("CANARY"),
		"several codes":  plain(good + "Your verification code is 999999 CANARY"),
		"another sender": with(plain(good), func(l *letter) { l.from = "From: CANARY <noreply@evil.example>\r\n" }),
		"two senders":    with(plain(good), func(l *letter) { l.from = "From: CANARY@evil.example, noreply@evil.example\r\n" }),
		"bad MIME":       with(plain(good), func(l *letter) { l.ctype = "CANARY/evil.example;;canary=\x01" }),
		"a bad charset":  with(plain(good), func(l *letter) { l.ctype = "text/plain; charset=CANARY" }),
		"a bad encoding": with(plain(good), func(l *letter) { l.cte = "CANARY" }),
		"a bad link":     plain("https://evil.example/CANARY"),
		"bad verdicts":   with(plain(good), func(l *letter) { l.auth = "CANARY; dkim=pass header.i=@evil.example" }),
		"another run":    with(plain(good), func(l *letter) { l.to = "To: CANARY@evil.example\r\n" }),
		"a bad header":   with(plain(good), func(l *letter) { l.more += "Content-Type: CANARY\r\n" }),
		"odd HTML":       page1("<p>CANARY" + strings.Repeat("<div title=canary>", 300)),
	}
	reasons := map[string]bool{}
	for name, edit := range mails {
		l := newLetter()
		edit(&l)
		res, err := Extract(l.bytes(), query(t), openrouter())
		if err != nil {
			reasons[string(err.(*Refusal).Reason)] = true
		}
		// Of a mail that was taken, where it came from may be shown.
		res.Verdicts.From, res.Verdicts.DKIM = "", nil
		res.Host = ""
		var out bytes.Buffer
		for _, f := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, f+"\n", res)
			fmt.Fprintf(&out, f+"\n", &res)
			fmt.Fprintf(&out, f+"\n", err)
			fmt.Fprintf(&out, f+"\n", fmt.Errorf("x: %w", err))
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "res", res, "err", err)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "res", res, "err", err)
		if b, err := json.Marshal(res); err == nil {
			t.Errorf("%s: a result was marshalled: %s", name, b)
		}
		b, _ := json.Marshal(err)
		out.Write(b)
		for _, c := range canaries {
			for _, form := range []string{c, fmt.Sprintf("%x", c), fmt.Sprint([]byte(c))} {
				if strings.Contains(out.String(), form) {
					t.Errorf("%s: %s is printed:\n%s", name, form, out.String())
				}
			}
		}
	}
	if len(reasons) < 10 {
		t.Errorf("only %v are tried", reasons)
	}
}
