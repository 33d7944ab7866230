package daemon

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/litentry/agentkeys"
)

// TestRuns: what descends from a run is its agent's, also for a process that
// was started since, and nothing else is.
func TestRuns(t *testing.T) {
	coder := agentkeys.Must(agentkeys.ParseAgent("coder"))
	path := filepath.Join(t.TempDir(), "runs.json")
	r := OpenRuns(path)
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	if _, _, ok := r.Of(child.Process.Pid); ok {
		t.Error("a run that nobody noted")
	}
	r.Add(os.Getpid(), coder)
	for _, r := range []*Runs{r, OpenRuns(path)} {
		if a, itself, ok := r.Of(os.Getpid()); a != coder || !itself || !ok {
			t.Errorf("the run: %v %v %v", a, itself, ok)
		}
		if a, itself, ok := r.Of(child.Process.Pid); a != coder || itself || !ok {
			t.Errorf("its child: %v %v %v", a, itself, ok)
		}
		if _, _, ok := r.Of(os.Getppid()); ok {
			t.Error("its parent")
		}
	}
	r.Remove(os.Getpid())
	for _, r := range []*Runs{r, OpenRuns(path)} {
		if _, _, ok := r.Of(child.Process.Pid); ok || r.Len() != 0 {
			t.Error("a run that has ended")
		}
	}

	// The number is another process's by now, or the file is damaged.
	for _, text := range []string{`{"` + strconv.Itoa(os.Getpid()) + `":{"start":"1","agent":"coder"}}`, `{`, `{"x":1}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := OpenRuns(path)
		if _, _, ok := r.Of(os.Getpid()); ok || r.Len() != 0 {
			t.Errorf("%s is believed", text)
		}
	}
}
