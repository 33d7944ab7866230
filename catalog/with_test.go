package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var anthropicIDs = map[string]string{"federation_rule_id": "fdrl_fake", "organization_id": "fake-organisation", "service_account_id": "svac_fake"}

func with(ids map[string]string, name, value string) map[string]string {
	m := map[string]string{name: value}
	for k, v := range ids {
		if k != name {
			m[k] = v
		}
	}
	if value == "" {
		delete(m, name)
	}
	return m
}

func TestSettingsOfTheDoors(t *testing.T) {
	cert := certificate(t)
	local := netip.MustParseAddrPort("127.0.0.1:8080")
	many := map[string]string{}
	for i := range maxParameters + 1 {
		many[fmt.Sprint("p", i)] = "v"
	}
	site := func(a string, pem string) Settings {
		return Settings{SiteAddress: netip.MustParseAddrPort(a), CAPEM: pem}
	}
	for name, c := range map[string]struct {
		s    Settings
		want string // "": it passes
	}{
		"a site":               {site("127.0.0.1:8443", cert), ""},
		"a site by IPv6":       {site("[::1]:8443", cert), ""},
		"a site elsewhere":     {site("127.9.9.9:8443", cert), ""},
		"a site without a CA":  {site("127.0.0.1:8443", ""), "the CA file vouches for"},
		"a site abroad":        {site("10.0.0.7:8443", cert), "of this machine"},
		"a site without port":  {site("127.0.0.1:0", cert), "of this machine"},
		"a mapped site":        {site("[::ffff:127.0.0.1]:8443", cert), "of this machine"},
		"a site everywhere":    {site("0.0.0.0:8443", cert), "of this machine"},
		"a site with a zone":   {site("[::1%lo]:8443", cert), "of this machine"},
		"a site of a port":     {Settings{SiteAddress: netip.AddrPortFrom(netip.Addr{}, 8443), CAPEM: cert}, "of this machine"},
		"an exchange":          {Settings{Federation: &Exchange{}}, ""},
		"minting":              {Settings{Minting: &Exchange{}}, ""},
		"https":                {Settings{Federation: &Exchange{URL: "https://login.example/token"}}, ""},
		"http to an allowed":   {Settings{Federation: &Exchange{URL: "http://127.0.0.1:8080/token"}, AllowAddresses: []netip.AddrPort{local}}, ""},
		"http to a loopback":   {Settings{Federation: &Exchange{URL: "http://127.0.0.1:8080/token"}}, "a federation URL is https, or http to a loopback"},
		"http to a host":       {Settings{Federation: &Exchange{URL: "http://login.example/token"}}, "a federation URL is https"},
		"a query":              {Settings{Federation: &Exchange{URL: "https://login.example/token?a=b"}}, "a federation URL has no query"},
		"no URL":               {Settings{Federation: &Exchange{URL: "https://a b/"}}, "a federation URL cannot be parsed"},
		"minting by http":      {Settings{Minting: &Exchange{URL: "http://127.0.0.1:8080"}}, "a minting URL is https, or http to a loopback"},
		"minting by ftp":       {Settings{Minting: &Exchange{URL: "ftp://a.example"}}, "a minting URL is https"},
		"an audience":          {Settings{Federation: &Exchange{Audience: "https://api.example"}}, ""},
		"two audiences":        {Settings{Federation: &Exchange{Audience: "a b"}}, "the audience of federation"},
		"a long audience":      {Settings{Federation: &Exchange{Audience: strings.Repeat("a", 257)}}, "the audience of federation"},
		"parameters":           {Settings{Federation: &Exchange{Parameters: map[string]string{strings.Repeat("a", 64): strings.Repeat("v", 256)}}}, ""},
		"a space":              {Settings{Federation: &Exchange{Parameters: map[string]string{"a": "v v"}}}, "printable ASCII"},
		"a line feed":          {Settings{Federation: &Exchange{Parameters: map[string]string{"a": "v\n"}}}, "printable ASCII"},
		"an accent":            {Settings{Federation: &Exchange{Parameters: map[string]string{"a": "é"}}}, "printable ASCII"},
		"an empty value":       {Settings{Federation: &Exchange{Parameters: map[string]string{"a": ""}}}, "printable ASCII"},
		"an empty name":        {Settings{Federation: &Exchange{Parameters: map[string]string{"": "v"}}}, "printable ASCII"},
		"a name with a space":  {Settings{Minting: &Exchange{Parameters: map[string]string{"a b": "v"}}}, "printable ASCII"},
		"a long name":          {Settings{Minting: &Exchange{Parameters: map[string]string{strings.Repeat("a", 65): "v"}}}, "printable ASCII"},
		"a long value":         {Settings{Minting: &Exchange{Parameters: map[string]string{"a": strings.Repeat("v", 257)}}}, "printable ASCII"},
		"too many parameters":  {Settings{Federation: &Exchange{Parameters: many}}, "more than 16 parameters"},
		"too many for minting": {Settings{Minting: &Exchange{Parameters: many}}, "more than 16 parameters"},
	} {
		err := c.s.Validate()
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrSettings) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSettingsOfTheDoorsJSON(t *testing.T) {
	want := Settings{
		CAPEM: certificate(t), AllowAddresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8080")},
		SiteAddress: netip.MustParseAddrPort("127.0.0.1:8443"),
		Prices:      map[string]Price{"url": {}}, // a model may be named as any key
		Federation:  &Exchange{URL: "http://127.0.0.1:8080/token", Audience: "us", Parameters: map[string]string{"URL": "v", "audience": "w"}},
		Minting:     &Exchange{URL: "https://keys.example", Parameters: map[string]string{"project": "p"}},
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseSettings(data)
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); d != "" || err != nil {
		t.Error(err, d)
	}
	if data, err := json.Marshal(Settings{}); err != nil || string(data) != "{}" {
		t.Errorf("%s, %v", data, err)
	}
	for name, bad := range map[string]string{
		"an unknown key of federation": `{"federation":{"secret":"x"}}`,
		"another case":                 `{"federation":{"URL":"https://a.example"}}`,
		"another case of federation":   `{"Federation":{}}`,
		"another case of a site":       `{"Site_Address":"127.0.0.1:1"}`,
		"a key twice":                  `{"minting":{"url":"https://a.example","url":"https://b.example"}}`,
		"a parameter twice":            `{"minting":{"parameters":{"a":"1","a":"2"}}}`,
		"a parameter in a parameter":   `{"minting":{"parameters":{"a":{"b":"c"}}}}`,
		"a parameter as a number":      `{"minting":{"parameters":{"a":1}}}`,
		"federation twice":             `{"federation":{},"federation":{}}`,
		"a key of settings below":      `{"federation":{"base_url":"https://a.example"}}`,
		"a key of an exchange above":   `{"url":"https://a.example"}`,
		"a price's key in an exchange": `{"federation":{"input":"1"}}`,
		"a list":                       `{"federation":[]}`,
		"a word":                       `{"federation":"on"}`,
		"not valid":                    `{"federation":{"url":"http://a.example"}}`,
		"a site that is none":          `{"site_address":"localhost:1"}`,
		"a site without a CA":          `{"site_address":"127.0.0.1:1"}`,
	} {
		if _, err := ParseSettings([]byte(bad)); !errors.Is(err, ErrSettings) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What need not be set has its prefix if it is.
func TestParametersThatAreOptional(t *testing.T) {
	e, err := change(t, "      prefix: sa_\n      required: true\n", "      prefix: sa_\n")
	if err != nil {
		t.Fatal(err)
	}
	for value, ok := range map[string]bool{"": true, "sa_fake": true, "fake": false} {
		_, err := e.With(Settings{Federation: &Exchange{Parameters: with(nil, "service_account_id", value)}})
		if (err == nil) != ok {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// Where tokens are exchanged, they are carried as the federation says; the
// entry that everybody shares still says how a key is.
func TestWithFederation(t *testing.T) {
	e := lookup(t, "anthropic")
	if e.Played() || e.FederationURL().String() != "https://api.anthropic.com/v1/oauth/token" {
		t.Error(e.FederationURL())
	}
	if a, ok := e.FederationAudience(); ok {
		t.Errorf("an audience that nobody chose: %q", a)
	}
	set := Settings{
		CAPEM: certificate(t), SiteAddress: netip.MustParseAddrPort("127.0.0.1:8443"),
		Federation: &Exchange{URL: "https://gateway.example/token", Audience: "us", Parameters: anthropicIDs},
	}
	c, err := e.With(set)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Placement{{Header: "Authorization", Prefix: "Bearer "}}, c.Inject); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(e.Federation.Headers, c.Headers); d != "" {
		t.Error(d)
	}
	if len(e.Inject) != 1 || e.Inject[0].Header != "X-Api-Key" || len(e.Headers) != 1 {
		t.Errorf("the shared entry became %+v %+v", e.Inject, e.Headers)
	}
	if a, ok := c.FederationAudience(); !ok || a != "us" || c.FederationURL().String() != "https://gateway.example/token" || !c.Played() {
		t.Error(a, c.FederationURL(), c.Played())
	}
	h, err := lookup(t, "huggingface").With(Settings{Federation: &Exchange{Parameters: map[string]string{"resource": "somebody"}}})
	if err != nil {
		t.Fatal(err)
	}
	if a, ok := h.FederationAudience(); !ok || a != "https://huggingface.co" || h.FederationURL().Host != "huggingface.co" {
		t.Error(a, h.FederationURL())
	}
	none := lookup(t, "exa")
	if a, ok := none.FederationAudience(); ok || none.FederationURL() != nil || none.MintingURL() != nil {
		t.Error(a, none.FederationURL(), none.MintingURL())
	}
}

func TestWithMinting(t *testing.T) {
	e := lookup(t, "openai")
	if u := e.MintingURL(); u.String() != "https://api.openai.com/v1" {
		t.Error(u)
	}
	local := netip.MustParseAddrPort("127.0.0.1:8080")
	c, err := e.With(Settings{
		AllowAddresses: []netip.AddrPort{local},
		Minting:        &Exchange{URL: "http://127.0.0.1:8080/v1", Parameters: map[string]string{"project": "proj_fake"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if u := c.MintingURL(); u.String() != "http://127.0.0.1:8080/v1" || c.Base != e.Base {
		t.Error(u)
	}
	if d := cmp.Diff(e.Inject, c.Inject); d != "" {
		t.Error(d)
	}
}

func TestWithRefuses(t *testing.T) {
	federation := func(ids map[string]string) Settings { return Settings{Federation: &Exchange{Parameters: ids}} }
	minting := func(ids map[string]string) Settings { return Settings{Minting: &Exchange{Parameters: ids}} }
	const canary = "fake-value-that-was-pasted"
	for name, c := range map[string]struct {
		id   string
		s    Settings
		want string // "": it passes
	}{
		"ids":                     {"anthropic", federation(anthropicIDs), ""},
		"one more":                {"anthropic", federation(with(anthropicIDs, "workspace_id", "default")), ""},
		"one missing":             {"anthropic", federation(with(anthropicIDs, "organization_id", "")), "federation needs organization_id"},
		"another prefix":          {"anthropic", federation(with(anthropicIDs, "federation_rule_id", canary)), "federation_rule_id begins with fdrl_"},
		"an unknown one":          {"anthropic", federation(with(anthropicIDs, canary, "x")), "federation has no such parameter"},
		"no federation":           {"groq", federation(nil), "Groq is not known to exchange tokens"},
		"no minting":              {"groq", minting(nil), "Groq is not known to make keys"},
		"minting, no ids":         {"openrouter", minting(nil), ""},
		"minting, one missing":    {"gemini", minting(nil), "minting needs project"},
		"minting, one not known":  {"openrouter", minting(map[string]string{canary: "x"}), "minting has no such parameter"},
		"settings that are wrong": {"openrouter", Settings{Minting: &Exchange{URL: "http://a.example"}}, "a minting URL"},
	} {
		got, err := lookup(t, c.id).With(c.s)
		if (err == nil) != (c.want == "") || err != nil && (got != nil || !errors.Is(err, ErrSettings) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v echoes what was set", name, err)
		}
	}
}
