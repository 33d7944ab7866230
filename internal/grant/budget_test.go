package grant_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/grant"
)

func TestParseMoney(t *testing.T) {
	for s, want := range map[string]grant.Money{
		"5usd": 5 * grant.USD, "$5": 5 * grant.USD, "$0.25": grant.USD / 4, "12.5USD": 12_500_000_000, " 1usd ": grant.USD, "$0": 0,
		"0.000000001usd": 1, "$1.000000000": grant.USD, "007usd": 7 * grant.USD, "$9223372036.854775807": math.MaxInt64,
	} {
		if got, err := grant.ParseMoney(s); got != want || err != nil {
			t.Errorf("%q is %d, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", " ", "5", "usd", "$", "$usd", "$5usd", "5 usd", "$ 5", ".5usd", "5.usd", "5.", "$.", "-5usd", "$-5", "+5usd", "$+5",
		"1.-5usd", "1.+5usd", "1e3usd", "0x5usd", "1_000usd", "1,5usd", "5eur", "5€", "5.5.5usd", "nanusd", "infusd", "٥usd", "5\x00usd",
		"0.0000000001usd", "$9223372036.854775808", "$99999999999999999999", "$" + strings.Repeat("9", 10000),
	} {
		if got, err := grant.ParseMoney(s); !errors.Is(err, grant.ErrBudget) || got != 0 {
			t.Errorf("%q is %d, %v", s, got, err)
		}
	}
	for m, want := range map[grant.Money]string{
		0: "$0.00", 1: "$0.000000001", grant.USD: "$1.00", 5*grant.USD + grant.USD/2: "$5.50", 125_000: "$0.000125",
		-grant.USD: "-$1.00", math.MaxInt64: "$9223372036.854775807", math.MinInt64: "-$9223372036.854775808",
	} {
		if got := m.String(); got != want {
			t.Errorf("%d prints as %s, want %s", int64(m), got, want)
		}
	}
}

func TestParseBudget(t *testing.T) {
	for s, want := range map[string]string{
		"5usd/day": "$5.00/day", "$0.25/hour": "$0.25/hour", "5usd": "$5.00/total", " 5USD/Week ": "$5.00/week", "1usd/month": "$1.00/month",
		"1000req/day": "1000req/day", "1REQ": "1req/total", "7req/Total": "7req/total", "9223372036854775807req/hour": "9223372036854775807req/hour",
	} {
		money, requests, err := grant.ParseBudget(s)
		var got string
		switch {
		case money != nil && requests != nil:
			t.Errorf("%q is two budgets", s)
		case money != nil:
			got = money.String()
		case requests != nil:
			got = requests.String()
		}
		if got != want || err != nil {
			t.Errorf("%q is %q, %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "/", "/day", "5/day", "5usd/", "5usd/fortnight", "5usd/day/day", "5usd / day", "5usd/ day", "0usd/day", "$0", "-5usd/day",
		"req", "req/day", "0req/day", "-1req/day", "+1req/day", "1.5req/day", "1e3req/day", "1 req/day", "0x1req/day", "1_0req",
		"9223372036854775808req/day", "1reqs/day", "1request/day", "5eur/day", "5usd/days", "5usd/d",
	} {
		money, requests, err := grant.ParseBudget(s)
		if !errors.Is(err, grant.ErrBudget) || money != nil || requests != nil {
			t.Errorf("%q is %v %v, %v", s, money, requests, err)
		}
	}
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]grant.Rate{
		"60/min": {60, time.Minute}, "5/s": {5, time.Second}, " 1000/h ": {1000, time.Hour}, "1000000/s": {1e6, time.Second}, "007/s": {7, time.Second},
	} {
		if got, err := grant.ParseRate(s); err != nil || *got != want {
			t.Errorf("%q is %v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "/", "60", "60/", "/min", "0/s", "-1/s", "+1/s", "1.5/s", "1 /s", "1/ s", "1/s/s", "1/day", "1/S", "1000001/s",
		"99999999999999999999/s", "1e3/s", "١/s", "0x1/s",
	} {
		if got, err := grant.ParseRate(s); !errors.Is(err, grant.ErrBudget) || got != nil {
			t.Errorf("%q is %v, %v", s, got, err)
		}
	}
	if got := (grant.Rate{Limit: 3, Per: 90 * time.Second}).String(); got != "3/1m30s" {
		t.Errorf("an odd rate prints as %s", got)
	}
}

// FuzzAmounts: what parses prints as something that parses to the same.
func FuzzAmounts(f *testing.F) {
	for _, s := range []string{"5usd", "$0.25/day", "1000req/week", "1req", "60/min", "9223372036854775807req", "$9223372036.854775807/month", "0.000000001usd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := grant.ParseMoney(s); err == nil {
			if back, err := grant.ParseMoney(m.String()); back != m || err != nil || m < 0 {
				t.Fatalf("money %q: %s: %v, %v", s, m, back, err)
			}
		} else if !errors.Is(err, grant.ErrBudget) {
			t.Fatalf("money %q: %v", s, err)
		}
		money, requests, err := grant.ParseBudget(s)
		switch {
		case err != nil:
			if !errors.Is(err, grant.ErrBudget) {
				t.Fatalf("budget %q: %v", s, err)
			}
		case (money == nil) == (requests == nil):
			t.Fatalf("budget %q: %v, %v", s, money, requests)
		case money != nil:
			if back, _, err := grant.ParseBudget(money.String()); err != nil || *back != *money || money.Limit <= 0 {
				t.Fatalf("budget %q: %v, %v, %v", s, money, back, err)
			}
		default:
			if _, back, err := grant.ParseBudget(requests.String()); err != nil || *back != *requests || requests.Limit <= 0 {
				t.Fatalf("budget %q: %v, %v, %v", s, requests, back, err)
			}
		}
		if r, err := grant.ParseRate(s); err == nil {
			if back, err := grant.ParseRate(r.String()); err != nil || *back != *r || r.Limit <= 0 {
				t.Fatalf("rate %q: %v, %v, %v", s, r, back, err)
			}
		} else if !errors.Is(err, grant.ErrBudget) {
			t.Fatalf("rate %q: %v", s, err)
		}
	})
}

func TestWindows(t *testing.T) {
	east := time.FixedZone("", 9*3600)
	for _, c := range []struct {
		w              grant.Window
		at, start, end string
	}{
		{grant.Hour, "2026-04-15T12:00:00Z", "2026-04-15T12:00:00Z", "2026-04-15T13:00:00Z"},
		{grant.Hour, "2026-04-15T12:59:59.999999999Z", "2026-04-15T12:00:00Z", "2026-04-15T13:00:00Z"},
		{grant.Hour, "2026-04-15T12:30:00+05:30", "2026-04-15T07:00:00Z", "2026-04-15T08:00:00Z"},
		{grant.Day, "2026-04-15T00:00:00Z", "2026-04-15T00:00:00Z", "2026-04-16T00:00:00Z"},
		{grant.Day, "2026-04-15T23:59:59.999999999Z", "2026-04-15T00:00:00Z", "2026-04-16T00:00:00Z"},
		{grant.Day, "2026-04-15T01:00:00+02:00", "2026-04-14T00:00:00Z", "2026-04-15T00:00:00Z"},
		{grant.Day, "2026-12-31T23:00:00Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"},
		{grant.Week, "2026-04-13T00:00:00Z", "2026-04-13T00:00:00Z", "2026-04-20T00:00:00Z"}, // Monday
		{grant.Week, "2026-04-12T23:59:59Z", "2026-04-06T00:00:00Z", "2026-04-13T00:00:00Z"}, // Sunday
		{grant.Week, "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"}, // in 2026-W53
		{grant.Week, "2024-02-29T12:00:00Z", "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"},
		{grant.Month, "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"},
		{grant.Month, "2026-01-31T23:59:59Z", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"},
		{grant.Month, "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
	} {
		at, start, end := parseTime(t, c.at), parseTime(t, c.start), parseTime(t, c.end)
		for _, at := range []time.Time{at, at.In(east)} {
			if got := c.w.Start(at); !got.Equal(start) || got.Location() != time.UTC {
				t.Errorf("%s of %s starts at %s", c.w, at, got)
			}
			if got := c.w.End(at); !got.Equal(end) || got.Location() != time.UTC {
				t.Errorf("%s of %s ends at %s", c.w, at, got)
			}
		}
	}
	for _, w := range []grant.Window{grant.Total, "", "eon"} {
		if !w.Start(noon).IsZero() || !w.End(noon).IsZero() {
			t.Errorf("%q has bounds", w)
		}
	}
	// Windows follow each other without a gap and without overlap.
	for _, w := range []grant.Window{grant.Hour, grant.Day, grant.Week, grant.Month} {
		at := noon
		for range 500 {
			end := w.End(at)
			if !w.Start(end).Equal(end) || !w.Start(end.Add(-1)).Equal(w.Start(at)) {
				t.Fatalf("%s that ends at %s", w, end)
			}
			at = end
		}
		if _, isoWeek := at.ISOWeek(); w == grant.Week && (at.Weekday() != time.Monday || isoWeek == 0) {
			t.Errorf("weeks do not start on Monday: %s", at)
		}
	}
}

func parseTime(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
