package sites

import (
	"encoding/json"
	"net/http"
	"regexp"
	"testing"
)

var csrfScript = regexp.MustCompile(`"X-Csrf-Token": "([^"]+)"`)

// jinaAsk does what the script of the page does.
func jinaAsk(v *visitor, csrf string) string {
	v.t.Helper()
	v.do("POST", "https://jina.ai/api-dashboard/key", "{}", "Content-Type", "application/json", "Accept", "application/json", "X-Csrf-Token", csrf)
	var body struct{ Key string }
	if err := json.Unmarshal([]byte(v.page.text), &body); err != nil {
		v.t.Fatal(err)
	}
	return body.Key
}

func TestJinaGivesAKeyToAnybody(t *testing.T) {
	s, _, _ := start(t, Options{Service: "jina"})
	v := visit(t, s)
	v.get("https://jina.ai/api-dashboard")
	v.want(http.StatusOK, "API KEY &amp; BILLING")
	csrf := csrfScript.FindStringSubmatch(v.page.text)[1]
	if keyShape.MatchString(v.page.text) {
		t.Error("the key is in the page before anybody asked for it")
	}
	if jinaAsk(v, "wrong") != "" || len(s.Keys()) != 0 {
		t.Error("a key was made without the form's token")
	}
	key := jinaAsk(v, csrf)
	if !regexp.MustCompile(`^jina_[\w-]{40,}$`).MatchString(key) || s.KeyLabel(key) == "" {
		t.Fatal("the answer holds no key of the site")
	}
	if jinaAsk(v, csrf) != key || len(s.Keys()) != 1 {
		t.Error("the same visitor got another key")
	}
	other := visit(t, s)
	other.get("https://jina.ai/api-dashboard")
	if jinaAsk(other, csrfScript.FindStringSubmatch(other.page.text)[1]) == key {
		t.Error("another visitor got the same key")
	}

	const embed = "https://" + jinaAPI + "/v1/embeddings"
	v.do("POST", embed, `{"model":"jina-embeddings-v4","input":["a"]}`, "Content-Type", "application/json", "Authorization", "Bearer "+key)
	v.want(http.StatusOK, `"model":"jina-embeddings-v4"`)
	v.do("POST", embed, `{}`, "Content-Type", "application/json", "Authorization", "Bearer x"+key)
	v.want(http.StatusUnauthorized, "Unauthorized")
	v.do("GET", "https://r.jina.ai/example.com", "")
	v.want(http.StatusOK, "Nothing was fetched.")
	v.do("GET", "https://r.jina.ai/example.com", "", "Authorization", "Bearer wrong")
	v.want(http.StatusUnauthorized, "Invalid API key")
}
