package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// evil is what moves a cursor, recolours, retitles, clears or turns a line, in
// seven bits and in eight, and what is no text at all.
const evil = "A\x1b[2J\x1b]0;owned\a\u009b31m\u0090q\r\b\x7f\u202e\u2066\u200b\u2028\ufeff\U000e0041\t\vZ"

// moves finds what a terminal may act on; a line may end.
var moves = regexp.MustCompile(`[\x00-\x09\x0b-\x1f\x7f\x{80}-\x{9f}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{206f}\x{feff}\x{e0000}-\x{e007f}]`)

// evilMail has it in everything that a string can be in.
func evilMail() local.MailText {
	id := agentkeys.Must(agentkeys.ParseMessageID("m1"))
	v := verifymail.Verdicts{Received: true, From: evil, SPF: evil, DKIM: []string{evil, evil}, DMARC: evil, Spam: evil, Virus: evil}
	return local.MailText{
		MailInfo: local.MailInfo{ID: id, Place: local.Place(evil), At: time.Now(), By: evil, Reason: evil, Address: evil, Verdicts: v,
			Has: verifymail.Kind(evil), Why: verifymail.Reason(evil), Decision: mailroute.Outcome(evil)},
		Subject: evil + "\nX: y", Text: evil + "\r\n" + evil + "\n" + evil, Links: []string{evil, evil}, Link: evil, Code: evil, Raw: []byte(evil),
	}
}

// TestNothingMovesTheCursor: whoever writes a mail says nothing to the terminal
// that it is shown on.
func TestNothingMovesTheCursor(t *testing.T) {
	text := evilMail()
	refused, unread, useless := text.MailInfo, text.MailInfo, text.MailInfo
	refused.Decision, refused.Has = mailroute.Refuse, ""
	unread.Error = evil
	useless.Has = ""
	row := func(a *app, m local.MailInfo) {
		a.table("MESSAGE FROM PROOF RESULT", [][]string{{m.ID.String(), m.Verdicts.From, mailProof(m), mailOutcome(m)}})
	}
	for what, show := range map[string]func(*app){
		"show":          func(a *app) { a.printMail(text.MailInfo) },
		"show refused":  func(a *app) { a.printMail(refused) },
		"show unread":   func(a *app) { a.printMail(unread) },
		"show useless":  func(a *app) { a.printMail(useless) },
		"reveal":        func(a *app) { a.printMailText(text) },
		"ls":            func(a *app) { row(a, text.MailInfo) },
		"ls refused":    func(a *app) { row(a, refused) },
		"ls unread":     func(a *app) { row(a, unread) },
		"ls useless":    func(a *app) { row(a, useless) },
		"extract":       func(a *app) { a.printVerdicts(text.Verdicts) },
		"found link":    func(a *app) { a.printFound(local.MailFound{ID: text.ID, Kind: verifymail.Link, Host: evil}, false) },
		"found, reveal": func(a *app) { a.printFound(local.MailFound{ID: text.ID, Kind: verifymail.Link, Link: evil}, true) },
		"found code":    func(a *app) { a.printFound(local.MailFound{ID: text.ID, Kind: verifymail.Code, Code: evil}, true) },
		"a problem":     func(a *app) { a.fail(errors.New(evil)) },
		"a problem of the process": func(a *app) {
			a.fail(&control.Error{Code: control.CodeNoMail, Problem: evil, Fix: "wait"})
		},
		"JSON": func(a *app) {
			a.json = true
			if err := a.print(text, nil); err != nil {
				t.Error(err)
			}
		},
		"a problem in JSON": func(a *app) { a.json = true; a.fail(errors.New(evil)) },
	} {
		var out bytes.Buffer
		show(&app{stdout: &out, stderr: &out})
		if bad := moves.FindString(out.String()); bad != "" || !strings.Contains(out.String(), "A") {
			t.Errorf("%s: %q in %q", what, bad, out.String())
		}
	}
	// A subject is one line, so that none can look like another of ours.
	var out bytes.Buffer
	(&app{stdout: &out}).printMailText(text)
	if strings.Contains(out.String(), "\nX: y") {
		t.Errorf("%q", out.String())
	}
}

// TestPrintableJSON: what is escaped reads as it was.
func TestPrintableJSON(t *testing.T) {
	for _, want := range []string{"", "plain", "gr\u00fc\u00dfe, \u4f60\u597d \U0001f600", evil, "\ufffd", "<a>&\u2029"} {
		var out bytes.Buffer
		if err := (&app{stdout: &out, json: true}).print(map[string]string{"x": want}, nil); err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["x"] != want {
			t.Errorf("%q became %q, %v", want, got["x"], err)
		}
	}
	var out bytes.Buffer
	if n, err := (printableJSON{&out}).Write([]byte("\xff\u009b")); n != 3 || err != nil || out.String() != "\xff\u009b" {
		t.Errorf("%d %v %q: what is not text is not JSON's", n, err, out.String())
	}
}
