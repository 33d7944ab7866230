package smtpin

import (
	"net/netip"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
)

// stamp is what the block on top of a message says. It is of the shape of SES's,
// and mailhead reads it:
//
//	Return-Path: <FROM>
//	Received: from HELO ([IP])
//	 by HOST with ESMTPS
//	 id ID
//	 for RCPT;
//	 DATE
//	Received-SPF: RESULT (HOST: DOMAIN) client-ip=IP; envelope-from="FROM"; helo=HELO;
//	Authentication-Results: HOST;
//	 spf=RESULT smtp.mailfrom=DOMAIN;
//	 dkim=RESULT header.i=@DOMAIN;
//	 dmarc=RESULT header.from=DOMAIN policy.dmarc=POLICY;
//	X-AgentKeys-Receipt: ID
//
// There is no verdict on spam and viruses: nothing here looks for them.
type stamp struct {
	id       agentkeys.MessageID
	at       time.Time
	tx       *envelope
	ip       netip.Addr
	tls      bool
	rcpt     path
	verdicts verdicts
}

// dateLayout is RFC 5322's.
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

func (s *Server) stamp(t stamp) string {
	var b strings.Builder
	w := func(parts ...string) {
		for _, p := range parts {
			b.WriteString(p)
		}
	}
	helo, with, from := t.tx.helo, "ESMTP", t.tx.from.String()
	if helo == "" {
		helo = "unknown"
	}
	if t.tls {
		with = "ESMTPS"
	}
	w("Return-Path: <", from, ">\r\n")
	w("Received: from ", helo, " (", literal(t.ip), ")\r\n by ", s.host, " with ", with, "\r\n id ", t.id.String(),
		"\r\n for ", t.rcpt.String(), ";\r\n ", t.at.UTC().Format(dateLayout), "\r\n")

	v := t.verdicts
	domain := v.spf.domain
	if domain == "" {
		domain = "no domain"
	}
	w("Received-SPF: ", string(v.spf.result), " (", s.host, ": ", domain, ")\r\n client-ip=", strings.TrimPrefix(strings.Trim(literal(t.ip), "[]"), "IPv6:"),
		";\r\n envelope-from=\"", from, "\";\r\n helo=", helo, ";\r\n")

	w("Authentication-Results: ", s.host, ";\r\n spf=", string(v.spf.result))
	switch {
	case v.spf.domain == "":
	case v.spf.helo:
		w(" smtp.helo=", v.spf.domain)
	default:
		w(" smtp.mailfrom=", v.spf.domain)
	}
	if len(v.dkim) == 0 {
		w(";\r\n dkim=", string(none))
	}
	for _, d := range v.dkim {
		w(";\r\n dkim=", string(d.result))
		if d.reason != "" {
			w(" reason=", d.reason)
		}
		if d.domain != "" {
			w(" header.i=@", d.domain)
		}
	}
	w(";\r\n dmarc=", string(v.dmarc.result))
	if v.dmarc.domain != "" {
		w(" header.from=", v.dmarc.domain)
	}
	if v.dmarc.policy != "" {
		w(" policy.dmarc=", v.dmarc.policy)
	}
	w("\r\nX-AgentKeys-Receipt: ", t.id.String(), "\r\n")
	return b.String()
}
