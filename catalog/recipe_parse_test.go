package catalog

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shown returns the block of README.md that begins with a key.
func shown(t testing.TB, key string) string {
	t.Helper()
	md, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(md), "```\n"+key+":")
	text, _, end := strings.Cut(rest, "```\n")
	if !ok || !end {
		t.Fatalf("README.md does not show %s", key)
	}
	return key + ":" + text
}

// withDoors is the example with mail and whatever else README.md shows.
func withDoors(t testing.TB) string {
	t.Helper()
	return strings.Replace(withMail(t), "\nsources:\n", "\n"+shown(t, "federation")+shown(t, "minting")+shown(t, "recipe")+"\nsources:\n", 1)
}

// change parses the example with one piece of it replaced.
func change(t testing.TB, from, to string) (*Entry, error) {
	t.Helper()
	text := withDoors(t)
	if from != "" && strings.Count(text, from) != 1 {
		t.Fatalf("the example has %d of %q", strings.Count(text, from), from)
	}
	e, err := Parse("example.yaml", []byte(strings.Replace(text, from, to, 1)))
	if err != nil && (e != nil || !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), "example.yaml:")) {
		t.Errorf("%v does not say where", err)
	}
	return e, err
}

func TestRecipeOfTheReadmeParses(t *testing.T) {
	e, err := change(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	r := e.Recipe
	if r.Live != "never" || len(r.Unknown) != 1 || r.Account != AccountPassword || len(r.Hosts) != 2 {
		t.Errorf("%+v", r)
	}
	var got []string
	for _, s := range slices.Concat(r.Register, r.Login, r.Key) {
		got = append(got, s.Name+" "+string(s.Pattern)+" "+s.Timeout.String())
	}
	want := []string{
		"sign-up open 30s", "address fill 30s", "password fill 30s", "agree choose 30s", "continue click 30s",
		"check human 30m0s", "verify mail 10m0s", "signed-in expect 30s",
		"sign-in open 30s", "login-address fill 30s", "login-password fill 30s", "login click 30s",
		"keys open 30s", "remove click 30s", "plan choose 30s", "key-name fill 30s", "create click 30s", "read extract 1m0s",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	step := func(name string) Step {
		for _, s := range slices.Concat(r.Register, r.Login, r.Key) {
			if s.Name == name {
				s.Timeout, s.Pattern, s.Name = 0, "", ""
				return s
			}
		}
		t.Fatal(name)
		return Step{}
	}
	for name, want := range map[string]Step{
		"address":  {Value: ValueAddress, At: []Locator{{CSS: "#email-field"}, {Label: "Email address"}}},
		"password": {Value: ValuePassword, At: []Locator{{Label: "Password"}}},
		"agree":    {Optional: true, At: []Locator{{Role: "checkbox", HasName: "terms"}}},
		"continue": {Makes: "account", At: []Locator{{Role: "button", Name: "Continue"}}},
		"check": {
			Need: "captcha", If: []Locator{{CSS: "#captcha"}}, Until: []Locator{{Label: "Verification code"}},
			Note: "The page wants to know whether you are a person.",
		},
		"verify":   {Accept: []string{"link", "code"}, At: []Locator{{Label: "Verification code"}}},
		"remove":   {Cleans: true, Optional: true, At: []Locator{{Role: "button", Name: "Delete {key-name}"}}},
		"plan":     {Option: "Free", At: []Locator{{Label: "Plan"}}, Unless: []Locator{{HasText: "free plan"}}},
		"key-name": {Value: ValueKeyName, At: []Locator{{Label: "Name"}}},
		"create":   {Makes: "key", At: []Locator{{Role: "button", Name: "Create key", Nth: 1}}},
		"read":     {At: []Locator{{CSS: "[data-key]"}}, Grade: Assumed},
	} {
		if d := cmp.Diff(want, step(name)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if u := step("signed-in").URL; u == nil || u.String() != "https://app.example.com/keys" {
		t.Error(u)
	}
	if u := step("sign-up").URL; u == nil || u.String() != "https://app.example.com/sign-up" {
		t.Error(u)
	}
	signs := []Sign{
		{At: []Locator{{HasText: "is taken"}}, Means: MeansExists},
		{At: []Locator{{HasText: "too many requests"}}, Means: MeansRateLimited, Note: "Come back in an hour."},
	}
	if d := cmp.Diff(signs, r.Signs); d != "" {
		t.Error(d)
	}
}

func TestRecipeTimeouts(t *testing.T) {
	for text, want := range map[string]time.Duration{"1s": time.Second, "90s": 90 * time.Second, "1h": time.Hour, "0s": 0, "999ms": 0, "61m": 0, "-1m": 0, "60": 0, `"60"`: 0, "1d": 0, "soon": 0} {
		e, err := change(t, "timeout: 1m", "timeout: "+text)
		if (err == nil) != (want > 0) {
			t.Errorf("%s: %v", text, err)
		}
		if err == nil && e.Recipe.Key[5].Timeout != want {
			t.Errorf("%s: %s", text, e.Recipe.Key[5].Timeout)
		}
	}
}

// A recipe of none, of google and of a mail address alone.
func TestRecipeAccounts(t *testing.T) {
	text := withDoors(t)
	cut := func(s, from, to string) string {
		i := strings.Index(s, from)
		j := strings.Index(s, to)
		if i < 0 || j < i {
			t.Fatalf("%q, %q", from, to)
		}
		return s[:i] + s[j:]
	}
	none := cut(text, "  register:\n", "  key:\n    - name: keys")
	none = strings.Replace(none, "  account: password\n", "  account: none\n  register: none\n  login: none\n", 1)
	none = strings.Replace(none, "  signs:\n", "  signs: none\n", 1)
	none = cut(none, "    - at: [{has_text: is taken}]", "\nsources:")
	e, err := Parse("example.yaml", []byte(none))
	if err != nil || e.Recipe.Register != nil || e.Recipe.Login != nil || e.Recipe.Signs != nil || len(e.Recipe.Key) != 6 {
		t.Error(err)
	}
	google := strings.Replace(none, "  account: none\n  register: none\n  login: none\n",
		"  account: google\n  register:\n    - {name: google, google: button, at: [{has_name: Google}]}\n  login:\n    - {name: again, google: button, at: [{has_name: Google}]}\n", 1)
	google = strings.Replace(google, "mail_tag: ex\n", "mail_tag: none\n", 1)
	google = cut(google, "mail:\n", "\nfederation:")
	if e, err = Parse("example.yaml", []byte(google)); err != nil || e.Recipe.Register[0].Pattern != StepGoogle || e.Recipe.Register[0].Timeout != pageTimeout {
		t.Error(err)
	}
	for name, c := range map[string]struct{ in, from, to, want string }{
		"Google, and an address":    {google, "account: google", "account: mail", "at Google only with"},
		"Google, and no register":   {google, "  register:\n", "  register: none\n  more:\n", "registered first"},
		"Google, and a mail":        {google, "    - {name: again, google: button, at: [{has_name: Google}]}\n", "    - {name: again, mail: [link]}\n", "no mail comes to us"},
		"Google, and a password":    {google, "    - {name: again, google: button,", "    - {name: again, fill: password,", "there is no password"},
		"Google, and an address in": {google, "    - {name: again, google: button,", "    - {name: again, fill: address,", "there is no address"},
		"Google, and no button":     {google, "    - {name: again, google: button, at: [{has_name: Google}]}\n", "    - {name: again, google: button}\n", "at says which"},
		"Google, and a link":        {google, "    - {name: again, google: button,", "    - {name: again, google: link,", "one of button"},
		"none, and a register":      {none, "  register: none\n", "  register:\n    - {name: a, open: https://app.example.com}\n", "nothing to register"},
		"none, and a login":         {none, "  login: none\n", "  login:\n    - {name: a, open: https://app.example.com}\n", "there is no login"},
		"none, and a mail":          {none, "    - name: plan\n", "    - {name: a, mail: [link]}\n    - name: plan\n", "no mail comes to us"},
	} {
		if strings.Count(c.in, c.from) != 1 {
			t.Fatalf("%s: there are %d of %q", name, strings.Count(c.in, c.from), c.from)
		}
		if _, err := Parse("example.yaml", []byte(strings.Replace(c.in, c.from, c.to, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A recipe whose mail has a code only may leave out the hosts of links.
	code := strings.Replace(text, "[app.example.com, login.example.com]", "[app.example.com]", 1)
	if _, err := Parse("example.yaml", []byte(strings.Replace(code, "[link, code]", "[code]", 1))); err != nil {
		t.Error(err)
	}
	untagged := strings.Replace(cut(text, "mail:\n", "\nfederation:"), "mail_tag: ex\n", "mail_tag: unknown\n", 1)
	if _, err := Parse("example.yaml", []byte(untagged)); err == nil || !strings.Contains(err.Error(), "no address to sign up with") {
		t.Error(err)
	}
	mail := strings.Replace(text, "account: password", "account: mail", 1)
	mail = cut(mail, "    - name: password\n", "    - name: agree\n")
	mail = cut(mail, "    - name: login-password\n", "    - name: login\n")
	if _, err := Parse("example.yaml", []byte(mail)); err != nil {
		t.Error(err)
	}
}

// Every embedded recipe parses, and the links of its mail lead to its hosts.
func TestRecipesOfServices(t *testing.T) {
	for _, e := range all(t) {
		r := e.Recipe
		if r == nil {
			continue
		}
		if e.Doors[Signup].State != DoorKnown {
			t.Errorf("%s has a recipe, and its sign-up is %s", e.ID, e.Doors[Signup].State)
		}
		if r.Live != "never" {
			t.Errorf("%s: no recipe was run on live pages", e.ID)
		}
		if len(r.Unknown) == 0 {
			t.Errorf("%s: nothing is unknown of pages that nobody has run it on", e.ID)
		}
		rules, _ := e.MailRules()
		if r.Account == AccountPassword || r.Account == AccountMail {
			for _, h := range rules.LinkHosts {
				if !slices.Contains(r.Hosts, h) {
					t.Errorf("%s: the links of its mail lead to %s", e.ID, h)
				}
			}
		}
		for _, s := range slices.Concat(r.Register, r.Login, r.Key) {
			if s.Pattern == StepHuman && s.Need != "terms" && !slices.Contains(e.Doors[Signup].Needs, s.Need) {
				t.Errorf("%s: %s wants a %s, of which the door says nothing", e.ID, s.Name, s.Need)
			}
		}
	}
}

func TestRecipeSaysTheRightLine(t *testing.T) {
	text := withDoors(t)
	before, _, _ := strings.Cut(text, "fill: key-name")
	n := strings.Count(before, "\n") + 1
	_, err := change(t, "fill: key-name", "fill: keyname")
	if err == nil || !strings.Contains(err.Error(), "example.yaml:"+strconv.Itoa(n)+": ") {
		t.Errorf("%v, want line %d", err, n)
	}
}

// soundRecipe checks what an engine relies on.
func soundRecipe(t *testing.T, r *Recipe) {
	t.Helper()
	if r == nil {
		return
	}
	names, made, read := map[string]bool{}, 0, 0
	for _, s := range slices.Concat(r.Register, r.Login, r.Key) {
		if names[s.Name] || s.Name == "" || s.Timeout < time.Second || s.Timeout > time.Hour {
			t.Fatalf("%+v", s)
		}
		names[s.Name] = true
		if s.URL != nil && (s.URL.Scheme != "https" || !slices.Contains(r.Hosts, s.URL.Host)) {
			t.Fatalf("%+v", s)
		}
		if (s.Pattern == StepOpen) != (s.URL != nil) && s.Pattern != StepExpect {
			t.Fatalf("%+v", s)
		}
		if s.Makes == "key" {
			made++
		}
		if s.Pattern == StepExtract {
			read++
		}
		for _, l := range slices.Concat(s.At, s.Until, s.If, s.Unless) {
			nth := l.Nth
			if l.Nth = 0; l == (Locator{}) || nth < 0 || nth > maxNth {
				t.Fatalf("%+v", s)
			}
		}
	}
	if made != 1 || read != 1 || len(names) > maxSteps || len(r.Hosts) == 0 || len(r.Hosts) > maxRecipeHosts {
		t.Fatalf("%+v", r)
	}
}
