package provision

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
)

// safe is a vault in memory, with a service that answers for the keys in good.
// It notes everything that is asked of it, in order.
type safe struct {
	good   map[string]bool
	late   int // how often a good key is refused at first
	away   bool
	stored string
	drawer map[Drawer]string
	calls  []string
	// cut has a call fail that begins with it, after it was done.
	cut string
}

var errCut = errors.New("cut")

func (s *safe) did(call string) error {
	s.calls = append(s.calls, call)
	if s.cut != "" && strings.HasPrefix(call, s.cut) {
		return errCut
	}
	return nil
}

func (s *safe) Check(context.Context, agentkeys.Service) (Checked, error) {
	c := Checked{Stored: s.stored != "", Verdict: catalog.Good}
	if c.Stored && !s.good[s.stored] {
		c.Verdict = catalog.Bad
	}
	return c, s.did("check")
}

func (s *safe) Store(_ context.Context, _ agentkeys.Service, v secret.Value, by catalog.Door) (Checked, error) {
	key := string(v.Expose())
	switch {
	case s.away:
		return Checked{}, errors.New("away")
	case s.late > 0:
		s.late--
		return Checked{}, ErrRefused
	case !s.good[key]:
		return Checked{}, errors.Join(ErrRefused, s.did("refuse"))
	}
	s.stored = key
	return Checked{Stored: true, Verdict: catalog.Good, Revision: 1}, s.did("store by " + string(by))
}

func (s *safe) Put(_ context.Context, _ agentkeys.Service, d Drawer, v secret.Value) error {
	if s.drawer == nil {
		s.drawer = map[Drawer]string{}
	}
	s.drawer[d] = string(v.Expose())
	return s.did("put " + string(d))
}

func (s *safe) Get(_ context.Context, _ agentkeys.Service, d Drawer) (secret.Value, error) {
	text, ok := s.drawer[d]
	if !ok {
		return secret.Value{}, ErrEmpty
	}
	return secret.FromString(text), s.did("get " + string(d))
}

func (s *safe) Drop(_ context.Context, _ agentkeys.Service, d Drawer) error {
	if _, ok := s.drawer[d]; !ok {
		return ErrEmpty
	}
	delete(s.drawer, d)
	return s.did("drop " + string(d))
}

type diary struct{ entries []Entry }

func (d *diary) Record(_ context.Context, e Entry) error {
	d.entries = append(d.entries, e)
	return nil
}

// hatch is a door that hands out what enter gives.
type hatch struct {
	name  catalog.Door
	open  Opening
	enter func(*Journal) (Found, error)
	looks int
}

func (h *hatch) Name() catalog.Door                    { return h.name }
func (h *hatch) Look(context.Context) (Opening, error) { h.looks++; return h.open, nil }
func (h *hatch) Enter(_ context.Context, j *Journal, _ Tell) (Found, error) {
	return h.enter(j)
}

func gives(name catalog.Door, key string) *hatch {
	return &hatch{name: name, open: Opening{Open: true}, enter: func(*Journal) (Found, error) { return Found{Secret: secret.FromString(key)}, nil }}
}

func service(t *testing.T, id string) agentkeys.Service {
	t.Helper()
	s, err := agentkeys.ParseService(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func run(t *testing.T, v *safe, doors ...Door) *Run {
	s := service(t, "openrouter")
	e, err := catalog.Lookup(s)
	if err != nil {
		t.Fatal(err)
	}
	return &Run{Service: s, Entry: e, Doors: doors, Vault: v, Log: &diary{}, Dir: filepath.Join(t.TempDir(), "provision"), Now: time.Now, Waits: []time.Duration{}}
}

func TestDo(t *testing.T) {
	v := &safe{good: map[string]bool{"key-of-the-test": true}}
	r := run(t, v, &hatch{name: catalog.Federate, open: Opening{Why: "not here"}}, gives(catalog.Signup, "key-of-the-test"))
	res, err := r.Do(t.Context())
	if err != nil || res.Door != catalog.Signup || res.Verdict != catalog.Good || res.Existing {
		t.Fatalf("%+v, %v", res, err)
	}
	// In the vault before anybody is asked about it, and out of the drawer last.
	want := "check, put pending, store by signup, drop pending"
	if got := strings.Join(v.calls, ", "); got != want {
		t.Errorf("calls: %s; want %s", got, want)
	}
	v.calls = nil
	res, err = r.Do(t.Context())
	if err != nil || !res.Existing || len(v.calls) != 1 {
		t.Errorf("again: %+v, %v, calls %v", res, err, v.calls)
	}
	r.Force = true
	if res, err = r.Do(t.Context()); err != nil || res.Existing {
		t.Errorf("forced: %+v, %v", res, err)
	}
	v.good = nil
	r.Force = false
	if _, err = r.Do(t.Context()); !errors.Is(err, ErrRefused) {
		t.Errorf("a key gone bad: %v", err)
	}
}

// TestNothingRefusedIsKept: what the service does not answer for is nowhere.
func TestNothingRefusedIsKept(t *testing.T) {
	v := &safe{}
	r := run(t, v, gives(catalog.Signup, "a-decoy-of-the-test"))
	if _, err := r.Do(t.Context()); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	if v.stored != "" || len(v.drawer) > 0 {
		t.Errorf("kept: %q, %v", v.stored, v.drawer)
	}
}

// TestCut fails each call of the vault after it was done, as a kill would, and
// runs again: one key comes out, and it is the one that was found first.
func TestCut(t *testing.T) {
	for _, cut := range []string{"put pending", "store", "drop pending"} {
		t.Run(cut, func(t *testing.T) {
			v := &safe{good: map[string]bool{"first": true, "second": true}, cut: cut}
			keys := []string{"first", "second"}
			r := run(t, v, &hatch{name: catalog.Signup, open: Opening{Open: true}, enter: func(*Journal) (Found, error) {
				key := keys[0]
				keys = keys[1:]
				return Found{Secret: secret.FromString(key)}, nil
			}})
			if _, err := r.Do(t.Context()); !errors.Is(err, errCut) {
				t.Fatalf("cut: %v", err)
			}
			if _, damaged, err := States(r.Dir); err != nil || len(damaged) != 0 {
				t.Fatal(damaged, err)
			}
			v.cut = ""
			res, err := r.Do(t.Context())
			if err != nil || v.stored != "first" || len(keys) != 1 || len(v.drawer) != 0 {
				t.Fatalf("%+v, %v; stored %q, drawers %v", res, err, v.stored, v.drawer)
			}
			if open, damaged, err := States(r.Dir); err != nil || len(open)+len(damaged) != 0 {
				t.Errorf("left: %v, %v, %v", open, damaged, err)
			}
		})
	}
}

// TestAway: a service that cannot be asked says nothing against a key.
func TestAway(t *testing.T) {
	v := &safe{good: map[string]bool{"found": true}, away: true}
	entered := 0
	r := run(t, v, &hatch{name: catalog.Signup, open: Opening{Open: true}, enter: func(*Journal) (Found, error) {
		entered++
		return Found{Secret: secret.FromString("found")}, nil
	}})
	if _, err := r.Do(t.Context()); err == nil || v.drawer[Pending] != "found" {
		t.Fatalf("%v, %v", err, v.drawer)
	}
	v.away = false
	if res, err := r.Do(t.Context()); err != nil || !res.Resumed || entered != 1 || v.stored != "found" {
		t.Errorf("%+v, %v; entered %d times", res, err, entered)
	}
}

func TestOneAtATime(t *testing.T) {
	v := &safe{good: map[string]bool{"k": true}}
	r := run(t, v, gives(catalog.Signup, "k"))
	if err := durable.MkdirAll(r.Dir); err != nil {
		t.Fatal(err)
	}
	free, err := durable.Lock(filepath.Join(r.Dir, "openrouter.lock"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Do(t.Context()); !errors.Is(err, ErrBusy) || len(v.calls) > 0 {
		t.Errorf("%v, calls %v", err, v.calls)
	}
	free()
	if _, err := r.Do(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestResume(t *testing.T) {
	v := &safe{good: map[string]bool{"k": true}}
	stop := &recipe.Failure{Stage: recipe.StageRegister, Step: "continue", Kind: recipe.BotCheck}
	r := run(t, v, gives(catalog.Mint, "k"), &hatch{name: catalog.Signup, open: Opening{Open: true}, enter: func(j *Journal) (Found, error) {
		e := recipe.Event{Stage: recipe.StageRegister, Step: "continue", Makes: "account"}
		return Found{}, errors.Join(j.Begin(t.Context(), e), stop)
	}})
	r.Resume = true
	if _, err := r.Do(t.Context()); !errors.Is(err, ErrNothing) {
		t.Fatal(err)
	}
	r.Resume, r.Only = false, catalog.Signup
	if _, err := r.Do(t.Context()); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	open, _, err := States(r.Dir)
	if err != nil || len(open) != 1 || open[0].Account != Maybe || open[0].Failure.Kind != "bot-check" || open[0].Failure.Step != "continue" {
		t.Fatalf("%+v, %v", open, err)
	}
	// It goes on by the door it came in by, though another is better.
	r.Only, r.Resume = "", true
	plan, err := r.Plan(t.Context())
	if err != nil || plan.Take != catalog.Signup || plan.Unfinished == nil {
		t.Fatalf("%+v, %v", plan, err)
	}
	var resumed []string
	r.Doors[1].(*hatch).enter = func(j *Journal) (Found, error) {
		resumed = append(resumed, j.State().Run, string(j.State().Account))
		return Found{Secret: secret.FromString("k")}, j.HasAccount()
	}
	res, err := r.Do(t.Context())
	if err != nil || !res.Resumed || resumed[0] != open[0].Run || resumed[1] != string(Maybe) {
		t.Fatalf("%+v, %v, %v", res, err, resumed)
	}
	// The account outlives the run.
	s, err := readState(r.path())
	if err != nil || s.open() || s.Account != Made {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestAskedAgain: a key that was just made may not be known everywhere yet.
func TestAskedAgain(t *testing.T) {
	v := &safe{}
	r := run(t, v, gives(catalog.Signup, "new"))
	r.Waits = []time.Duration{time.Microsecond, time.Microsecond}
	v.late = 2
	v.good = map[string]bool{"new": true}
	if res, err := r.Do(t.Context()); err != nil || res.Verdict != catalog.Good || v.stored != "new" {
		t.Errorf("%+v, %v", res, err)
	}
	w := &safe{late: 3, good: map[string]bool{"new": true}}
	r = run(t, w, gives(catalog.Signup, "new"))
	r.Waits = []time.Duration{time.Microsecond}
	if _, err := r.Do(t.Context()); !errors.Is(err, ErrRefused) || w.stored != "" {
		t.Errorf("asked for ever: %v", err)
	}
}

// TestBroughtMeanwhile: a person who was stopped brings a key; the run that
// stopped does not replace it.
func TestBroughtMeanwhile(t *testing.T) {
	v := &safe{good: map[string]bool{"mine": true, "new": true}}
	stop := &recipe.Failure{Stage: recipe.StageRegister, Step: "continue", Kind: recipe.BotCheck}
	r := run(t, v, &hatch{name: catalog.Signup, open: Opening{Open: true}, enter: func(*Journal) (Found, error) { return Found{}, stop }})
	if _, err := r.Do(t.Context()); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	v.stored = "mine"
	res, err := r.Do(t.Context())
	if err != nil || !res.Existing || v.stored != "mine" {
		t.Errorf("%+v, %v", res, err)
	}
	if open, damaged, err := States(r.Dir); err != nil || len(open)+len(damaged) != 0 {
		t.Errorf("left: %v, %v, %v", open, damaged, err)
	}
}

// TestStates: a journal that cannot be read hides no other, and is named.
func TestStates(t *testing.T) {
	if open, damaged, err := States(filepath.Join(t.TempDir(), "none")); err != nil || len(open)+len(damaged) != 0 {
		t.Errorf("before any run: %v, %v, %v", open, damaged, err)
	}
	dir := t.TempDir()
	state := func(service string) string {
		return `{"v":1,"service":"` + service + `","run":"00","door":"signup","began":"2026-01-02T03:04:05Z"}`
	}
	for name, text := range map[string]string{
		"brave-search.json": "garbage", "exa.json": state("groq"), "groq.json": state("groq"), "jina.json": state("jina"),
		"openai.json": `{"v":1,"service":"openai","account":"made"}`, "groq.lock": "", "xai.json": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "zed.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	open, damaged, err := States(dir)
	if err != nil || len(open) != 2 || open[0].Service.String() != "groq" || open[1].Service.String() != "jina" {
		t.Errorf("open: %+v, %v", open, err)
	}
	bad := []string{"brave-search.json", "exa.json", "xai.json", "zed.json"}
	if len(damaged) != len(bad) {
		t.Fatalf("damaged: %v", damaged)
	}
	for i, name := range bad {
		if !errors.Is(damaged[i], ErrJournal) || !strings.Contains(damaged[i].Error(), filepath.Join(dir, name)) {
			t.Errorf("%s: %v", name, damaged[i])
		}
	}
}

// TestLoginOutlivesJournal: where the journal is lost, a login in the vault is
// tried before another account is made.
func TestLoginOutlivesJournal(t *testing.T) {
	for _, c := range []struct {
		name  string
		login bool
		want  Mark
	}{{"a login", true, Maybe}, {"none", false, None}} {
		v := &safe{good: map[string]bool{"k": true}}
		if c.login {
			v.drawer = map[Drawer]string{Account: `{"address":"a@example.test"}`}
		}
		var seen Mark
		r := run(t, v, &hatch{name: catalog.Signup, open: Opening{Open: true}, enter: func(j *Journal) (Found, error) {
			seen = j.State().Account
			return Found{Secret: secret.FromString("k")}, nil
		}})
		if _, err := r.Do(t.Context()); err != nil || seen != c.want {
			t.Errorf("%s: the account is %q, %v; want %q", c.name, seen, err, c.want)
		}
	}
}

// TestJournalLost: a key that was read outlives the journal.
func TestJournalLost(t *testing.T) {
	v := &safe{good: map[string]bool{"found": true}, away: true}
	r := run(t, v, gives(catalog.Signup, "found"))
	if _, err := r.Do(t.Context()); err == nil {
		t.Fatal("stored at a service that is away")
	}
	if err := os.Remove(r.path()); err != nil {
		t.Fatal(err)
	}
	v.away = false
	r.Doors = nil
	if res, err := r.Do(t.Context()); err != nil || v.stored != "found" || !res.Resumed || len(v.drawer) != 0 {
		t.Errorf("%+v, %v; stored %q", res, err, v.stored)
	}
}

// TestAnotherDoor: a run that may have made a key is not forgotten for another
// door.
func TestAnotherDoor(t *testing.T) {
	v := &safe{good: map[string]bool{"k": true}}
	r := run(t, v, gives(catalog.Consent, "k"), &hatch{name: catalog.Signup, open: Opening{Open: true}, enter: func(j *Journal) (Found, error) {
		return Found{}, errors.Join(j.Begin(t.Context(), recipe.Event{Stage: recipe.StageKey, Step: "create", Makes: "key"}), errCut)
	}})
	r.Only = catalog.Signup
	if _, err := r.Do(t.Context()); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	r.Only = catalog.Consent
	if _, err := r.Do(t.Context()); !errors.Is(err, ErrUnfinished) || v.stored != "" {
		t.Errorf("%v, stored %q", err, v.stored)
	}
	r.Force = true
	if res, err := r.Do(t.Context()); err != nil || res.Door != catalog.Consent {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestLooksNoFurther: a run looks at no door behind the one that it takes, for a
// look may ask the service; a plan looks at all.
func TestLooksNoFurther(t *testing.T) {
	v := &safe{good: map[string]bool{"k": true}}
	shut, mint, signup := &hatch{name: catalog.Federate}, gives(catalog.Mint, "k"), gives(catalog.Signup, "k")
	r := run(t, v, shut, mint, signup)
	r.Force = true
	for _, c := range []struct {
		only catalog.Door
		want [3]int
	}{{"", [3]int{1, 1, 0}}, {catalog.Signup, [3]int{1, 1, 1}}} {
		r.Only = c.only
		if res, err := r.Do(t.Context()); err != nil || res.Verdict != catalog.Good {
			t.Fatalf("%+v, %v", res, err)
		}
		if got := [3]int{shut.looks, mint.looks, signup.looks}; got != c.want {
			t.Errorf("with --door %q, looked so often until now: %v, want %v", c.only, got, c.want)
		}
	}
	if p, err := r.Plan(t.Context()); err != nil || len(p.Doors) != 3 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestClosed(t *testing.T) {
	r := run(t, &safe{},
		&hatch{name: catalog.Federate, open: Opening{Why: "not set up", Fix: "set it up"}},
		&hatch{name: catalog.Signup, open: Opening{Open: true}},
		&hatch{name: catalog.Import, open: Opening{Open: true, Asked: true}})
	r.Only = catalog.Federate
	_, err := r.Do(t.Context())
	c, ok := errors.AsType[*Closed](err)
	if !ok || !errors.Is(err, ErrClosed) || len(c.Openings) != 1 || c.Fix() != "set it up" || !strings.Contains(c.Error(), "not set up") {
		t.Errorf("%v", err)
	}
	r.Only, r.Doors = "", append(r.Doors[:1], r.Doors[2])
	if _, err = r.Do(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a door that is taken by name alone was taken: %v", err)
	}
	if p, err := r.Plan(t.Context()); err != nil || p.Take != "" || len(p.Doors) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestJournal(t *testing.T) {
	v := &safe{good: map[string]bool{"k": true}}
	log := &diary{}
	canary := "canary-" + randomText(t)
	r := run(t, v, &hatch{name: catalog.Signup, open: Opening{Open: true}, enter: func(j *Journal) (Found, error) {
		ctx := t.Context()
		e := recipe.Event{Stage: recipe.StageKey, Step: "create", Makes: "key"}
		if err := j.Begin(ctx, e); err != nil {
			t.Error(err)
		}
		s, err := readState(j.path)
		if err != nil || s.Key != Maybe || s.Step != "create" {
			t.Errorf("before the step: %+v, %v", s, err)
		}
		// What a page had a part in does not reach the disk.
		e.Err = &recipe.Failure{Stage: recipe.StageKey, Step: "create", Kind: recipe.Missing, Err: errors.New(canary)}
		return Found{}, errors.Join(j.End(ctx, e), e.Err)
	}})
	r.Log = log
	if _, err := r.Do(t.Context()); err == nil {
		t.Fatal("no error")
	}
	files, _ := filepath.Glob(filepath.Join(r.Dir, "*"))
	for _, f := range files {
		if data, err := os.ReadFile(f); err != nil || strings.Contains(string(data), canary) {
			t.Errorf("%s: %v %s", f, err, data)
		}
		if fi, err := os.Stat(f); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, fi.Mode(), err)
		}
	}
	var ops []string
	for _, e := range log.entries {
		ops = append(ops, e.Op+" "+e.Subject+" "+e.Decision+" "+e.Reason)
		if e.Run == "" || e.Door != catalog.Signup || strings.Contains(e.Reason, canary) {
			t.Errorf("%+v", e)
		}
	}
	want := "provision.start  allow |provision.step key create allow makes key|provision.step key create failed missing|provision.end key create failed missing"
	if got := strings.Join(ops, "|"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"v":1,"service":"openrouter","run":"ab","door":"signup","began":"2026-01-02T03:04:05Z","account":"made"}`))
	f.Add([]byte(`{"v":1,"service":"x"} `))
	f.Add([]byte(`{"v":2,"service":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseState("x", data)
		if err != nil {
			if !errors.Is(err, ErrJournal) {
				t.Fatal(err)
			}
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Skip() // a year beyond 9999
		}
		if b, err := parseState("x", again); err != nil || b.Run != s.Run || b.Account != s.Account {
			t.Errorf("%s → %s: %v", data, again, err)
		}
	})
}

func TestPassword(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		p, err := password()
		if err != nil || len(p) != 24 || seen[p] {
			t.Fatal(p, err)
		}
		seen[p] = true
		for _, kind := range []string{"abcdefghijkmnopqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789", "-_.!*"} {
			if !strings.ContainsAny(p, kind) {
				t.Errorf("%q has nothing of %q", p, kind)
			}
		}
	}
}

func randomText(t *testing.T) string {
	p, err := password()
	if err != nil {
		t.Fatal(err)
	}
	return p
}
