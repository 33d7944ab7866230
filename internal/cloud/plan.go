package cloud

import (
	"context"
	"fmt"
	"strings"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// Action is what a plan does about one part.
type Action string

const (
	Create    Action = "create"
	Update    Action = "update"
	Unchanged Action = "unchanged"
	Left      Action = "left out" // the server's profile says why
)

// Change is one part of the cloud as it is and as it is to be.
type Change struct {
	Part   string `json:"part"`
	Action Action `json:"action"`
	Have   string `json:"have,omitempty"`
	Want   string `json:"want,omitempty"`
	Why    string `json:"why,omitempty"` // of what is left out
}

// Plan is what Apply would do.
type Plan struct {
	Changes []Change `json:"changes"`
	// Imported: the bucket was there before and is not ours; it is tightened, and
	// never removed.
	Imported bool `json:"imported"`
	// Findings are the mistakes in the policies as they are now.
	Findings []cloudpolicy.Finding `json:"findings,omitempty"`
	// Notes are what apply leaves to a person.
	Notes []string `json:"notes,omitempty"`
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return p.Pending() == 0 }

// Pending is the number of changes to make.
func (p Plan) Pending() (n int) {
	for _, c := range p.Changes {
		if c.Action == Create || c.Action == Update {
			n++
		}
	}
	return n
}

// part is one thing that is read, compared as text, and written. A part whose
// owner is not there yet reads as "".
type part struct {
	name  string
	want  string
	read  func(ctx context.Context) (string, error)
	write func(ctx context.Context) error
	left  string              // why this server goes without
	kind  cloudpolicy.Kind    // of a policy
	equal func(a string) bool // nil: a == want
}

func (p part) satisfied(have string) bool {
	if p.equal != nil {
		return p.equal(have)
	}
	return have == p.want
}

// Plan reads the cloud and compares.
func (c *Cloud) Plan(ctx context.Context, tell func(string)) (Plan, error) {
	var plan Plan
	if err := c.loadPackage(); err != nil {
		return plan, err
	}
	var docs []cloudpolicy.Named
	for _, p := range c.parts() {
		if p.left != "" {
			plan.Changes = append(plan.Changes, Change{Part: p.name, Action: Left, Why: p.left})
			continue
		}
		tell("reading " + p.name)
		have, err := p.read(ctx)
		if err != nil {
			return plan, fmt.Errorf("%s: %w", p.name, err)
		}
		ch := Change{Part: p.name, Action: Update, Have: have, Want: p.want}
		switch {
		case p.satisfied(have):
			ch.Action = Unchanged
		case have == "":
			ch.Action = Create
		}
		plan.Changes = append(plan.Changes, ch)
		if p.kind != "" && have != "" {
			doc, err := cloudpolicy.Parse([]byte(have))
			if err != nil {
				return plan, fmt.Errorf("%s as it is now: %w", p.name, err)
			}
			docs = append(docs, cloudpolicy.Named{Name: p.name, Kind: p.kind, Document: doc})
		}
	}
	plan.Findings = cloudpolicy.LintFor(c.Names, docs...)
	if c.Compatible != "" {
		// Its documents name roles and leave tags out, which is no mistake there.
		plan.Findings = cloudpolicy.Lint(docs...)
		plan.Findings = without(plan.Findings, "deny-names-role", "no-tls-deny")
	}
	state, err := c.bucketState(ctx)
	plan.Imported = state == foreign
	if err == nil {
		plan.Notes, err = c.mailNotes(ctx)
	}
	return plan, err
}

func without(list []cloudpolicy.Finding, ids ...string) []cloudpolicy.Finding {
	var rest []cloudpolicy.Finding
	for _, f := range list {
		known := false
		for _, id := range ids {
			known = known || f.ID == id
		}
		if !known {
			rest = append(rest, f)
		}
	}
	return rest
}

// Apply makes the changes of a plan, in order. If it is interrupted, a new plan
// holds what is left.
func (c *Cloud) Apply(ctx context.Context, plan Plan, tell func(string)) error {
	if err := c.loadPackage(); err != nil {
		return err
	}
	planned := map[string]Change{}
	for _, ch := range plan.Changes {
		planned[ch.Part] = ch
	}
	for _, p := range c.parts() {
		ch, ok := planned[p.name]
		if !ok || ch.Action != Create && ch.Action != Update {
			continue
		}
		if ch.Want != p.want {
			return fmt.Errorf("%s: %w: the plan is for another configuration", p.name, ErrChanged)
		}
		err := c.settle(ctx, func() error {
			have, err := p.read(ctx)
			switch {
			case err != nil:
				return err
			case p.satisfied(have):
				return nil
			case have != ch.Have:
				return ErrChanged
			}
			tell(string(ch.Action) + " " + p.name)
			return p.write(ctx)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		// What was written is read again, because the cloud may take it and not
		// keep it, or keep something else.
		if err := c.settle(ctx, func() error {
			have, err := p.read(ctx)
			if err == nil && !p.satisfied(have) {
				err = errNotThere{p.name}
			}
			return err
		}); err != nil {
			return fmt.Errorf("%s after it was written: %w", p.name, err)
		}
	}
	return nil
}

// errNotThere says that a write has not shown up, which may be early.
type errNotThere struct{ part string }

func (e errNotThere) Error() string        { return "the cloud answers otherwise than it was told" }
func (e errNotThere) ErrorCode() string    { return "NoSuchEntity" }
func (e errNotThere) ErrorMessage() string { return e.Error() }

// canonical renders a policy as the API returns it in one way, so that the
// same policy is the same text; what is no policy comes back as it is.
func canonical(text string) string {
	d, err := cloudpolicy.Parse([]byte(text))
	if err != nil {
		return text
	}
	return string(d.Indented())
}

// Diff is how have becomes want, line by line, as diff -u without its head.
func Diff(have, want string) string {
	a, b := lines(have), lines(want)
	// The longest common subsequence; policies have some hundred lines.
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var all []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			all = append(all, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			all = append(all, "- "+a[i])
			i++
		default:
			all = append(all, "+ "+b[j])
			j++
		}
	}
	return strings.Join(shorten(all), "\n")
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

// shorten leaves three equal lines around each difference.
func shorten(all []string) []string {
	const around = 3
	near := func(i int) bool {
		for k := max(0, i-around); k <= min(len(all)-1, i+around); k++ {
			if all[k][0] != ' ' {
				return true
			}
		}
		return false
	}
	var out []string
	for i, l := range all {
		switch {
		case near(i):
			out = append(out, l)
		case len(out) == 0 || out[len(out)-1] != "  …":
			out = append(out, "  …")
		}
	}
	return out
}
