package catalog

import (
	"math"
	"strings"

	"github.com/litentry/agentkeys/internal/grant"
)

// Pricing says where the price of an answer comes from.
type Pricing string

// The ways there are.
const (
	PricingUnknown  Pricing = "unknown"
	PricingReported Pricing = "reported" // the answer says it; the owner's table stands in
	PricingTable    Pricing = "table"    // tokens × the owner's own table; none is shipped
	PricingNone     Pricing = "none"     // requests are not billed
)

// Unit is what a number that says a cost counts.
type Unit string

// The units there are.
const (
	UnitUSD   Unit = "usd"
	UnitTicks Unit = "usd_ticks_1e-10"
)

// units maps to the power of ten that makes nano-dollars.
var units = map[Unit]int{UnitUSD: 9, UnitTicks: -1}

// UsageSpec says where a service's answers say what they cost. Make one by
// Parse; the zero UsageSpec finds nothing. It is safe for concurrent use.
type UsageSpec struct {
	Pricing Pricing
	Cost    Fact[[]CostField]
	Tokens  Fact[TokenFields]
	// Unpriced holds counters of what is billed beside tokens: an answer where
	// one is above zero cannot be priced by a table.
	Unpriced []string
	Note     string

	trie     *trie
	cost     []costSlot
	model    []int
	counts   [4][][]int // input, output, cache read, cache write: alternatives of sums
	unpriced []int
}

type costSlot struct{ slot, scale int }

// CostField is a JSON number that is the cost of the answer.
type CostField struct {
	At   string
	Unit Unit
}

// TokenFields says where tokens are counted. Each list has alternatives, the
// largest of which counts; an alternative is a path, or paths joined by " + ",
// which are summed.
type TokenFields struct {
	Model  []string
	Input  []string // all input tokens, the cached ones included
	Output []string
	// CacheRead and CacheWrite are parts of Input.
	CacheRead, CacheWrite []string
}

// Usage is what an answer said of its cost.
type Usage struct {
	// Model is "" where the answers do not name it.
	Model string
	// Cost is what the answer said it cost, rounded up, if HasCost.
	Cost    grant.Money
	HasCost bool
	// The counts of tokens, if HasTokens. Input includes the cached ones.
	Input, Output, CacheRead, CacheWrite int64
	HasTokens                            bool
	// Unpriced says that more than tokens is billed for this answer.
	Unpriced bool
}

// Merge adds what another event of the same answer said. Services repeat
// running totals, so the larger number counts; only the model is replaced.
// The order of merging does not matter but to the model.
func (u *Usage) Merge(o Usage) {
	if o.Model != "" {
		u.Model = o.Model
	}
	u.Cost, u.HasCost = max(u.Cost, o.Cost), u.HasCost || o.HasCost
	u.Input, u.Output = max(u.Input, o.Input), max(u.Output, o.Output)
	u.CacheRead, u.CacheWrite = max(u.CacheRead, o.CacheRead), max(u.CacheWrite, o.CacheWrite)
	u.HasTokens = u.HasTokens || o.HasTokens
	u.Unpriced = u.Unpriced || o.Unpriced
}

// compile gives every path a slot.
func (u *UsageSpec) compile() {
	u.trie = &trie{slot: -1}
	slots := map[string]int{}
	slot := func(path string) int {
		n, ok := slots[path]
		if !ok {
			n = len(slots)
			slots[path] = n
			u.trie.add(path, n)
		}
		return n
	}
	for _, c := range u.Cost.Value {
		u.cost = append(u.cost, costSlot{slot(c.At), units[c.Unit]})
	}
	t := u.Tokens.Value
	for _, p := range t.Model {
		u.model = append(u.model, slot(p))
	}
	for i, alternatives := range [][]string{t.Input, t.Output, t.CacheRead, t.CacheWrite} {
		for _, sum := range alternatives {
			var parts []int
			for p := range strings.SplitSeq(sum, " + ") {
				parts = append(parts, slot(p))
			}
			u.counts[i] = append(u.counts[i], parts)
		}
	}
	for _, p := range u.Unpriced {
		u.unpriced = append(u.unpriced, slot(p))
	}
}

// paths lists every path of u.
func (u *UsageSpec) paths() []string {
	var out []string
	for _, c := range u.Cost.Value {
		out = append(out, c.At)
	}
	t := u.Tokens.Value
	out = append(out, t.Model...)
	for _, l := range [][]string{t.Input, t.Output, t.CacheRead, t.CacheWrite} {
		for _, sum := range l {
			out = append(out, strings.Split(sum, " + ")...)
		}
	}
	return append(out, u.Unpriced...)
}

// FromJSON reads one JSON document: a whole answer, the data of one server-sent
// event, or an array of such, which it merges. It reports whether there was a
// cost or a count; a Usage without either may still name the model, for Merge.
//
// A number that is negative, malformed or absurd is taken for no number. A
// document that is cut off, is not JSON, or has one of the keys twice gives
// nothing at all. The time is linear in the size, whatever is in there.
func (u *UsageSpec) FromJSON(doc []byte) (Usage, bool) {
	if u.trie == nil || len(u.trie.kids) == 0 {
		return Usage{}, false
	}
	s := scanner{b: doc}
	var usage Usage
	switch {
	case s.eat('{'):
		if !s.object(u.trie) {
			return Usage{}, false
		}
		usage = u.read(&s.slots)
	case s.eat('['):
		if !u.array(&s, &usage) {
			return Usage{}, false
		}
	default:
		return Usage{}, false
	}
	if s.space(); s.i != len(doc) {
		return Usage{}, false
	}
	return usage, usage.HasCost || usage.HasTokens
}

func (u *UsageSpec) array(s *scanner, usage *Usage) bool {
	if s.eat(']') {
		return true
	}
	for {
		s.space()
		if s.eat('{') {
			clear(s.slots[:])
			if !s.object(u.trie) {
				return false
			}
			usage.Merge(u.read(&s.slots))
		} else if !s.skip() {
			return false
		}
		if s.eat(']') {
			return true
		}
		if !s.eat(',') {
			return false
		}
	}
}

func (u *UsageSpec) read(slots *[maxSlots]scalar) Usage {
	var out Usage
	for _, c := range u.cost {
		if n, ok := slots[c.slot].ceil(c.scale, uint64(maxCost)); ok {
			out.Cost, out.HasCost = max(out.Cost, grant.Money(n)), true
		}
	}
	for _, m := range u.model {
		if v := slots[m]; out.Model == "" && len(v) > 0 && v[0] == '"' && len(v) < maxModel {
			out.Model = v.text()
		}
	}
	counts := [4]*int64{&out.Input, &out.Output, &out.CacheRead, &out.CacheWrite}
	for i, alternatives := range u.counts {
		for _, sum := range alternatives {
			n, ok := total(slots, sum)
			if ok {
				*counts[i] = max(*counts[i], n)
				out.HasTokens = out.HasTokens || i < 2
			}
		}
	}
	for _, slot := range u.unpriced {
		if v := slots[slot]; len(v) > 0 && string(v) != "null" {
			n, ok := v.ceil(0, maxTokens)
			out.Unpriced = out.Unpriced || !ok || n > 0
		}
	}
	return out
}

// total sums the counts that are there, and fails if none is.
func total(slots *[maxSlots]scalar, sum []int) (int64, bool) {
	var n int64
	found := false
	for _, slot := range sum {
		if c, ok := slots[slot].ceil(0, maxTokens); ok {
			n, found = min(n+int64(c), math.MaxInt64/4), true
		}
	}
	return n, found
}

const maxModel = 256
