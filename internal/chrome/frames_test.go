package chrome

import (
	"testing"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

func TestFrameURL(t *testing.T) {
	for raw, want := range map[string]string{
		"https://a.example/x?token=t#f":                                             "https://a.example/x",
		"https://a.example/x?size=normal":                                           "https://a.example/x",
		"https://www.google.com/recaptcha/api2/anchor?ar=1&k=x&size=invisible&cb=1": "https://www.google.com/recaptcha/api2/anchor?size=invisible",
		"https://www.google.com/recaptcha/api2/anchor?size=invisible&size=normal":   "https://www.google.com/recaptcha/api2/anchor",
		"https://www.google.com/recaptcha/api2/anchor?k=x#size=invisible":           "https://www.google.com/recaptcha/api2/anchor",
		":": "",
	} {
		if got := frameURL(raw); got != want {
			t.Errorf("%s is %s", raw, got)
		}
	}
}

// TestBadge: a badge is told from a box to be ticked, and from the puzzle that
// may follow.
func TestBadge(t *testing.T) {
	s := newSite(t)
	r := launch(t, s)
	const at = `<iframe width=256 height=60 src="https://www.google.com/recaptcha/api2/`
	for html, want := range map[string]bool{
		at + `anchor?ar=1&k=x&size=invisible"></iframe>`: false,
		at + `anchor?ar=1&k=x&size=normal"></iframe>`:    true,
		at + `bframe?k=x&size=invisible"></iframe>`:      true,
	} {
		s.page(shop+"/", `<p id=p>x</p>`+html)
		r.open(shop + "/")
		v := r.until("the frame", func(v recipe.View) bool { return len(v.Frames) == 1 })
		if _, bot := recipe.BotCheckIn(v.Frames); bot != want {
			t.Errorf("%s is a bot check: %t", html, bot)
		}
	}
}
