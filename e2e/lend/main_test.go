// Package lend_test has the built program lend to real clients, and looks for
// the key in everything that they could see.
package lend_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/litentry/agentkeys/e2e/lend/canary"
	"github.com/litentry/agentkeys/e2e/lend/rig"
)

// helpers are what this program does, by the value of helperVar, when a test
// starts it as an agent or as somebody who pries.
var helpers = map[string]func() error{}

const helperVar = "LEND_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVar); name != "" {
		if err := helpers[name](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	rig.Main(m)
}

// clean fails the test for each secret in what somebody could see.
func clean(t *testing.T, s *canary.Search, seen map[string][]byte) {
	t.Helper()
	for what, data := range seen {
		for _, f := range s.In(data) {
			t.Errorf("%s: %s", what, f)
		}
	}
}

// cleanHome searches every file of a home, its daemon's log among them, what
// can be seen of the background process from outside, and what commands say.
func cleanHome(t *testing.T, h *rig.Home, s *canary.Search) {
	t.Helper()
	found, files, err := s.Files(h.Dir)
	if err != nil || files < 10 {
		t.Errorf("%d files searched: %v", files, err)
	}
	for _, f := range found {
		t.Error(f)
	}
	for _, name := range []string{"environ", "cmdline"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", h.PID(), name))
		if os.IsPermission(err) && os.Getuid() != 0 {
			continue // as it should be
		}
		if err != nil || len(data) == 0 {
			t.Errorf("%s of the daemon: %d bytes, %v", name, len(data), err)
		}
		clean(t, s, map[string][]byte{name + " of the daemon": data})
	}
	for _, args := range [][]string{
		{"status", "--json"}, {"list"}, {"list", "--json"}, {"grants", "--json"}, {"agent", "list", "--json"}, {"logs"},
		{"audit", "tail", "-n", "100000"}, {"audit", "tail", "-n", "100000", "--json"}, {"services", "--json"},
	} {
		clean(t, s, map[string][]byte{fmt.Sprint("agentkeys ", args): []byte(h.OK(args...))})
	}
}
