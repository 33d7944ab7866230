package smtpin

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/mail"
	"strings"

	"github.com/emersion/go-msgauth/dmarc"
	"golang.org/x/net/publicsuffix"
)

// dmarcVerdict is DMARC's word. Whether its policy applies to a part of mail only
// (pct=) plays no role: that was for trying it out, and we do not act on it.
type dmarcVerdict struct {
	result result
	domain string // of From; "" if that is not one address
	policy string // none, quarantine, reject; "" without a record
}

// checkDMARC compares what SPF and DKIM have proven with From (RFC 7489 section
// 3.1).
func checkDMARC(ctx context.Context, dns *lookups, f *file, v verdicts) dmarcVerdict {
	domain, ok := fromDomain(f)
	if !ok {
		return dmarcVerdict{result: permerror}
	}
	d := dmarcVerdict{result: none, domain: domain}
	record, above, err := dmarcRecord(ctx, dns, domain)
	switch {
	case errors.Is(err, dmarc.ErrNoPolicy):
		return d
	case dmarc.IsTempFail(err):
		d.result = temperror
		return d
	case err != nil:
		d.result = permerror
		return d
	}
	d.policy = string(record.Policy)
	if above && record.SubdomainPolicy != "" {
		d.policy = string(record.SubdomainPolicy)
	}
	d.result = fail
	see := func(r result, with string, mode dmarc.AlignmentMode) {
		if !aligned(with, domain, mode) {
			return
		}
		switch {
		case r == pass:
			d.result = pass
		case r == temperror && d.result == fail:
			d.result = temperror
		}
	}
	see(v.spf.result, v.spf.domain, record.SPFAlignment)
	for _, s := range v.dkim {
		see(s.result, s.domain, record.DKIMAlignment)
	}
	return d
}

// dmarcRecord returns the record of a domain, or of the organisation's above.
func dmarcRecord(ctx context.Context, dns *lookups, domain string) (_ *dmarc.Record, above bool, err error) {
	record, err := dmarc.LookupWithOptions(domain, dmarcOptions(ctx, dns))
	org := organisation(domain)
	if errors.Is(err, dmarc.ErrNoPolicy) && org != domain {
		record, err = dmarc.LookupWithOptions(org, dmarcOptions(ctx, dns))
		above = true
	}
	return record, above, err
}

func dmarcOptions(ctx context.Context, dns *lookups) *dmarc.LookupOptions {
	return &dmarc.LookupOptions{LookupTXT: func(name string) ([]string, error) {
		txts, err := dns.LookupTXT(ctx, name)
		var records []string
		for _, txt := range txts {
			if v, _, _ := strings.Cut(txt, ";"); strings.ReplaceAll(strings.TrimSpace(v), " ", "") == "v=DMARC1" {
				records = append(records, txt)
			}
		}
		if len(records) > 1 { // RFC 7489 section 6.6.3: then there is none
			return nil, err
		}
		return records, err
	}}
}

func aligned(with, from string, mode dmarc.AlignmentMode) bool {
	if with == "" {
		return false
	}
	return with == from || mode != dmarc.AlignmentStrict && organisation(with) == organisation(from)
}

// organisation returns the domain that was registered, by the public suffix
// list; a public suffix is its own.
func organisation(domain string) string {
	org, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return domain
	}
	return org
}

// fromDomain returns the domain of the one address of the one From field.
func fromDomain(f *file) (string, bool) {
	froms := f.named("From")
	if len(froms) != 1 || f.odd || len(froms[0]) > 8<<10 {
		return "", false
	}
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		// The name is not looked at: any charset will do.
		CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
	}}
	addrs, err := parser.ParseList(strings.ReplaceAll(froms[0], "\r\n", ""))
	if err != nil || len(addrs) != 1 {
		return "", false
	}
	i := strings.LastIndexByte(addrs[0].Address, '@')
	return canonicalDomain(addrs[0].Address[i+1:])
}
