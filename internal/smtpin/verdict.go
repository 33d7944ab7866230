package smtpin

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"

	"blitiri.com.ar/go/spf"
	"github.com/emersion/go-msgauth/dkim"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// result is a word of RFC 8601 section 2.7.
type result string

const (
	none      result = "none"
	pass      result = "pass"
	fail      result = "fail"
	softfail  result = "softfail"
	neutral   result = "neutral"
	policy    result = "policy" // signed, but not in a way that counts here
	temperror result = "temperror"
	permerror result = "permerror"
)

// verdicts are what was found out about a message.
type verdicts struct {
	spf   spfVerdict
	dkim  []dkimVerdict
	dmarc dmarcVerdict
}

type spfVerdict struct {
	result result
	domain string // "" if there is none to ask
	helo   bool   // domain is the peer's name, as the sender is <>
}

type dkimVerdict struct {
	result result
	domain string // "" if the signature has none that makes sense
	reason string // a word, or ""
}

// passing returns the domains whose signature holds.
func (v verdicts) passing() (domains []string) {
	for _, d := range v.dkim {
		if d.result == pass {
			domains = append(domains, d.domain)
		}
	}
	return domains
}

// check finds out about a message.
func (s *Server) check(ctx context.Context, ip netip.Addr, tx *envelope, f *file) verdicts {
	ctx, cancel := context.WithTimeout(ctx, s.c.Limits.Verdict)
	defer cancel()
	dns := newLookups(s.dns)
	var v verdicts
	var wg sync.WaitGroup
	wg.Go(func() { v.spf = checkSPF(ctx, dns, ip, tx) })
	v.dkim = checkDKIM(ctx, dns, f)
	wg.Wait()
	v.dmarc = checkDMARC(ctx, dns, f, v)
	return v
}

// checkSPF asks whether ip may send for the sender's domain; of <>, which has
// none, for the name that the peer gives itself (RFC 7208 section 2.4). The
// library keeps RFC 7208's limits: 10 lookups, 2 of them void, 10 MX.
func checkSPF(ctx context.Context, dns *lookups, ip netip.Addr, tx *envelope) spfVerdict {
	v := spfVerdict{result: none, domain: tx.from.domain}
	sender := tx.from.String()
	if tx.from.isZero() {
		v.helo = true
		if !strings.Contains(tx.helo, ".") || strings.HasPrefix(tx.helo, "[") {
			return v
		}
		v.domain, sender = tx.helo, "postmaster@"+tx.helo
	}
	if !ip.IsValid() {
		return v
	}
	r, _ := spf.CheckHostWithSender(ip.Unmap().AsSlice(), tx.helo, sender, spf.WithContext(ctx), spf.WithResolver(dns))
	switch r := result(r); r {
	case none, pass, fail, softfail, neutral, temperror, permerror:
		v.result = r
	default:
		v.result = permerror
	}
	return v
}

const (
	maxSignatures = 5
	// The library looks at every field for every name in h=.
	maxSignature  = 8 << 10 // bytes of one
	maxSignedKeys = 256     // names in its h=
	// The library holds blank lines until it has seen what follows, and copies
	// them with every write.
	maxSpaces = 16 << 10
	// The library joins the lines of a field one by one. Real headers take a
	// hundredth of this.
	maxCopied = 16 << 20 // bytes
)

// checkDKIM verifies signatures. The library refuses l=, SHA-1, RSA below 1024
// bits, an x= that is over, and an h= without From.
func checkDKIM(ctx context.Context, dns *lookups, f *file) []dkimVerdict {
	signatures := f.named("DKIM-Signature")
	if len(signatures) == 0 {
		return nil
	}
	if why := uncheckable(f, signatures); why != "" {
		return []dkimVerdict{{result: policy, reason: why}}
	}
	r := f.reader()
	if !strings.HasSuffix(string(f.head), "\r\n\r\n") && int64(len(f.head)) == f.size {
		r = io.MultiReader(r, strings.NewReader("\r\n")) // a header and nothing else
	}
	found, err := dkim.VerifyWithOptions(r, &dkim.VerifyOptions{
		MaxVerifications: maxSignatures,
		LookupTXT: func(name string) ([]string, error) {
			txts, err := dns.LookupTXT(ctx, name)
			for _, txt := range txts {
				if len(txt) > maxKey {
					return nil, errLookup
				}
			}
			return txts, err
		},
	})
	var vs []dkimVerdict
	for _, d := range found {
		vs = append(vs, dkimOne(d))
	}
	switch {
	case errors.Is(err, dkim.ErrTooManySignatures):
		vs = append(vs, dkimVerdict{result: policy, reason: "too-many-signatures"})
	case err != nil:
		// Not one of the library's verdicts, so none of them can be relied on.
		return []dkimVerdict{{result: temperror}}
	}
	return vs
}

func dkimOne(d *dkim.Verification) dkimVerdict {
	domain, ok := canonicalDomain(d.Domain)
	switch {
	case !ok:
		return dkimVerdict{result: permerror}
	case d.Err == nil:
		return dkimVerdict{result: pass, domain: domain}
	case dkim.IsTempFail(d.Err):
		return dkimVerdict{result: temperror, domain: domain}
	case dkim.IsPermFail(d.Err):
		return dkimVerdict{result: permerror, domain: domain}
	}
	return dkimVerdict{result: fail, domain: domain}
}

// uncheckable says why no signature of a message can count, or would cost too
// much to check.
func uncheckable(f *file, signatures []string) string {
	if f.odd {
		// Readers begin the body at such a line; for a signature it begins
		// further down, and what is between is nobody's word.
		return "malformed-header"
	}
	seen := map[string]bool{}
	for _, x := range f.fields {
		if mailhead.Single(x.name) {
			name := strings.ToLower(x.name)
			if seen[name] {
				return "repeated-field"
			}
			seen[name] = true
		}
	}
	if f.copied > maxCopied {
		return "long-fields"
	}
	if f.spaces > maxSpaces {
		return "blank-lines"
	}
	for _, s := range signatures[:min(len(signatures), maxSignatures)] {
		if len(s) > maxSignature || strings.Count(s, ":") > maxSignedKeys {
			return "large-signature"
		}
	}
	return ""
}
