package sites

import (
	"context"
	"encoding/base64"
	"regexp"
	"strings"
	"time"
)

// mailed are the services that send a mail.
var mailed = []string{"openrouter", "anthropic", "groq", "brave-search"}

// coded are those whose mail holds a code.
var coded = []string{"openrouter", "anthropic", "groq"}

var (
	codeShape = regexp.MustCompile(`\b\d{6}\b`)
	linkShape = regexp.MustCompile(`https://[^\s"<>]+`)
)

// rewritten applies f to each text of a letter.
func (l Letter) rewritten(f func(string) string) Letter {
	l.Text, l.HTML = f(l.Text), f(l.HTML)
	return l
}

// aside sends letters later, while the site goes on.
func aside(s *Site, d time.Duration, l Letter) {
	s.served.Go(func() {
		select {
		case <-time.After(d):
		case <-s.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
		defer cancel()
		_ = s.opts.Post(ctx, l)
	})
}

// one has a letter replaced by another.
func one(f func(Letter) Letter) func(*Site, Letter) []Letter {
	return func(_ *Site, l Letter) []Letter { return []Letter{f(l)} }
}

// domainOf is the domain that a letter comes from.
func domainOf(l Letter) string {
	return strings.TrimSuffix(l.From[strings.LastIndexByte(l.From, '@')+1:], ">")
}

// forged is a letter of the attacker's: its link leads elsewhere, and its code
// is not the one.
func forged(l Letter) Letter {
	return l.rewritten(func(t string) string {
		t = linkShape.ReplaceAllString(t, "https://evil.test/verify?token=x")
		return codeShape.ReplaceAllString(t, "000000")
	})
}

// mailVariants change mails.
func mailVariants() []Change {
	letter := func(name Variant, what string, only []string, w Want, post func(*Site, Letter) []Letter) Change {
		return Change{Name: name, What: what, Want: w, Only: only, post: post}
	}
	none := stops("no-mail")
	list := []Change{
		letter("mail-none", "no mail comes", mailed, none, func(*Site, Letter) []Letter { return nil }),
		letter("mail-late", "the mail is five seconds late", mailed, passes(), func(s *Site, l Letter) []Letter { aside(s, 5*time.Second, l); return nil }),
		letter("mail-twice", "the mail comes twice", mailed, passes(), func(_ *Site, l Letter) []Letter { return []Letter{l, l} }),
		letter("mail-html", "the mail is HTML alone", mailed, passes(), one(func(l Letter) Letter { l.Text = ""; return l })),
		letter("mail-text", "the mail is text alone", mailed, passes(), one(func(l Letter) Letter { l.HTML = ""; return l })),
		letter("mail-empty", "the mail is empty but for its subject", mailed, none, one(func(l Letter) Letter { l.Text, l.HTML, l.Subject = "\n", "", "Hello"; return l })),
		letter("mail-picture", "the mail is a picture", mailed, none, one(func(l Letter) Letter {
			l.Subject, l.Text = "Confirm", ""
			l.HTML = `<img alt="" src="data:image/svg+xml;base64,` + base64.StdEncoding.EncodeToString([]byte("<svg xmlns='http://www.w3.org/2000/svg'><text>"+codeShape.FindString(l.Text)+"</text></svg>")) + `">`
			return l
		})),
		letter("mail-to-other", "the mail goes to another address", mailed, none, one(func(l Letter) Letter {
			_, domain, _ := strings.Cut(l.To, "@")
			l.To = "somebody.else@" + domain
			return l
		})),
		letter("mail-two-links", "a second link leads elsewhere", mailed, passes("no-mail").never(evil), one(func(l Letter) Letter {
			l.Text += "\nOr here: https://evil.test/verify?token=x\n"
			l.HTML = strings.Replace(l.HTML, "</body>", `<a href="https://evil.test/verify">Verify email address</a></body>`, 1)
			return l
		})),
		letter("mail-first-link", "a link that leads elsewhere stands before the right one", mailed, passes("no-mail").never(evil), one(func(l Letter) Letter {
			l.Text = "Verify: https://evil.test/verify?token=x\n\n" + l.Text
			l.HTML = strings.Replace(l.HTML, "<h1", `<p><a href="https://evil.test/verify">Verify email address</a></p><h1`, 1)
			return l
		})),
		letter("mail-link-elsewhere", "the link leads to another host", mailed, passes("no-mail", "off-host").never(evil), one(func(l Letter) Letter {
			return l.rewritten(func(t string) string { return linkShape.ReplaceAllString(t, "https://evil.test/verify?token=x") })
		})),
		letter("mail-tracker", "the link goes by way of a counter at another host", mailed, passes("no-mail", "off-host").never("track.evil.test"), one(func(l Letter) Letter {
			return l.rewritten(func(t string) string {
				return linkShape.ReplaceAllStringFunc(t, func(u string) string {
					return "https://track.evil.test/c/" + base64.RawURLEncoding.EncodeToString([]byte(u))
				})
			})
		})),
		letter("mail-look-alike", "the link's host begins like the right one", mailed, passes("no-mail", "off-host").never("*.evil.test"), one(func(l Letter) Letter {
			return l.rewritten(func(t string) string {
				return linkShape.ReplaceAllStringFunc(t, func(u string) string { return "https://" + hostIn(u) + ".evil.test/verify?token=x" })
			})
		})),
		letter("mail-user", "the link has the right host as a user's name", mailed, passes("no-mail", "off-host").never(evil), one(func(l Letter) Letter {
			return l.rewritten(func(t string) string {
				return linkShape.ReplaceAllStringFunc(t, func(u string) string { return "https://" + hostIn(u) + "@evil.test/verify" })
			})
		})),
		letter("mail-plain-link", "the link is not encrypted", mailed, passes("no-mail", "off-host", "no-load"), one(func(l Letter) Letter {
			return l.rewritten(func(t string) string { return strings.ReplaceAll(t, "https://", "http://") })
		})),
		letter("mail-link-text", "the link's words are the right address, and it leads elsewhere", mailed, passes("no-mail", "off-host").never(evil), one(func(l Letter) Letter {
			link := linkShape.FindString(l.Text)
			l.HTML = `<p><a href="https://evil.test/verify">` + link + `</a></p>`
			return l
		})),
		letter("mail-hidden-link", "a link that nobody sees leads elsewhere", mailed, passes("no-mail").never(evil), one(func(l Letter) Letter {
			l.HTML = `<div style="display:none"><a href="https://evil.test/verify">Verify email address</a></div>` + l.HTML
			return l
		})),
		letter("mail-logout-link", "other links of the right host do harm", mailed, passes("no-mail"), one(func(l Letter) Letter {
			host := hostIn(linkShape.FindString(l.Text))
			l.Text += "\nNot you? https://" + host + "/account/delete?now=1\nUnsubscribe: https://" + host + "/unsubscribe?all=1\n"
			return l
		})),
		letter("mail-old-link", "the link was used before", mailed, passes("no-mail", "no-load", "missing", "wrong-input", "need-human"), one(func(l Letter) Letter {
			return l.rewritten(func(t string) string {
				return linkShape.ReplaceAllStringFunc(t, func(u string) string { return u[:len(u)-4] + "aaaa" })
			})
		})),
		letter("mail-order", "the mail orders programs to go elsewhere", mailed, passes("no-mail").never(evil), one(func(l Letter) Letter {
			l.Text = order + "\n\n" + l.Text
			l.HTML = "<p>" + order + "</p>" + l.HTML
			return l
		})),
		letter("mail-long", "the mail has a megabyte of text more", mailed, passes("no-mail"), one(func(l Letter) Letter {
			l.HTML += strings.Repeat("<p>news and news and news</p>\n", 1<<20/30)
			return l
		})),
		letter("mail-no-subject", "the code is in the subject alone", coded, passes("no-mail"), one(func(l Letter) Letter {
			code := codeShape.FindString(l.Text)
			l.Subject, l.Text, l.HTML = code+" is your verification code", "See the subject.\n", "<p>See the subject.</p>"
			return l
		})),
		letter("mail-body-only", "the subject says nothing of a code", mailed, passes(), one(func(l Letter) Letter { l.Subject = "Welcome"; return l })),
		letter("mail-many-numbers", "other numbers stand around the code", coded, passes("no-mail", "wrong-input"), one(func(l Letter) Letter {
			l.Text = "Order 482915, ticket 771203.\n\n" + l.Text + "\nZIP 941070, ref 300211\n"
			return l
		})),
		letter("mail-two-codes", "two codes stand in it, and one is right", coded, passes("no-mail", "wrong-input", "missing"), one(func(l Letter) Letter {
			l.Text = "Your last verification code was 111111.\n\n" + l.Text
			return l
		})),
		letter("mail-parts-differ", "text and HTML have different codes", coded, passes("no-mail", "wrong-input", "missing"), one(func(l Letter) Letter {
			l.HTML = codeShape.ReplaceAllString(l.HTML, "222222")
			return l
		})),
		letter("mail-spaced-code", "the code is in two groups", coded, passes("no-mail", "wrong-input", "missing"), one(func(l Letter) Letter {
			l.Subject = "Your code"
			return l.rewritten(func(t string) string {
				return codeShape.ReplaceAllStringFunc(t, func(c string) string { return c[:3] + " " + c[3:] })
			})
		})),
		letter("mail-wrong-code", "the code is wrong and there is no link", coded, stops("no-mail", "wrong-input", "missing"), one(func(l Letter) Letter {
			l.Subject = codeShape.ReplaceAllString(l.Subject, "333333")
			return l.rewritten(func(t string) string { return codeShape.ReplaceAllString(linkShape.ReplaceAllString(t, ""), "333333") })
		})),
	}
	from := func(name Variant, what, sender string, before bool, w Want) Change {
		return Change{Name: name, What: what, Want: w.never(evil), Only: mailed, Senders: []string{sender}, post: func(_ *Site, l Letter) []Letter {
			f := forged(l)
			f.From = "Verification <no-reply@" + sender + ">"
			if before {
				return []Letter{f, l}
			}
			return []Letter{f}
		}}
	}
	return append(list,
		from("mail-forged", "the one mail is signed by another domain", evil, false, none),
		from("mail-forged-first", "a forged mail comes before the right one", evil, true, passes()),
		from("mail-sender-below", "the sender's domain begins like the right one", "openrouter.ai.evil.test", false, none),
		from("mail-sender-similar", "the sender's domain looks like the right one", "0penrouter.test", true, passes()),
		Change{Name: "mail-unsigned", What: "the mail is not from the domain that it names", Want: none.never(evil), Only: mailed, Senders: []string{"bulk.evil.test"}, post: func(_ *Site, l Letter) []Letter {
			// The name of the right domain is where people look, and nothing else.
			l.From = `"no-reply@` + domainOf(l) + `" <no-reply@bulk.evil.test>`
			return []Letter{l}
		}},
	)
}

func hostIn(link string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(link, "https://"), "/")
	return host
}
