package siwe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv/npm"
)

func sha(b []byte) [32]byte { return sha256.Sum256(b) }

// compact reads DER strictly and writes r and s in 32 bytes each.
func compact(der []byte) ([]byte, bool) {
	var v struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil || len(rest) > 0 || v.R.Sign() < 0 || v.S.Sign() < 0 || v.R.BitLen() > 256 || v.S.BitLen() > 256 {
		return nil, false
	}
	again, err := asn1.Marshal(v)
	if err != nil || !bytes.Equal(again, der) {
		return nil, false
	}
	out := make([]byte, 64)
	v.R.FillBytes(out[:32])
	v.S.FillBytes(out[32:])
	return out, true
}

// counterpart is the JavaScript program beside the tests: wallet software and
// another parser.
type counterpart struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startCounterpart(t *testing.T) *counterpart {
	t.Helper()
	home, err := npm.Install(t.Context(), os.DirFS("testdata/js"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, "node", filepath.Join(home, "counterpart.mjs"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the counterpart: %v\n%s", err, stderr.String())
		}
		cancel()
	})
	return &counterpart{in, bufio.NewReaderSize(out, 1<<20)}
}

func (c *counterpart) ask(t *testing.T, question, answer any) {
	t.Helper()
	q, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.in.Write(append(q, '\n')); err != nil {
		t.Fatal(err)
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, answer); err != nil {
		t.Fatal(err)
	}
}

// TestWalletSoftware has ethers sign what this package writes, and what the
// siwe and viem packages write.
func TestWalletSoftware(t *testing.T) {
	js := startCounterpart(t)
	for i := range 20 {
		key, address := keyOf(byte(i + 1))
		secret := "0x" + key.Key.String()
		ask := askOf(address)
		var signed struct{ Address, Text, Signature string }
		js.ask(t, map[string]any{"do": "signText", "key": secret, "text": textOf(t, ask)}, &signed)
		if signed.Address != address.String() {
			t.Fatalf("ethers says %s, this package %s", signed.Address, address)
		}
		if _, err := Verify(t.Context(), signed.Text, signed.Signature, ask, noon); err != nil {
			t.Errorf("a signature of ethers: %v", err)
		}
		// The same message, written by others.
		fields := map[string]any{
			"domain": "broker.example", "statement": Statement, "uri": ask.Origin, "version": "1", "chainId": 1, "nonce": ask.Nonce,
			"issuedAt": "2026-11-21T12:00:00Z", "expirationTime": "2026-11-21T12:10:00Z", "notBefore": "2026-11-21T12:00:00Z",
			"requestId": ask.Login, "resources": []string{devicePrefix + ask.Device},
		}
		js.ask(t, map[string]any{"do": "sign", "key": secret, "fields": fields}, &signed)
		if _, err := Verify(t.Context(), signed.Text, signed.Signature, ask, noon); err != nil {
			t.Errorf("a message of siwe: %v\n%s", err, signed.Text)
		}
		delete(fields, "notBefore")
		js.ask(t, map[string]any{"do": "signViem", "key": secret, "fields": fields}, &signed)
		m, err := Parse(signed.Text)
		if err != nil {
			t.Fatalf("a message of viem: %v\n%s", err, signed.Text)
		}
		sig, err := parseSignature(signed.Signature)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := recoverAddress(hash(signed.Text), sig); err != nil || who != m.Address || who != address {
			t.Errorf("a message of viem was signed by %v: %v", who, err)
		}
	}
}

// choices are why this package refuses what the grammar has: it has one spelling
// of each thing, no leap seconds, and no zero address.
var choices = []string{
	"not as RFC 3339 writes it", "not one of the calendar", "not written in the one form", "beyond any chain", "the zero address", "do not match its EIP-55 checksum",
}

// TestAnotherParser asks the reference parser about messages with random
// changes: what is accepted here is accepted there, with the same fields; what
// it accepts and is refused here is one of choices.
func TestAnotherParser(t *testing.T) {
	js := startCounterpart(t)
	rnd := rand.New(rand.NewPCG(4361, 1271))
	texts := []string{example}
	for _, c := range edits {
		if len(c.new) < 100 {
			texts = append(texts, strings.Replace(example, c.old, c.new, 1))
		}
	}
	pieces := strings.Split("\n,\n\n, ,:,/,?,#,[,],@,%20,%,0,Z,z,T,.,-,+,\r\n,://,\x00,é,[::1],//,Resources:,- a:b,Nonce: ,URI: ,1,00000000,0x,wants", ",")
	lines := strings.SplitAfter(example, "\n")
	for range 4000 {
		text := example
		switch at := rnd.IntN(len(text)); rnd.IntN(5) {
		case 0:
			text = text[:at] + pieces[rnd.IntN(len(pieces))] + text[at:]
		case 1:
			text = text[:at] + text[min(len(text), at+1+rnd.IntN(3)):]
		case 2:
			text = text[:at] + string(rune(rnd.IntN(128))) + text[at+1:]
		case 3:
			l := slices.Clone(lines)
			i := rnd.IntN(len(l))
			text = strings.Join(slices.Delete(l, i, i+1), "")
		case 4:
			l := slices.Clone(lines)
			i, j := rnd.IntN(len(l)), rnd.IntN(len(l))
			l[i], l[j] = l[j], l[i]
			text = strings.Join(l, "")
		}
		texts = append(texts, text)
	}
	both, neither, stricter := 0, 0, map[string]int{}
	for _, text := range texts {
		m, err := Parse(text)
		var theirs struct {
			OK     bool
			Fields struct {
				Domain, Address, Statement, URI, Nonce, ChainID, IssuedAt, ExpirationTime, NotBefore, RequestID string
				Resources                                                                                       []string
			}
		}
		js.ask(t, map[string]any{"do": "parse", "text": text}, &theirs)
		f := theirs.Fields
		switch {
		case err != nil && !theirs.OK:
			neither++
		case err == nil && !theirs.OK:
			t.Errorf("accepted here only:\n%q", text)
		case err != nil:
			if !slices.ContainsFunc(choices, func(c string) bool { return strings.Contains(err.Error(), c) }) {
				t.Errorf("refused here only, %v:\n%q", err, text)
			}
			stricter[err.Error()]++
		default:
			both++
			if f.Domain != m.Domain || f.Address != m.Address.String() || f.Statement != m.Statement || f.URI != m.URI || f.Nonce != m.Nonce ||
				f.ChainID != fmt.Sprint(m.ChainID) || f.IssuedAt != m.Issued.String() || f.ExpirationTime != m.Expires.String() ||
				f.NotBefore != m.NotBefore.String() || f.RequestID != m.RequestID || !slices.Equal(f.Resources, m.Resources) {
				t.Errorf("%q\nis read as %+v there", text, f)
			}
		}
	}
	t.Logf("%d accepted by both, %d by neither; refused here only: %v", both, neither, stricter)
	if both < 500 || neither < 500 {
		t.Errorf("only %d accepted and %d refused by both", both, neither)
	}
}
