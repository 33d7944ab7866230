package mailbox

import (
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/verifymail"
)

const (
	fixNothing  = "see that the service was given this very address, and have it send the mail again"
	fixAddress  = "give the service this very address, and have it send the mail again"
	fixOlder    = "have the service send the mail again; if it was sent just now, set this machine's clock"
	fixReceiver = "see that mail for the domain reaches the configured receiver, and that no other writes to this store"
	fixScan     = "see that the receipt rule scans, and have the service send the mail again; do not follow a link in this one"
	fixSender   = "if the service does send from there, name the domain in the mail part of its service file"
	fixProof    = "nothing proves that the service sent it: do not follow its link; have the service send the mail again"
	fixText     = "look at the message yourself, and compare it with the mail part of the service file"
	fixStrange  = "look at the message yourself; have the service send the mail again"
)

// words says of each reason how it reads in a sentence, of one message and of
// many, and what to do about it. The order is that of the checks: the later,
// the nearer a message came.
var words = []struct {
	reason         verifymail.Reason
	one, many, fix string
}{
	{Gone, "was removed before it could be read", "were removed before they could be read", fixNothing},
	{verifymail.TooEarly, "from before this run", "", fixOlder},
	{verifymail.NotForRun, "for another address", "for other addresses", fixAddress},
	{verifymail.TooLarge, "too large", "", fixStrange},
	{verifymail.BadHeader, "with a header that cannot be read", "", fixStrange},
	{verifymail.NotReceived, "without the receiver's own words on top", "", fixReceiver},
	{verifymail.BadVerdicts, "with verdicts that cannot be read", "", fixReceiver},
	{verifymail.SpamVerdict, "that did not pass as free of spam", "", fixScan},
	{verifymail.VirusVerdict, "that did not pass as free of viruses", "", fixScan},
	{verifymail.BadFrom, "without exactly one sender", "", fixStrange},
	{verifymail.SenderUnknown, "by a sender that SERVICE does not use", "by senders that SERVICE does not use", fixSender},
	{verifymail.DKIMMissing, "without a DKIM signature that passes", "", fixProof},
	{verifymail.DKIMNotAligned, "without an aligned DKIM signature", "", fixProof},
	{verifymail.DMARCFailed, "that fails DMARC", "that fail DMARC", fixProof},
	{verifymail.PartlySigned, "of which only a part is signed", "", fixProof},
	{verifymail.BadMIME, "with parts that cannot be read", "", fixStrange},
	{verifymail.TooComplex, "with too many parts", "", fixStrange},
	{verifymail.UnknownCharset, "in an unknown character set", "", fixStrange},
	{verifymail.NoText, "without text", "", fixText},
	{verifymail.NoLink, "without a link", "", fixText},
	{verifymail.NoCode, "without a code", "", fixText},
	{verifymail.LinkHost, "with links to other hosts only", "", fixText},
	{verifymail.LinkPath, "with links to other pages only", "", fixText},
	{verifymail.LinkText, "with a link that shows another host than its own", "", fixProof},
	{verifymail.LinkShape, "with a malformed link", "", fixText},
	{verifymail.SeveralLinks, "with several links that it could be", "", fixText},
	{verifymail.SeveralCodes, "with several codes that it could be", "", fixText},
	{verifymail.Disagreement, "with a text and an HTML form that differ", "", fixStrange},
}

// Words says in words why one message was refused.
func Words(no *verifymail.Refusal, service agentkeys.Service) string {
	text := string(no.Reason)
	for _, w := range words {
		if w.reason == no.Reason {
			text = "a message " + named(w.one, nameOf(service))
		}
	}
	if no.Detail != "" {
		text += ": " + no.Detail
	}
	return text
}

// Fix says what to do about a message that was refused for this reason.
func Fix(why verifymail.Reason) string {
	for _, w := range words {
		if w.reason == why {
			return w.fix
		}
	}
	return ""
}

func nameOf(s agentkeys.Service) string {
	if s.IsZero() {
		return "the service"
	}
	return s.String()
}

func named(words, service string) string { return strings.ReplaceAll(words, "SERVICE", service) }
