package catalog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/litentry/agentkeys/internal/grant"
)

func TestFromJSON(t *testing.T) {
	for _, c := range []struct {
		id, doc string
		want    Usage
		ok      bool
	}{
		{"openrouter", `{"id":"gen-1","model":"openai/gpt-4o","choices":[{"message":{"content":"\"usage\":{\"cost\":9}"}}],
			"usage":{"prompt_tokens":10,"completion_tokens":5,"cost":0.00014,"cost_details":{"upstream_inference_cost":null},"prompt_tokens_details":{"cached_tokens":3}}}`,
			Usage{Model: "openai/gpt-4o", Cost: 140_000, HasCost: true, Input: 10, Output: 5, CacheRead: 3, HasTokens: true}, true},
		{"openrouter", `{"type":"response.completed","response":{"model":"m","usage":{"input_tokens":10,"output_tokens":2,"cost":1e-3}}}`,
			Usage{Model: "m", Cost: 1_000_000, HasCost: true, Input: 10, Output: 2, HasTokens: true}, true},
		{"openrouter", `{"model":"m","usage":{"cost":0}}`, Usage{Model: "m", HasCost: true}, true},
		{"openrouter", `{"model":"m","usage":null}`, Usage{Model: "m"}, false},
		{"openrouter", `{"model":"m","usage":{"cost":-1,"prompt_tokens":-2}}`, Usage{Model: "m"}, false},
		{"openrouter", `{"model":7,"usage":{"cost":"0.1"}}`, Usage{}, false},
		{"openrouter", `{"usage":{"cost":1e99,"prompt_tokens":5}}`, Usage{Input: 5, HasTokens: true}, true},
		{"openrouter", `{"usage":{"cost":NaN}}`, Usage{}, false},
		{"openrouter", `{"usage":{"cost":{"usd":1}}}`, Usage{}, false},
		{"openrouter", `{"us\u0061ge":{"c\u006fst":2}}`, Usage{Cost: 2 * grant.USD, HasCost: true}, true},
		{"openrouter", `{"x":{"usage":{"cost":2}},"Usage":{"cost":2},"usage":{"Cost":2}}`, Usage{}, false},
		{"openrouter", ` { "usage" : { "cost" : 2 } } `, Usage{Cost: 2 * grant.USD, HasCost: true}, true},
		{"anthropic", `{"type":"message_start","message":{"model":"claude-x","usage":{"input_tokens":25,"cache_creation_input_tokens":7,"cache_read_input_tokens":100,"output_tokens":1}}}`,
			Usage{Model: "claude-x", Input: 132, CacheRead: 100, CacheWrite: 7, Output: 1, HasTokens: true}, true},
		{"anthropic", `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15,"input_tokens":null}}`,
			Usage{Output: 15, HasTokens: true}, true},
		{"anthropic", `{"type":"ping"}`, Usage{}, false},
		{"anthropic", `{"model":"c","usage":{"input_tokens":1,"output_tokens":2,"server_tool_use":{"web_search_requests":1}}}`,
			Usage{Model: "c", Input: 1, Output: 2, HasTokens: true, Unpriced: true}, true},
		{"gemini", `[{"candidates":[{}],"modelVersion":"gemini-2.5-flash","usageMetadata":{"promptTokenCount":8}},
			{"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":20,"thoughtsTokenCount":30,"cachedContentTokenCount":4}}]`,
			Usage{Model: "gemini-2.5-flash", Input: 8, Output: 50, CacheRead: 4, HasTokens: true}, true},
		{"openai", `{"model":"gpt-4o","usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":{"audio_tokens":3}}}`,
			Usage{Model: "gpt-4o", Input: 1, Output: 2, HasTokens: true, Unpriced: true}, true},
		{"openai", `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":{"audio_tokens":0}}}`,
			Usage{Input: 1, Output: 2, HasTokens: true}, true},
		{"groq", `{"model":"m","x_groq":{"id":"r","usage":{"prompt_tokens":3,"completion_tokens":4}}}`,
			Usage{Model: "m", Input: 3, Output: 4, HasTokens: true}, true},
		{"xai", `{"model":"grok","usage":{"prompt_tokens":3,"completion_tokens":4,"cost_in_usd_ticks":37756001}}`,
			Usage{Model: "grok", Cost: 3_775_601, HasCost: true, Input: 3, Output: 4, HasTokens: true}, true},
		{"perplexity", `{"model":"sonar","usage":{"prompt_tokens":3,"completion_tokens":4,"cost":{"request_cost":0.005,"total_cost":0.006}}}`,
			Usage{Model: "sonar", Cost: 6_000_000, HasCost: true, Input: 3, Output: 4, HasTokens: true}, true},
		{"exa", `{"results":[],"costDollars":{"total":0.007,"search":{"neural":0.007}}}`, Usage{Cost: 7_000_000, HasCost: true}, true},
		{"cohere", `{"type":"message-end","delta":{"usage":{"billed_units":{"input_tokens":5.0,"output_tokens":9}}}}`,
			Usage{Input: 5, Output: 9, HasTokens: true}, true},
		{"cohere", `{"meta":{"billed_units":{"search_units":1}}}`, Usage{Unpriced: true}, false},
		{"jina", `{"model":"jina-embeddings-v3","data":[{"embedding":[0.1,-2e-3]}],"usage":{"total_tokens":6}}`,
			Usage{Model: "jina-embeddings-v3", Input: 6, HasTokens: true}, true},
		{"deepseek", `{"model":"deepseek-chat","usage":{"prompt_tokens":8,"completion_tokens":54,"prompt_cache_hit_tokens":6}}`,
			Usage{Model: "deepseek-chat", Input: 8, Output: 54, CacheRead: 6, HasTokens: true}, true},
		{"mistral", `{"model":"m","usage":{"prompt_tokens":8,"completion_tokens":5,"prompt_audio_seconds":null}}`,
			Usage{Model: "m", Input: 8, Output: 5, HasTokens: true}, true},
		{"brave-search", `{"usage":{"prompt_tokens":1}}`, Usage{}, false},
	} {
		e := lookup(t, c.id)
		got, ok := e.Usage.FromJSON([]byte(c.doc))
		if d := cmp.Diff(c.want, got); d != "" || ok != c.ok {
			t.Errorf("%s: %s: %v\n%s", c.id, c.doc, ok, d)
		}
	}
}

// A broken document says nothing: half of it must not set the price.
func TestFromJSONRefuses(t *testing.T) {
	e := lookup(t, "openrouter")
	good := `{"model":"m","a":[1,{"b":"]}\\\""}],"usage":{"cost":0.5,"prompt_tokens":1}}`
	if _, ok := e.Usage.FromJSON([]byte(good)); !ok {
		t.Fatal("the good document is refused")
	}
	for i := range good {
		if u, ok := e.Usage.FromJSON([]byte(good[:i])); ok {
			t.Errorf("cut at %d: %+v", i, u)
		}
	}
	for name, doc := range map[string]string{
		"something behind":     good + "x",
		"a second document":    good + good,
		"the cost twice":       `{"usage":{"cost":1,"cost":2}}`,
		"usage twice":          `{"usage":{"cost":1},"usage":{}}`,
		"twice, once escaped":  `{"usage":{"cost":1},"us\u0061ge":{"cost":2}}`,
		"end of an SSE stream": "[DONE]",
		"a string":             `"usage"`,
		"a comma too many":     `{"usage":{"cost":1},}`,
		"no colon":             `{"usage" {"cost":1}}`,
		"no quotes":            `{usage:{"cost":1}}`,
		"not closed":           `{"usage":{"cost":1}`,
		"empty":                ``,
		"an array of numbers":  `[1,2,3]`,
		"an array not closed":  `[{"usage":{"cost":1}}`,
		"a deep array":         strings.Repeat("[", 1<<20),
		"a deep object":        strings.Repeat(`{"usage":`, 1<<18),
	} {
		if u, ok := e.Usage.FromJSON([]byte(doc)); ok {
			t.Errorf("%s: %+v", name, u)
		}
	}
	if _, ok := new(UsageSpec).FromJSON([]byte(good)); ok {
		t.Error("the zero UsageSpec found something")
	}
}

func TestMergeAcrossEvents(t *testing.T) {
	e := lookup(t, "anthropic")
	var u Usage
	for _, event := range []string{
		`{"type":"message_start","message":{"model":"claude-x","usage":{"input_tokens":25,"cache_read_input_tokens":100,"output_tokens":1}}}`,
		`{"type":"content_block_delta","delta":{"text":"hi"}}`,
		`{"type":"message_delta","usage":{"output_tokens":15}}`,
		`{"type":"message_stop"}`,
	} {
		part, _ := e.Usage.FromJSON([]byte(event))
		u.Merge(part)
	}
	if d := cmp.Diff(Usage{Model: "claude-x", Input: 125, CacheRead: 100, Output: 15, HasTokens: true}, u); d != "" {
		t.Error(d)
	}
}

func TestMergeIsAssociativeAndIdempotent(t *testing.T) {
	count := rapid.Int64Range(0, maxTokens)
	usage := rapid.Custom(func(t *rapid.T) Usage {
		return Usage{
			Cost: grant.Money(count.Draw(t, "cost")), HasCost: rapid.Bool().Draw(t, "hascost"),
			Input: count.Draw(t, "in"), Output: count.Draw(t, "out"), CacheRead: count.Draw(t, "r"), CacheWrite: count.Draw(t, "w"),
			HasTokens: rapid.Bool().Draw(t, "hastokens"), Unpriced: rapid.Bool().Draw(t, "unpriced"),
			Model: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "model"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := usage.Draw(t, "a"), usage.Draw(t, "b"), usage.Draw(t, "c")
		left, right := a, b
		left.Merge(b)
		left.Merge(c)
		right.Merge(c)
		abc := a
		abc.Merge(right)
		if left != abc {
			t.Fatalf("(ab)c = %+v, a(bc) = %+v", left, abc)
		}
		again := a
		again.Merge(a)
		if again != a {
			t.Fatalf("aa = %+v, a = %+v", again, a)
		}
	})
}

// chat is a chat completion of some 2 KB, as services send it.
func chat() []byte {
	text := strings.Repeat(`The quick brown fox jumps over the \"lazy\" dog.\n`, 33)
	return []byte(`{"id":"gen-1700000000-abcdefghij","provider":"OpenAI","model":"openai/gpt-4o","object":"chat.completion","created":1700000000,` +
		`"choices":[{"logprobs":null,"finish_reason":"stop","native_finish_reason":"stop","index":0,"message":{"role":"assistant","content":"` + text + `","refusal":null,"reasoning":null}}],` +
		`"system_fingerprint":"fp_1234567890","usage":{"prompt_tokens":1234,"completion_tokens":567,"total_tokens":1801,"cost":0.00872,"is_byok":false,` +
		`"prompt_tokens_details":{"cached_tokens":128,"audio_tokens":0},"cost_details":{"upstream_inference_cost":null},"completion_tokens_details":{"reasoning_tokens":0,"image_tokens":0}}}`)
}

func TestFromJSONAllocatesOnlyTheModel(t *testing.T) {
	e, doc := lookup(t, "openrouter"), chat()
	if n := testing.AllocsPerRun(100, func() { e.Usage.FromJSON(doc) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFromJSON(b *testing.B) {
	for _, id := range []string{"openrouter", "openai", "anthropic"} {
		b.Run(id, func(b *testing.B) {
			e, doc := lookup(b, id), chat()
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				e.Usage.FromJSON(doc)
			}
		})
	}
}

func BenchmarkFromJSONStreamEvent(b *testing.B) {
	e := lookup(b, "openrouter")
	doc := []byte(`{"id":"gen-1","model":"openai/gpt-4o","object":"chat.completion.chunk","created":1700000000,"choices":[{"index":0,"delta":{"role":"assistant","content":" fox"},"finish_reason":null}]}`)
	b.ReportAllocs()
	for b.Loop() {
		e.Usage.FromJSON(doc)
	}
}

func FuzzFromJSON(f *testing.F) {
	f.Add(chat())
	for _, s := range []string{`[{"usage":{"cost":1}},{}]`, `{"us\u0061ge":{"cost":1e-7}}`, `{"a":"\\\"","usage":{}}`, `[DONE]`, `{"usage":{"cost":-0}}`} {
		f.Add([]byte(s))
	}
	all, err := All()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, e := range all {
			u, _ := e.Usage.FromJSON(doc)
			if u.Cost < 0 || u.Cost > maxCost || u.Input < 0 || u.Output < 0 || u.CacheRead < 0 || u.CacheWrite < 0 {
				t.Fatalf("%s: %+v", e.ID, u)
			}
			if m, ok := e.Price(u); m < 0 || m > maxCost || ok && !u.HasCost && e.Usage.Pricing != PricingNone {
				t.Fatalf("%s: %+v costs %v", e.ID, u, m)
			}
		}
	})
}
