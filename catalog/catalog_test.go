package catalog

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/litentry/agentkeys"
)

func service(s string) agentkeys.Service { return agentkeys.Must(agentkeys.ParseService(s)) }

func lookup(t testing.TB, id string) *Entry {
	t.Helper()
	e, err := Lookup(service(id))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func all(t testing.TB) []*Entry {
	t.Helper()
	es, err := All()
	if err != nil {
		t.Fatal(err)
	}
	return es
}

var services = []string{
	"anthropic", "brave-search", "cohere", "deepseek", "elevenlabs", "exa", "firecrawl", "gemini",
	"github", "groq", "huggingface", "instagram", "jina", "meta", "mistral", "openai",
	"openrouter", "perplexity", "replicate", "resend", "tavily", "together", "x", "xai",
}

func TestServicesAreListed(t *testing.T) {
	var got []string
	for _, id := range IDs() {
		got = append(got, id.String())
	}
	if d := cmp.Diff(services, got); d != "" {
		t.Error(d)
	}
	var names []string
	for _, e := range all(t) {
		names = append(names, e.ID.String())
	}
	if d := cmp.Diff(services, names); d != "" {
		t.Error(d)
	}
}

// Parse is stricter than Lookup, since it compiles the patterns as well.
func TestFilesPassAsUserFiles(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) != len(services) {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(f, data); err != nil {
			t.Error(err)
		}
		if lines := strings.Count(string(data), "\n"); lines > 450 {
			t.Errorf("%s has %d lines", f, lines)
		}
	}
}

func TestNamesAndTagsAreUnique(t *testing.T) {
	names, tags, hosts := map[string]agentkeys.Service{}, map[string]agentkeys.Service{}, map[string]agentkeys.Service{}
	claim := func(m map[string]agentkeys.Service, what string, e *Entry) {
		if other, taken := m[what]; taken && other != e.ID {
			t.Errorf("%s: %q belongs to %s", e.ID, what, other)
		}
		m[what] = e.ID
	}
	for _, e := range all(t) {
		claim(names, e.ID.String(), e)
		for _, a := range e.Aliases {
			claim(names, a, e)
		}
		if tag, ok := e.MailTag.Get(); ok {
			claim(tags, tag, e)
		}
		claim(hosts, e.Base.Host, e)
	}
	if tag, _ := lookup(t, "openrouter").MailTag.Get(); tag != "or" {
		t.Errorf("openrouter has the mail tag %q", tag)
	}
}

func TestURLsAreHTTPS(t *testing.T) {
	for _, e := range all(t) {
		urls := []*url.URL{e.Docs, e.Base, e.Terms.URL.Value, e.Verify.URL}
		for _, h := range e.Hosts {
			urls = append(urls, h.URL)
			if h.URL.Host == e.Base.Host {
				t.Errorf("%s: %s is lent and not", e.ID, h.URL.Host)
			}
		}
		for _, u := range urls {
			if u != nil && u.Scheme != "https" {
				t.Errorf("%s: %s", e.ID, u)
			}
		}
	}
}

// What is known must not be lost to "unknown" by an edit.
func TestKnownFactsStandThere(t *testing.T) {
	have := func(list ...string) map[string]bool {
		m := map[string]bool{}
		for _, s := range list {
			m[s] = true
		}
		return m
	}
	noVerify := have("brave-search", "jina", "exa", "perplexity")
	noPattern := have("exa", "together", "instagram")
	reported := have("openrouter", "perplexity", "xai", "exa")
	table := have("anthropic", "openai", "groq", "gemini", "mistral", "deepseek", "jina", "huggingface", "together", "cohere")
	baseVar := have("anthropic", "openai", "groq", "gemini", "perplexity", "together", "cohere", "replicate", "resend", "firecrawl")
	federate := have("anthropic", "openai", "huggingface", "firecrawl")
	mint := have("openrouter", "openai", "gemini", "xai", "exa", "resend", "elevenlabs", "perplexity", "tavily")
	rates := have("brave-search", "jina", "groq", "anthropic", "resend", "github")
	noSignup := have("x", "meta", "instagram", "github")
	noEnv := have("x", "meta", "instagram")
	once := have("openrouter", "openai", "anthropic", "groq", "mistral", "together", "resend")
	for _, e := range all(t) {
		id := e.ID.String()
		_, _, _, verify := e.VerifyRequest()
		for what, c := range map[string]struct{ got, want bool }{
			"verify":       {verify, !noVerify[id]},
			"key pattern":  {e.Key.Patterns.State == Known, !noPattern[id]},
			"reported":     {e.Usage.Pricing == PricingReported, reported[id]},
			"table":        {e.Usage.Pricing == PricingTable, table[id]},
			"base URL":     {e.Env.Base.State == Known, baseVar[id]},
			"federate":     {e.Doors[Federate].State == DoorKnown, federate[id]},
			"mint":         {e.Doors[Mint].State == DoorKnown, mint[id]},
			"rate headers": {e.RateHeaders.State == Known, rates[id]},
			"no sign-up":   {e.Doors[Signup].State == DoorUnsupported, noSignup[id]},
			"no variable":  {len(e.Env.Key) == 0, noEnv[id]},
			"shown once":   {e.Key.ShownOnce.Value, once[id]},
		} {
			if c.got != c.want {
				t.Errorf("%s: %s is %v, want %v", id, what, c.got, c.want)
			}
		}
		if e.LiveTested != "never" || e.Terms.Review.Done {
			t.Errorf("%s: nothing was tried and no terms were reviewed", id)
		}
	}
}

func TestPlacements(t *testing.T) {
	want := map[string]Placement{
		"brave-search": {Header: "X-Subscription-Token"},
		"anthropic":    {Header: "X-Api-Key"},
		"exa":          {Header: "X-Api-Key"},
		"gemini":       {Header: "X-Goog-Api-Key"},
		"elevenlabs":   {Header: "Xi-Api-Key"},
		"instagram":    {Query: "access_token"},
	}
	for _, e := range all(t) {
		w, ok := want[e.ID.String()]
		if !ok {
			w = Placement{Header: "Authorization", Prefix: "Bearer "}
		}
		if len(e.Inject) != 1 || e.Inject[0] != w {
			t.Errorf("%s: %+v", e.ID, e.Inject)
		}
		// An agent that sends the key's own header must not get through with it.
		if h := e.Inject[0].Header; h != "" && h != "Authorization" && !slices.Contains(e.Strip.Headers, h) {
			t.Errorf("%s does not strip %s", e.ID, h)
		}
		if q := e.Inject[0].Query; q != "" && !slices.Contains(e.Strip.Query, q) {
			t.Errorf("%s does not strip ?%s=", e.ID, q)
		}
	}
	if h := lookup(t, "anthropic").Headers; len(h) != 1 || h[0] != (ConstHeader{Name: "Anthropic-Version", Value: "2023-06-01", IfAbsent: true}) {
		t.Errorf("anthropic: %+v", h)
	}
}

// Lookup hands out one entry to everybody.
func TestLookupParsesOnce(t *testing.T) {
	if one, again := lookup(t, "groq"), lookup(t, "groq"); one != again {
		t.Error("two entries for one service")
	}
	if _, err := Lookup(agentkeys.Service{}); err == nil {
		t.Error("the zero service was found")
	}
}

func BenchmarkParseOne(b *testing.B) {
	data, err := os.ReadFile("openrouter.yaml")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, d, _ := parse("openrouter.yaml", data); d.err != nil {
			b.Fatal(d.err)
		}
	}
}
