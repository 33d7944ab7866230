package book

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

// TokenMark stands before the token in every placeholder, so that a person and
// a scanner can tell it from a key. catalog.Entry.Placeholder writes it.
const TokenMark = "agentkeys."

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
func (b *Book) IssueToken(ctx context.Context, label agentkeys.Agent, now, expires time.Time) (string, error) {
	b.write.Lock()
	defer b.write.Unlock()
	if _, ok := b.Agent(label); !ok {
		return "", fmt.Errorf("%w: %s", ErrUnknownAgent, label)
	}
	// Whatever this leaves is dead, and the next one will try again.
	b.killTokens(func(t *Token) bool { return !now.Before(t.Expires) })
	_ = b.buryTokens(func(*Token) bool { return true })
	var raw [tokenBytes]byte
	_, _ = rand.Read(raw[:])
	text := base64.RawURLEncoding.EncodeToString(raw[:])
	d := sha256.Sum256([]byte(text))
	t := &Token{hex.EncodeToString(d[:]), label, expires.UTC()}
	e := grant.Event{Time: now, Op: "session.start", Agent: label, Subject: "token " + t.Digest[:12] + ", expires " + t.Expires.Format(time.RFC3339)}
	if err := b.record(ctx, e, func() error { return b.putToken(d, t, nil) }); err != nil {
		return "", err
	}
	return text, nil
}

// RenewToken moves the end of a live token to expires.
func (b *Book) RenewToken(text string, now, expires time.Time) error {
	b.write.Lock()
	defer b.write.Unlock()
	d := sha256.Sum256([]byte(text))
	t := b.token(d)
	if t == nil || !now.Before(t.Expires) {
		return ErrUnknownToken
	}
	return b.putToken(d, &Token{t.Digest, t.Agent, expires.UTC()}, t)
}

// EndToken ends a token. One that is not there is not an error.
func (b *Book) EndToken(ctx context.Context, text string, now time.Time) error {
	b.write.Lock()
	defer b.write.Unlock()
	d := sha256.Sum256([]byte(text))
	t := b.token(d)
	if t == nil {
		t = b.deadTokens[d]
	}
	if t == nil {
		return nil
	}
	this := func(other *Token) bool { return other.Digest == t.Digest }
	b.killTokens(this)
	e := grant.Event{Time: now, Op: "session.end", Agent: t.Agent, Subject: "token " + t.Digest[:12]}
	return b.record(ctx, e, func() error { return b.buryTokens(this) })
}

// AgentByToken returns the agent that a presented placeholder speaks for: what
// stands before the mark is what a service's clients expect of a key.
func (b *Book) AgentByToken(presented string, now time.Time) (Agent, bool) {
	_, text, marked := strings.Cut(presented, TokenMark)
	if !marked || len(text) > 2*tokenBytes {
		return Agent{}, false
	}
	t := b.token(sha256.Sum256([]byte(text)))
	if t == nil || !now.Before(t.Expires) {
		return Agent{}, false
	}
	return b.Agent(t.Agent)
}

func (b *Book) token(d digest) *Token {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.tokens[d]
}

// putToken keeps t, in place of old if that is not nil.
func (b *Book) putToken(d digest, t, old *Token) error {
	var before any
	if old != nil {
		before = old
	}
	if err := b.files.put(kindToken, t.Digest[:tokenNameLen], t, before); err != nil {
		if old == nil {
			// The file may be there all the same: it goes with the other dead ones,
			// and before its agent does.
			b.deadTokens[d] = t
		}
		return err
	}
	b.mu.Lock()
	b.tokens[d] = t
	b.mu.Unlock()
	return nil
}

// killTokens ends the tokens of which is says so, in memory.
func (b *Book) killTokens(is func(*Token) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for d, t := range b.tokens {
		if is(t) {
			b.deadTokens[d] = t
			delete(b.tokens, d)
		}
	}
}

// buryTokens removes the files of the dead tokens of which is says so.
func (b *Book) buryTokens(is func(*Token) bool) error {
	for d, t := range b.deadTokens {
		if !is(t) {
			continue
		}
		if err := b.files.remove(kindToken, t.Digest[:tokenNameLen]); err != nil {
			return err
		}
		delete(b.deadTokens, d)
	}
	return nil
}

func parseDigest(s string) (digest, error) {
	var d digest
	if len(s) != 2*len(d) {
		return d, errors.New("malformed digest")
	}
	_, err := hex.Decode(d[:], []byte(s))
	return d, err
}
