package mailroute

import "github.com/litentry/agentkeys"

// tally is what the addresses of a message amount to.
type tally struct {
	r *Router

	sure    Address          // the first one of a wallet
	several bool             // and one of another wallet
	maybe   agentkeys.Wallet // a wallet that is there in some reading
	maybes  bool             // and another

	murky      bool // what is read now is in dispute: see lister
	bad        bool // an address claims to be a wallet's and is not
	badDispute bool // and it may be that somebody's reading makes one of it
	unknown    bool // a tag is unknown
	other      bool // another address of ours
	foreign    bool
}

// pair counts a local part at a domain.
func (t *tally) pair(local, domain *buffer, sure bool) {
	dom := domain.bytes()
	switch {
	case !validDomain(dom):
		if tagLike(local.bytes()) {
			t.malformed()
		} else {
			t.foreign = true
		}
		return
	case !t.r.ours(dom):
		t.foreign = true
		return
	}
	a, ok := parseLocal(local.bytes())
	switch {
	case !ok && tagLike(local.bytes()):
		t.malformed()
	case !ok:
		t.other = true
	case !t.r.knows(a):
		t.unknown = true
		t.doubt(a.wallet)
	case !sure:
		t.bad = true
		t.doubt(a.wallet)
	case t.sure.IsZero():
		t.sure = a
	case t.sure.wallet != a.wallet:
		t.several = true
	}
}

func (t *tally) malformed() {
	t.bad = true
	t.badDispute = t.badDispute || t.murky
}

func (t *tally) doubt(w agentkeys.Wallet) {
	switch {
	case t.maybe.IsZero():
		t.maybe = w
	case t.maybe != w:
		t.maybes = true
	}
}

// decide returns what to do once all addresses are counted.
func (t *tally) decide() Decision {
	switch {
	case t.several, t.maybes, !t.sure.IsZero() && !t.maybe.IsZero() && t.maybe != t.sure.wallet:
		return Decision{Outcome: Refuse, Reason: ReasonSeveralWallets}
	case !t.sure.IsZero() && !t.badDispute:
		return Decision{Outcome: Route, Address: t.sure}
	case t.bad:
		return Decision{Outcome: Refuse, Reason: ReasonMalformed}
	case t.unknown:
		return Decision{Outcome: Refuse, Reason: ReasonUnknownTag}
	case t.other:
		return Decision{Outcome: Ignore, Reason: ReasonOtherAddress}
	case t.foreign:
		return Decision{Outcome: Ignore, Reason: ReasonOtherDomain}
	}
	return Decision{Outcome: Ignore, Reason: ReasonNoAddress}
}
