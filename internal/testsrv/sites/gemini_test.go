package sites

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const studioAt = "https://" + studioHost

// googleIn opens the page of keys and has a person sign in.
func googleIn(t *testing.T, s *Site, v *visitor) {
	t.Helper()
	v.get(studioAt + "/apikey")
	if v.page.url.Host != googleHost {
		t.Fatalf("whoever is not signed in is at %s", v.page.url.Host)
	}
	if s.Act(DeedGoogle) == 0 {
		t.Fatal("no page asks a person to sign in")
	}
	v.get("https://" + googleHost + "/signin/continue?continue=" + studioAt + "/apikey")
}

func TestGeminiTakesAPersonWithAnAccountAtGoogle(t *testing.T) {
	s, _, _ := start(t, Options{Service: "gemini"})
	v := visit(t, s)
	v.get(studioAt + "/")
	v.want(http.StatusOK, "Sign in")
	v.get("https://" + googleHost + "/signin/continue?continue=" + studioAt + "/apikey")
	v.want(http.StatusBadRequest, "Sign in first.")
	googleIn(t, s, v)
	v.want(http.StatusOK, "Terms of service")
	if strings.Contains(v.page.text, "Create API key") {
		t.Error("keys can be made before the terms are accepted")
	}
	v.send(studioAt+"/apikey", "name", "too soon")
	v.want(http.StatusOK, "Terms of service")
	if len(s.Keys()) != 0 {
		t.Fatal("a key was made before the terms were accepted")
	}
	if s.Act(DeedTerms) != 1 {
		t.Fatal("no page asks a person to accept terms")
	}
	v.get(studioAt + "/apikey")
	v.want(http.StatusOK, "Create API key")
	v.send(studioAt+"/apikey", "name", "mine")
	secret := secretIn(t, v)
	if !regexp.MustCompile(`^AQ\.[\w-]{20,}$`).MatchString(secret) || s.KeyLabel(secret) == "" {
		t.Fatal("what the page shows is no key of the site")
	}
	v.get(studioAt + "/apikey")
	if strings.Contains(v.page.text, secret) || !strings.Contains(v.page.text, "Delete mine") {
		t.Error("the key is shown again, or its row is missing")
	}

	const models = "https://" + geminiAPI + "/v1/models"
	v.do("GET", models, "", "X-Goog-Api-Key", secret)
	v.want(http.StatusOK, "models/gemini")
	v.do("GET", models, "", "X-Goog-Api-Key", "AIza"+random(35, alnum))
	v.want(http.StatusBadRequest, "API_KEY_INVALID")
	v.do("POST", "https://"+geminiAPI+"/v1beta/models/gemini-2.5-flash:generateContent", `{}`, "Content-Type", "application/json", "X-Goog-Api-Key", secret)
	v.want(http.StatusOK, `"modelVersion":"gemini-2.5-flash"`)

	v.get(studioAt + "/apikey")
	v.send(studioAt + keyRow.FindStringSubmatch(v.page.text)[1])
	v.do("GET", models, "", "X-Goog-Api-Key", secret)
	v.want(http.StatusBadRequest, "API_KEY_INVALID")
}

func TestGoogleByItsForm(t *testing.T) {
	s, _, _ := start(t, Options{Service: "gemini"})
	v := visit(t, s)
	v.get(studioAt + "/apikey")
	form := "https://" + googleHost + "/v3/signin/challenge"
	v.send(form, "identifier", "nobody@gmail.test", "Passwd", "x", "continue", studioAt+"/apikey")
	v.want(http.StatusBadRequest, "find your Google Account")
	v.get(studioAt + "/apikey")
	v.send(form, "identifier", GoogleUser, "Passwd", "x", "continue", studioAt+"/apikey")
	v.want(http.StatusOK, "Terms of service")
	v.send(studioAt+"/terms", "agree", "on")
	v.want(http.StatusOK, "Create API key")
}

func TestGoogleLeadsBackToTheStudioAlone(t *testing.T) {
	s, _, _ := start(t, Options{Service: "gemini"})
	v := visit(t, s)
	for _, to := range []string{"https://evil.test/", "http://" + studioHost + "/", "https://" + studioHost + ".evil.test/", "//evil.test", ""} {
		v.get("https://" + googleHost + "/v3/signin/identifier?continue=" + to)
		v.want(http.StatusBadRequest, "not allowed")
	}
	googleIn(t, s, v)
	v.get("https://" + studioHost + "/signed-in?token=wrong&to=//evil.test")
	v.want(http.StatusGone, "Sign in again")
}
