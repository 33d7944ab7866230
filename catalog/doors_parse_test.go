package catalog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDoorsOfTheReadmeParse(t *testing.T) {
	e, err := change(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	f, m := e.Federation, e.Minting
	if f.Shape != "openai" || f.URL.String() != "https://login.example.com/oauth/token" || f.Grade != Vendor || len(f.Setup) != 1 || f.Headers != nil {
		t.Errorf("%+v", f)
	}
	if a, ok := f.Audience.Get(); !ok || a != "https://api.example.com" {
		t.Error(a, ok)
	}
	want := []Parameter{{Name: "service_account_id", Prefix: "sa_", Required: true, What: "The service account that the token acts as."}}
	if d := cmp.Diff(want, f.Parameters); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Placement{{Header: "Authorization", Prefix: "Bearer "}}, f.Inject); d != "" {
		t.Error(d)
	}
	if m.Shape != "openai" || m.URL.String() != "https://api.example.com/v1" || len(m.Parameters) != 1 || m.Grade != Vendor || len(m.Setup) != 1 {
		t.Errorf("%+v", m)
	}
	for _, absent := range []string{"federation", "minting", "recipe"} {
		e, err := change(t, shown(t, absent), "")
		if err != nil || (e.Federation == nil) != (absent == "federation") || (e.Minting == nil) != (absent == "minting") || (e.Recipe == nil) != (absent == "recipe") {
			t.Errorf("without %s: %v", absent, err)
		}
	}
}

func TestDoorsAreRefused(t *testing.T) {
	const (
		token   = "url: https://login.example.com/oauth/token"
		account = "    - name: service_account_id\n"
		project = "    - name: project\n"
		setup   = "    - Make a service account under Settings; its id begins with sa_.\n"
		admin   = "    - An owner makes an admin key under Settings.\n"
	)
	lines := func(n int, s string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, s, i)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"no federation":       {shown(t, "federation"), "federation: none\n", "a mapping is wanted"},
		"no minting":          {shown(t, "minting"), "minting: unknown\n", "a mapping is wanted"},
		"a shape":             {"federation:\n  shape: openai", "federation:\n  shape: google", "one of anthropic, openai, huggingface"},
		"a shape of minting":  {"minting:\n  shape: openai", "minting:\n  shape: anthropic", "one of openrouter, openai, google, xai, resend, elevenlabs"},
		"an unknown key":      {"federation:\n", "federation:\n  colour: red\n", `unknown key "colour"`},
		"a key of minting":    {"minting:\n", "minting:\n  audience: unknown\n", `unknown key "audience"`},
		"http":                {token, "url: http://login.example.com/oauth/token", "an https URL"},
		"a query":             {token, "url: https://login.example.com/oauth/token?a=b", "an https URL"},
		"a slash at the end":  {token, "url: https://login.example.com/oauth/token/", "no / at its end"},
		"minting by http":     {"url: https://api.example.com/v1\n  parameters", "url: http://api.example.com/v1\n  parameters", "an https URL"},
		"minting and a slash": {"url: https://api.example.com/v1\n  parameters", "url: https://api.example.com/v1/\n  parameters", "no / at its end"},
		"an audience":         {"audience: https://api.example.com", "audience: two words", "an audience is printable"},
		"a long audience":     {"audience: https://api.example.com", "audience: " + strings.Repeat("a", 257), "an audience is printable"},
		"no audience":         {"  audience: https://api.example.com\n", "", `"audience" is missing`},
		"no parameters":       {"  parameters:\n" + account, "  parameter:\n" + account, `"parameters" is missing`},
		"a parameter's name":  {account, "    - name: Service-Account\n", "the name of a parameter"},
		"a long name":         {account, "    - name: " + strings.Repeat("a", 65) + "\n", "the name of a parameter"},
		"a parameter twice":   {account, "    - {name: service_account_id, what: The same.}\n" + account, "two parameters are named"},
		"what it is":          {"      what: The project that the keys belong to.\n", "", `"what" is missing`},
		"a prefix":            {"prefix: sa_", "prefix: s a", "a prefix is printable"},
		"a long prefix":       {"prefix: sa_", "prefix: " + strings.Repeat("a", 65), "a prefix is printable"},
		"required: yes":       {project + "      required: true", project + "      required: maybe", "true or false"},
		"many parameters":     {account, lines(16, "    - {name: a%d, what: One.}\n") + account, "at most 16"},
		"many for minting":    {project, lines(16, "    - {name: a%d, what: One.}\n") + project, "at most 16"},
		"no setup":            {"  setup:\n" + setup, "  setup: none\n", "a list is wanted"},
		"no setup of minting": {"  setup:\n" + admin, "  setup: none\n", "a list is wanted"},
		"a long setup":        {setup, lines(20, "    - Line %d.\n") + setup, "at most 20"},
		"a longer setup":      {admin, lines(20, "    - Line %d.\n") + admin, "at most 20"},
		"no inject":           {"  headers: none\n  setup", "  setup", `"headers" is missing`},
		"a list or none":      {"  headers: none\n  setup", "  headers:\n    - name: X-List\n      value: a\n      if_absent: true\n      merge: true\n  setup", "either if_absent or merge"},
		"a host header":       {"  inject:\n    - header: Authorization\n      prefix: \"Bearer \"\n  headers: none\n  setup", "  inject:\n    - header: Host\n  headers: none\n  setup", "never put there"},
		"a shut door":         {"  federate:\n    state: unknown", "  federate:\n    state: unsupported", "needs no federation"},
		"a shut mint":         {"  mint:\n    state: unknown", "  mint:\n    state: unsupported", "needs no minting"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := change(t, c.from, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// What is known of these doors must not be lost, and nothing be made up.
func TestDoorsOfServices(t *testing.T) {
	parameters := func(list []Parameter) string {
		var s []string
		for _, p := range list {
			mark := ""
			if p.Required {
				mark = "!"
			}
			s = append(s, p.Name+mark+p.Prefix)
		}
		return strings.Join(s, " ")
	}
	federation := map[string]string{
		"anthropic":   "anthropic https://api.anthropic.com/v1/oauth/token unknown federation_rule_id!fdrl_ organization_id! service_account_id!svac_ workspace_id",
		"openai":      "openai https://auth.openai.com/oauth/token unknown identity_provider_id! service_account_id! client_id",
		"huggingface": "huggingface https://huggingface.co/oauth/token https://huggingface.co resource!",
	}
	minting := map[string]string{
		"openrouter": "openrouter https://openrouter.ai/api/v1 ",
		"openai":     "openai https://api.openai.com/v1 project!",
		"gemini":     "google https://apikeys.googleapis.com project!",
		"xai":        "xai https://management-api.x.ai team!",
		"resend":     "resend https://api.resend.com ",
		"elevenlabs": "elevenlabs https://api.elevenlabs.io service_account!",
	}
	for _, e := range all(t) {
		id, f, m := e.ID.String(), "", ""
		hosts := map[string]bool{e.Base.Host: true}
		for _, h := range e.Hosts {
			hosts[h.URL.Host] = true
		}
		if x := e.Federation; x != nil {
			audience, ok := x.Audience.Get()
			if !ok {
				audience = x.Audience.State.String()
			}
			f = strings.Join([]string{x.Shape, x.URL.String(), audience, parameters(x.Parameters)}, " ")
			if e.Doors[Federate].State != DoorKnown || !hosts[x.URL.Host] || x.Grade != Vendor {
				t.Errorf("%s: the door or %s is not known", id, x.URL.Host)
			}
			for _, i := range x.Inject {
				if i != (Placement{Header: "Authorization", Prefix: "Bearer "}) {
					t.Errorf("%s: %+v", id, i)
				}
			}
		}
		if x := e.Minting; x != nil {
			m = strings.Join([]string{x.Shape, x.URL.String(), parameters(x.Parameters)}, " ")
			if e.Doors[Mint].State != DoorKnown || !hosts[x.URL.Host] || x.Grade != Vendor {
				t.Errorf("%s: the door or %s is not known", id, x.URL.Host)
			}
		}
		if f != federation[id] || m != minting[id] {
			t.Errorf("%s:\n%s\n%s", id, f, m)
		}
	}
	if h := lookup(t, "anthropic").Federation.Headers; len(h) != 2 || h[1] != (ConstHeader{Name: "Anthropic-Beta", Value: "oauth-2025-04-20", Merge: true}) {
		t.Errorf("%+v", h)
	}
}
