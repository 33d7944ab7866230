package siwe

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// example is the message with every field of EIP-4361.
const example = `https://example.com:3388 wants you to sign in with your Ethereum account:
0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Expiration Time: 2021-09-30T17:25:24.123+02:00
Not Before: 2021-09-30T16:25:24Z
Request ID: a-b_c%20d
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- urn:agentkeys:device:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs`

func TestParseEveryField(t *testing.T) {
	m, err := Parse(example)
	if err != nil {
		t.Fatal(err)
	}
	want := Message{
		Scheme: "https", Domain: "example.com:3388", Address: m.Address,
		Statement: "I accept the ExampleOrg Terms of Service: https://example.com/tos",
		URI:       "https://example.com/login", ChainID: 1, Nonce: "32891756",
		Issued: m.Issued, Expires: m.Expires, NotBefore: m.NotBefore, RequestID: "a-b_c%20d", Resources: m.Resources,
	}
	if m.String() != want.String() || m.Address.String() != "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2" ||
		m.Issued.String() != "2021-09-30T16:25:24Z" || m.Expires.At().Unix() != 1633015524 ||
		len(m.Resources) != 2 || m.Resources[1] != "urn:agentkeys:device:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("read as %+v", m)
	}
}

// edits are the messages that must be refused: in each, old becomes new.
var edits = []struct{ name, old, new string }{
	{"no greeting", " wants you to sign in with your Ethereum account:", " asks you in:"},
	{"no domain", "https://example.com:3388 wants", " wants"},
	{"a scheme alone", "https://example.com:3388 wants", "https:// wants"},
	{"a domain with a path", "example.com:3388 wants", "example.com/a wants"},
	{"a domain with a space", "example.com:3388 wants", "example .com wants"},
	{"a domain with a bad port", "example.com:3388 wants", "example.com:33x wants"},
	{"a domain of bad octets", "example.com:3388 wants", "example%zz wants"},
	{"a broken literal", "example.com:3388 wants", "[::1 wants"},
	{"a literal with a zone", "example.com:3388 wants", "[fe80::1%25lo] wants"},
	{"a scheme of digits", "https://example.com:3388 wants", "1https://example.com wants"},
	{"a wrong checksum", "0xC02a", "0xc02a"},
	{"a lower-case address", "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"},
	{"an upper-case address", "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "0xC02AAA39B223FE8D0A0E5C4F27EAD9083C756CC2"},
	{"0X", "0xC02a", "0XC02a"},
	{"a short address", "56Cc2\n", "56Cc\n"},
	{"the zero address", "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "0x0000000000000000000000000000000000000000"},
	{"no blank line after the address", "Cc2\n\n", "Cc2\n"},
	{"a statement of two lines", "I accept", "I accept\nall of"},
	{"a statement with quotes", "I accept", "I \"accept\""},
	{"a statement with a percent sign", "I accept", "I 100% accept"},
	{"a statement beyond ASCII", "I accept", "I accépt"},
	{"a statement with CR", "/tos\n", "/tos\r\n"},
	{"a statement with NUL", "I accept", "I\x00accept"},
	{"no blank line before the URI", "/tos\n\n", "/tos\n"},
	{"three blank lines", "/tos\n\n", "/tos\n\n\n"},
	{"no URI", "URI: https://example.com/login\n", ""},
	{"an empty URI", "URI: https://example.com/login", "URI: "},
	{"a URI without a scheme", "URI: https://example.com/login", "URI: //example.com/login"},
	{"a URI with a space", "com/login", "com/log in"},
	{"a URI of bad octets", "com/login", "com/%2"},
	{"lower-case uri", "URI: ", "uri: "},
	{"version 2", "Version: 1", "Version: 2"},
	{"version 01", "Version: 1", "Version: 01"},
	{"no version", "Version: 1\n", ""},
	{"no chain id", "Chain ID: 1\n", ""},
	{"an empty chain id", "Chain ID: 1", "Chain ID: "},
	{"a chain id in hex", "Chain ID: 1", "Chain ID: 0x1"},
	{"a chain id of two spellings", "Chain ID: 1", "Chain ID: 01"},
	{"a chain id beyond 64 bits", "Chain ID: 1", "Chain ID: 18446744073709551616"},
	{"a negative chain id", "Chain ID: 1", "Chain ID: -1"},
	{"a short nonce", "32891756", "3289175"},
	{"a nonce with a hyphen", "32891756", "3289-1756"},
	{"no nonce", "Nonce: 32891756\n", ""},
	{"no time of issue", "Issued At: 2021-09-30T16:25:24Z\n", ""},
	{"a time without T", "Issued At: 2021-09-30T", "Issued At: 2021-09-30 "},
	{"a time without a zone", "At: 2021-09-30T16:25:24Z", "At: 2021-09-30T16:25:24"},
	{"z in lower case", "At: 2021-09-30T16:25:24Z", "At: 2021-09-30T16:25:24z"},
	{"t in lower case", "At: 2021-09-30T16:25:24Z", "At: 2021-09-30t16:25:24Z"},
	{"a comma before the fraction", "17:25:24.123", "17:25:24,123"},
	{"a dot and no fraction", "17:25:24.123", "17:25:24."},
	{"an hour of one digit", "T17:25:24", "T7:25:24"},
	{"month 13", "Issued At: 2021-09", "Issued At: 2021-13"},
	{"February 30", "Issued At: 2021-09-30", "Issued At: 2021-02-30"},
	{"hour 24", "Issued At: 2021-09-30T16", "Issued At: 2021-09-30T24"},
	{"a leap second", "Issued At: 2021-09-30T16:25:24Z", "Issued At: 2016-12-31T23:59:60Z"},
	{"a zone of 24 hours", "+02:00", "+24:00"},
	{"another order", "Expiration Time: 2021-09-30T17:25:24.123+02:00\nNot Before: 2021-09-30T16:25:24Z", "Not Before: 2021-09-30T16:25:24Z\nExpiration Time: 2021-09-30T17:25:24.123+02:00"},
	{"a field twice", "Nonce: 32891756\n", "Nonce: 32891756\nNonce: 32891757\n"},
	{"an empty request id", "Request ID: a-b_c%20d", "Request ID: "},
	{"a request id with a slash", "a-b_c", "a/b_c"},
	{"a request id of bad octets", "%20d", "%2xd"},
	{"resources on their line", "Resources:\n", "Resources: a\n"},
	{"a resource without a mark", "- ipfs", "ipfs"},
	{"a resource that is no URI", "- ipfs://", "- ipfs//"},
	{"an empty resource", "- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/", "- "},
	{"no resources under the title", "\n- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/\n- urn:agentkeys:device:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", ""},
	{"a newline at the end", "RGC9Xs", "RGC9Xs\n"},
	{"a line behind", "RGC9Xs", "RGC9Xs\nhello"},
	{"a newline in front", "https://example.com:3388", "\nhttps://example.com:3388"},
	{"CRLF", "Version: 1\n", "Version: 1\r\n"},
	{"too long", "I accept", strings.Repeat("I accept ", 1000)},
}

func TestParseRefuses(t *testing.T) {
	for _, c := range edits {
		text := strings.Replace(example, c.old, c.new, 1)
		if text == example {
			t.Fatalf("%s: nothing to change", c.name)
		}
		if _, err := Parse(text); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, text := range []string{"", "\n", wants, strings.Repeat("\n", 40)} {
		if _, err := Parse(text); !errors.Is(err, ErrMessage) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestParseTruncated cuts the message everywhere: it is whole only where an
// optional field, or the last octet of a word, ends.
func TestParseTruncated(t *testing.T) {
	for i := range len(example) {
		m, err := Parse(example[:i])
		if err == nil && m.String() != example[:i] {
			t.Errorf("%d bytes are read as another message", i)
		}
		if err == nil && i < strings.Index(example, "\nExpiration") {
			t.Errorf("%d bytes are a message, without the required fields", i)
		}
	}
}

func TestParseAccepts(t *testing.T) {
	for _, c := range []struct{ name, old, new string }{
		{"no scheme", "https://example.com:3388", "example.com:3388"},
		{"no port", "example.com:3388", "example.com"},
		{"an IPv4 address", "example.com:3388 ", "127.0.0.1:8000 "},
		{"an IPv6 address", "example.com:3388 ", "[2001:db8::7]:8000 "},
		{"an address of the future", "example.com:3388 ", "[v1.a:b] "},
		{"a user", "example.com:3388 ", "user:pass@example.com "},
		{"no statement", "I accept the ExampleOrg Terms of Service: https://example.com/tos\n", ""},
		{"a URI of DID", "https://example.com/login", "did:key:z6Mki#a?b"},
		{"a large chain id", "Chain ID: 1", "Chain ID: 18446744073709551615"},
		{"no expiry", "\nExpiration Time: 2021-09-30T17:25:24.123+02:00", ""},
		{"no not before", "\nNot Before: 2021-09-30T16:25:24Z", ""},
		{"no request id", "\nRequest ID: a-b_c%20d", ""},
		{"one resource", "\n- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/", ""},
		{"a fraction", "Issued At: 2021-09-30T16:25:24Z", "Issued At: 2021-09-30T16:25:24.000Z"},
		{"a negative zone", "+02:00", "-02:30"},
	} {
		text := strings.Replace(example, c.old, c.new, 1)
		if text == example {
			t.Fatalf("%s: nothing to change", c.name)
		}
		if m, err := Parse(text); err != nil || m.String() != text {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestRoundTrip renders made-up messages and parses them.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		optional := func(label, pattern string) string {
			return rapid.OneOf(rapid.Just(""), rapid.StringMatching(pattern)).Draw(t, label)
		}
		at := func(label string) Time {
			s := optional(label, `20[0-9]{2}-0[1-9]-(1[0-9]|2[0-8])T[01][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]0[0-9]:[0-5][0-9])`)
			if s == "" {
				return Time{}
			}
			tm, err := ParseTime(s)
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			return tm
		}
		m := Message{
			Scheme: optional("scheme", `[a-z][a-z0-9+.-]{0,5}`), Domain: rapid.StringMatching(`[a-z0-9.-]{1,20}(:[0-9]{0,5})?`).Draw(t, "domain"),
			Address:   Address(rapid.SliceOfN(rapid.ByteRange(1, 255), 20, 20).Draw(t, "address")),
			Statement: optional("statement", `[A-Za-z0-9 :/?#@!$&'()*+,;=._~-]{1,60}`),
			URI:       rapid.StringMatching(`[a-z]+:(//[a-z.]+(:[0-9]+)?)?(/[A-Za-z0-9._~-]{0,8}){0,3}(\?[a-z=&]{0,9})?(#[a-z]{0,4})?`).Draw(t, "uri"),
			ChainID:   rapid.Uint64().Draw(t, "chain"), Nonce: rapid.StringMatching(`[A-Za-z0-9]{8,30}`).Draw(t, "nonce"),
			Issued: at("issued"), Expires: at("expires"), NotBefore: at("not before"), RequestID: optional("id", `[A-Za-z0-9._~:@!-]{1,20}`),
			Resources: rapid.SliceOfN(rapid.StringMatching(`urn:[a-z]{1,9}:[A-Za-z0-9_-]{1,20}`), 0, 3).Draw(t, "resources"),
		}
		if m.Issued.IsZero() {
			if _, err := m.Text(); err == nil {
				t.Fatal("a message without a time of issue was written")
			}
			return
		}
		text, err := m.Text()
		if err != nil {
			t.Fatalf("%q: %v", m.String(), err)
		}
		back, err := Parse(text)
		if err != nil || back.String() != text || back.Domain != m.Domain || back.Statement != m.Statement || len(back.Resources) != len(m.Resources) {
			t.Fatalf("%q came back as %q: %v", text, back.String(), err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(example)
	for _, c := range edits {
		if len(c.new) < 100 {
			f.Add(strings.Replace(example, c.old, c.new, 1))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		if m.String() != text || strings.Count(text, "\n") < 8 || len(m.Nonce) < 8 || m.Address.IsZero() || m.Issued.IsZero() {
			t.Errorf("%q is accepted", text)
		}
	})
}

func TestAddress(t *testing.T) {
	// The examples of EIP-55.
	for _, s := range []string{
		"0x52908400098527886E0F7030069857D2E4169EE7", "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
		"0xde709f2102306220921060314715629080e2fb77", "0x27b1fdb04752bbc536007a920d24acb045561c26",
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
		"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
	} {
		a, err := ParseAddress(s)
		if err != nil || a.String() != s {
			t.Errorf("%s: %v, %v", s, a, err)
		}
		if b, err := ParseAddress("0x" + strings.ToLower(s[2:])); err != nil || b != a {
			t.Errorf("%s in lower case: %v", s, err)
		}
	}
	for _, s := range []string{
		"", "0x", "52908400098527886E0F7030069857D2E4169EE7", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed",
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed0", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeg",
		"0x0000000000000000000000000000000000000000",
	} {
		if _, err := ParseAddress(s); !errors.Is(err, ErrMessage) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
