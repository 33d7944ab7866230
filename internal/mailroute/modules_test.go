package mailroute_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
)

// oddMail returns the mail in the test data of mail modules, where they are:
// files, and strings in their tests.
func oddMail(t *testing.T) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	add := func(name string, b []byte) {
		if n := bytes.IndexByte(b, '\n'); n > 0 && bytes.IndexByte(b[:n], ':') > 0 && len(b) < mailhead.MaxBlock {
			found[name] = b
		}
	}
	out := func(args ...string) string {
		b, err := exec.Command("go", args...).Output()
		if err != nil {
			t.Fatalf("go %s: %v", args, err)
		}
		return strings.TrimSpace(string(b))
	}
	for name, dir := range map[string]string{
		"net/mail":      filepath.Join(out("env", "GOROOT"), "src", "net", "mail"),
		"enmime":        out("list", "-m", "-f", "{{.Dir}}", "github.com/jhillyerd/enmime/v2"),
		"go-msgauth":    out("list", "-m", "-f", "{{.Dir}}", "github.com/emersion/go-msgauth"),
		"go-smtp":       out("list", "-m", "-f", "{{.Dir}}", "github.com/emersion/go-smtp"),
		"net/textproto": filepath.Join(out("env", "GOROOT"), "src", "net", "textproto"),
	} {
		before := len(found)
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(dir, path)
			switch {
			case strings.HasSuffix(path, "_test.go"):
				file, err := parser.ParseFile(token.NewFileSet(), path, b, 0)
				if err != nil {
					return err
				}
				ast.Inspect(file, func(n ast.Node) bool {
					if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						if s, err := strconv.Unquote(lit.Value); err == nil {
							add(name+"/"+rel+":"+strconv.Itoa(int(lit.Pos())), []byte(s))
						}
					}
					return true
				})
			case strings.Contains(path, "testdata"):
				add(name+"/"+rel, b)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == before {
			t.Errorf("there is no mail in %s", name)
		}
	}
	return found
}

// The odd mail of others: nothing is found where there is nothing; an address
// of ours is found in the place of any that net/mail finds; the envelope goes
// before it all; and the law of beginnings holds throughout.
func TestOddMail(t *testing.T) {
	r := router(t)
	all := oddMail(t)
	substituted, lists := 0, 0
	for name, msg := range all {
		blk := mailhead.Parse(msg, true)
		if d := decideBegin(t, r, string(msg), blk.Size); d.Outcome != mailroute.Ignore {
			t.Errorf("%s: %+v", name, d)
		}
		if d := decideBegin(t, r, string(msg), blk.Size, a1); verdict(t, d) != "1" {
			t.Errorf("%s, with a recipient: %+v", name, d)
		}
		if d := r.Decide([]byte(sesHead("h", "r", a1)+string(msg)), true, nil); verdict(t, d) != "1" {
			t.Errorf("%s, below an envelope: %+v", name, d)
		}
		if d := r.Decide([]byte("To: "+a1+"\r\nX: x\r\n"+string(msg)), true, nil); verdict(t, d) != "1" {
			t.Errorf("%s, below To: %+v", name, d)
		}
		for _, f := range blk.Fields {
			if !f.Is("To") && !f.Is("Cc") {
				continue
			}
			list, err := mail.ParseAddressList(mailhead.Unfold(f.Value))
			if err != nil {
				continue
			}
			lists++
			for _, a := range list {
				if bytes.Count(f.Value, []byte(a.Address)) != 1 {
					continue
				}
				substituted++
				at := f.End - len(msg[f.Offset:f.End]) + bytes.Index(msg[f.Offset:f.End], f.Value)
				m := string(msg[:at]) + strings.Replace(string(f.Value), a.Address, a1, 1) + string(msg[at+len(f.Value):])
				if d := decideBegin(t, r, m, blk.Size+len(a1)); verdict(t, d) != "1" {
					t.Errorf("%s, %s: %+v\n%s", name, f.Value, d, m[:min(len(m), 2000)])
				}
			}
		}
	}
	t.Logf("%d messages, %d lists, %d substitutions", len(all), lists, substituted)
	if len(all) < 100 || substituted < 40 {
		t.Errorf("only %d messages, %d substitutions", len(all), substituted)
	}
}

// decideBegin is decide, cutting only up to a little beyond the header block.
func decideBegin(t *testing.T, r *mailroute.Router, msg string, size int, recipients ...string) mailroute.Decision {
	t.Helper()
	d := r.Decide([]byte(msg), true, recipients)
	if got := decide(t, r, msg[:min(len(msg), size+50)], recipients...); got != d {
		t.Fatalf("%+v, cut %+v", d, got)
	}
	return d
}
