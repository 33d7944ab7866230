package smtpin

import (
	"fmt"
	"time"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// Limits bound what peers may do. Zero values are the defaults; nothing can be
// unlimited.
type Limits struct {
	Connections        int           // at once, in all: 256
	ConnectionsPerPeer int           // at once from an IPv4 address or an IPv6 /64: 20
	Messages           int           // in one connection: 100
	MessagesPerMinute  int           // from one peer, one for each recipient, with as many at once: 120
	BytesPerHour       int64         // kept of one peer's messages, once for each recipient, with as many at once: 1 GiB
	Recipients         int           // of one message: 10
	Header             int           // bytes of a message's header: 240 KiB, so that it is 256 KiB with the block on top
	Fields             int           // of a message's header: 1000
	Lines              int           // of a message's header, continuations too: 2000
	Line               int           // bytes of a line of a message, with its CRLF: 64 KiB
	Commands           int           // between two accepted messages: 100
	Errors             int           // 4xx and 5xx replies in one connection: 10
	Idle               time.Duration // for a command line, whole, or any more of a message: 2 min
	Grace              time.Duration // for a message that comes slower than Rate: 1 min
	Rate               int           // bytes a second of a message, at least: 4096
	Total              time.Duration // for one connection: 30 min
	Verdict            time.Duration // for all DNS of one message: 20 s
	Deliver            time.Duration // for one call of Config.Deliver: 1 min
}

// maxReceived is when a mail goes round in circles.
const maxReceived = 50

func (l *Limits) fill() error {
	for _, f := range []struct {
		p    *int
		want int
	}{
		{&l.Connections, 256}, {&l.ConnectionsPerPeer, 20}, {&l.Messages, 100}, {&l.MessagesPerMinute, 120},
		{&l.Recipients, 10}, {&l.Header, mailhead.MaxBlock - maxBlock}, {&l.Fields, 1000}, {&l.Lines, 2000}, {&l.Line, 64 << 10},
		{&l.Commands, 100}, {&l.Errors, 10}, {&l.Rate, 4096},
	} {
		if *f.p == 0 {
			*f.p = f.want
		}
		if *f.p < 0 {
			return fmt.Errorf("%w: a limit is negative", ErrConfig)
		}
	}
	if l.BytesPerHour == 0 {
		l.BytesPerHour = 1 << 30
	}
	if l.BytesPerHour < 0 {
		return fmt.Errorf("%w: a limit is negative", ErrConfig)
	}
	if l.Header > mailhead.MaxBlock-maxBlock {
		return fmt.Errorf("%w: a header of that size would never be sorted", ErrConfig)
	}
	for _, f := range []struct {
		p    *time.Duration
		want time.Duration
	}{
		{&l.Idle, 2 * time.Minute}, {&l.Grace, time.Minute}, {&l.Total, 30 * time.Minute},
		{&l.Verdict, 20 * time.Second}, {&l.Deliver, time.Minute},
	} {
		if *f.p == 0 {
			*f.p = f.want
		}
		if *f.p < 0 {
			return fmt.Errorf("%w: a time limit is negative", ErrConfig)
		}
	}
	return nil
}
