package catalog

import "github.com/litentry/agentkeys/internal/grant"

const (
	// maxCost bounds what one answer can say it cost: a million dollars. More
	// is a mistake or a lie, and would empty a budget for good.
	maxCost = 1_000_000 * grant.USD
	// maxTokens bounds a count of tokens in one answer.
	maxTokens = 1_000_000_000_000
)

// ceil reads a JSON number as exactly as it stands, times 10^scale, rounded up
// to a whole number. It refuses what is not a JSON number, what is negative,
// and what is above limit, which is at most 10^18. No float is involved:
// 0.1 dollars are 100,000,000 nano-dollars and not one more.
func (v scalar) ceil(scale int, limit uint64) (uint64, bool) {
	mantissa, exp, rest, ok := v.decimal()
	if !ok {
		return 0, false
	}
	if mantissa == 0 {
		return 0, true
	}
	for exp += scale; exp > 0; exp-- {
		if mantissa > limit/10 {
			return 0, false
		}
		mantissa *= 10
	}
	for ; exp < 0; exp++ {
		if mantissa == 0 {
			break // only the rest is left, however small
		}
		rest = rest || mantissa%10 != 0
		mantissa /= 10
	}
	if rest {
		mantissa++
	}
	return mantissa, mantissa <= limit
}

// decimal takes a JSON number apart: it is mantissa × 10^exp, and a little
// more if rest. A negative number other than zero is refused.
func (v scalar) decimal() (mantissa uint64, exp int, rest, ok bool) {
	i, negative := 0, false
	digit := func() bool { return i < len(v) && v[i] >= '0' && v[i] <= '9' }
	take := func(behind int) { // one digit; behind is 1 after the point
		switch {
		case mantissa < 1e17:
			mantissa = mantissa*10 + uint64(v[i]-'0')
			exp -= behind
		default:
			rest = rest || v[i] != '0'
			exp += 1 - behind
		}
		i++
	}
	if i < len(v) && v[i] == '-' {
		negative = true
		i++
	}
	if !digit() || v[i] == '0' && i+1 < len(v) && v[i+1] >= '0' && v[i+1] <= '9' {
		return 0, 0, false, false
	}
	for digit() {
		take(0)
	}
	if i < len(v) && v[i] == '.' {
		if i++; !digit() {
			return 0, 0, false, false
		}
		for digit() {
			take(1)
		}
	}
	if i < len(v) && v[i]|0x20 == 'e' {
		i++
		sign := 1
		if i < len(v) && (v[i] == '+' || v[i] == '-') {
			if v[i] == '-' {
				sign = -1
			}
			i++
		}
		if !digit() {
			return 0, 0, false, false
		}
		e := 0
		for ; digit(); i++ {
			e = min(e*10+int(v[i]-'0'), 1<<30)
		}
		exp += sign * e
	}
	if i != len(v) || negative && (mantissa != 0 || rest) {
		return 0, 0, false, false
	}
	return mantissa, exp, rest, true
}
