package cloud

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/e2e/cloud/rig"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/testsrv"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

const canary = "sk-or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// openRouter plays the service, and tells a home how to reach it.
func openRouter(t *testing.T) *testsrv.Server {
	t.Helper()
	srv, err := testsrv.Start(testsrv.Options{Shape: testsrv.OpenRouter, Keys: map[string]string{"the key": canary}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	return srv
}

func uses(w *rig.World, h *rig.Home, srv *testsrv.Server) {
	ca := w.Write("openrouter.pem", srv.CAPEM())
	h.OK("services", "set", "openrouter", "--base-url", strings.TrimSuffix(srv.BaseURL(), "/"), "--ca", ca, "--allow-address", srv.Addr(), "--force")
}

// agentLoop asks the service for a completion again and again, and writes down
// the status of each answer.
const agentLoop = `while :; do
	curl -sS -o /dev/null -w '%{http_code}\n' "$0" -H "Authorization: Bearer $OPENROUTER_API_KEY" -H 'Content-Type: application/json' \
		-d '{"model":"test/model","messages":[{"role":"user","content":"hello"}]}'
	sleep 0.05
done >>"$1" 2>/dev/null`

// agent is a program of an agent's that goes on asking.
type agent struct {
	t        *testing.T
	w        *rig.World
	statuses string
}

func startAgent(t *testing.T, w *rig.World, h *rig.Home, label string) *agent {
	t.Helper()
	var st struct {
		Address string `json:"address"`
	}
	h.JSON(&st, "status")
	a := &agent{t, w, filepath.Join(h.Path, "statuses")}
	w.Start("agent "+label, h, "run", "--as", label, "--", "bash", "-c", agentLoop, "http://"+st.Address+"/openrouter/chat/completions", a.statuses)
	return a
}

// next waits for answers that began after this call, and returns the last.
func (a *agent) next() string {
	a.t.Helper()
	lines := func() []string {
		data, _ := os.ReadFile(a.statuses)
		return strings.Fields(string(data))
	}
	var now []string
	before := len(lines())
	a.w.Await("an answer to the agent", func() bool { now = lines(); return len(now) >= before+2 })
	return now[len(now)-1]
}

// TestStory is the operator's product from end to end: a master logs in by
// mail, stores a key, which lands in S3 under the wallet's own session, lends
// it to an agent in a sandbox of its own, and takes it back; meanwhile a
// replica of the broker is killed. The key is nowhere in between.
func TestStory(t *testing.T) {
	w := rig.Start(t, program)
	w.Install()
	srv := openRouter(t)

	ada := w.Home("ada")
	master := ada.Login("ada@example.com")
	w.Role(master)
	ada.OK("up")
	uses(w, ada, srv)
	if out := w.Must(w.RunWith(ada, strings.NewReader(canary+"\n"), "store", "openrouter", "--stdin")); !strings.Contains(out, "good") {
		t.Errorf("store: %s", out)
	}
	object := "bots/" + master.String() + "/credentials/openrouter.enc"
	if !stored(t, w, object) {
		t.Fatalf("there is no %s in the store", object)
	}

	var made struct {
		Wallet    agentkeys.Wallet    `json:"wallet"`
		Enrolment brokerapi.Enrolment `json:"enrolment"`
	}
	ada.JSON(&made, "agent", "create", "ci", "--enrol-code")
	if made.Wallet == master || made.Wallet.IsZero() || made.Enrolment.Code == "" {
		t.Fatalf("agent: %+v", made)
	}
	w.Role(made.Wallet)
	ada.OK("grant", "ci", "openrouter", "--path", "POST /chat/completions", "--budget", "100req/day")
	if object := "bots/" + made.Wallet.String() + "/credentials/openrouter.enc"; !stored(t, w, object) {
		t.Fatalf("there is no %s in the store", object)
	}

	// The sandbox is another machine: it has the code, once, and nothing else.
	box := w.Home("sandbox")
	code := w.Write("code", []byte(made.Enrolment.Code+"\n"))
	w.Start("sandbox", box, "daemon", "--broker", rig.Origin, "--enrol-file", code, "--device-key", "file:"+filepath.Join(box.Path, "device.key"))
	w.Await("the sandbox", func() bool { _, err := w.Run(box, "status"); return err == nil })
	uses(w, box, srv)
	agent := startAgent(t, w, box, "ci")
	if status := agent.next(); status != "200" {
		t.Fatalf("a request of the agent: %s", status)
	}
	if len(srv.Requests()) == 0 {
		t.Error("the service saw nothing")
	}
	for _, args := range [][]string{{"agent", "create", "other"}, {"grant", "ci", "openai"}, {"store", "openai"}, {"agent", "enrol", "ci"}} {
		if out := box.Refused(args...); strings.Contains(out, "panic") {
			t.Errorf("%q: %s", args, out)
		}
	}
	if out := w.Home("thief").Refused("daemon", "--broker", rig.Origin, "--enrol-file", code, "--device-key", "memory"); !strings.Contains(out, "agentkeys:") {
		t.Errorf("a code that is used: %s", out)
	}

	// The operator gives the signer a new root, and the master seals anew.
	w.Must(w.Run(nil, "signer", "rotate", "--config", w.Path("signer/signer.yaml")))
	if err := w.Signer.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	w.Await("the new root", func() bool {
		var r struct{ Epoch, Sealed int }
		ada.JSON(&r, "rotate")
		return r.Epoch == 2
	})
	if status := agent.next(); status != "200" {
		t.Errorf("after the rotation: %s", status)
	}

	// A replica dies; nobody notices but its operator.
	w.Replicas[rig.AddressA].Stop(syscall.SIGKILL)
	w.Await("the agent, with one replica", func() bool { return agent.next() == "200" })

	// The revocation reaches the sandbox by itself.
	ada.OK("revoke", "ci", "openrouter")
	w.Await("the revocation", func() bool { return agent.next() == "403" })
	if object := "bots/" + made.Wallet.String() + "/credentials/openrouter.enc"; stored(t, w, object) {
		t.Errorf("%s is still in the store", object)
	}
	ada.OK("agent", "rm", "ci")
	w.Await("the end of an agent that is no more", func() bool { return agent.next() != "200" })
	ada.OK("logout")
	ada.Refused("store", "openrouter")

	search(t, w)
}

// stored reports whether the store has an object.
func stored(t *testing.T, w *rig.World, object string) bool {
	t.Helper()
	list, err := w.Cloud.S3(w.Cloud.Root()).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{
		Bucket: aws.String(cloudtest.Bucket), Prefix: aws.String(object),
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Contents) == 1
}

// search looks for the key in every file of the installation and everything
// that its processes printed.
func search(t *testing.T, w *rig.World) {
	t.Helper()
	err := filepath.WalkDir(w.Dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // what goes away while it is looked at
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), canary[9:]) {
			t.Errorf("the key is in %s", path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for name, p := range w.Replicas {
		if strings.Contains(p.Log(), canary[9:]) {
			t.Errorf("the key is in the log of %s", name)
		}
		var line struct {
			Msg string `json:"msg"`
		}
		for l := range strings.Lines(p.Log()) {
			if json.Unmarshal([]byte(l), &line) != nil {
				t.Errorf("%s logs what is no JSON: %s", name, l)
			}
		}
	}
}
