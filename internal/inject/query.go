package inject

import (
	"net/url"
	"strings"
)

// queryCredentials lists, in lower case, the keys under which services take
// credentials, and the key by which some let a request change its method.
var queryCredentials = map[string]kind{
	"key": credential, "api_key": credential, "api-key": credential, "apikey": credential, "x-api-key": credential, "xi-api-key": credential,
	"access_token": credential, "access-token": credential, "auth_token": credential, "authorization": credential,
	"subscription-key": credential, "subscription_key": credential, "_method": drop,
}

// checkQuery reports what stands in the way of everybody reading raw alike: a
// semicolon, which some take for a separator; an escape that is none; a byte
// that has no place in a URL.
func checkQuery(raw string) string {
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c <= ' ' || c >= 0x7f:
			return "it has a space, control or non-ASCII byte"
		case c == ';' || c == '#':
			return "it has a semicolon or number sign"
		case c == '%':
			if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
				return "it has a percent sign that begins no escape"
			}
			i += 2
		}
	}
	return ""
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// siftQuery returns raw, which checkQuery accepts, without its credentials,
// and adds their values to presented. Everything else stays as it is, byte for
// byte and in its order.
func (c *compiled) siftQuery(raw string, presented []string) (string, []string) {
	if raw == "" {
		return raw, presented
	}
	var kept strings.Builder
	changed := false
	for rest, more := raw, true; more; {
		var pair string
		at := len(raw) - len(rest)
		pair, rest, more = strings.Cut(rest, "&")
		key, value, _ := strings.Cut(pair, "=")
		k := c.queryKind(key)
		if k == keep {
			if changed {
				if kept.Len() > 0 {
					kept.WriteByte('&')
				}
				kept.WriteString(pair)
			}
			continue
		}
		if !changed && at > 0 {
			kept.WriteString(raw[:at-1])
		}
		changed = true
		if v, err := url.QueryUnescape(value); k == credential && err == nil {
			presented = candidates(presented, v)
		}
	}
	if !changed {
		return raw, presented
	}
	return kept.String(), presented
}

func (c *compiled) queryKind(key string) kind {
	if strings.ContainsAny(key, "%+") {
		k, err := url.QueryUnescape(key)
		if err != nil {
			return drop // not after checkQuery
		}
		key = k
	}
	key = foldKey(key)
	if k, ok := queryCredentials[key]; ok {
		return k
	}
	if c != nil {
		if _, ok := c.stripQuery[key]; ok {
			return credential
		}
	}
	return keep
}

// foldKey returns the form in which keys are compared: in lower case, and as
// PHP reads them, which drops leading space, begins an index at a bracket, and
// takes a dot or space for an underscore.
func foldKey(key string) string {
	key = strings.TrimLeft(key, " ")
	if i := strings.IndexAny(key, "[\x00"); i >= 0 {
		key = key[:i]
	}
	key = strings.ToLower(key)
	if strings.ContainsAny(key, ". ") {
		key = strings.NewReplacer(".", "_", " ", "_").Replace(key)
	}
	return key
}
