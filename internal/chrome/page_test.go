package chrome

import (
	"testing"

	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
)

func TestPlainPage(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<h1>Hello</h1><form action=/next><label for=a>Mail address</label><input id=a name=mail><button>Go on</button></form>`)
	s.page(shop+"/next", `<p id=done>Done`)
	r := launch(t, s)
	r.open(shop + "/")
	v, err := r.Look(t.Context(), []string{"#a", "button"})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", v)
	r.do("#a", recipe.Act{Type: secret.FromString("me@shop.example")})
	if got := r.read("#a"); got != "me@shop.example" {
		t.Fatalf("the field holds %q", got)
	}
	r.click("button")
	if got := r.read("#done"); got != "Done" {
		t.Fatal(got)
	}
	t.Log(s.visits, r.Contacted())
}
