package sites

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const braveAt = "https://" + braveHost

var (
	keyField = regexp.MustCompile(`readonly value="([^"]+)"`)
	keyRow   = regexp.MustCompile(`action="(/[a-z/]+/key-\d+/delete)"`)
)

// secretIn returns the key that a page shows.
func secretIn(t *testing.T, v *visitor) string {
	t.Helper()
	m := keyField.FindStringSubmatch(v.page.text)
	if m == nil {
		t.Fatalf("%s shows no key", v.page.url)
	}
	return html.UnescapeString(m[1])
}

// braveIn signs up at Brave and opens the link of the mail.
func braveIn(t *testing.T, v *visitor, b *box, address string) {
	t.Helper()
	v.get(braveAt + "/register")
	v.send(braveAt+"/register", "email", address, "password", secretWord, "terms", "on")
	v.want(http.StatusOK, "Check your inbox")
	link := letterLink.FindString(b.letters[len(b.letters)-1].Text)
	v.get(link)
	v.want(http.StatusOK, "Choose a plan")
}

func TestBraveSellsKeysToPeopleWithACard(t *testing.T) {
	s, b, _ := start(t, Options{Service: "brave-search"})
	v := visit(t, s)
	braveIn(t, v, b, "someone@example.com")

	v.get(braveAt + "/app/keys")
	v.want(http.StatusOK, "You need an active plan")
	v.get(braveAt + "/app/plans/search")
	v.send(braveAt+"/app/plans/search", "cardnumber", "4242424242424242", "cc-exp", "12/40", "cvc", "123")
	v.want(http.StatusPaymentRequired, "Your card was declined.")
	if s.Robots() != 1 {
		t.Error("a card from a form was not counted")
	}
	v.send(braveAt+"/app/keys", "name", "too soon")
	v.want(http.StatusPaymentRequired, "You need an active plan")
	if n := s.Act(DeedCard); n != 1 {
		t.Fatalf("a person gave a card on %d pages, want 1", n)
	}
	v.get(braveAt + "/app/plans")
	v.want(http.StatusOK, "Current plan")

	v.get(braveAt + "/app/keys")
	v.send(braveAt+"/app/keys", "name", "mine")
	secret := secretIn(t, v)
	if !regexp.MustCompile(`^BSA[\w-]{20,}$`).MatchString(secret) || s.KeyLabel(secret) == "" {
		t.Fatal("what the page shows is no key of the site")
	}
	v.get(braveAt + "/app/keys")
	if strings.Contains(v.page.text, secret) || !strings.Contains(v.page.text, "Delete mine") {
		t.Error("the key is shown again, or its row is missing")
	}

	const search = "https://" + braveAPI + "/res/v1/web/search?q=weather"
	v.do("GET", search, "", "X-Subscription-Token", secret)
	v.want(http.StatusOK, "About weather")
	v.do("GET", search, "", "X-Subscription-Token", secret+"x")
	v.want(http.StatusUnprocessableEntity, "SUBSCRIPTION_TOKEN_INVALID")
	v.do("GET", search, "", "Authorization", "Bearer "+secret)
	v.want(http.StatusUnprocessableEntity, "SUBSCRIPTION_TOKEN_INVALID")

	v.get(braveAt + "/app/keys")
	v.send(braveAt + keyRow.FindStringSubmatch(v.page.text)[1])
	v.do("GET", search, "", "X-Subscription-Token", secret)
	v.want(http.StatusUnprocessableEntity, "SUBSCRIPTION_TOKEN_INVALID")
}

func TestBraveKnowsWhoWasThere(t *testing.T) {
	s, b, _ := start(t, Options{Service: "brave-search"})
	v := visit(t, s)
	v.get(braveAt + "/register")
	for _, c := range []struct {
		text   string
		fields []string
	}{
		{"Enter a valid email address.", []string{"email", "nobody", "password", secretWord, "terms", "on"}},
		{"The password is too short.", []string{"email", "a@example.com", "password", "short", "terms", "on"}},
		{"You have to agree", []string{"email", "a@example.com", "password", secretWord}},
	} {
		v.send(braveAt+"/register", c.fields...)
		v.want(http.StatusUnprocessableEntity, c.text)
	}
	v.send(braveAt+"/register", "email", "a@example.com", "password", secretWord, "terms", "on")
	link := letterLink.FindString(b.letters[0].Text)

	// Before the link is opened nobody comes in, and another browser that opens
	// it is not signed in by that.
	v.get(braveAt + "/login")
	v.send(braveAt+"/login", "email", "a@example.com", "password", secretWord)
	v.want(http.StatusUnprocessableEntity, "Confirm your email address first.")
	other := visit(t, s)
	other.get(link)
	other.want(http.StatusOK, "Log in")
	v.get(link)
	v.want(http.StatusGone, "expired")

	v.get(braveAt + "/register")
	v.send(braveAt+"/register", "email", "a@example.com", "password", secretWord, "terms", "on")
	v.want(http.StatusUnprocessableEntity, "already exists")
	v.get(braveAt + "/login")
	v.send(braveAt+"/login", "email", "a@example.com", "password", "another pass phrase")
	v.want(http.StatusUnprocessableEntity, "Invalid email or password.")
	v.send(braveAt+"/login", "email", "a@example.com", "password", secretWord)
	v.want(http.StatusOK, "Choose a plan")
	// A plan belongs to the account, and not to the browser.
	s.Act(DeedCard)
	again := visit(t, s)
	again.get(braveAt + "/login")
	again.send(braveAt+"/login", "email", "a@example.com", "password", secretWord)
	again.want(http.StatusOK, "Current plan")
}
