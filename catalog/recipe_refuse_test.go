package catalog

import (
	"fmt"
	"strings"
	"testing"
)

// Each rule has a case that only it refuses.
func TestRecipeIsRefused(t *testing.T) {
	list := func(n int, item string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, item, i)
		}
		return b.String()
	}
	steps := func(n int) string {
		return list(n, "    - {name: more%d, click: button, at: [{text: More}]}\n")
	}
	const (
		continues = "      click: button\n      at: [{role: button, name: Continue}]\n"
		verify    = "      mail: [link, code]\n      at: [{label: Verification code}]\n"
		reads     = "      extract: key\n      at: [{css: \"[data-key]\"}]\n      timeout: 1m\n"
		hosts     = "hosts: [app.example.com, login.example.com]"
		creates   = "      at: [{role: button, name: Create key, nth: 1}]\n      makes: key\n"
	)
	for name, c := range map[string]struct{ from, to, want string }{
		"nothing":            {shown(t, "recipe"), "recipe: {}\n", `"live" is missing`},
		"none":               {shown(t, "recipe"), "recipe: none\n", "a mapping is wanted"},
		"an unknown key":     {"  live: never\n  hosts", "  live: never\n  colour: red\n  hosts", `unknown key "colour"`},
		"a date in no quote": {"  live: never\n  hosts", "  live: 2026-11-22\n  hosts", "a string is wanted"},
		"no unknown":         {"  unknown:\n    - No page was looked at.\n", "", `"unknown" is missing`},
		"no signs":           {"  signs:\n", "  sign:\n", `"signs" is missing`},
		"an account":         {"account: password", "account: phone", "one of password, mail, google, none"},

		"no host":           {hosts, "hosts: none", "a list is wanted"},
		"a host in capital": {hosts, "hosts: [app.example.com, Login.example.com]", "the name of a host"},
		"a host with port":  {hosts, "hosts: [app.example.com, login.example.com:443]", "the name of a host"},
		"a host of a label": {hosts, "hosts: [app.example.com, login.example.com, com]", "the name of a host"},
		"an address":        {hosts, "hosts: [app.example.com, login.example.com, 127.0.0.1]", "the name of a host"},
		"any host":          {hosts, `hosts: [app.example.com, login.example.com, "*.example.com"]`, "the name of a host"},
		"a host twice":      {hosts, "hosts: [app.example.com, login.example.com, app.example.com]", "app.example.com stands here twice"},
		"many hosts":        {hosts, "hosts: [app.example.com, login.example.com" + list(19, ", h%d.example.com") + "]", "at most 20"},
		"a link's host":     {hosts, "hosts: [app.example.com]", "leads to login.example.com, which is not a host"},
		"many unknowns":     {"    - No page was looked at.\n", list(41, "    - Line %d.\n"), "at most 40"},

		"two patterns":    {continues, continues + "      fill: address\n", "a step has one pattern"},
		"no pattern":      {"      click: button\n      at: [{role: button, name: Continue}]\n", "      at: [{role: button, name: Continue}]\n", "a step has a pattern"},
		"no name":         {"    - name: continue\n", "    - if: [{text: x}]\n", `"name" is missing`},
		"a name twice":    {"name: login-address", "name: address", "two steps of the recipe are named address"},
		"a name's case":   {"name: login-address", "name: Login", "the name of a step"},
		"a name's length": {"name: login-address", "name: " + strings.Repeat("a", 41), "the name of a step"},
		"a name's start":  {"name: login-address", "name: -a", "the name of a step"},
		"a name's space":  {"name: login-address", "name: a b", "the name of a step"},

		"http":              {"open: https://app.example.com/sign-up", "open: http://app.example.com/sign-up", "an https URL"},
		"a foreign host":    {"open: https://app.example.com/sign-up", "open: https://www.example.com/sign-up", "a host of the recipe"},
		"a port":            {"open: https://app.example.com/sign-up", "open: https://app.example.com:8443/sign-up", "a host of the recipe"},
		"a query":           {"open: https://app.example.com/sign-up", "open: https://app.example.com/sign-up?a=b", "an https URL"},
		"an escape":         {"open: https://app.example.com/sign-up", "open: https://app.example.com/sign%2fup", "no escapes"},
		"an empty segment":  {"open: https://app.example.com/sign-up", "open: https://app.example.com//up", "no empty segment"},
		"a way up":          {"open: https://app.example.com/sign-up", "open: https://app.example.com/a/../b", "no . and no .."},
		"expected http":     {"url: https://app.example.com/keys", "url: http://app.example.com/keys", "an https URL"},
		"expected abroad":   {"url: https://app.example.com/keys", "url: https://example.org/keys", "a host of the recipe"},
		"nothing expected":  {"      url: https://app.example.com/keys\n", "", "at or url"},
		"a URL of a click":  {continues, continues + "      url: https://app.example.com/\n", `unknown key "url"`},
		"expecting no page": {"expect: page", "expect: key", "one of page"},

		"a value":             {"fill: key-name", "fill: card-number", "one of address, password, key-name"},
		"an empty text":       {"fill: key-name", `fill: {text: ""}`, "a string of one line"},
		"a long text":         {"fill: key-name", "fill: {text: " + strings.Repeat("a", 129) + "}", "at most 128 bytes"},
		"another fill":        {"fill: key-name", "fill: {text: a, colour: red}", `unknown key "colour"`},
		"a click on nothing":  {"      click: button\n      at: [{role: button, name: Continue}]\n", "      click: button\n", "at says which element"},
		"a click on a thing":  {"      click: button\n      at: [{role: button, name: Continue}]\n", "      click: thing\n      at: [{text: a}]\n", "one of button, link"},
		"a fill of nothing":   {"      fill: key-name\n      at: [{label: Name}]\n", "      fill: key-name\n", "at says which element"},
		"a choice of nothing": {"      choose: {option: Free}\n      at: [{label: Plan}]\n", "      choose: tick\n", "at says which element"},
		"a choice":            {"choose: {option: Free}", "choose: untick", "tick, or a mapping"},
		"a key of nothing":    {reads, "      extract: key\n", "at says which element"},
		"another extract":     {"extract: key\n", "extract: page\n", "one of key"},
		"an opened thing":     {"open: https://app.example.com/sign-in\n", "open: https://app.example.com/sign-in\n      at: [{text: a}]\n", "at has no meaning"},
		"a human's thing":     {"human: captcha\n", "human: captcha\n      at: [{text: a}]\n", "at has no meaning"},

		"a mail":               {"mail: [link, code]", "mail: [fax]", "one of link, code"},
		"no mail":              {"mail: [link, code]", "mail: []", "a list is wanted"},
		"a mail twice":         {"mail: [link, code]", "mail: [code, code]", "each once"},
		"three mails":          {"mail: [link, code]", "mail: [code, link, code]", "each once"},
		"a code for nothing":   {verify, "      mail: [link, code]\n", "at says which element"},
		"a link for something": {verify, "      mail: [link]\n      at: [{label: Verification code}]\n", "at has no meaning"},

		"a need":           {"human: captcha", "human: money", "one of captcha, card, google-account, phone, support, terms"},
		"a human for ever": {"      until: [{label: Verification code}]\n", "", `"until" is missing`},
		"a click until":    {continues, continues + "      until: [{text: a}]\n", `unknown key "until"`},

		"no condition":      {"unless: [{has_text: free plan}]", "unless: none", "a list is wanted"},
		"an empty if":       {`if: [{css: "#captcha"}]`, "if: []", "a list is wanted"},
		"an optional mail":  {verify, verify + "      optional: true\n", "cannot be optional"},
		"an optional human": {"human: captcha\n", "human: captcha\n      optional: true\n", "cannot be optional"},
		"an optional open":  {"open: https://app.example.com/sign-in\n", "open: https://app.example.com/sign-in\n      optional: true\n", "cannot be optional"},
		"an optional key":   {reads, reads + "      optional: true\n", "cannot be optional"},
		"an optional page":  {"      url: https://app.example.com/keys\n", "      url: https://app.example.com/keys\n      optional: true\n", "cannot be optional"},
		"optional: maybe":   {"choose: tick\n      at: [{role: checkbox, has_name: terms}]\n      optional: true", "choose: tick\n      at: [{role: checkbox, has_name: terms}]\n      optional: maybe", "true or false"},

		"makes money":       {"makes: account", "makes: money", "one of account, key"},
		"a key in register": {"makes: account", "makes: key", "an account is made in register"},
		"an account in key": {"makes: key", "makes: account", "an account is made in register"},
		"one made in login": {"at: [{role: button, name: Sign in}]\n", "at: [{role: button, name: Sign in}]\n      makes: account\n", "nothing elsewhere"},
		"no account made":   {"      makes: account\n", "", "makes the account"},
		"no key made":       {"      makes: key\n", "", "makes the key"},
		"two keys made":     {"    - name: read\n", "    - {name: again, click: button, at: [{text: a}], makes: key}\n    - name: read\n", "makes the key"},
		"no key read":       {"    - name: read\n" + reads + "      grade: assumed\n", "", "reads the key"},
		"two keys read":     {"    - name: read\n", "    - {name: again, extract: key, at: [{text: a}]}\n    - name: read\n", "reads the key"},
		"read before made": {
			creates + "    - name: read\n" + reads + "      grade: assumed\n",
			"      at: [{text: a}]\n    - name: read\n" + reads + "    - {name: late, click: button, at: [{text: a}], makes: key}\n", "read before it is made",
		},
		"read in login":      {"    - name: login-address\n", "    - {name: early, extract: key, at: [{text: a}]}\n    - name: login-address\n", "in the stage key only"},
		"cleaned in login":   {"at: [{role: button, name: Sign in}]\n", "at: [{role: button, name: Sign in}]\n      cleans: true\n", "only a step of key cleans"},
		"cleaned by making":  {creates, creates + "      cleans: true\n", "neither makes nor reads"},
		"cleaned by reading": {reads, reads + "      cleans: true\n", "neither makes nor reads"},
		"cleaned when made":  {"    - name: read\n", "    - {name: late, click: button, at: [{text: \"{key-name}\"}], cleans: true}\n    - name: read\n", "after the key is made"},
		"cleaned by chance":  {`name: "Delete {key-name}"`, "name: Delete", "could take away another key"},
		"cleaned elsewhere": {
			"    - name: key-name\n", "    - {name: tidy, click: button, at: [{name: Delete}], cleans: true}\n    - name: key-name\n",
			"tidy cleans, and has no {key-name}",
		},
		"a name in register":  {"name: Continue}", "name: \"{key-name}\"}", "in the stage key only"},
		"a name in a label":   {"at: [{label: Plan}]", "at: [{label: \"{key-name}\"}]", "in a label or a selector"},
		"a name in CSS":       {"at: [{label: Plan}]", "at: [{css: \"{key-name}\"}]", "in a label or a selector"},
		"a step's grade":      {"grade: assumed\n  signs", "grade: sure\n  signs", "one of vendor"},
		"no register":         {"  register:\n", "  register: none\n  registers:\n", "registered first"},
		"an empty register":   {"  register:\n", "  register: []\n  registers:\n", "a list is wanted"},
		"no key stage":        {"  key:\n    - name: keys\n", "  key: none\n  keys:\n    - name: keys\n", "a list is wanted"},
		"no login":            {"  login:\n", "  login: none\n  logins:\n", "comes in again by login"},
		"many steps":          {"    - name: read\n", steps(43) + "    - name: read\n", "at most 60 steps"},
		"many steps of key":   {"    - name: read\n", steps(60) + "    - name: read\n", "a list of at most 60"},
		"many signs":          {"  signs:\n", "  signs:\n" + list(39, "    - {at: [{text: a%d}], means: closed}\n"), "at most 40"},
		"a meaning":           {"means: rate-limited", "means: good", "one of account-exists"},
		"a sign of nothing":   {"- at: [{has_text: is taken}]\n", "- at: none\n", "a list is wanted"},
		"a password nowhere":  {"account: password", "account: mail", "there is no password"},
		"an address for none": {"account: password", "account: none", "there is no address"},

		"many alternatives":  {"at: [{label: Plan}]", "at: [" + list(12, "{label: P%d}, ") + "{label: Plan}]", "at most 12"},
		"many conditions":    {"unless: [{has_text: free plan}]", "unless: [" + list(12, "{label: P%d}, ") + "{label: Plan}]", "at most 12"},
		"no alternative":     {"at: [{label: Plan}]", "at: []", "a list is wanted"},
		"an empty locator":   {"at: [{label: Plan}]", "at: [{}]", "a locator has"},
		"only nth":           {"at: [{label: Plan}]", "at: [{nth: 1}]", "a locator has"},
		"an unknown locator": {"at: [{label: Plan}]", "at: [{xpath: //a}]", "a locator has"},
		"one more locator":   {"at: [{label: Plan}]", "at: [{label: Plan, xpath: //a}]", `unknown key "xpath"`},
		"an empty label":     {"at: [{label: Plan}]", `at: [{label: ""}]`, "a string of one line"},
		"a role":             {"at: [{label: Plan}]", "at: [{role: Button}]", "a role is one"},
		"a long role":        {"at: [{label: Plan}]", "at: [{role: " + strings.Repeat("a", 33) + "}]", "at most 32 bytes"},
		"two names":          {"at: [{label: Plan}]", "at: [{name: a, has_name: a}]", "not both wanted"},
		"two texts":          {"at: [{label: Plan}]", "at: [{text: a, has_text: a}]", "not both wanted"},
		"a long label":       {"at: [{label: Plan}]", "at: [{label: " + strings.Repeat("a", 129) + "}]", "at most 128 bytes"},
		"a long name":        {"at: [{label: Plan}]", "at: [{has_name: " + strings.Repeat("a", 129) + "}]", "at most 128 bytes"},
		"a long selector":    {"at: [{label: Plan}]", "at: [{css: " + strings.Repeat("a", 257) + "}]", "at most 256 bytes"},
		"the zeroth":         {"nth: 1", "nth: 0", "a number from 1 to 20"},
		"the 21st":           {"nth: 1", "nth: 21", "a number from 1 to 20"},
		"the minus first":    {"nth: 1", "nth: -1", "a number from 1 to 20"},
		"the half":           {"nth: 1", "nth: 0.5", "a number is wanted"},
		"the first in words": {"nth: 1", "nth: first", "a number is wanted"},
		"a locator's list":   {"at: [{label: Plan}]", "at: {label: Plan}", "a list is wanted"},

		"an unsupported door": {"  signup:\n    state: unknown", "  signup:\n    state: unsupported", "unsupported has no recipe"},
		"no tag":              {"mail_tag: ex\n", "mail_tag: unknown\n", "mail_tag"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := change(t, c.from, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// What is at a bound passes.
func TestRecipeBounds(t *testing.T) {
	list := func(n int, item string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, item, i)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ from, to string }{
		"hosts":        {"login.example.com]", "login.example.com" + list(18, ", h%d.example.com") + "]"},
		"unknowns":     {"    - No page was looked at.\n", list(40, "    - Line %d.\n")},
		"steps":        {"    - name: read\n", list(42, "    - {name: more%d, click: link, at: [{text: More}]}\n") + "    - name: read\n"},
		"alternatives": {"at: [{label: Plan}]", "at: [" + list(11, "{label: P%d}, ") + "{label: Plan}]"},
		"signs":        {"  signs:\n", "  signs:\n" + list(38, "    - {at: [{text: a%d}], means: wrong}\n")},
		"nth":          {"nth: 1", "nth: 20"},
		"a name":       {"name: login-address", "name: " + strings.Repeat("a", 40)},
		"a selector":   {"at: [{label: Plan}]", "at: [{css: " + strings.Repeat("a", 256) + "}]"},
		"a text":       {"fill: key-name", "fill: {text: " + strings.Repeat("a", 128) + "}"},
		"no unknown":   {"  unknown:\n    - No page was looked at.\n", "  unknown: none\n"},
		"a date":       {"  live: never\n  hosts", "  live: \"2026-11-22\"\n  hosts"},
		"a code only":  {"mail: [link, code]", "mail: [code]"},
		"a link only":  {"      mail: [link, code]\n      at: [{label: Verification code}]\n", "      mail: [link]\n"},
		"code first":   {"mail: [link, code]", "mail: [code, link]"},
		"a root":       {"open: https://app.example.com/sign-up", "open: https://app.example.com"},
		"a slash":      {"open: https://app.example.com/sign-up", "open: https://app.example.com/sign-up/"},
		"at and url":   {"      url: https://app.example.com/keys\n", "      url: https://app.example.com/keys\n      at: [{text: Keys}]\n      optional: true\n"},
		"two accounts": {"    - name: verify\n", "    - {name: other, click: button, at: [{text: a}], makes: account}\n    - name: verify\n"},
		"made at once": {"      at: [{css: \"[data-key]\"}]\n", "      at: [{css: \"[data-key]\"}]\n      optional: false\n"},
	} {
		if _, err := change(t, c.from, c.to); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
