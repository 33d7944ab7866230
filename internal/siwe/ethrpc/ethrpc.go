// Package ethrpc asks one Ethereum node, over JSON-RPC, about accounts that are
// contracts. The node's URL comes from the operator's configuration only, and
// often holds a key of the operator's: it is in no error.
package ethrpc

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/litentry/agentkeys/internal/siwe"
)

// Limits of one request.
const (
	timeout   = 10 * time.Second
	maxAnswer = 1 << 20
)

// ErrConfig is wrapped by New for a node that must not be asked.
var ErrConfig = errors.New("unusable Ethereum node")

// Node is one node of one chain. It is safe for concurrent use.
type Node struct {
	url   string
	chain uint64
	http  http.Client
	right atomic.Bool // the node said that it is of this chain
}

var _ siwe.Contracts = (*Node)(nil)

// New makes a Node. It does not connect. The URL is https, or http on loopback.
func New(rawURL string, chain uint64) (*Node, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Host == "":
		return nil, fmt.Errorf("%w: its address is not a URL", ErrConfig)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, fmt.Errorf("%w: its address is not https, so anybody on the way could answer for it", ErrConfig)
	case chain == 0:
		return nil, fmt.Errorf("%w: its chain id is 0", ErrConfig)
	}
	n := &Node{url: rawURL, chain: chain}
	n.http.Timeout = timeout
	n.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return n, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Chain implements siwe.Contracts.
func (n *Node) Chain() uint64 { return n.chain }

// Code implements siwe.Contracts.
func (n *Node) Code(ctx context.Context, at siwe.Address) ([]byte, error) {
	if err := n.check(ctx); err != nil {
		return nil, err
	}
	return n.bytes(ctx, "eth_getCode", hexOf(at[:]), "latest")
}

// Call implements siwe.Contracts.
func (n *Node) Call(ctx context.Context, to siwe.Address, data []byte) ([]byte, error) {
	if err := n.check(ctx); err != nil {
		return nil, err
	}
	out, err := n.bytes(ctx, "eth_call", map[string]string{"to": hexOf(to[:]), "data": hexOf(data)}, "latest")
	var refused *rpcError
	if errors.As(err, &refused) && refused.reverted() {
		return nil, nil
	}
	return out, err
}

// check asks once which chain the node is of: an account of the same address
// on another chain may be somebody else's.
func (n *Node) check(ctx context.Context) error {
	if n.right.Load() {
		return nil
	}
	raw, err := n.do(ctx, "eth_chainId")
	if err != nil {
		return err
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return errors.New("the node's answer is not as JSON-RPC has it")
	}
	id, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	if err != nil || id != n.chain {
		return fmt.Errorf("the node is not of chain %d", n.chain)
	}
	n.right.Store(true)
	return nil
}

// bytes calls a method that answers with DATA of JSON-RPC.
func (n *Node) bytes(ctx context.Context, method string, params ...any) ([]byte, error) {
	raw, err := n.do(ctx, method, params...)
	if err != nil {
		return nil, err
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil || !strings.HasPrefix(s, "0x") {
		return nil, errors.New("the node's answer is not as JSON-RPC has it")
	}
	b, err := hex.DecodeString(s[2:])
	if err != nil {
		return nil, errors.New("the node's answer is not as JSON-RPC has it")
	}
	return b, nil
}

// rpcError is the node's own.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Error leaves the node's words out: they are not for whoever logs in.
func (e *rpcError) Error() string { return "the node refused with code " + strconv.Itoa(e.Code) }

// reverted reports whether the contract said no, rather than the node: nodes
// agree on code 3, and those that do not, on the word.
func (e *rpcError) reverted() bool {
	return e.Code == 3 || strings.Contains(strings.ToLower(e.Message), "revert")
}

func (n *Node) do(ctx context.Context, method string, params ...any) (json.RawMessage, error) {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the node's address is not a URL")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.http.Do(req)
	if err != nil {
		var u *url.Error // it has the URL in its text
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("asking the node: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the node's answer: %w", err)
	}
	if len(raw) > maxAnswer {
		return nil, errors.New("the node's answer is too long")
	}
	var answer struct {
		ID     json.RawMessage `json:"id"`
		Result json.RawMessage `json:"result"`
		Error  *rpcError       `json:"error"`
	}
	// Some nodes send their errors with a status of 4xx: the body decides.
	if err := json.Unmarshal(raw, &answer); err != nil || string(answer.ID) != "1" {
		return nil, fmt.Errorf("the node answered %d, and not as JSON-RPC has it", resp.StatusCode)
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	return answer.Result, nil
}

func hexOf(b []byte) string { return "0x" + hex.EncodeToString(b) }
