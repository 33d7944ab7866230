package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

// TokenMark starts every placeholder token, wherever in a placeholder it
// stands, so that a person and a scanner can tell it from a key.
const TokenMark = "agentkeys-"

const (
	tokenBytes   = 32
	tokenNameLen = 32 // hex digits of the digest that name its file
)

type digest [sha256.Size]byte

// Token lets a process speak as an agent on loopback. Only its digest is kept.
type Token struct {
	Digest  string          `json:"digest"`
	Agent   agentkeys.Agent `json:"agent"`
	Expires time.Time       `json:"expires"`
}

// IssueToken makes a token for an agent that dies at expires. The text is
// returned once and kept nowhere.
func (b *Broker) IssueToken(ctx context.Context, label agentkeys.Agent, now, expires time.Time) (string, error) {
	b.write.Lock()
	defer b.write.Unlock()
	if _, ok := b.Agent(label); !ok {
		return "", fmt.Errorf("%w: %s", ErrUnknownAgent, label)
	}
	if err := b.sweepTokens(now); err != nil {
		return "", err
	}
	var raw [tokenBytes]byte
	_, _ = rand.Read(raw[:])
	text := TokenMark + base64.RawURLEncoding.EncodeToString(raw[:])
	d := sha256.Sum256([]byte(text))
	t := &Token{hex.EncodeToString(d[:]), label, expires.UTC()}
	e := grant.Event{Time: now, Op: "session.start", Agent: label, Subject: "token " + t.Digest[:12] + ", expires " + t.Expires.Format(time.RFC3339)}
	err := b.record(ctx, e, func() error { return b.putToken(d, t) })
	if err != nil {
		return "", err
	}
	return text, nil
}

// RenewToken moves the end of a live token to expires.
func (b *Broker) RenewToken(text string, now, expires time.Time) error {
	b.write.Lock()
	defer b.write.Unlock()
	d := sha256.Sum256([]byte(text))
	t := b.token(d)
	if t == nil || !now.Before(t.Expires) {
		return errors.New("no such token")
	}
	return b.putToken(d, &Token{t.Digest, t.Agent, expires.UTC()})
}

// EndToken ends a token. One that is not there is not an error.
func (b *Broker) EndToken(ctx context.Context, text string, now time.Time) error {
	b.write.Lock()
	defer b.write.Unlock()
	t := b.token(sha256.Sum256([]byte(text)))
	if t == nil {
		return nil
	}
	e := grant.Event{Time: now, Op: "session.end", Agent: t.Agent, Subject: "token " + t.Digest[:12]}
	return b.record(ctx, e, func() error { return b.dropToken(t) })
}

// AgentByToken returns the agent that a presented credential speaks for. What
// stands before the mark is the prefix a service's clients expect of a key.
func (b *Broker) AgentByToken(presented string, now time.Time) (Agent, bool) {
	i := strings.Index(presented, TokenMark)
	if i < 0 || len(presented) > 256 {
		return Agent{}, false
	}
	t := b.token(sha256.Sum256([]byte(presented[i:])))
	if t == nil || !now.Before(t.Expires) {
		return Agent{}, false
	}
	return b.Agent(t.Agent)
}

func (b *Broker) token(d digest) *Token {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.tokens[d]
}

func (b *Broker) putToken(d digest, t *Token) error {
	if err := b.files.put(kindToken, t.Digest[:tokenNameLen], t); err != nil {
		return err
	}
	b.mu.Lock()
	b.tokens[d] = t
	b.mu.Unlock()
	return nil
}

func (b *Broker) dropToken(t *Token) error {
	d, err := parseDigest(t.Digest)
	if err != nil {
		return err
	}
	b.mu.Lock()
	delete(b.tokens, d)
	b.mu.Unlock()
	return b.files.remove(kindToken, t.Digest[:tokenNameLen])
}

// sweepTokens removes the files of dead tokens.
func (b *Broker) sweepTokens(now time.Time) error {
	var dead []*Token
	b.mu.RLock()
	for _, t := range b.tokens {
		if !now.Before(t.Expires) {
			dead = append(dead, t)
		}
	}
	b.mu.RUnlock()
	for _, t := range dead {
		if err := b.dropToken(t); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) tokensOf(label agentkeys.Agent) []*Token {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []*Token
	for _, t := range b.tokens {
		if t.Agent == label {
			out = append(out, t)
		}
	}
	return out
}

func parseDigest(s string) (digest, error) {
	var d digest
	if len(s) != 2*len(d) {
		return d, errors.New("malformed digest")
	}
	_, err := hex.Decode(d[:], []byte(s))
	return d, err
}
