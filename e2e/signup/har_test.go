package signup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// TestRecording: what the browser did can be kept and given away, and the recipe
// can be tried on it where there is no service.
func TestRecording(t *testing.T) {
	w := start(t, sites.Options{Service: "openrouter"})
	file := filepath.Join(w.home.Dir, "run.har")
	if o := w.provision("--har", file, "--json"); o.code != 0 {
		t.Fatal(o)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	svc := w.svc()
	account, err := w.home.Client().Drawer(t.Context(), svc, local.DrawerAccount)
	if err != nil {
		t.Fatal(err)
	}
	canaries := []string{"set-cookie: ", "session="}
	for key := range w.keys {
		canaries = append(canaries, strings.TrimPrefix(key, "sk-or-v1-"))
	}
	for part := range strings.SplitSeq(string(account.Expose()), `"`) {
		if strings.Contains(part, "@") || len(part) == 24 {
			canaries = append(canaries, part)
		}
	}
	if len(canaries) != 5 {
		t.Fatalf("%d canaries", len(canaries))
	}
	for _, c := range canaries {
		if bytes.Contains(data, []byte(c)) {
			t.Errorf("the recording has %q", c)
		}
	}
	if n := bytes.Count(data, []byte(`"startedDateTime"`)); n < 8 {
		t.Errorf("%d entries", n)
	}
	visits := len(w.site.Visits())
	if o := w.provision("--replay", file); o.code != 0 || !bytes.Contains(o.stdout, []byte("goes through")) {
		t.Errorf("replay: %v", o)
	}
	if n := len(w.site.Visits()); n != visits {
		t.Errorf("the replay visited the site %d times", n-visits)
	}
}
