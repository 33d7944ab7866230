package smtpin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/litentry/agentkeys/internal/mailstore"
)

// session is one connection, from its greeting on. With BDAT the library runs
// Data beside Reset, Logout and the next Mail.
type session struct {
	s      *Server
	w      *wire
	conn   *smtp.Conn
	ctx    context.Context
	cancel context.CancelFunc

	mu sync.Mutex
	tx *envelope
}

// envelope is what came before the message. It does not change once there are
// recipients and the message comes.
type envelope struct {
	helo  string // "" if it was nonsense
	from  path   // zero of <>
	rcpts []path
}

func (s *Server) session(c *smtp.Conn) (smtp.Session, error) {
	w, ok := c.Conn().(*wire)
	if !ok {
		return nil, reply(421, "4.3.0", "internal error") // TLS that is not ours
	}
	ctx, cancel := context.WithCancel(s.ctx)
	return &session{s: s, w: w, conn: c, ctx: ctx, cancel: cancel}, nil
}

// reply is an answer; enhanced is as RFC 3463 writes it.
func reply(code int, enhanced, text string) *smtp.SMTPError {
	e := smtp.EnhancedCode{}
	for i, part := range strings.SplitN(enhanced, ".", 3) {
		for _, c := range part {
			e[i] = e[i]*10 + int(c-'0')
		}
	}
	return &smtp.SMTPError{Code: code, EnhancedCode: e, Message: text}
}

// Reset implements smtp.Session.
func (x *session) Reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tx = nil
}

// Logout implements smtp.Session.
func (x *session) Logout() error {
	x.Reset()
	x.cancel()
	return nil
}

// Mail implements smtp.Session.
func (x *session) Mail(from string, opts *smtp.MailOptions) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tx != nil {
		return reply(503, "5.5.1", "there is a sender already")
	}
	l := &x.s.c.Limits
	if x.w.messages >= l.Messages {
		return reply(421, "4.7.0", "too many messages in one connection")
	}
	if !x.s.gate.may(x.w.peer, opts.Size, time.Now()) {
		x.s.note(x, "451 4.7.1")
		return errTooMuch
	}
	if !x.s.room(opts.Size) {
		x.s.note(x, "452 4.3.1")
		return errNoSpace
	}
	tx := &envelope{}
	if from != "" {
		p, err := parsePath(from)
		switch {
		case err != nil:
			return reply(553, "5.1.7", "the sender is not an address")
		case !opts.UTF8 && !ascii(from):
			return reply(553, "5.6.7", "such an address needs SMTPUTF8")
		}
		tx.from = p
	}
	tx.helo = cleanHelo(x.conn.Hostname())
	x.w.messages++
	x.w.fresh()
	x.tx = tx
	return nil
}

// Rcpt implements smtp.Session.
func (x *session) Rcpt(to string, opts *smtp.RcptOptions) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tx == nil {
		return reply(503, "5.5.1", "there is no sender yet")
	}
	p, err := parsePath(to)
	if err != nil {
		return reply(553, "5.1.3", "the recipient is not an address")
	}
	if !x.s.domains[p.domain] {
		x.s.note(x, "550 5.7.1")
		return reply(550, "5.7.1", "mail for that domain is not taken here")
	}
	if !strings.EqualFold(p.local, "postmaster") && (!plainLocal(p.local) || x.s.c.Accept != nil && !x.s.c.Accept(p.local, p.domain)) {
		x.s.note(x, "550 5.1.1")
		return reply(550, "5.1.1", "there is no such mailbox")
	}
	if slices.Contains(x.tx.rcpts, p) {
		return nil // one copy is enough
	}
	if len(x.tx.rcpts) >= x.s.c.Limits.Recipients {
		return reply(452, "4.5.3", "too many recipients")
	}
	if x.s.c.Busy != nil && x.s.c.Busy(x.w.peer, p.local, p.domain) {
		x.s.note(x, "451 4.7.1")
		return errBusy
	}
	// The peer's own limit counts what it names, whatever comes of it.
	if !x.s.gate.message(x.w.peer, time.Now()) {
		x.s.note(x, "451 4.7.1")
		return errTooMuch
	}
	x.tx.rcpts = append(x.tx.rcpts, p)
	return nil
}

// Data implements smtp.Session.
func (x *session) Data(r io.Reader) error {
	x.mu.Lock()
	tx := x.tx
	x.mu.Unlock()
	err := x.take(tx, r)
	var said *smtp.SMTPError
	switch {
	case err == nil:
		x.w.accepted.Store(true)
		return nil
	case errors.As(err, &said):
	case errors.Is(err, smtp.ErrDataReset), errors.Is(err, io.ErrUnexpectedEOF):
		return reply(451, "4.4.2", "the message was broken off")
	default:
		said = reply(451, "4.3.0", "the message could not be kept, try again")
	}
	e := said.EnhancedCode
	x.s.c.Log.Warn("mail: not taken", "peer", class(x.w.ip), "tls", x.w.tls, "code", fmt.Sprintf("%d %d.%d.%d", said.Code, e[0], e[1], e[2]))
	return said
}

// take receives a message and puts it into the spool, once for each recipient.
func (x *session) take(tx *envelope, r io.Reader) error {
	if tx == nil || len(tx.rcpts) == 0 {
		return smtp.ErrDataReset // a transaction that is over
	}
	f, err := x.s.receive(r)
	if err != nil {
		return err
	}
	defer f.Close()
	v := x.s.check(x.ctx, x.w.ip, tx, f)
	all := f.size * int64(len(tx.rcpts)) // a copy each
	if !x.s.room(all) {
		return errNoSpace
	}
	back, ok := x.count(tx.rcpts)
	kept := 0
	defer func() {
		for _, b := range back[kept:] {
			b()
		}
	}()
	if !ok {
		return errBusy
	}
	if !x.s.gate.size(x.w.peer, all, time.Now()) {
		return errTooMuch
	}
	for _, rcpt := range tx.rcpts {
		if err := x.store(tx, f, v, rcpt); err != nil {
			return err
		}
		kept++
	}
	return nil
}

// count counts a copy for each recipient, all of them or none: there is one
// answer for all. back[i] undoes the i-th, also if it is not ok.
func (x *session) count(rcpts []path) (back []func(), ok bool) {
	for _, r := range rcpts {
		if x.s.c.Take == nil {
			back = append(back, func() {})
			continue
		}
		b, ok := x.s.c.Take(x.w.peer, r.local, r.domain)
		if !ok {
			return back, false
		}
		back = append(back, b)
	}
	return back, true
}

var (
	errTooMuch = reply(451, "4.7.1", "too many messages, come back later")
	errBusy    = reply(451, "4.7.1", "too much mail for this mailbox, come back later")
)

func (s *Server) room(bytes int64) bool { return s.c.Room == nil || s.c.Room(bytes) }

// store keeps one copy. When it fails for the second recipient the sender sends
// for the first once more as well: SMTP has no answer for each of them.
func (x *session) store(tx *envelope, f *file, v verdicts, rcpt path) error {
	if !x.s.room(f.size) { // others have come meanwhile
		return errNoSpace
	}
	for range 3 {
		id := x.s.ids.next()
		block := x.s.stamp(stamp{id: id, at: x.s.c.Now(), tx: tx, ip: x.w.ip, tls: x.w.tls, rcpt: rcpt, verdicts: v})
		err := x.s.c.Spool.Write(x.ctx, id, io.MultiReader(strings.NewReader(block), f.reader()), int64(len(block))+f.size)
		switch {
		case err == nil:
			x.s.c.Log.Info("mail: received", "id", id.String(), "peer", class(x.w.ip), "tls", x.w.tls, "size", f.size,
				"spf", v.spf.result, "dkim", len(v.passing()) > 0, "dmarc", v.dmarc.result)
			x.s.deliver.give(id, rcpt.String())
			return nil
		case errors.Is(err, mailstore.ErrExists):
			continue
		case errors.Is(err, mailstore.ErrTooLarge):
			return reply(552, "5.3.4", "the message is too large")
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
			return errNoSpace
		}
		return errors.New("the spool failed") // its own words may have a path
	}
	return errors.New("no id is free")
}

// note logs a refusal before there was a message.
func (s *Server) note(x *session, code string) {
	s.c.Log.Info("mail: refused", "peer", class(x.w.ip), "tls", x.w.tls, "code", code)
}
