package catalog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestBaseURLs(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.1:8080")
	private := netip.MustParseAddrPort("10.0.0.7:8080")
	six := netip.MustParseAddrPort("[::1]:8080")
	for url, ok := range map[string]bool{
		"":                               true,
		"https://gateway.example":        true,
		"https://gateway.example/v1":     true,
		"https://gateway.example:8443/a": true,
		"https://10.0.0.7":               true, // whether it may be dialled is for the dialler
		"https://[2001:db8::1]:8443":     true,
		"http://127.0.0.1:8080":          true,
		"http://127.0.0.1:8080/v1":       true,
		"http://[::1]:8080":              true,
		"http://127.0.0.1:8081":          false,
		"http://127.0.0.1":               false,
		"http://localhost:8080":          false,
		"http://10.0.0.7:8080":           false,
		"http://gateway.example":         false,
		"https://gateway.example/":       false,
		"https://gateway.example/v1/":    false,
		"https://u:p@gateway.example":    false,
		"https://u@gateway.example":      false,
		"https://gateway.example?x=1":    false,
		"https://gateway.example?":       false,
		"https://gateway.example#f":      false,
		"https://gateway.example#":       false,
		"https://gateway.example/a%2fb":  false,
		"https://gateway.example/a/../b": false,
		"https://gateway.example//b":     false,
		"https://gateway.example.":       false,
		"https://gateway.example:":       false,
		"https://Gateway.example":        false,
		"https://":                       false,
		"https:///v1":                    false,
		"https:gateway.example":          false,
		"HTTPS://gateway.example":        true, // the scheme has no case
		"ftp://gateway.example":          false,
		"gateway.example":                false,
		"//gateway.example":              false,
		"https://gate way.example":       false,
		"https://gateway.example/\x7f":   false,
		"file:///etc/passwd":             false,
	} {
		s := Settings{BaseURL: url, AllowAddresses: []netip.AddrPort{local, six, private}}
		err := s.Validate()
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrSettings) {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestSettingsValidate(t *testing.T) {
	cert := certificate(t)
	addr := netip.MustParseAddrPort
	for name, c := range map[string]struct {
		s  Settings
		ok bool
	}{
		"nothing":                  {Settings{}, true},
		"a certificate":            {Settings{CAPEM: cert}, true},
		"two certificates":         {Settings{CAPEM: cert + cert}, true},
		"no certificate":           {Settings{CAPEM: "hello"}, false},
		"a broken certificate":     {Settings{CAPEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))}, false},
		"a private key":            {Settings{CAPEM: cert + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE" + " KEY", Bytes: []byte("fake")}))}, false},
		"a large file":             {Settings{CAPEM: strings.Repeat("x", maxCAPEM+1)}, false},
		"an address":               {Settings{AllowAddresses: []netip.AddrPort{addr("10.0.0.7:8443")}}, true},
		"no port":                  {Settings{AllowAddresses: []netip.AddrPort{addr("10.0.0.7:0")}}, false},
		"no address":               {Settings{AllowAddresses: []netip.AddrPort{{}}}, false},
		"a zone":                   {Settings{AllowAddresses: []netip.AddrPort{addr("[fe80::1%eth0]:1")}}, false},
		"a mapped address":         {Settings{AllowAddresses: []netip.AddrPort{addr("[::ffff:127.0.0.1]:1")}}, false},
		"every address":            {Settings{AllowAddresses: []netip.AddrPort{addr("0.0.0.0:1")}}, false},
		"a multicast address":      {Settings{AllowAddresses: []netip.AddrPort{addr("224.0.0.1:1")}}, false},
		"too many addresses":       {Settings{AllowAddresses: make([]netip.AddrPort, maxAddresses+1)}, false},
		"a price":                  {Settings{Prices: map[string]Price{"m": {}}}, true},
		"a price for no model":     {Settings{Prices: map[string]Price{"": {}}}, false},
		"a star in the middle":     {Settings{Prices: map[string]Price{"a*b": {}}}, false},
		"a negative price":         {Settings{Prices: map[string]Price{"m": {Input: -1}}}, false},
		"a price for every model":  {Settings{Prices: map[string]Price{"*": {}}}, true},
		"a model with a line feed": {Settings{Prices: map[string]Price{"a\nb": {}}}, false},
	} {
		if err := c.s.Validate(); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrSettings) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSettingsJSON(t *testing.T) {
	cert := certificate(t)
	p, err := ParsePrice("2.5/10/0.25/3")
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		BaseURL: "http://127.0.0.1:8080/v1", CAPEM: cert,
		AllowAddresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8080")},
		Prices:         map[string]Price{"gpt-4o": p, "*": {Input: 1, Output: 2}},
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `"gpt-4o":{"input":"2.50","output":"10.00","cache_read":"0.25","cache_write":"3.00"}`) {
		t.Errorf("%s", data)
	}
	got, err := ParseSettings(data)
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); d != "" || err != nil {
		t.Error(err, d)
	}
	for name, bad := range map[string]string{
		"an unknown key":        `{"base":"https://a.example"}`,
		"another case":          `{"Base_URL":"https://a.example"}`,
		"a key twice":           `{"base_url":"https://a.example","base_url":"https://b.example"}`,
		"a model twice":         `{"prices":{"m":{"input":"1","output":"2"},"m":{"input":"0","output":"0"}}}`,
		"a price's key twice":   `{"prices":{"m":{"input":"1","output":"2","input":"0"}}}`,
		"a price's unknown key": `{"prices":{"m":{"input":"1","output":"2","in":"0"}}}`,
		"half a price":          `{"prices":{"m":{"input":"1"}}}`,
		"a price as a number":   `{"prices":{"m":{"input":1,"output":2}}}`,
		"a null price":          `{"prices":{"m":{"input":null,"output":"2"}}}`,
		"something behind":      `{} {}`,
		"not an object":         `[]`,
		"nothing":               ``,
		"not valid":             `{"base_url":"http://a.example"}`,
	} {
		if _, err := ParseSettings([]byte(bad)); !errors.Is(err, ErrSettings) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWith(t *testing.T) {
	e := lookup(t, "huggingface")
	c, err := e.With(Settings{BaseURL: "https://gateway.example/hf"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Base.String() != "https://gateway.example/hf" || e.Base.Host != "router.huggingface.co" {
		t.Errorf("%s, and the shared entry %s", c.Base, e.Base)
	}
	if _, u, _, ok := c.VerifyRequest(); ok {
		t.Errorf("the key of a gateway goes to %s", u)
	}
	o, err := lookup(t, "openrouter").With(Settings{BaseURL: "https://gateway.example/v1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, u, _, _ := o.VerifyRequest(); u.String() != "https://gateway.example/v1/key" {
		t.Error(u)
	}
	if _, err := e.With(Settings{BaseURL: "http://gateway.example"}); !errors.Is(err, ErrSettings) {
		t.Error(err)
	}
	if same, err := e.With(Settings{}); err != nil || same.Base != e.Base || same.Verify.URL == nil {
		t.Error("empty settings change something")
	}
}

func FuzzParseSettings(f *testing.F) {
	f.Add([]byte(`{"federation":{"url":"https://a.example","parameters":{"a":"b"}},"minting":{},"site_address":""}`))
	f.Add([]byte(`{"base_url":"https://a.example","prices":{"m":{"input":"1","output":"2"}},"allow_addresses":["10.0.0.1:1"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSettings(data)
		if err != nil {
			return
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseSettings(out); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	})
}
