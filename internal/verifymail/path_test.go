package verifymail

import (
	"strings"
	"testing"
)

// A path leads to where it begins, for servers that decode it twice and for
// those that know parameters of segments.
func TestPlainPath(t *testing.T) {
	for p, want := range map[string]bool{
		"/v1/verify":                  true,
		"/v1/verify/a..b":             true,
		"/v1/verify/...":              true,
		"/v1/verify;jsessionid=1":     true,
		"/v1/verify/a%25b":            true,
		"/v1/verify/a%2525b":          true,
		"/v1/verify/a%3Bb":            true,
		"/v1/verify/..":               false,
		"/v1/verify/./x":              false,
		"/v1/verify/..;/x":            false,
		"/v1/verify/..;a=b/x":         false,
		"/v1/verify/.;/x":             false,
		"/v1/verify/%2E%2e;/x":        false,
		"/v1/verify/..%3b/x":          false,
		"/v1/verify/%252e%252e/x":     false,
		"/v1/verify/%25%32e./x":       false,
		"/v1/verify/.%25252E/x":       false,
		"/v1/verify/x%252f..%252f":    false,
		"/v1/verify/%255c":            false,
		"/v1/verify/x%3fy%23":         true,
		"/v1/verify/%252e%252e/%25zz": false,
		"/v1/verify/..%253b/%25zz":    false,
		"/v1/verify/\\":               false,
		"/v1/verify/?x":               false,
		"/v1/verify/#x":               false,
		"/v1/verify/x%2f":             false,
		"/v1/verify/%" + strings.Repeat("25", 10) + "2e": false,
		"/" + strings.Repeat("%25", 1000):                true,
		"/%" + strings.Repeat("25", 1000):                false,
	} {
		if got := plainPath(p); got != want {
			t.Errorf("%.60s: %v, want %v", p, got, want)
		}
	}
}

// Characters that steer a terminal in one byte of old character sets part what
// they stand in, as those of ASCII do.
func TestControlCharactersPartWords(t *testing.T) {
	for r := rune(0x80); r < 0xa0; r++ {
		want := string(barrier)
		if r == 0x85 {
			want = "\n"
		}
		if got := clean("a" + string(r) + "b"); got != "a"+want+"b" {
			t.Errorf("%U becomes %q", r, got)
		}
	}
	run(t, []example{{"in a code", plain("Your verification code is: 271\u009b828\r\n"), onlyCode(6), "no-code"}})
}
