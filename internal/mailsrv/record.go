package mailsrv

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/webserve"
)

// OpRoute is the operation of the log: a message was decided about.
const OpRoute = "mail.route"

// record keeps what was decided. What was put off is decided later, and has its
// entry then: a flood would otherwise be written again with each try.
func record(r Recorder, m *metrics) func(context.Context, mailrouter.Entry) error {
	return func(ctx context.Context, e mailrouter.Entry) error {
		m.count(e)
		ev := grant.Event{Time: e.Time, Op: OpRoute, Decision: grant.Done, Reason: e.Reason, Request: e.ID.String()}
		switch e.Outcome {
		case mailrouter.Placed, mailrouter.Already:
			ev.Subject = e.Wallet.String() + " " + e.Tag
		case mailrouter.Ignored:
		case mailrouter.Refused:
			ev.Decision = grant.Denied
		default:
			return nil // put off, or gone: whoever came first has recorded it
		}
		return r.Record(ctx, ev)
	}
}

// sorter has a router handle messages, and says in the log what became of them.
type sorter struct {
	router *mailrouter.Router
	log    *slog.Logger
}

func (s sorter) handle(ctx context.Context, p *post) verdict {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	e, err := s.router.Handle(ctx, mailrouter.Event{ID: p.id, Recipients: p.recipients})
	about := []any{"message", p.id.String(), "outcome", e.Outcome}
	for _, x := range [][2]string{{"reason", e.Reason}, {"tag", e.Tag}} {
		if x[1] != "" {
			about = append(about, x[0], x[1])
		}
	}
	if !e.Wallet.IsZero() {
		about = append(about, "wallet", e.Wallet.String())
	}
	switch {
	case err != nil:
		s.log.Warn("mail waits", append(about, "tries", p.tries+1, "err", err)...)
		return again
	case e.Outcome == mailrouter.Ignored:
		s.log.Info("mail", about...)
		return ignored
	}
	s.log.Info("mail", about...)
	return settled
}

// metrics of a mail server. Labels are words of ours, of which there are few.
type metrics struct {
	web             *webserve.Metrics
	received, swept prometheus.Counter
	held, pruned    prometheus.Counter
	fetched         prometheus.Counter
	outcomes        *prometheus.CounterVec
}

func newMetrics(version string) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		web:      webserve.NewMetrics(version),
		received: counter("agentkeys_mail_received_total", "Messages that were accepted: one for each recipient."),
		held:     counter("agentkeys_mail_held_back_total", "Recipients whose senders were told to come back later, by the limit of a wallet or a peer's part of it."),
		swept:    counter("agentkeys_mail_swept_total", "Messages that were found waiting."),
		pruned:   counter("agentkeys_mail_pruned_total", "Messages that were removed for their age."),
		fetched:  counter("agentkeys_mail_fetched_bytes_total", "Bytes read to decide about messages."),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentkeys_mail_handled_total", Help: "What became of messages, by outcome and reason; one that waits is counted at each try.",
		}, []string{"outcome", "reason"}),
	}
	m.web.Registry.MustRegister(m.received, m.held, m.swept, m.pruned, m.fetched, m.outcomes)
	return m
}

func (m *metrics) count(e mailrouter.Entry) {
	m.outcomes.WithLabelValues(string(e.Outcome), e.Reason).Inc()
	m.fetched.Add(float64(e.Fetched))
}

func (m *metrics) entries(size func() int64) {
	m.gauge("agentkeys_audit_entries", "Entries of this server's audit log.", func() float64 { return float64(size()) })
}

func (m *metrics) office(o *office) {
	m.gauge("agentkeys_mail_waiting", "Messages in memory that are to be sorted, now or again.", func() float64 {
		held, _ := o.size()
		return float64(held)
	})
	m.gauge("agentkeys_mail_put_off", "Those of them that could not be sorted, and are to be tried again.", func() float64 {
		_, later := o.size()
		return float64(later)
	})
}

func (m *metrics) gauge(name, help string, value func() float64) {
	m.web.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}
