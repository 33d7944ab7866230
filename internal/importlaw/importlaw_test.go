package importlaw

import (
	"slices"
	"strings"
	"testing"
)

// all that there is to say against a tree.
func (t tree) faults() []string {
	return slices.Concat(t.bans(bans), t.rations(rations), t.strangers(adapters), t.testing(), t.commands(), t.vocabulary(core), t.clocks(slices.Concat(core, timeless)), t.habits())
}

func TestLaws(t *testing.T) {
	all := load(t)
	if len(all) < 20 || all["."] == nil || len(all["internal/grant"].deps) < 10 {
		t.Fatalf("the module has not been read: %s", all.paths())
	}
	for _, f := range all.faults() {
		t.Error(f)
	}
}

// lawful is a small module that keeps a small set of laws.
var (
	lawful = map[string]string{
		"noun.go":                 "// Package agentkeys has nouns.\npackage agentkeys\nimport \"errors\"",
		"grant/grant.go":          "// Package grant decides.\npackage grant\nimport (\"time\"; \".\")\ntype T time.Time",
		"grant/grant_test.go":     "package grant_test\nimport (\"testing\"; \"time\"; \"os\"; \"vault/vaulttest\")\nvar _ = time.Now",
		"vault/vault.go":          "// Package vault keeps.\npackage vault\nimport \"grant\"",
		"vault/vaulttest/exam.go": "// Package vaulttest examines.\npackage vaulttest\nimport (\"testing\"; \"vault\")",
		"broker/broker.go":        "// Package broker knows.\npackage broker\nimport \"grant\"",
		"dirblob/dirblob.go":      "// Package dirblob stores.\npackage dirblob\nimport (\"vault\"; \"example.org/disk\")",
		"keychain/keychain.go":    "// Package keychain asks.\npackage keychain",
		"cmd/tool/main.go":        "// Command tool runs.\npackage main\nimport (\"dirblob\"; \"broker\")",
		"cmd/tool/demo.go":        "package main\nimport \"testsrv\"",
		"testsrv/testsrv.go":      "// Package testsrv plays.\npackage testsrv\nimport \"net/http\"",
		"e2e/rig/rig.go":          "// Package rig runs.\npackage rig\nimport (\"testing\"; \"testsrv\")",
	}
	fewBans = []ban{
		{who: []string{".", "grant"}, not: []string{"net/http"}, deep: true, why: "pure"},
		{who: []string{".", "grant"}, not: []string{"os"}, why: "no I/O"},
		{who: []string{"broker"}, not: []string{"vault"}, deep: true, why: "cannot decrypt"},
	}
	fewRations = []ration{
		{"example.org/disk", []string{"dirblob"}, "one vendor"},
		{"testsrv", []string{"cmd/tool/demo.go"}, "for the demo"},
	}
	fewAdapters = []string{"dirblob", "keychain"}
	fewCore     = []string{".", "grant"}
)

func (t tree) few() []string {
	return slices.Concat(t.bans(fewBans), t.rations(fewRations), t.strangers(fewAdapters), t.testing(), t.commands(), t.vocabulary(fewCore), t.clocks(fewCore), t.habits())
}

// TestEachLawCanFail plants one fault after the other into the lawful module.
func TestEachLawCanFail(t *testing.T) {
	if got := fake(t, lawful).few(); len(got) != 0 {
		t.Fatalf("the lawful module: %q", got)
	}
	for _, c := range []struct {
		name, file, source string // an empty source removes the file
		want               string
	}{
		{"network", "grant/x.go", "package grant\nimport \"net/http\"", "grant/x.go imports net/http: pure"},
		{"network, another system's", "grant/x_windows.go", "//go:build windows\n\npackage grant\nimport \"net/http\"", "grant/x_windows.go imports net/http: pure"},
		{"network through another", "grant/x.go", "package grant\nimport \"testsrv\"", "grant depends on net/http: pure"},
		{"I/O", "x.go", "package agentkeys\nimport \"os\"", "x.go imports os: no I/O"},
		{"decrypting", "broker/x.go", "package broker\nimport \"vault\"", "broker depends on vault: cannot decrypt"},
		{"decrypting through another", "broker/x.go", "package broker\nimport \"dirblob\"", "broker depends on vault: cannot decrypt"},
		{"who is gone", "broker/broker.go", "", "stale ban: there is no broker"},
		{"vendor elsewhere", "vault/x.go", "package vault\nimport \"example.org/disk\"", "vault/x.go imports example.org/disk: one vendor"},
		{"vendor no longer used", "dirblob/dirblob.go", "// Package dirblob stores.\npackage dirblob", "stale ration: dirblob does not import example.org/disk"},
		{"stand-in in production", "cmd/tool/x.go", "package main\nimport \"testsrv\"", "cmd/tool/x.go imports testsrv: for the demo"},
		{"no demo", "cmd/tool/demo.go", "package main", "stale ration: cmd/tool/demo.go does not import testsrv"},
		{"adapters", "keychain/x.go", "package keychain\nimport \"dirblob\"", "keychain depends on dirblob: adapters"},
		{"adapter gone", "keychain/keychain.go", "", "stale: there is no adapter keychain"},
		{"testing", "vault/x.go", "package vault\nimport \"testing\"", "vault/x.go imports testing"},
		{"testing's kin", "vault/x.go", "package vault\nimport \"testing/fstest\"", "vault/x.go imports testing/fstest"},
		{"exam in production", "broker/x.go", "package broker\nimport \"vault/vaulttest\"", "broker/x.go imports vault/vaulttest, which is for tests"},
		{"rig in production", "broker/x.go", "package broker\nimport \"e2e/rig\"", "broker/x.go imports e2e/rig, which is for tests"},
		{"no exam", "vault/vaulttest/exam.go", "// Package vaulttest examines.\npackage vaulttest", "vault/vaulttest is named like an exam and is none"},
		{"command", "e2e/rig/x.go", "package rig\nimport \"cmd/tool\"", "e2e/rig/x.go imports cmd/tool"},
		{"command, by a test", "broker/x_test.go", "package broker\nimport \"cmd/tool\"", "broker/x_test.go imports cmd/tool"},
		{"root knows", "x.go", "package agentkeys\nimport \"keychain\"", ". depends on keychain: the core stands by itself"},
		{"core knows", "grant/x.go", "package grant\nimport \"keychain\"", "grant depends on keychain: the core stands by itself"},
		{"core and SDK", "grant/x.go", "package grant\nimport \"example.org/sdk\"", "grant depends on example.org/sdk: the core needs the standard library only"},
		{"clock", "grant/x.go", "package grant\nimport \"time\"\nvar x = time.Now()", "grant/x.go uses time.Now"},
		{"clock, not called", "grant/x.go", "package grant\nimport \"time\"\nvar x = time.Since", "grant/x.go uses time.Since"},
		{"clock by another name", "grant/x.go", "package grant\nimport clock \"time\"\nfunc f() { <-clock.After(1) }", "grant/x.go uses time.After"},
		{"clock without a name", "grant/x.go", "package grant\nimport . \"time\"", "grant/x.go imports time as ."},
		{"core gone", "grant/grant.go", "", "stale: there is no grant"},
		{"drawer", "util/x.go", "// Package util has things.\npackage util", "util is a drawer"},
		{"drawer below", "vault/types/x.go", "// Package types has things.\npackage types", "vault/types is a drawer"},
		{"long", "vault/x.go", "package vault\n" + strings.Repeat("\n", 700), "vault/x.go has 701 lines"},
		{"long test", "vault/x_test.go", "package vault\n" + strings.Repeat("\n", 700), "vault/x_test.go has 701 lines"},
		{"no comment", "vault/vault.go", "package vault", "vault has 0 package comments"},
		{"two comments", "vault/x.go", "// Package vault is back.\npackage vault", "vault has 2 package comments"},
		{"another's comment", "vault/vault.go", "// Package volt keeps.\npackage vault", "vault/vault.go: the comment of package vault begins otherwise"},
		{"command's comment", "cmd/tool/main.go", "// Package main runs.\npackage main\nimport (\"dirblob\"; \"broker\")", "cmd/tool/main.go: the comment of package main begins otherwise"},
		{"init", "vault/x.go", "package vault\nfunc init() {}", "vault/x.go has an init"},
		{"todo", "vault/x.go", "package vault\n\n// TODO: later\nvar x int", `vault/x.go: "// TODO: later" does not say why`},
		{"fixme", "vault/x_test.go", "package vault\n\nvar x int // FIXME", `vault/x_test.go: "// FIXME" does not say why`},
		{"nolint", "vault/x.go", "package vault\n\nvar x int //nolint:unused", `vault/x.go: "//nolint:unused" does not say why`},
	} {
		t.Run(c.name, func(t *testing.T) {
			sources := map[string]string{}
			for name, s := range lawful {
				if name != c.file || c.source != "" {
					sources[name] = s
				}
			}
			if c.source != "" {
				sources[c.file] = c.source
			} else {
				delete(sources, strings.TrimSuffix(c.file, ".go")+"_test.go")
			}
			got := fake(t, sources).few()
			if !slices.ContainsFunc(got, func(f string) bool { return strings.HasPrefix(f, c.want) }) {
				t.Errorf("%q\nwant %q", got, c.want)
			}
		})
	}
	for name, stale := range map[string]func() []string{
		"there is no internal/nowhere": func() []string {
			return fake(t, lawful).bans([]ban{{who: []string{"vault"}, not: []string{"internal/nowhere"}, why: "x"}})
		},
		"there is no example.org/sdk": func() []string {
			return fake(t, lawful).bans([]ban{{who: []string{"vault"}, not: []string{"example.org/sdk"}, why: "x"}})
		},
		"there is no net/httpp": func() []string {
			return fake(t, lawful).bans([]ban{{who: []string{"vault"}, not: []string{"net/httpp"}, why: "x"}})
		},
		"has no reason": func() []string {
			return fake(t, lawful).bans([]ban{{who: []string{"vault"}, not: []string{"os"}}})
		},
		"ration of example.org/disk has no reason": func() []string {
			return fake(t, lawful).rations([]ration{{what: "example.org/disk", to: []string{"dirblob"}}})
		},
	} {
		if got := stale(); len(got) != 1 || !strings.Contains(got[0], name) {
			t.Errorf("%q, want %q", got, name)
		}
	}
	fine := fake(t, map[string]string{
		"vault/vault.go":      "// Package vault keeps.\npackage vault\n\n// TODO(owner): drop it when version 1 is gone\nvar x int //nolint:unused // read by the assembler\n\ntype T struct{}\nfunc (T) init() {}",
		"vault/vault_test.go": "// This file tests.\npackage vault\nfunc init() {}",
		"e2e/e2e_test.go":     "// Package e2e_test runs.\npackage e2e_test",
	})
	if got := fine.habits(); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
