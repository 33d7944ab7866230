package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/testsrv"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/postman"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// demoVendor plays OpenRouter: its pages, its mail and its API.
type demoVendor struct {
	names *dns.Server
	site  *sites.Site
	api   *testsrv.Server

	mu   sync.Mutex
	smtp string          // where the demo's process takes mail
	keys map[string]bool // that the API has accepted
}

func openVendor() (v *demoVendor, err error) {
	v = &demoVendor{keys: map[string]bool{}}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	if v.names, err = dns.Start(); err != nil {
		return nil, err
	}
	post, err := postman.New(v.names, v.takesMail, "openrouter.ai")
	if err != nil {
		return nil, err
	}
	if v.site, err = sites.Start(sites.Options{Service: "openrouter", Post: post.Post}); err != nil {
		return nil, err
	}
	v.api, err = testsrv.Start(testsrv.Options{Shape: testsrv.OpenRouter, Keyring: v.keyring, Gap: 40 * time.Millisecond})
	return v, err
}

func (v *demoVendor) close() {
	if v.api != nil {
		_ = v.api.Close()
	}
	if v.site != nil {
		_ = v.site.Close()
	}
	if v.names != nil {
		_ = v.names.Close()
	}
}

func (v *demoVendor) caPEM() []byte { return append(v.api.CAPEM(), v.site.CAPEM()...) }

func (v *demoVendor) takesMail() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.smtp
}

// keyring accepts the keys that the pages gave out, or, where no browser is,
// the one that the demo brought.
func (v *demoVendor) keyring(key string) string {
	label := v.site.KeyLabel(key)
	v.mu.Lock()
	defer v.mu.Unlock()
	if label == "" && v.keys[key] {
		label = "brought"
	}
	if label != "" {
		v.keys[key] = true
	}
	return label
}

// secrets are the keys that were accepted.
func (v *demoVendor) secrets() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Collect(maps.Keys(v.keys))
}

// getKey has a browser sign up, or brings a key where there is none.
func (s *story) getKey(v *demoVendor) error {
	if err := s.findMail(v); err != nil {
		return err
	}
	if _, err := chrome.Find(); err != nil {
		key := "sk-or-v1-" + randomHex(32)
		v.mu.Lock()
		v.keys[key] = true
		v.mu.Unlock()
		return s.run("There is no Chromium here to sign up with, so you bring a key. It is encrypted before it touches the disk.", key, 0, "store", "openrouter", "--stdin")
	}
	if err := s.run("Which ways are there to a key?", "", 0, "provision", "openrouter", "--plan"); err != nil {
		return err
	}
	if err := s.run("A real browser signs up: a fresh address and password, the mail that comes, the page that shows a key once.", "", 0, "provision", "openrouter"); err != nil {
		return err
	}
	for _, acc := range v.site.Accounts() {
		fmt.Fprintf(s.a.stdout, "    (the stand-in has one account more: %s)\n", acc.Address)
	}
	return s.run("Once more: the key is there, and the service says it is good.", "", 0, "provision", "openrouter")
}

// findMail learns where mail is taken.
func (s *story) findMail(v *demoVendor) error {
	cmd := exec.CommandContext(s.ctx, s.exe, "status", "--json")
	cmd.Env = s.env
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var status local.Status
	if err := json.Unmarshal(out, &status); err != nil {
		return err
	}
	if status.Mail == nil || status.Mail.SMTP == "" {
		return errors.New("the demo went wrong: no mail is taken")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.smtp = status.Mail.SMTP
	return nil
}
