package s3blob_test

import (
	"fmt"
	"net/url"
	"strings"
)

// spelling is one way to write the key of somebody else's object, as sent.
type spelling struct {
	name string
	// of takes the attacker's wallet, the victim's, and the victim's key.
	of func(own, victim, key string) string
}

// each percent-encodes every byte.
func each(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// double encodes what is encoded.
func double(s string) string { return strings.ReplaceAll(s, "%", "%25") }

func upperHex(key, wallet string) string {
	return strings.Replace(key, wallet, "0x"+strings.ToUpper(wallet[2:]), 1)
}

// mixed is the way people write a wallet: some letters are capitals.
func mixed(key, wallet string) string {
	b := []byte(wallet)
	for i := 2; i < len(b); i += 3 {
		b[i] = strings.ToUpper(string(b[i]))[0]
	}
	return strings.Replace(key, wallet, string(b), 1)
}

func up(own, key string) string      { return "bots/" + own + "/credentials/../../../" + key }
func replaceDots(s, d string) string { return strings.ReplaceAll(s, "..", d) }

var spellings = []spelling{
	{"plain", func(_, _, k string) string { return k }},
	{"mixed case", func(_, v, k string) string { return mixed(k, v) }},
	{"upper case", func(_, v, k string) string { return upperHex(k, v) }},
	{"upper case all", func(_, _, k string) string { return strings.ToUpper(k) }},
	{"0X", func(_, v, k string) string { return strings.Replace(k, "0x", "0X", 1) }},
	{"Bots", func(_, _, k string) string { return strings.Replace(k, "bots", "Bots", 1) }},
	{"leading slash", func(_, _, k string) string { return "/" + k }},
	{"two leading slashes", func(_, _, k string) string { return "//" + k }},
	{"leading dot", func(_, _, k string) string { return "./" + k }},
	{"doubled slashes", func(_, _, k string) string { return strings.ReplaceAll(k, "/", "//") }},
	{"trailing slash", func(_, _, k string) string { return k + "/" }},
	{"trailing dot", func(_, _, k string) string { return k + "/." }},
	{"trailing space", func(_, _, k string) string { return k + "%20" }},
	{"trailing NUL", func(_, _, k string) string { return k + "%00" }},
	{"NUL and own", func(o, _, k string) string { return k + "%00bots/" + o + "/credentials/x" }},
	{"own and NUL", func(o, _, k string) string { return "bots/" + o + "/credentials/%00../../../" + k }},
	{"trailing newline", func(_, _, k string) string { return k + "%0A" }},
	{"encoded", func(_, _, k string) string { return each(k) }},
	{"encoded slashes", func(_, _, k string) string { return url.PathEscape(k) }},
	{"encoded lower", func(_, _, k string) string { return strings.ToLower(each(k)) }},
	{"double encoded", func(_, _, k string) string { return double(each(k)) }},
	{"double encoded slashes", func(_, _, k string) string { return double(url.PathEscape(k)) }},
	{"triple encoded slashes", func(_, _, k string) string { return double(double(url.PathEscape(k))) }},
	{"dots from own", func(o, _, k string) string { return up(o, k) }},
	{"dots from inbound", func(o, _, k string) string { return "bots/" + o + "/inbound/../../../" + k }},
	{"dots from wallet", func(o, _, k string) string { return "bots/" + o + "/../../" + k }},
	{"dots encoded", func(o, _, k string) string { return replaceDots(up(o, k), "%2e%2e") }},
	{"dots half encoded", func(o, _, k string) string { return replaceDots(up(o, k), ".%2E") }},
	{"dots and slashes encoded", func(o, _, k string) string { return strings.ReplaceAll(up(o, k), "../", "%2e%2e%2f") }},
	{"dots double encoded", func(o, _, k string) string { return replaceDots(up(o, k), "%252e%252e") }},
	{"dots with backslashes", func(o, _, k string) string { return strings.ReplaceAll(up(o, k), "../", "..%5C") }},
	{"dots with more dots", func(o, _, k string) string { return replaceDots(up(o, k), "....//..") }},
	{"dots overlong", func(o, _, k string) string { return replaceDots(up(o, k), "%C0%AE%C0%AE") }},
	{"dots fullwidth", func(o, _, k string) string { return replaceDots(up(o, k), "%EF%BC%8E%EF%BC%8E") }},
	{"dots with semicolon", func(o, _, k string) string { return replaceDots(up(o, k), "..;") }},
	{"dots with tab", func(o, _, k string) string { return replaceDots(up(o, k), "..%09") }},
	{"more dots than depth", func(o, _, k string) string {
		return "bots/" + o + "/credentials/" + strings.Repeat("../", 12) + k
	}},
	{"bucket again", func(o, _, k string) string { return "../agentkeys-data/" + k }},
	{"bucket again from own", func(o, _, k string) string {
		return "bots/" + o + "/credentials/../../../../agentkeys-data/" + k
	}},
	{"fullwidth slash", func(_, _, k string) string { return strings.ReplaceAll(k, "/", "%EF%BC%8F") }},
	{"backslashes", func(_, _, k string) string { return strings.ReplaceAll(k, "/", "%5C") }},
	{"star for the wallet", func(_, v, k string) string { return strings.Replace(k, v, "*", 1) }},
	{"question marks", func(_, v, k string) string { return strings.Replace(k, v, strings.Repeat("%3F", len(v)), 1) }},
	{"variable", func(_, v, k string) string {
		return strings.Replace(k, v, "$%7Baws:PrincipalTag/agentkeys_user_wallet%7D", 1)
	}},
	{"own before victim", func(o, v, k string) string { return strings.Replace(k, v, o+v, 1) }},
	{"own as sibling", func(o, v, k string) string { return strings.Replace(k, v, o+"x", 1) }},
	{"own cut", func(o, v, k string) string { return strings.Replace(k, v, o[:41], 1) }},
	{"own in other case", func(o, v, k string) string { return upperHex(strings.Replace(k, v, o, 1), o) }},
	{"own elsewhere", func(o, v, k string) string { return strings.Replace(k, "bots/"+v, "bots/"+o+"/other", 1) }},
	{"own without root", func(o, v, k string) string { return strings.Replace(k, "bots/"+v, o, 1) }},
	{"query in the key", func(_, _, k string) string { return k + "%3FversionId=null" }},
}

// oddPrefixes are what a listing must not be had for.
func oddPrefixes(own, victim string) []string {
	return []string{
		"", "/", "b", "bots", "bots/", "bots/0x", "bots/" + own[:41], "bots/" + own, "bots/" + own + "x", // not one of them ends with own + /
		"bots/" + victim, "bots/" + victim + "/", "bots/" + victim + "/credentials/", "bots/" + victim[:20],
		upperHex("bots/"+victim+"/", victim), mixed("bots/"+victim+"/", victim), upperHex("bots/"+own+"/", own), mixed("bots/"+own+"/", own),
		"Bots/" + own + "/", "/bots/" + own + "/", "//bots/" + own + "/", "./bots/" + own + "/", "bots//" + own + "/",
		"inbound", "inbound/", "inbound/m", "*", "bots/*", "bots/?", "bots/" + strings.Repeat("?", 42) + "/",
		"bots/" + victim + "/../" + own + "/", "bots/*/" + own + "/", "\x00bots/" + own + "/", " bots/" + own + "/", "..", "../", ".",
		each("bots/" + own + "/"), "bots%2F" + own + "%2F", "${aws:PrincipalTag/agentkeys_user_wallet}/", "bots/${aws:PrincipalTag/agentkeys_user_wallet}/",
	}
}

// ownPrefixes are allowed, since a prefix is text; what is listed under them
// must be one's own all the same.
func ownPrefixes(own, victim string) []string {
	p := "bots/" + own + "/"
	return []string{p, p + "credentials/", p + "../", p + "../" + victim + "/", p + "../../inbound/", p + "credentials/../../../", p + "*", p + "%2e%2e/", p + "/"}
}
