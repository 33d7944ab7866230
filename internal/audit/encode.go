package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

// MaxEntry is the longest entry in bytes: a bundle gives its length 16 bits.
const MaxEntry = 1<<16 - 1

// encoded is an entry behind the zero byte of RFC 6962, section 2.1, so that
// its leaf hash needs neither a copy nor an allocation.
type encoded struct{ b []byte }

var encoders = sync.Pool{New: func() any { return &encoded{make([]byte, 0, 1024)} }}

func (e *encoded) entry() []byte   { return e.b[1:] }
func (e *encoded) leaf() tlog.Hash { return sha256.Sum256(e.b) }

func (e *encoded) set(ev *grant.Event) (err error) {
	e.b = append(e.b[:0], 0)
	if e.b, err = appendEvent(e.b, ev); err != nil {
		return err
	}
	if n := len(e.b) - 1; n > MaxEntry {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, n, MaxEntry)
	}
	return nil
}

// release gives e back, unless keeping it would pin an unusually large buffer.
func (e *encoded) release() {
	if cap(e.b) <= 8<<10 {
		encoders.Put(e)
	}
}

// appendEvent appends e as encoding/json would with HTML escaping off. It is
// written out because it runs twice in every proxied request; a test holds it
// to encoding/json, byte for byte, for every field an Event has.
func appendEvent(b []byte, e *grant.Event) ([]byte, error) {
	t := e.Time.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return b, ErrTime
	}
	b = append(b, `{"time":"`...)
	b = t.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","op":`...)
	b = appendString(b, e.Op)
	b = appendWallet(b, `,"actor":"0x`, e.Actor)
	b = appendWallet(b, `,"parent":"0x`, e.Parent)
	b = appendText(b, `,"agent":`, e.Agent.String())
	b = appendText(b, `,"service":`, e.Svc.String())
	b = appendText(b, `,"subject":`, e.Subject)
	b = append(b, `,"decision":`...)
	b = appendString(b, e.Decision)
	b = appendText(b, `,"reason":`, e.Reason)
	b = appendText(b, `,"grant":`, e.Grant)
	b = appendText(b, `,"request":`, e.Request)
	b = appendText(b, `,"method":`, e.Method)
	b = appendText(b, `,"path":`, e.Path)
	b = appendInt(b, `,"status":`, int64(e.Status))
	b = appendInt(b, `,"hold_nusd":`, int64(e.Hold))
	b = appendInt(b, `,"cost_nusd":`, int64(e.Cost))
	if e.Estimate {
		b = append(b, `,"estimate":true`...)
	}
	b = appendInt(b, `,"repeated":`, e.Repeated)
	if e.Revision != 0 {
		b = strconv.AppendUint(append(b, `,"revision":`...), e.Revision, 10)
	}
	b = appendInt(b, `,"epoch":`, int64(e.Epoch))
	b = appendText(b, `,"digest":`, e.Digest)
	return append(b, '}'), nil
}

func appendWallet(b []byte, key string, w agentkeys.Wallet) []byte {
	if w.IsZero() {
		return b
	}
	raw := w.Bytes()
	return append(hex.AppendEncode(append(b, key...), raw[:]), '"')
}

func appendInt(b []byte, key string, v int64) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendInt(append(b, key...), v, 10)
}

func appendText(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, key...), s)
}

// appendString appends s as a JSON string. No byte below 0x20 comes out of
// it, which the journal relies on: see frame.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, `\b`...)
			case '\f':
				b = append(b, `\f`...)
			case '\n':
				b = append(b, `\n`...)
			case '\r':
				b = append(b, `\r`...)
			case '\t':
				b = append(b, `\t`...)
			default:
				b = append(b, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(append(b, s[from:i]...), `\ufffd`...)
			from = i + n
		case r == '\u2028' || r == '\u2029':
			// Line ends in JavaScript, though not in JSON.
			b = append(append(b, s[from:i]...), `\u202`...)
			b = append(b, "0123456789abcdef"[r&15])
			from = i + n
		}
		i += n
	}
	return append(append(b, s[from:]...), '"')
}
