package provision_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/provision/har"
	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/postman"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// mailTime is how long a mail is waited for here: its way is short.
const mailTime = 10 * time.Second

// TestHostileMails changes the mail that a run waits for. It goes by SMTP to the
// receiver of a laptop, with DNS for its signatures, and is judged by what is
// known of the service's mail. A few in each run of the tests; AGENTKEYS_HOSTILE
// is all, or a part of service/change.
func TestHostileMails(t *testing.T) {
	asked := os.Getenv("AGENTKEYS_HOSTILE")
	one := make(chan struct{}, 2)
	n := 0
	for _, c := range sites.Changes() {
		for _, id := range everybody {
			if !c.InMail() || !c.Fits(id) {
				continue
			}
			name := id + "/" + string(c.Name)
			n++
			if asked == "" && n%32 != 3 || asked != "" && asked != "all" && !strings.Contains(name, asked) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				one <- struct{}{}
				defer func() { <-one }()
				hostileMail(t, id, c)
			})
		}
	}
}

// office is a laptop that receives mail.
type office struct {
	t    *testing.T
	host *local.Host
	dir  string
	mu   sync.Mutex
	logs bytes.Buffer
	post *postman.Postman
	box  *box // what was sent, to know what must not be told
}

func (o *office) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.logs.Write(b)
}

func newOffice(t *testing.T) (*office, *dns.Server) {
	t.Helper()
	names, err := dns.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	o := &office{t: t, box: &box{came: make(chan struct{}, 64)}}
	// Below /tmp: the paths of sockets have to be short.
	if o.dir, err = os.MkdirTemp("/tmp", "office-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(o.dir) })
	paths, err := local.PathsFrom(func(name string) string { return map[string]string{"AGENTKEYS_HOME": o.dir}[name] })
	if err != nil {
		t.Fatal(err)
	}
	o.host, err = local.Open(local.Options{
		Paths: paths, Roots: signer.NewRoots(), Log: slog.New(slog.NewTextHandler(o, nil)), Now: time.Now, Version: "test",
		Mail: local.MailSettings{Resolver: names.Addr()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := o.host.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return o, names
}

// Post takes a letter to the laptop, as sites.Options.Post.
func (o *office) Post(ctx context.Context, l sites.Letter) error {
	_ = o.box.post(ctx, l)
	return o.post.Post(ctx, l)
}

// hints are what the owner of the laptop says of services of whose mail too
// little is known.
func (o *office) hints(r *rig) local.MailHints {
	if _, ok := r.entry.MailRules(); ok {
		return local.MailHints{}
	}
	host := map[string]string{"groq": "console.groq.com", "brave-search": "api-dashboard.search.brave.com"}[r.played.id]
	return local.MailHints{Senders: r.site.Senders(), LinkHosts: []string{host}}
}

func hostileMail(t *testing.T, id string, c sites.Change) {
	o, names := newOffice(t)
	r := newRig(t, played{id: id, opts: sites.Options{Variant: c.Name, Post: o.Post}})
	entry := *r.entry
	entry.Recipe = shortened(entry.Recipe)
	r.entry, r.box = &entry, o.box
	svc := agentkeys.Must(agentkeys.ParseService(id))
	at, err := o.host.MailAddress(svc, agentkeys.Agent{})
	if err != nil {
		t.Fatal(err)
	}
	r.address = at.Address
	// Others who send are known to the DNS, and to nobody who judges mail.
	if o.post, err = postman.New(names, func() string { return at.SMTP }, slices.Concat(r.site.Senders(), c.Senders)...); err != nil {
		t.Fatal(err)
	}

	logs := new(office)
	rec := har.NewRecorder(har.Options{Key: func(b []byte) bool { return entry.CheckKey(b) == nil }})
	run, b := r.begin(false, func(opts *chrome.Options) { opts.Log, opts.Record = slog.New(slog.NewTextHandler(logs, nil)), rec })
	run.Human = r.helper(b)
	var said []string
	run.End = func(_ context.Context, e recipe.Event) error {
		said = append(said, e.Step+" "+text(e.Err))
		return nil
	}
	run.Mail = func(ctx context.Context, accept []string, _ time.Duration) (recipe.Mail, error) {
		q := local.MailWait{Service: svc, Address: at.Address, Timeout: int64(mailTime / time.Second), Reveal: true, MailHints: o.hints(r)}
		if len(accept) == 1 {
			q.Want = verifymail.Kind(accept[0])
		}
		found, err := o.host.WaitMail(ctx, q, nil)
		m := recipe.Mail{Link: secret.FromString(found.Link), Code: secret.FromString(found.Code)}
		rec.Hide(m.Link)
		rec.Hide(m.Code)
		return m, err
	}
	rec.Hide(secret.FromString(password))
	rec.Hide(secret.FromString(r.address))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ended, key := r.through(ctx, run)
	r.judge(c, b, ended, said)

	recorded := new(bytes.Buffer)
	if _, err := rec.WriteTo(recorded); err != nil {
		t.Error(err)
	}
	for _, canary := range append(canaries(r), key) {
		if canary == "" {
			continue
		}
		told := strings.Join(append(said, ended), "\n")
		if canary == r.address {
			told = "" // a mail that does not come is told by its address
		}
		for name, text := range map[string]string{"what it says": told, "the browser's log": logs.logged(), "the laptop's log": o.logged()} {
			if strings.Contains(text, canary) {
				t.Errorf("%s holds what a run knows", name)
			}
		}
		// A code's six digits may be part of anything in a recording.
		if len(canary) > 6 && bytes.Contains(recorded.Bytes(), []byte(canary)) {
			t.Error("the recording holds what a run knows")
		}
		o.search(canary)
	}
}

func (o *office) logged() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.logs.String()
}

// search demands that nothing but the mail itself keeps what a run knows.
func (o *office) search(canary string) {
	o.t.Helper()
	err := filepath.WalkDir(o.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "mail":
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(canary)) && len(canary) > 6 {
			o.t.Errorf("%s holds what a run knows", d.Name())
		}
		return nil
	})
	if err != nil {
		o.t.Error(err)
	}
}

// text is an error's.
func text(err error) string {
	if err == nil {
		return "well"
	}
	return err.Error()
}
