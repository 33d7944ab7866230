package catalog

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/litentry/agentkeys/internal/grant"
)

func TestCeil(t *testing.T) {
	for _, c := range []struct {
		in    string
		scale int
		want  int64 // -1: refused
	}{
		{"0", 9, 0}, {"-0", 9, 0}, {"0.0", 9, 0}, {"0e99999", 9, 0}, {"-0.0e-5", 9, 0},
		{"1", 9, 1_000_000_000}, {"0.1", 9, 100_000_000}, {"0.00014", 9, 140_000}, {"1.4e-4", 9, 140_000}, {"1.4E-04", 9, 140_000},
		{"0.000000001", 9, 1}, {"0.0000000001", 9, 1}, {"0.0000000011", 9, 2}, {"1e-400", 9, 1}, {"1e-999999999999999999999", 9, 1},
		{"2.0000000000000000000000000001", 9, 2_000_000_001}, {"2.0000000000000000000000000000", 9, 2_000_000_000},
		{"0.30000000000000004", 9, 300_000_001}, // what a float makes of 0.1+0.2
		{"999999.999999999", 9, 999_999_999_999_999}, {"1000000", 9, 1_000_000_000_000_000}, {"1e6", 9, 1_000_000_000_000_000},
		{"1000000.000000001", 9, -1}, {"1000001", 9, -1}, {"1e7", 9, -1}, {"1e99999999999999999999", 9, -1},
		{"100000000000000000000000000000", 9, -1}, {"0." + strings.Repeat("0", 500) + "1", 9, 1},
		{"37756000", -1, 3_775_600}, {"37756001", -1, 3_775_601}, {"1", -1, 1}, {"0", -1, 0}, {"10000000000", -1, 1_000_000_000},
		{"-1", 9, -1}, {"-0.1", 9, -1}, {"-1e-99", 9, -1},
		{"", 9, -1}, {"-", 9, -1}, {"+1", 9, -1}, {"01", 9, -1}, {"1.", 9, -1}, {".1", 9, -1}, {"1e", 9, -1}, {"1e+", 9, -1},
		{"1.2.3", 9, -1}, {"NaN", 9, -1}, {"Infinity", 9, -1}, {"null", 9, -1}, {"true", 9, -1}, {`"1"`, 9, -1}, {"0x10", 9, -1}, {"1 ", 9, -1}, {"1_0", 9, -1},
	} {
		n, ok := scalar(c.in).ceil(c.scale, uint64(maxCost))
		if got := int64(n); !ok && c.want != -1 || ok && got != c.want {
			t.Errorf("%s × 10^%d: %d %v, want %d", c.in, c.scale, got, ok, c.want)
		}
	}
}

// ceil agrees with arithmetic on fractions of any size.
func TestCeilAgainstRat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := fmt.Sprintf("%d", rapid.Uint64Range(0, 2_000_000).Draw(t, "whole"))
		if frac := rapid.StringMatching(`[0-9]{0,24}`).Draw(t, "frac"); frac != "" {
			text += "." + frac
		}
		if e := rapid.IntRange(-20, 12).Draw(t, "exp"); e != 0 {
			text += fmt.Sprintf("e%d", e)
		}
		scale := rapid.SampledFrom([]int{9, -1, 0}).Draw(t, "scale")
		want, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatal(text)
		}
		pow := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(9), nil))
		switch scale {
		case 9:
			want.Mul(want, pow)
		case -1:
			want.Quo(want, big.NewRat(10, 1))
		}
		up := new(big.Int).Div(new(big.Int).Add(want.Num(), new(big.Int).Sub(want.Denom(), big.NewInt(1))), want.Denom())
		fits := up.Cmp(big.NewInt(int64(maxCost))) <= 0
		got, ok := scalar(text).ceil(scale, uint64(maxCost))
		if ok != fits || ok && up.Cmp(big.NewInt(int64(got))) != 0 {
			t.Fatalf("%s × 10^%d: %d %v, want %v %v", text, scale, got, ok, up, fits)
		}
	})
}

func TestPrice(t *testing.T) {
	cheap := "0.15/0.6/0.075"
	full := "3/15/0.3/3.75"
	prices := map[string]string{"gpt-4o": "2.5/10", "gpt-4o-mini*": cheap, "claude-*": full, "claude-opus-*": "15/75"}
	for _, c := range []struct {
		name   string
		u      Usage
		prices map[string]string
		want   grant.Money
		ok     bool
	}{
		{"reported", Usage{HasCost: true, Cost: 7}, prices, 7, true},
		{"reported wins over the table", Usage{Model: "gpt-4o", HasCost: true, Cost: 7, HasTokens: true, Input: 1000}, prices, 7, true},
		{"reported as nothing", Usage{HasCost: true}, nil, 0, true},
		{"no table", Usage{Model: "gpt-4o", HasTokens: true, Input: 1}, nil, 0, false},
		{"no tokens", Usage{Model: "gpt-4o"}, prices, 0, false},
		{"a million in, a million out", Usage{Model: "gpt-4o", HasTokens: true, Input: 1e6, Output: 1e6}, prices, 12_500_000_000, true},
		{"one token", Usage{Model: "gpt-4o", HasTokens: true, Input: 1}, prices, 2500, true},
		{"no tokens at all", Usage{Model: "gpt-4o", HasTokens: true}, prices, 0, true},
		{"not this model", Usage{Model: "gpt-4", HasTokens: true, Input: 1}, prices, 0, false},
		{"not by prefix without a star", Usage{Model: "gpt-4o-2024", HasTokens: true, Input: 1}, prices, 0, false},
		{"by prefix", Usage{Model: "gpt-4o-mini-2024", HasTokens: true, Input: 1000, CacheRead: 400, Output: 10}, prices, 90_000 + 30_000 + 6_000, true},
		{"by the longest prefix", Usage{Model: "claude-opus-4", HasTokens: true, Input: 1}, prices, 15_000, true},
		{"cache written", Usage{Model: "claude-x", HasTokens: true, Input: 132, CacheRead: 100, CacheWrite: 7, Output: 1}, prices, 25*3000 + 100*300 + 7*3750 + 15_000, true},
		{"cache written, no price", Usage{Model: "claude-opus-4", HasTokens: true, Input: 10, CacheWrite: 7}, prices, 0, false},
		{"cache read, no price", Usage{Model: "gpt-4o", HasTokens: true, Input: 10, CacheRead: 7}, prices, 25_000, true},
		{"more than tokens", Usage{Model: "gpt-4o", HasTokens: true, Unpriced: true, Input: 1}, prices, 0, false},
		{"no model, no default", Usage{HasTokens: true, Input: 1}, prices, 0, false},
		{"no model, default", Usage{HasTokens: true, Input: 1}, map[string]string{"*": "1/1"}, 1000, true},
		{"rounded up once", Usage{HasTokens: true, Input: 1, Output: 1}, map[string]string{"*": "0.000000001/0.000000001"}, 1, true},
		{"more cached than input", Usage{HasTokens: true, Input: 1, CacheRead: 5}, map[string]string{"*": "1/1"}, 5000, true},
		{"absurd", Usage{HasTokens: true, Input: maxTokens, Output: maxTokens}, map[string]string{"*": "1000000/1000000"}, maxCost, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Settings{Prices: map[string]Price{}}
			for m, p := range c.prices {
				price, err := ParsePrice(p)
				if err != nil {
					t.Fatal(err)
				}
				s.Prices[m] = price
			}
			e, err := lookup(t, "openai").With(s)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := e.Price(c.u); got != c.want || ok != c.ok {
				t.Errorf("%v %v, want %v %v", got, ok, c.want, c.ok)
			}
		})
	}
	if m, ok := lookup(t, "github").Price(Usage{}); m != 0 || !ok {
		t.Error("a service that bills nothing costs something")
	}
}

// The price is exact, rounded up, and never falls as tokens are added.
func TestPriceAgainstInt(t *testing.T) {
	money := rapid.Int64Range(0, int64(1000*grant.USD))
	tokens := rapid.Int64Range(0, 10_000_000)
	rapid.Check(t, func(t *rapid.T) {
		read := grant.Money(money.Draw(t, "pr"))
		write := grant.Money(money.Draw(t, "pw"))
		p := Price{grant.Money(money.Draw(t, "pi")), grant.Money(money.Draw(t, "po")), &read, &write}
		u := Usage{HasTokens: true, Output: tokens.Draw(t, "o"), CacheRead: tokens.Draw(t, "r"), CacheWrite: tokens.Draw(t, "w")}
		fresh := tokens.Draw(t, "i")
		u.Input = fresh + u.CacheRead + u.CacheWrite
		sum := new(big.Int)
		for _, x := range [][2]int64{{fresh, int64(p.Input)}, {u.Output, int64(p.Output)}, {u.CacheRead, int64(read)}, {u.CacheWrite, int64(write)}} {
			sum.Add(sum, new(big.Int).Mul(big.NewInt(x[0]), big.NewInt(x[1])))
		}
		sum.Add(sum, big.NewInt(999_999)).Div(sum, big.NewInt(1_000_000))
		got, ok := p.of(u)
		if !ok || sum.Cmp(big.NewInt(int64(got))) != 0 {
			t.Fatalf("%v %v, want %v", got, ok, sum)
		}
		u.Input++
		if more, _ := p.of(u); more < got {
			t.Fatalf("a token more costs less: %v, %v", got, more)
		}
	})
}

func TestParsePrice(t *testing.T) {
	for in, want := range map[string]string{
		"2.5/10":         "2.50/10.00",
		"0/0":            "0.00/0.00",
		" 1 / 2 / 0.5 ":  "1.00/2.00/0.50",
		"3/15/0.3/3.75":  "3.00/15.00/0.30/3.75",
		"0.000000001/1":  "0.000000001/1.00",
		"1000000/1":      "1000000.00/1.00",
		"1000001/1":      "",
		"1":              "",
		"1/2/3/4/5":      "",
		"-1/2":           "",
		"1/":             "",
		"$1/$2":          "",
		"1e3/2":          "",
		"0.0000000001/1": "",
	} {
		p, err := ParsePrice(in)
		got := ""
		if err == nil {
			got = p.String()
			if again, err := ParsePrice(got); err != nil || again.String() != got {
				t.Errorf("%s: %s does not parse again: %v", in, got, err)
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q (%v)", in, got, want, err)
		}
	}
	for _, bad := range []string{"gpt-4o", "=1/2", "a b=1/2", "a*b=1/2", "é=1/2"} {
		if _, _, err := ParseModelPrice(bad); err == nil {
			t.Errorf("%q parses", bad)
		}
	}
	if m, p, err := ParseModelPrice("openai/gpt-4o:free*=1/2"); m != "openai/gpt-4o:free*" || p.String() != "1.00/2.00" || err != nil {
		t.Error(m, p, err)
	}
}
