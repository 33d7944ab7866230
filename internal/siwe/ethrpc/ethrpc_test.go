package ethrpc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"

	"github.com/litentry/agentkeys/internal/siwe"
	"github.com/litentry/agentkeys/internal/testsrv/npm"
)

const chain = 31337

// startNode starts a real Ethereum node with a chain of its own.
func startNode(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skipf("the lock file has no anvil for %s on %s", runtime.GOOS, runtime.GOARCH)
	}
	home, err := npm.Install(t.Context(), os.DirFS("../testdata/js"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, filepath.Join(home, "node_modules", "@foundry-rs", "anvil-linux-amd64", "bin", "anvil"),
		"--host", "127.0.0.1", "--port", "0", "--chain-id", strconv.Itoa(chain))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if addr, ok := strings.CutPrefix(lines.Text(), "Listening on "); ok {
			go func() {
				for lines.Scan() {
				}
			}()
			return "http://" + addr
		}
	}
	t.Fatal("anvil ended without listening")
	return ""
}

// raw calls a method that the package under test has no use for.
func raw(t *testing.T, url, method string, params any, into any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  any
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != nil {
		t.Fatalf("%s: %v, %v", method, err, answer.Error)
	}
	if err := json.Unmarshal(answer.Result, into); err != nil {
		t.Fatal(err)
	}
}

// walletCode is a contract account with one owner, by hand: it has the
// precompiled contract at 1 recover who signed, and answers the magic value for
// the owner; for anybody else it ends with refuse.
func walletCode(owner []byte, refuse string) []byte {
	code := "600435" + "5f52" + // hash → memory 0
		"60a435" + "5f1a" + "602052" + // v, the first byte behind s → 32
		"606435" + "604052" + // r → 64
		"608435" + "606052" + // s → 96
		"60205f60805f60015afa50" + // staticcall(gas, 1, 0, 128, 0, 32)
		"5f5173" + hex.EncodeToString(owner) + "14" // memory 0 == owner
	end := "5b631626ba7e60e01b5f5260205ff3" // jumpdest: return the magic value, on the left of a word
	dest := len(code)/2 + 3 + len(refuse)/2
	b, err := hex.DecodeString(code + fmt.Sprintf("60%02x57", dest) + refuse + end)
	if err != nil {
		panic(err)
	}
	return b
}

const (
	reverts = "5f5ffd"
	says0   = "5f5f5260205ff3"
)

func deploy(t *testing.T, url string, code []byte) siwe.Address {
	t.Helper()
	var accounts []string
	raw(t, url, "eth_accounts", []any{}, &accounts)
	// Copy what follows these nine bytes to memory and return it.
	create := append([]byte{0x60, byte(len(code)), 0x80, 0x60, 9, 0x5f, 0x39, 0x5f, 0xf3}, code...)
	var tx string
	raw(t, url, "eth_sendTransaction", []any{map[string]string{"from": accounts[0], "data": hexOf(create)}}, &tx)
	var receipt struct{ ContractAddress, Status string }
	for end := time.Now().Add(30 * time.Second); receipt.Status == "" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		raw(t, url, "eth_getTransactionReceipt", []any{tx}, &receipt) // null until it is mined
	}
	a, err := siwe.ParseAddress(receipt.ContractAddress)
	if err != nil || receipt.Status != "0x1" {
		t.Fatalf("not deployed: %+v, %v", receipt, err)
	}
	return a
}

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	return h.Sum(nil)
}

func keyOf(b byte) (*secp256k1.PrivateKey, []byte) {
	key := secp256k1.PrivKeyFromBytes(bytes.Repeat([]byte{b}, 32))
	return key, keccak(key.PubKey().SerializeUncompressed()[1:])[12:]
}

func sign(key *secp256k1.PrivateKey, text string) string {
	sig := ecdsa.SignCompact(key, keccak([]byte("\x19Ethereum Signed Message:\n"+strconv.Itoa(len(text))+text)), false)
	return hexOf(append(sig[1:], sig[0]))
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func askOf(t *testing.T, a siwe.Address) (siwe.Ask, string) {
	t.Helper()
	ask := siwe.Ask{Origin: "https://broker.example", Address: a, ChainID: chain, Nonce: "k3q9v7xw2m5t8z4b", Login: "lg_1", Device: "dev", Issued: noon, Expires: noon.Add(time.Minute)}
	m, err := ask.Message()
	if err != nil {
		t.Fatal(err)
	}
	return ask, m.String()
}

// TestContractOnRealNode signs in with contract accounts on a real chain.
func TestContractOnRealNode(t *testing.T) {
	url := startNode(t)
	key, owner := keyOf(7)
	stranger, strangers := keyOf(8)
	node, err := New(url, chain)
	if err != nil {
		t.Fatal(err)
	}
	for name, refuse := range map[string]string{"that reverts": reverts, "that says 0": says0} {
		wallet := deploy(t, url, walletCode(owner, refuse))
		ask, text := askOf(t, wallet)
		if _, err := siwe.Verify(t.Context(), text, sign(key, text), ask, noon, node); err != nil {
			t.Errorf("the owner of a contract %s: %v", name, err)
		}
		for who, sig := range map[string]string{
			"a stranger": sign(stranger, text), "the owner of another text": sign(key, text+"."), "nobody": hexOf(make([]byte, 65)), "one byte": "0x01", "long": hexOf(make([]byte, 4000)),
		} {
			if _, err := siwe.Verify(t.Context(), text, sig, ask, noon, node); !errors.Is(err, siwe.ErrSignature) {
				t.Errorf("%s for a contract %s: %v", who, name, err)
			}
		}
	}
	// An account without code: its key alone.
	ask, text := askOf(t, siwe.Address(strangers))
	if _, err := siwe.Verify(t.Context(), text, sign(stranger, text), ask, noon, node); err != nil {
		t.Errorf("a key: %v", err)
	}
	if _, err := siwe.Verify(t.Context(), text, sign(key, text), ask, noon, node); !errors.Is(err, siwe.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	// A node of another chain than it is configured for is not believed.
	wallet := deploy(t, url, walletCode(owner, reverts))
	ask, _ = askOf(t, wallet)
	ask.ChainID = 1
	m, err := ask.Message()
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := New(url, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := siwe.Verify(t.Context(), m.String(), sign(key, m.String()), ask, noon, wrong); !errors.Is(err, siwe.ErrUnavailable) {
		t.Errorf("a node of another chain: %v", err)
	}
}

// TestHostileNode has nodes that answer what they should not.
func TestHostileNode(t *testing.T) {
	key, _ := keyOf(9)
	_, contract := keyOf(10)
	ask, text := askOf(t, siwe.Address(contract))
	const secret = "/v2/operators-key-3f9a"
	good := map[string]string{"eth_chainId": `"0x7a69"`, "eth_getCode": `"0x01"`, "eth_call": `"0x1626ba7e` + strings.Repeat("0", 56) + `"`}
	try := func(answer func(w http.ResponseWriter, method string)) error {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var q struct{ Method string }
			_ = json.NewDecoder(r.Body).Decode(&q)
			answer(w, q.Method)
		}))
		defer srv.Close()
		node, err := New(srv.URL+secret, chain)
		if err != nil {
			t.Fatal(err)
		}
		_, err = siwe.Verify(t.Context(), text, sign(key, text), ask, noon, node)
		return err
	}
	reply := func(w http.ResponseWriter, result string) {
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":%s}`, result)
	}
	fault := func(method, body string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, m string) {
			if m == method {
				_, _ = w.Write([]byte(body))
				return
			}
			reply(w, good[m])
		}
	}
	if err := try(fault("", "")); err != nil {
		t.Fatalf("the good node: %v", err)
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, string)
		want   error
	}{
		"reverts, code 3":        {fault("eth_call", `{"id":1,"error":{"code":3,"message":"x"}}`), siwe.ErrSignature},
		"reverts, in words":      {fault("eth_call", `{"id":1,"error":{"code":-32000,"message":"VM execution reverted"}}`), siwe.ErrSignature},
		"out of order":           {fault("eth_call", `{"id":1,"error":{"code":-32005,"message":"limit exceeded `+secret+`"}}`), siwe.ErrUnavailable},
		"not JSON":               {fault("eth_call", `<html>`), siwe.ErrUnavailable},
		"another id":             {fault("eth_call", `{"id":2,"result":"0x1626ba7e`+strings.Repeat("0", 56)+`"}`), siwe.ErrUnavailable},
		"no result":              {fault("eth_call", `{"id":1}`), siwe.ErrUnavailable},
		"odd hex":                {fault("eth_getCode", `{"id":1,"result":"0x1"}`), siwe.ErrUnavailable},
		"no code":                {fault("eth_getCode", `{"id":1,"result":"0x"}`), siwe.ErrSignature},
		"another chain":          {fault("eth_chainId", `{"id":1,"result":"0x1"}`), siwe.ErrUnavailable},
		"a chain that is no hex": {fault("eth_chainId", `{"id":1,"result":7}`), siwe.ErrUnavailable},
		"too much":               {fault("eth_getCode", `{"id":1,"result":"0x`+strings.Repeat("00", maxAnswer)+`"}`), siwe.ErrUnavailable},
	} {
		err := try(c.answer)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "operators-key") {
			t.Errorf("%s: the node's URL is in the error: %v", name, err)
		}
	}
	// A redirect is not followed: not even to where the answer would be good.
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Method string }
		_ = json.NewDecoder(r.Body).Decode(&q)
		reply(w, good[q.Method])
	}))
	defer elsewhere.Close()
	if err := try(func(w http.ResponseWriter, m string) {
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}); !errors.Is(err, siwe.ErrUnavailable) {
		t.Errorf("a redirect: %v", err)
	}
	// A node that is not there.
	srv := httptest.NewServer(nil)
	srv.Close()
	node, err := New(srv.URL+secret, chain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := siwe.Verify(t.Context(), text, sign(key, text), ask, noon, node); !errors.Is(err, siwe.ErrUnavailable) || strings.Contains(err.Error(), "operators-key") {
		t.Errorf("no node: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, url := range []string{"", "ftp://node.example", "http://node.example", "http://10.0.0.7:8545", "node.example", "https://", "http://localhost.example", "https://a b/"} {
		if _, err := New(url, 1); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := New("https://node.example", 0); !errors.Is(err, ErrConfig) {
		t.Errorf("chain 0: %v", err)
	}
	for _, url := range []string{"https://node.example/key", "http://127.0.0.1:8545", "http://[::1]:8545", "http://localhost:8545"} {
		if _, err := New(url, 1); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}
