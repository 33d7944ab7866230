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
	whole, frac, _ := strings.Cut(t, ".")
	if len(frac) > 9 || whole == "" || strings.Trim(whole+frac, "0123456789") != "" || strings.HasSuffix(t, ".") {
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
	sign, v := "", m
	if v < 0 {
		sign, v = "-", -v
	}
	frac := strings.TrimRight(fmt.Sprintf("%09d", int64(v%USD)), "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return fmt.Sprintf("%s$%d.%s", sign, int64(v/USD), frac)
}

func (m Money) plus(o Money) Money {
	if o > 0 && m > math.MaxInt64-o {
		return math.MaxInt64
	}
	return m + o
}

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
		if err != nil || limit <= 0 {
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
	return &Budget{m, w}, nil, nil
}

// Rate allows Limit requests in Per, all at once or spread.
type Rate struct {
	Limit int64         `json:"limit"`
	Per   time.Duration `json:"per_ns"`
}

var rateUnits = []struct {
	name string
	per  time.Duration
}{{"s", time.Second}, {"min", time.Minute}, {"h", time.Hour}}

// ParseRate parses 60/min, 5/s and 1000/h.
func ParseRate(s string) (*Rate, error) {
	n, unit, _ := strings.Cut(strings.TrimSpace(s), "/")
	limit, err := strconv.ParseInt(n, 10, 64)
	if err == nil && limit > 0 && limit <= 1e6 {
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
