package cloudpolicy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// operator is a condition operator taken apart.
type operator struct {
	set      string // ForAllValues, ForAnyValue or ""
	base     string // as in the table, without Not
	negated  bool
	ifExists bool
}

// bases are the operators and whether there is a negation, with its name.
var bases = []struct{ name, negation string }{
	{"StringEquals", "StringNotEquals"}, {"StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"}, {"StringLike", "StringNotLike"},
	{"NumericEquals", "NumericNotEquals"}, {"NumericLessThan", ""}, {"NumericLessThanEquals", ""}, {"NumericGreaterThan", ""}, {"NumericGreaterThanEquals", ""},
	{"DateEquals", "DateNotEquals"}, {"DateLessThan", ""}, {"DateLessThanEquals", ""}, {"DateGreaterThan", ""}, {"DateGreaterThanEquals", ""},
	{"Bool", ""}, {"BinaryEquals", ""}, {"IpAddress", "NotIpAddress"}, {"ArnEquals", "ArnNotEquals"}, {"ArnLike", "ArnNotLike"},
}

// parseOperator takes an operator apart; AWS compares its letters without case.
func parseOperator(name string) (operator, bool) {
	var op operator
	for _, set := range []string{"ForAllValues", "ForAnyValue"} {
		if rest, ok := cutFold(name, set+":"); ok {
			op.set, name = set, rest
		}
	}
	if strings.EqualFold(name, "Null") {
		op.base = "Null"
		return op, op.set == ""
	}
	const suffix = "IfExists"
	if n := len(name) - len(suffix); n > 0 && strings.EqualFold(name[n:], suffix) {
		op.ifExists, name = true, name[:n]
	}
	for _, b := range bases {
		switch {
		case strings.EqualFold(name, b.name):
			op.base = b.name
		case b.negation != "" && strings.EqualFold(name, b.negation):
			op.base, op.negated = b.name, true
		default:
			continue
		}
		return op, true
	}
	return op, false
}

// holds reports whether the condition holds, and whether it could be decided:
// an operator that nobody knows cannot.
func (c context) holds(cond Condition, variables bool) (holds, known bool) {
	op, ok := parseOperator(cond.Operator)
	if !ok {
		return false, false
	}
	values, there := c.get(cond.Key)
	switch {
	case op.base == "Null":
		for _, v := range cond.Values {
			if strings.EqualFold(v, strconv.FormatBool(!there)) {
				return true, true
			}
		}
		return false, true
	case op.set == "ForAllValues":
		for _, v := range values {
			if !c.test(op, cond.Values, v, variables) {
				return false, true
			}
		}
		return true, true
	case op.set == "ForAnyValue":
		for _, v := range values {
			if c.test(op, cond.Values, v, variables) {
				return true, true
			}
		}
		return !there && op.ifExists, true
	case !there:
		return op.ifExists || op.negated, true
	case len(values) != 1:
		return false, true // several values need a set operator
	}
	return c.test(op, cond.Values, values[0], variables), true
}

// test compares one value of the request with all of the policy's. One that
// cannot be read, for want of a variable's value, fails either way.
func (c context) test(op operator, policy []string, request string, variables bool) bool {
	for _, p := range policy {
		match, ok := c.compare(op.base, p, request, variables)
		switch {
		case op.negated && (match || !ok):
			return false
		case !op.negated && match && ok:
			return true
		}
	}
	return op.negated
}

func (c context) compare(base, policy, request string, variables bool) (match, ok bool) {
	if strings.HasPrefix(base, "Arn") {
		match, resolved := c.arnMatches(policy, request, variables)
		_, isARN := splitARN(request)
		_, isPattern := splitARN(policy)
		return match, resolved && isARN && isPattern
	}
	if base == "StringLike" && !strings.Contains(policy, "${") {
		return like(policy, request), true
	}
	pieces, resolved := c.expand(policy, base == "StringLike", variables)
	if !resolved {
		return false, false
	}
	var text strings.Builder
	for _, p := range pieces {
		text.WriteString(p.text)
	}
	policy = text.String()
	switch base {
	case "StringLike":
		return matches(pieces, request), true
	case "StringEquals", "BinaryEquals":
		return policy == request, true
	case "StringEqualsIgnoreCase":
		return strings.EqualFold(policy, request), true
	case "Bool":
		is := func(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }
		return strings.EqualFold(policy, request) && is(policy), is(policy) && is(request)
	case "IpAddress":
		return inNetwork(policy, request)
	}
	var order int
	if name, isDate := strings.CutPrefix(base, "Date"); isDate {
		a, okA := parseDate(request)
		b, okB := parseDate(policy)
		order, ok, base = a.Compare(b), okA && okB, name
	} else {
		a, errA := strconv.ParseFloat(request, 64)
		b, errB := strconv.ParseFloat(policy, 64)
		ok, base = errA == nil && errB == nil, strings.TrimPrefix(base, "Numeric")
		switch {
		case a < b:
			order = -1
		case a > b:
			order = 1
		}
	}
	switch base {
	case "Equals":
		match = order == 0
	case "LessThan":
		match = order < 0
	case "LessThanEquals":
		match = order <= 0
	case "GreaterThan":
		match = order > 0
	case "GreaterThanEquals":
		match = order >= 0
	}
	return match && ok, ok
}

func inNetwork(policy, request string) (match, ok bool) {
	addr, err := netip.ParseAddr(request)
	if err != nil {
		return false, false
	}
	if !strings.Contains(policy, "/") {
		one, err := netip.ParseAddr(policy)
		return err == nil && one == addr, err == nil
	}
	prefix, err := netip.ParsePrefix(policy)
	return err == nil && prefix.Contains(addr), err == nil
}

// parseDate reads a W3C date, or seconds since 1970.
func parseDate(s string) (time.Time, bool) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return time.Unix(n, 0), err == nil
}
