package grant

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrBudget is wrapped by every failure to parse a budget, rate or amount.
var ErrBudget = errors.New("malformed budget")

// Money is an amount in nano-dollars: 1 USD = 1e9. Sums saturate.
type Money int64

// USD is one dollar.
const USD Money = 1e9

// ParseMoney parses amounts such as 5usd, $0.25 and 12.5USD.
func ParseMoney(s string) (Money, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	switch {
	case strings.HasPrefix(t, "$"):
		t = t[1:]
	case strings.HasSuffix(t, "usd"):
		t = strings.TrimSuffix(t, "usd")
	default:
		return 0, fmt.Errorf("%w: an amount names its currency, for example 5usd", ErrBudget)
	}
	whole, frac, point := strings.Cut(t, ".")
	if !isDigits(whole) || point && !isDigits(frac) || len(frac) > 9 {
		return 0, fmt.Errorf("%w: an amount is a decimal number with at most 9 places, for example 0.25usd", ErrBudget)
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", 9-len(frac)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: the amount is too large", ErrBudget)
	}
	return Money(n), nil
}

// String returns dollars with at least two places, such as $5.00 or $0.000125.
func (m Money) String() string {
	sign, v := "", uint64(m)
	if m < 0 {
		sign, v = "-", -v
	}
	frac := strings.TrimRight(fmt.Sprintf("%09d", v%uint64(USD)), "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return fmt.Sprintf("%s$%d.%s", sign, v/uint64(USD), frac)
}

// plus adds amounts that are not negative.
func (m Money) plus(o Money) Money {
	if m > math.MaxInt64-o {
		return math.MaxInt64
	}
	return m + o
}

// minus takes back a part of a sum. A saturated sum has lost count, so it
// stays saturated: too much held denies, too little would not.
func (m Money) minus(o Money) Money {
	if m == math.MaxInt64 {
		return m
	}
	return max(0, m-o)
}

// isDigits keeps out the signs that strconv would let through.
func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Window is the stretch of time after which a budget starts anew, aligned to
// UTC: the clock hour, the day, the ISO week, the month, or never.
type Window string

// The windows there are.
const (
	Hour  Window = "hour"
	Day   Window = "day"
	Week  Window = "week"
	Month Window = "month"
	Total Window = "total"
)

func (w Window) valid() bool {
	switch w {
	case Hour, Day, Week, Month, Total:
		return true
	}
	return false
}

// Start returns the beginning of the window that holds t.
func (w Window) Start(t time.Time) time.Time {
	t = t.UTC()
	y, m, d := t.Date()
	switch w {
	case Hour:
		return t.Truncate(time.Hour)
	case Day:
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	case Week:
		back := (int(t.Weekday()) + 6) % 7 // Monday is 0
		return time.Date(y, m, d-back, 0, 0, 0, 0, time.UTC)
	case Month:
		return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Time{}
}

// End returns the first moment after the window that holds t; the zero time
// for Total.
func (w Window) End(t time.Time) time.Time {
	s := w.Start(t)
	switch w {
	case Hour:
		return s.Add(time.Hour)
	case Day:
		return s.AddDate(0, 0, 1)
	case Week:
		return s.AddDate(0, 0, 7)
	case Month:
		return s.AddDate(0, 1, 0)
	}
	return time.Time{}
}

// Requests is a budget in requests.
type Requests struct {
	Limit int64  `json:"limit"`
	Per   Window `json:"per"`
}

// String returns the text form, 1000req/day.
func (r Requests) String() string { return fmt.Sprintf("%dreq/%s", r.Limit, r.Per) }

// Budget is a budget in money.
type Budget struct {
	Limit Money  `json:"limit_nusd"`
	Per   Window `json:"per"`
	// Unknown is the least that an answer is charged which does not say what it
	// cost, or is broken off before it can; 0 is a tenth of Limit. An agent can
	// see to it that an answer does not say, so this bounds how often it pays.
	Unknown Money `json:"unknown_nusd,omitempty"`
}

// unknown is what Unknown stands for.
func (b *Budget) unknown() Money {
	switch {
	case b == nil:
		return 0
	case b.Unknown > 0:
		return b.Unknown
	}
	return (b.Limit-1)/10 + 1
}

// String returns the text form, $5.00/day.
func (b Budget) String() string { return fmt.Sprintf("%s/%s", b.Limit, b.Per) }

// ParseBudget parses 5usd/day into a Budget or 1000req/day into Requests;
// without a window the budget is for the whole life of the grant. One of the
// results is nil.
func ParseBudget(s string) (*Budget, *Requests, error) {
	amount, per, has := strings.Cut(strings.TrimSpace(s), "/")
	w := Window(strings.ToLower(per))
	if !has {
		w = Total
	}
	if !w.valid() {
		return nil, nil, fmt.Errorf("%w: it is per hour, day, week, month or total, for example 5usd/day", ErrBudget)
	}
	if n, ok := strings.CutSuffix(strings.ToLower(amount), "req"); ok {
		limit, err := strconv.ParseInt(n, 10, 64)
		if err != nil || limit <= 0 || !isDigits(n) {
			return nil, nil, fmt.Errorf("%w: a number of requests is a positive whole number, for example 1000req/day", ErrBudget)
		}
		return nil, &Requests{limit, w}, nil
	}
	m, err := ParseMoney(amount)
	if err != nil {
		return nil, nil, fmt.Errorf("%w, or a number of requests, for example 1000req/day", err)
	}
	if m <= 0 {
		return nil, nil, fmt.Errorf("%w: the amount must be positive", ErrBudget)
	}
	return &Budget{Limit: m, Per: w}, nil, nil
}

// Rate allows Limit requests at once, and from then on one more every Per/Limit:
// the generic cell rate algorithm. Within one stretch of Per that begins with
// a burst it so lets up to twice Limit through, over a long time Limit per Per.
type Rate struct {
	Limit int64         `json:"limit"`
	Per   time.Duration `json:"per_ns"`
}

const maxRate = 1e6

func (r Rate) valid() bool { return r.Limit > 0 && r.Limit <= maxRate && r.Per > 0 }

// interval is the time in which one request becomes free again, rounded up:
// rounded down it would let more than Limit through at once.
func (r Rate) interval() time.Duration {
	return (r.Per-1)/time.Duration(r.Limit) + 1
}

// burst is the time in which Limit requests become free again.
func (r Rate) burst() time.Duration {
	i, n := r.interval(), time.Duration(r.Limit)
	if i > math.MaxInt64/n {
		return math.MaxInt64
	}
	return i * n
}

var rateUnits = []struct {
	name string
	per  time.Duration
}{{"s", time.Second}, {"min", time.Minute}, {"h", time.Hour}}

// ParseRate parses 60/min, 5/s and 1000/h.
func ParseRate(s string) (*Rate, error) {
	n, unit, _ := strings.Cut(strings.TrimSpace(s), "/")
	limit, err := strconv.ParseInt(n, 10, 64)
	if err == nil && limit > 0 && limit <= maxRate && isDigits(n) {
		for _, u := range rateUnits {
			if unit == u.name {
				return &Rate{limit, u.per}, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: a rate is a number up to 1000000 per s, min or h, for example 60/min", ErrBudget)
}

// String returns the text form.
func (r Rate) String() string {
	for _, u := range rateUnits {
		if r.Per == u.per {
			return fmt.Sprintf("%d/%s", r.Limit, u.name)
		}
	}
	return fmt.Sprintf("%d/%s", r.Limit, r.Per)
}
