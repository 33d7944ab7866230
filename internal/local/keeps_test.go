package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// TestKeepsDoors: a service file does not lead what is kept for a service to
// another host unasked.
func TestKeepsDoors(t *testing.T) {
	w := newWorld(t)
	ctx, groq, openai := t.Context(), serviceOf(t, "groq"), serviceOf(t, "openai")
	file := func(name, old, with string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("..", "..", "catalog", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), old) {
			t.Fatalf("%s has no %s", name, old)
		}
		return []byte(strings.ReplaceAll(string(data), old, with))
	}
	add := func(name string, data []byte, force bool) error {
		_, err := w.AddService(ctx, name+".yaml", data, force)
		return err
	}
	pages := file("groq", "console.groq.com", "console.groq.example")
	for range 2 { // with nothing kept it is the owner's affair
		if err := add("groq", pages, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.RemoveService(ctx, groq, false); err != nil {
		t.Fatal(err)
	}
	if err := w.PutDrawer(ctx, groq, DrawerAccount, secret.FromString("obviously-fake")); err != nil {
		t.Fatal(err)
	}
	if err := add("groq", pages, false); !errors.Is(err, ErrServiceMoves) || !strings.Contains(err.Error(), "console.groq.example") {
		t.Errorf("the password would go to other pages: %v", err)
	}
	if err := add("groq", file("groq", "Groq", "groq"), false); err != nil {
		t.Errorf("the same pages: %v", err)
	}
	if err := add("groq", pages, true); err != nil {
		t.Errorf("with consent: %v", err)
	}

	w.federationOf("openai", &catalog.Exchange{Audience: "https://a.example", Parameters: map[string]string{
		"identity_provider_id": "i", "service_account_id": "s",
	}})
	if err := add("openai", file("openai", "https://auth.openai.com", "https://auth.openai.example"), false); !errors.Is(err, ErrServiceMoves) {
		t.Errorf("tokens would go to another host: %v", err)
	}
	if err := w.RemoveService(ctx, openai, false); err != nil {
		t.Fatal(err)
	}

	// Of a service that is gone something is left.
	own := file("groq", "id: groq", "id: mine")
	if err := add("mine", own, false); err != nil {
		t.Fatal(err)
	}
	if err := w.PutDrawer(ctx, serviceOf(t, "mine"), DrawerAccount, secret.FromString("obviously-fake")); err != nil {
		t.Fatal(err)
	}
	if err := w.RemoveService(ctx, serviceOf(t, "mine"), true); err != nil {
		t.Fatal(err)
	}
	if err := add("mine", own, false); !errors.Is(err, ErrServiceMoves) {
		t.Errorf("another service of the same name: %v", err)
	}
}
