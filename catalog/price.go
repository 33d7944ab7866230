package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/litentry/agentkeys/internal/grant"
)

// ErrPrice is wrapped by every failure to parse a price.
var ErrPrice = errors.New("malformed price")

// Price is what an owner says a model costs, per million tokens.
type Price struct {
	Input, Output grant.Money
	// CacheRead is for input tokens read from a cache; nil: as Input.
	CacheRead *grant.Money
	// CacheWrite is for input tokens written to a cache. Some vendors take more
	// for these than for others, so without it an answer that has some cannot
	// be priced.
	CacheWrite *grant.Money
}

// maxPrice is a dollar a token.
const maxPrice = 1_000_000 * grant.USD

// ParsePrice parses in/out, in/out/cache-read or in/out/cache-read/cache-write,
// in dollars per million tokens, such as 2.5/10/0.25.
func ParsePrice(s string) (Price, error) {
	parts := strings.Split(strings.TrimSpace(s), "/")
	if len(parts) < 2 || len(parts) > 4 {
		return Price{}, fmt.Errorf("%w: write it as INPUT/OUTPUT in dollars per million tokens, for example 2.5/10, and /CACHE-READ/CACHE-WRITE behind it where they differ", ErrPrice)
	}
	var m [4]grant.Money
	for i, p := range parts {
		var err error
		if m[i], err = perMillion(p); err != nil {
			return Price{}, err
		}
	}
	p := Price{Input: m[0], Output: m[1]}
	if len(parts) > 2 {
		p.CacheRead = &m[2]
	}
	if len(parts) > 3 {
		p.CacheWrite = &m[3]
	}
	return p, nil
}

func perMillion(s string) (grant.Money, error) {
	m, err := grant.ParseMoney("$" + strings.TrimSpace(s))
	if err != nil || m > maxPrice {
		return 0, fmt.Errorf("%w: a price is a decimal number of dollars per million tokens, with at most 9 places, for example 0.25", ErrPrice)
	}
	return m, nil
}

// ParseModelPrice parses MODEL=in/out; see ParsePrice and Settings.Prices.
func ParseModelPrice(s string) (model string, p Price, err error) {
	model, price, ok := strings.Cut(s, "=")
	if !ok {
		return "", Price{}, fmt.Errorf("%w: write it as MODEL=INPUT/OUTPUT, for example gpt-4o=2.5/10", ErrPrice)
	}
	if err := validModel(model); err != nil {
		return "", Price{}, err
	}
	p, err = ParsePrice(price)
	return model, p, err
}

func validModel(s string) error {
	name := strings.TrimSuffix(s, "*")
	if s == "" || len(s) >= maxModel {
		return fmt.Errorf("%w: a model has a name", ErrPrice)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`*="\`, c) >= 0 {
			return fmt.Errorf("%w: a model is named as the service names it, with a * at the end for all that begin so", ErrPrice)
		}
	}
	return nil
}

// String returns the text form.
func (p Price) String() string {
	s := decimal(p.Input) + "/" + decimal(p.Output)
	switch {
	case p.CacheWrite != nil && p.CacheRead == nil: // the text form has no gaps
		s += "/" + decimal(p.Input) + "/" + decimal(*p.CacheWrite)
	case p.CacheWrite != nil:
		s += "/" + decimal(*p.CacheRead) + "/" + decimal(*p.CacheWrite)
	case p.CacheRead != nil:
		s += "/" + decimal(*p.CacheRead)
	}
	return s
}

func decimal(m grant.Money) string { return strings.TrimPrefix(m.String(), "$") }

// priceJSON is the JSON form: decimal strings, so that no reader rounds.
type priceJSON struct {
	Input      string  `json:"input"`
	Output     string  `json:"output"`
	CacheRead  *string `json:"cache_read,omitempty"`
	CacheWrite *string `json:"cache_write,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (p Price) MarshalJSON() ([]byte, error) {
	j := priceJSON{Input: decimal(p.Input), Output: decimal(p.Output)}
	for _, f := range []struct {
		from *grant.Money
		to   **string
	}{{p.CacheRead, &j.CacheRead}, {p.CacheWrite, &j.CacheWrite}} {
		if f.from != nil {
			s := decimal(*f.from)
			*f.to = &s
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Price) UnmarshalJSON(b []byte) (err error) {
	var j priceJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("%w: %w", ErrPrice, err)
	}
	var out Price
	if out.Input, err = perMillion(j.Input); err != nil {
		return err
	}
	if out.Output, err = perMillion(j.Output); err != nil {
		return err
	}
	for _, f := range []struct {
		from *string
		to   **grant.Money
	}{{j.CacheRead, &out.CacheRead}, {j.CacheWrite, &out.CacheWrite}} {
		if f.from != nil {
			m, err := perMillion(*f.from)
			if err != nil {
				return err
			}
			*f.to = &m
		}
	}
	*p = out
	return nil
}

// Price says what an answer cost: what it reported itself or else its tokens
// at the owner's prices, rounded up; nothing where the service bills nothing.
// It is false if none of these is to be had; the caller then charges what it
// held back.
func (e *Entry) Price(u Usage) (grant.Money, bool) {
	if u.HasCost && u.Cost >= 0 {
		return u.Cost, true
	}
	if e.Usage.Pricing == PricingNone {
		return 0, true
	}
	if !u.HasTokens || u.Unpriced || len(e.Owner.Prices) == 0 {
		return 0, false
	}
	p, ok := e.Owner.price(u.Model)
	if !ok {
		return 0, false
	}
	return p.of(u)
}

// price finds the price of a model: under its own name, or under the longest
// prefix with a *.
func (s *Settings) price(model string) (Price, bool) {
	if p, ok := s.Prices[model]; ok && model != "" {
		return p, true
	}
	longest, best := -1, Price{}
	for name, p := range s.Prices {
		prefix, star := strings.CutSuffix(name, "*")
		if star && len(prefix) > longest && strings.HasPrefix(model, prefix) {
			longest, best = len(prefix), p
		}
	}
	return best, longest >= 0
}

// of multiplies in 128 bits and rounds up once, at the end.
func (p Price) of(u Usage) (grant.Money, bool) {
	read, write := p.Input, p.CacheWrite
	if p.CacheRead != nil {
		read = *p.CacheRead
	}
	if write == nil {
		if u.CacheWrite > 0 {
			return 0, false
		}
		write = new(grant.Money)
	}
	var hi, lo uint64
	for _, part := range []struct {
		tokens int64
		price  grant.Money
	}{
		{max(0, u.Input-u.CacheRead-u.CacheWrite), p.Input},
		{u.CacheRead, read},
		{u.CacheWrite, *write},
		{u.Output, p.Output},
	} {
		if part.tokens < 0 || part.tokens > 4*maxTokens || part.price < 0 || part.price > maxPrice {
			return 0, false
		}
		h, l := bits.Mul64(uint64(part.tokens), uint64(part.price))
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi += h + carry
	}
	const million = 1_000_000
	if hi >= million {
		return maxCost, true // a quotient beyond 64 bits
	}
	n, rest := bits.Div64(hi, lo, million)
	if rest > 0 {
		n++
	}
	return grant.Money(min(n, uint64(maxCost))), true
}
