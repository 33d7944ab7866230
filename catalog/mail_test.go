package catalog

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withMail is the example with another mail_tag and the second example of
// README.md, which shows the mapping.
func withMail(t testing.TB) string {
	t.Helper()
	md, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(md), "```\nmail:")
	text, _, end := strings.Cut(rest, "```\n")
	if !ok || !end {
		t.Fatal("README.md does not show mail")
	}
	return strings.Replace(strings.Replace(example(t), "mail_tag: none\n", "mail_tag: ex\n", 1), "mail: none\n", "mail:"+text, 1)
}

func TestMailOfTheReadmeParses(t *testing.T) {
	e, err := Parse("example.yaml", []byte(withMail(t)))
	if err != nil {
		t.Fatal(err)
	}
	got, ok := e.MailRules()
	want := MailRules{
		Senders: []string{"example.com"}, LinkHosts: []string{"login.example.com"}, LinkPaths: []string{"/verify"},
		Digits: 6, Labels: []string{"verification code"},
	}
	if d := cmp.Diff(want, got); d != "" || !ok {
		t.Error(ok, d)
	}
	if g := e.Mail.Value.Code.Value.Grade; g != Community {
		t.Error(g)
	}
}

// What is not in the facts must not be made up, and what is must not be lost.
func TestMailOfServices(t *testing.T) {
	want := map[string]MailRules{
		"openrouter": {
			Senders: []string{"openrouter.ai"}, LinkHosts: []string{"clerk.openrouter.ai"}, LinkPaths: []string{"/v1/verify"},
			Digits: 6, Labels: []string{"verification code"},
		},
		"anthropic": {
			Senders: []string{"mail.anthropic.com", "claude.com"}, LinkHosts: []string{"platform.claude.com"}, LinkPaths: []string{"/magic-link"},
			Digits: 6,
		},
	}
	for _, e := range all(t) {
		got, ok := e.MailRules()
		w, known := want[e.ID.String()]
		if d := cmp.Diff(w, got); d != "" || ok != known {
			t.Errorf("%s: %v %s", e.ID, ok, d)
		}
		if e.MailTag.State == None && e.Mail.State != None {
			t.Errorf("%s gets no mail, and mail is %s", e.ID, e.Mail.State)
		}
		m := e.Mail.Value
		for _, g := range append(append([]Graded(nil), m.Senders.Value...), m.Hosts.Value...) {
			if g.Grade != TestCode && g.Grade != Secondary {
				t.Errorf("%s: nothing of the kind %s is known of %s", e.ID, g.Grade, g.Name)
			}
		}
	}
}

// What is unknown denies, and so does what is left out.
func TestMailUnknownDenies(t *testing.T) {
	text := withMail(t)
	from := strings.Index(text, "mail:\n")
	to := strings.Index(text, "\nsources:")
	parse := func(mail string) *Entry {
		t.Helper()
		e, err := Parse("example.yaml", []byte(text[:from]+mail+text[to:]))
		if err != nil {
			t.Fatalf("%s: %v", mail, err)
		}
		return e
	}
	const senders = "mail:\n  senders: [{domain: example.com, grade: vendor}]\n"
	const rest = "  link_paths: unknown\n  redirects: unknown\n"
	for _, mail := range []string{
		"", "mail: unknown\n",
		"mail:\n  senders: unknown\n  link_hosts: [{host: a.example.com, grade: vendor}]\n" + rest + "  code: unknown\n",
		"mail:\n  senders: unknown\n  link_hosts: unknown\n" + rest + "  code: unknown\n",
	} {
		e := parse(mail)
		if _, ok := e.MailRules(); ok {
			t.Errorf("%q gives rules", mail)
		}
	}
	code := parse(senders + "  link_hosts: unknown\n" + rest + "  code: {digits: 10, labels: unknown, grade: test}\n")
	if r, ok := code.MailRules(); !ok || r.Digits != 10 || r.LinkHosts != nil {
		t.Errorf("%+v %v", r, ok)
	}
	link := parse(senders + "  link_hosts: [{host: a.example.com, grade: vendor}]\n  link_paths: none\n  redirects: [{host: go.example.com, parameter: u}]\n  code: none\n")
	if r, ok := link.MailRules(); !ok || r.Digits != 0 || len(r.LinkHosts) != 1 || r.Redirects[0] != (Redirect{"go.example.com", "u"}) {
		t.Errorf("%+v %v", r, ok)
	}
}

func TestMailSaysWhere(t *testing.T) {
	text := withMail(t)
	for name, c := range map[string]struct{ from, to, want string }{
		"a tag missing":          {"mail_tag: ex", "mail_tag: unknown", "no mail_tag"},
		"a tag that is none":     {"mail_tag: ex", "mail_tag: none", "no mail_tag"},
		"an unknown key":         {"  redirects: none", "  redirects: none\n  senders_too: none", "unknown key"},
		"a missing key":          {"  redirects: none\n", "", `"redirects" is missing`},
		"no sender":              {"  senders:\n    - domain: example.com\n      grade: vendor", "  senders: none", "without a sender"},
		"nothing to look for":    {"  code:\n    digits: 6\n    labels: [verification code]\n    grade: community", "  code: none", ""},
		"a URL for a host":       {"host: login.example.com", "host: https://login.example.com", "the name of a host"},
		"a port":                 {"host: login.example.com", `host: "login.example.com:443"`, "the name of a host"},
		"capitals":               {"host: login.example.com", "host: Login.example.com", "the name of a host"},
		"letters of elsewhere":   {"host: login.example.com", "host: lögin.example.com", "the name of a host"},
		"a wildcard":             {"host: login.example.com", `host: "*.example.com"`, "the name of a host"},
		"one label":              {"domain: example.com", "domain: com", "the name of a host"},
		"a leading dot":          {"domain: example.com", "domain: .example.com", "the name of a host"},
		"a final dot":            {"domain: example.com", "domain: example.com.", "the name of a host"},
		"an address":             {"domain: example.com", "domain: 10.0.0.1", "the name of a host"},
		"a mailbox for a domain": {"domain: example.com", `domain: a@example.com`, "the name of a host"},
		"a grade missing":        {"    - domain: example.com\n      grade: vendor", "    - domain: example.com", `"grade" is missing`},
		"a path without /":       {"[/verify]", "[verify]", "a path"},
		"a path with a query":    {"[/verify]", `["/verify?x=1"]`, "a path"},
		"a path with dots":       {"[/verify]", "[/a/../b]", "a path"},
		"three digits":           {"digits: 6", "digits: 3", "4 to 10 digits"},
		"eleven digits":          {"digits: 6", "digits: 11", "4 to 10 digits"},
		"digits as a string":     {"digits: 6", `digits: "6"`, "a number of digits"},
		"digits in octal":        {"digits: 6", "digits: 0o6", "4 to 10 digits"},
		"a label with digits":    {"[verification code]", "[code 2]", "a phrase"},
		"a label of spaces":      {"[verification code]", `["code "]`, "a phrase"},
		"a long list":            {"[verification code]", "[" + strings.Repeat("a,", 64) + "a]", "more than 64"},
		"none, with a tag":       {text[strings.Index(text, "mail:\n"):strings.Index(text, "\nsources:")], "mail: none\n", "mail_tag is not"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Count(text, c.from) == 0 {
				t.Fatalf("the example has no %q", c.from)
			}
			_, err := Parse("example.yaml", []byte(strings.Replace(text, c.from, c.to, 1)))
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "example.yaml:") {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
	_, err := Parse("example.yaml", []byte(strings.Replace(strings.Replace(text,
		"  link_hosts:\n    - host: login.example.com\n      grade: vendor", "  link_hosts: unknown", 1),
		"  code:\n    digits: 6\n    labels: [verification code]\n    grade: community", "  code: none", 1)))
	if err == nil || !strings.Contains(err.Error(), "neither link_hosts nor code") {
		t.Error(err)
	}
}
