package docs

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"regexp"
	"strings"
	"testing"
	"time"
)

// units are the ones that constants of the code are written in.
var units = map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}

// duration is what a constant of the code says: N * time.Unit, or time.Unit.
func duration(t *testing.T, name string, path ...string) time.Duration {
	t.Helper()
	var eval func(e ast.Expr) time.Duration
	eval = func(e ast.Expr) time.Duration {
		switch e := e.(type) {
		case *ast.BasicLit:
			n, _ := constant.Int64Val(constant.MakeFromLiteral(e.Value, e.Kind, 0))
			return time.Duration(n)
		case *ast.SelectorExpr:
			return units[e.Sel.Name]
		case *ast.BinaryExpr:
			if e.Op == token.MUL {
				return eval(e.X) * eval(e.Y)
			}
		}
		return 0
	}
	var found time.Duration
	ast.Inspect(parse(t, path...), func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for i, id := range spec.Names {
				if id.Name == name && i < len(spec.Values) {
					found = eval(spec.Values[i])
				}
			}
		}
		return true
	})
	if found == 0 {
		t.Errorf("%v has no duration %s", path, name)
	}
	return found
}

// words is how a document says a duration.
func words(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := d / u.of; d%u.of == 0 && n > 0 {
			if n == 1 {
				return "1 " + u.name
			}
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	if d%time.Second == 0 {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprintf("%d ms", d/time.Millisecond)
}

// TestBounds holds the times that are promised to those in the code.
func TestBounds(t *testing.T) {
	rows := map[string]string{}
	text := section(t, read(t, "docs", "security.md"), "Bounds")
	_, text, ok := strings.Cut(text, "With a broker:")
	if !ok {
		t.Fatal("there are no bounds with a broker")
	}
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(text, -1) {
		rows[m[1]] = m[2]
	}
	src := func(parts ...string) []string { return append([]string{"internal"}, parts...) }
	tokens, client := src("token", "token.go"), src("brokerclient", "directory.go")
	for what, want := range map[string]time.Duration{
		"a revocation is in force on a machine that hears the broker":                              duration(t, "freshFor", client...),
		"a revoked device gets no session and no token, at any replica":                            duration(t, "freshFor", src("broker", "feed.go")...),
		"a machine leaves a stream that is silent":                                                 duration(t, "silence", src("brokerclient", "stream.go")...),
		"a session of a master lives, on its device":                                               duration(t, "MasterLife", tokens...),
		"a session of an agent lives, on its device":                                               duration(t, "AgentLife", tokens...),
		"a signer token lives":                                                                     duration(t, "AccessLife", tokens...),
		"clocks may differ, for a session or a signer token":                                       duration(t, "Leeway", tokens...),
		"a web identity lives":                                                                     duration(t, "AccessLife", tokens...), // what Mint takes if nothing is asked for
		"a web identity lives, if somebody asks for more":                                          duration(t, "MaxIdentity", tokens...),
		"a session at STS that a device takes lives":                                               duration(t, "MinDuration", src("awssts", "awssts.go")...),
		"an opened key stays in memory on a machine with a broker":                                 duration(t, "remoteMaxAge", src("local", "remote.go")...),
		"a login is ended, or is over":                                                             duration(t, "LoginLife", src("broker", "broker.go")...),
		"an enrolment code is good":                                                                duration(t, "EnrolmentLife", src("broker", "broker.go")...),
		"a proof is good, once, before and after its time":                                         duration(t, "ProofWindow", tokens...),
		"a token key that was removed is believed by the signer":                                   duration(t, "keysEvery", src("signersrv", "keys.go")...),
		"a token key that was removed is believed by the signer, if it is cut off from the broker": duration(t, "keysGood", src("signersrv", "keys.go")...),
	} {
		if got, ok := rows[what]; !ok || !strings.Contains(got, words(want)) {
			t.Errorf("%s: documented as %q, and it is %s", what, got, words(want))
		}
		delete(rows, what)
	}
	const asked = "a session at STS lives, if somebody asks for more"
	longest, _ := constant.Int64Val(constants(parse(t, "internal", "cloud", "parts.go"))["maxSession"])
	if want := words(time.Duration(longest) * time.Second); rows[asked] != want {
		t.Errorf("%s: documented as %q, and it is %s", asked, rows[asked], want)
	}
	delete(rows, asked)
	for what := range rows {
		if what != "" {
			t.Errorf("nothing holds %q to the code", what)
		}
	}
}
