package catalog

import "testing"

func TestVerifyRequest(t *testing.T) {
	for id, want := range map[string]string{
		"openrouter":  "GET https://openrouter.ai/api/v1/key",
		"openai":      "GET https://api.openai.com/v1/models",
		"anthropic":   "GET https://api.anthropic.com/v1/models",
		"groq":        "GET https://api.groq.com/openai/v1/models",
		"huggingface": "GET https://huggingface.co/api/whoami-v2",
		"cohere":      "POST https://api.cohere.com/v1/check-api-key {}",
		"xai":         "GET https://api.x.ai/v1/api-key",
		"x":           "GET https://api.x.com/2/users/me",
		"exa":         "",
	} {
		method, u, body, ok := lookup(t, id).VerifyRequest()
		got := ""
		if ok {
			got = method + " " + u.String()
		}
		if body != "" {
			got += " " + body
		}
		if got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		id     string
		status int
		body   string
		want   Verdict
	}{
		{"openrouter", 200, `{"data":{"label":"x","is_management_key":false}}`, Good},
		{"openrouter", 200, `{"data":{"is_management_key":true}}`, Refused},
		{"openrouter", 200, `{"data":{"is_management_key":true,"lab`, Refused},
		{"openrouter", 401, ``, Bad},
		{"openrouter", 429, ``, Unclear},
		{"openrouter", 500, ``, Unclear},
		{"gemini", 200, ``, Good},
		{"gemini", 400, ``, Bad},
		{"gemini", 403, ``, Limited},
		{"elevenlabs", 401, `{"detail":{"status":"missing_permissions"}}`, Good},
		{"elevenlabs", 401, `{"detail":{"status":"invalid_api_key"}}`, Bad},
		{"elevenlabs", 401, `<html>`, Bad},
		{"resend", 401, `{"name":"restricted_api_key"}`, Good},
		{"resend", 401, `{"name":"missing_api_key"}`, Bad},
		{"resend", 403, `{"name":"invalid_api_key"}`, Bad},
		{"cohere", 200, `{"valid":true}`, Good},
		{"cohere", 200, `{"valid":false}`, Bad},
		{"anthropic", 404, ``, Bad},
		{"meta", 400, `{"error":{"code":190}}`, Bad},
		{"meta", 400, `{"error":{"code":100}}`, Unclear},
		{"x", 403, ``, Limited},
		{"exa", 200, ``, Unclear},
	} {
		e := lookup(t, c.id)
		if got, _ := e.Verify.Judge(c.status, []byte(c.body)); got != c.want {
			t.Errorf("%s: %d %s is %s, want %s", c.id, c.status, c.body, got, c.want)
		}
	}
	// What shows the key must say so, since its body must not be kept.
	if lookup(t, "elevenlabs").Verify.Echoes != EchoFull || lookup(t, "openrouter").Verify.Echoes != EchoMasked {
		t.Error("an echo is not marked")
	}
}
