package control

import (
	"strings"
	"testing"
)

// TestStrictJSON: a request that is not exactly one is refused, and changes
// nothing.
func TestStrictJSON(t *testing.T) {
	w := newWorld(t)
	if _, err := w.client.CreateAgent(t.Context(), agentOf(t, "coder")); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ method, path, good string }{
		{"POST", "/v1/agents", `{"label":"other"}`},
		{"PUT", "/v1/grants/coder/openrouter", `{"expires":"2099-01-01T00:00:00Z","rules":["GET /models"]}`},
		{"POST", "/v1/sessions", `{"agent":"coder","ttl_seconds":60}`},
		{"POST", "/v1/sessions/renew", `{"token":"x"}`},
		{"POST", "/v1/sessions/end", `{"token":"x"}`},
		{"PATCH", "/v1/services/openai", `{"prices":{"Some-Model":"1/2"}}`},
		{"PUT", "/v1/federation/openai", `{"exchange":{"parameters":{"service_account_id":"x"}}}`},
	} {
		key := r.good[2 : 2+strings.Index(r.good[2:], `"`)]
		bad := map[string]string{
			"nothing":                  "",
			"no JSON":                  "label=other",
			"another type":             `["` + key + `"]`,
			"half of it":               r.good[:len(r.good)-1],
			"something behind it":      r.good + "{}",
			"a word behind it":         r.good + " x",
			"an unknown key":           strings.Replace(r.good, "{", `{"unheard_of":1,`, 1),
			"a key in another case":    strings.Replace(r.good, key, strings.ToUpper(key), 1),
			"a key in one more case":   strings.Replace(r.good, key, strings.ToUpper(key[:1])+key[1:], 1),
			"a key twice":              strings.Replace(r.good, "{", "{"+r.good[1:len(r.good)-1]+",", 1),
			"a letter that folds to s": strings.Replace(r.good, "s\"", "\u017f\"", 1),
			"too much":                 `{"` + key + `":"` + strings.Repeat("x", maxBody) + `"}`,
		}
		if !strings.Contains(r.good, `s"`) {
			delete(bad, "a letter that folds to s")
		}
		for what, body := range bad {
			if status, answer := w.raw(t, r.method, r.path, body); status != 400 || !strings.Contains(answer, `"code":"malformed"`) {
				t.Errorf("%s %s with %s: %d %s", r.method, r.path, what, status, answer)
			}
		}
	}
	if list := w.host.Agents(); len(list) != 1 || len(w.host.Grants()) != 0 {
		t.Errorf("%v %v", list, w.host.Grants())
	}
	// Names within the JSON, and in paths.
	for _, r := range [][3]string{
		{"POST", "/v1/agents", `{}`}, {"POST", "/v1/agents", `null`}, {"POST", "/v1/agents", `{"label":""}`},
		{"POST", "/v1/agents", `{"label":"No Such Label"}`}, {"POST", "/v1/agents", `{"label":"../x"}`},
		{"DELETE", "/v1/agents/No%20Such", ""}, {"DELETE", "/v1/grants/coder/A", ""}, {"DELETE", "/v1/grants/a.b/openrouter", ""},
		{"GET", "/v1/credentials/..%2fx", ""}, {"PUT", "/v1/credentials/UPPER", "a-key-of-some-length"},
		{"GET", "/v1/audit/tail", ""}, {"GET", "/v1/audit/tail?n=-1", ""}, {"GET", "/v1/audit/tail?n=1000001", ""}, {"GET", "/v1/audit/tail?n=x", ""},
		{"PUT", "/v1/grants/coder/openrouter", `{"rules":["no method"],"expires":"2099-01-01T00:00:00Z"}`},
		{"PUT", "/v1/grants/coder/openrouter", `{"rules":[""],"expires":"2099-01-01T00:00:00Z"}`},
		{"PUT", "/v1/grants/coder/openrouter", `{"expires":"tomorrow"}`},
	} {
		if status, answer := w.raw(t, r[0], r[1], r[2]); status != 400 || !strings.Contains(answer, `"code":"malformed"`) {
			t.Errorf("%s %s %s: %d %s", r[0], r[1], r[2], status, answer)
		}
	}
	// What is exact passes.
	if status, answer := w.raw(t, "POST", "/v1/agents", ` {"label": "other"} `+"\n"); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := w.raw(t, "PATCH", "/v1/services/openai", `{"prices":{"Some-Model":"1/2","some-model":"1/2"}}`); status != 200 {
		t.Errorf("models have names of their own: %d %s", status, answer)
	}
}
