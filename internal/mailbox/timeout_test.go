package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// The error says what came and why none of it counts, and what to do about
// what came nearest. Nothing of the mail is in it, nor in what was told before.
func TestTimeout(t *testing.T) {
	to := address(wallet, 1).At(domain)
	for _, c := range []struct {
		name      string
		fill      func(b *box)
		text, fix string
	}{
		{"nothing", func(*box) {}, "no mail came for TO within 10s", fixNothing},
		{"older", func(b *box) {
			b.put("m1", mail{to: address(wallet, 1), at: time.Now().Add(-time.Hour)})
		}, "no mail came for TO within 10s; 1 message from before this run", fixOlder},
		{"others", func(b *box) {
			b.put("m1", mail{to: address(wallet, 2)})
			b.put("m2", mail{to: address(wallet, 3)})
		}, "2 messages came within 10s, none that counts for TO: 2 for other addresses", fixAddress},
		{"several", func(b *box) {
			b.put("m1", mail{to: address(wallet, 1), from: "canary-sender.example"})
			b.put("m2", mail{to: address(wallet, 1), noDKIM: true})
			b.put("m3", mail{to: address(wallet, 1), from: "canary-other.example"})
			b.put("m4", mail{to: address(wallet, 9)})
			b.put("m5", mail{to: address(wallet, 1), at: time.Now().Add(-time.Hour)})
			b.put("m6", mail{to: address(wallet, 1), at: time.Now().Add(-time.Hour)})
		}, "4 messages came within 10s, none that counts for TO: 1 for another address, " +
			"2 by senders that openrouter does not use, 1 without a DKIM signature that passes; 2 messages from before this run", fixProof},
		{"unreadable", func(b *box) {
			b.put("m1", mail{to: address(wallet, 1)})
			b.onFetch = func(agentkeys.MessageID, int) error { return errDown }
		}, "1 message came within 10s, none that counts for TO: 1 could not be read; the last look was not complete: the store does not answer",
			"see that the inbox can be reached, and wait again"},
		{"down", func(b *box) { b.onList = func(int) error { return errDown } },
			"no mail came for TO within 10s; the last look was not complete: the store does not answer",
			"see that the inbox can be reached, and wait again"},
		{"down at the end", func(b *box) {
			b.put("m1", mail{to: address(wallet, 1), at: time.Now().Add(-time.Hour)})
			b.put("m2", mail{to: address(wallet, 2)})
			b.onList = func(n int) error {
				if n > 3 {
					return errDown
				}
				return nil
			}
		}, "1 message came within 10s, none that counts for TO: 1 for another address; the last look was not complete: the store does not answer", fixAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, 10*time.Second, func(t *testing.T, ctx context.Context) {
				b := newBox()
				o := options(b)
				o.Service = agentkeys.Must(agentkeys.ParseService("openrouter"))
				c.fill(b)
				for id, m := range b.mail {
					m.token = "canary-token"
					b.mail[id] = m
				}
				var told strings.Builder
				o.Progress = func(s Seen) {
					text, err := json.Marshal(s.Tally)
					fmt.Fprintf(&told, "%s %v %v\n", text, err, s)
				}
				_, err := Wait(ctx, o)
				to2, ok := errors.AsType[*Timeout](err)
				if !ok || !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				if want := strings.ReplaceAll(c.text, "TO", to); err.Error() != want {
					t.Errorf("says\n%v\nwant\n%v", err, want)
				}
				if to2.Fix() != c.fix {
					t.Errorf("fix: %s", to2.Fix())
				}
				if all := err.Error() + told.String(); strings.Contains(all, "canary") || told.Len() == 0 {
					t.Error("tells of the mail:", all)
				}
			})
		})
	}
}

// One look has no time to name.
func TestFindNothing(t *testing.T) {
	_, err := Find(t.Context(), options(newBox()))
	if err == nil || err.Error() != "no mail came for "+address(wallet, 1).At(domain) {
		t.Error(err)
	}
}

// Every reason has its words, once, and its cure.
func TestWords(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../verifymail/refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := map[verifymail.Reason]bool{Gone: true}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Reason" {
				s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				want[verifymail.Reason(s)] = true
			}
		}
		return true
	})
	delete(want, verifymail.BadRules) // ends a wait before it begins
	if len(want) < 20 {
		t.Fatalf("only %d reasons were found", len(want))
	}
	for _, w := range words {
		if !want[w.reason] || w.one == "" || w.fix == "" || Fix(w.reason) != w.fix {
			t.Errorf("%s: %+v", w.reason, w)
		}
		delete(want, w.reason)
	}
	for r := range want {
		t.Errorf("no words for %s", r)
	}
	text := (&Timeout{Tally: Tally{Refused: map[verifymail.Reason]int{"new": 2}, Superseded: 1}, To: "x@y"}).Error()
	if text != "3 messages came, none that counts for x@y: 3 for another reason" {
		t.Error(text)
	}
}
