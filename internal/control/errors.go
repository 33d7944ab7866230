package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/federate"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailbox"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/mint"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
)

// Error is a failure as a caller on the other side of the socket sees it:
// what is wrong, and what to do about it.
type Error struct {
	Code    string `json:"code"` // stable, for scripts
	Problem string `json:"problem"`
	Fix     string `json:"fix,omitempty"`
	status  int
}

func (e *Error) Error() string { return e.Problem }

// The codes of Error that the command line maps to exit codes.
const (
	CodeNotFound  = "not-found"
	CodeUnknown   = "unknown-service"
	CodeExists    = "exists"
	CodeDenied    = "denied"
	CodeForbidden = "forbidden"
	CodeBadKey    = "key-refused"
	CodeRequest   = "malformed"
	CodeConflict  = "conflict"
	CodeCorrupt   = "corrupt"
	CodeDisk      = "disk"
	CodeAway      = "unreachable" // broker, store or signer
	CodeLoggedOut = "logged-out"  // the broker does not know this device any more
	CodeNoMail    = "no-mail"     // that was waited for
	CodeExchange  = "exchange-refused"
	CodeInternal  = "internal"
)

// outcomes maps what the packages below can say to what the owner reads. The
// first that matches counts.
var outcomes = []struct {
	is     error
	code   string
	status int
	fix    string
}{
	{syscall.ENOSPC, CodeDisk, http.StatusInsufficientStorage, "free some space on the disk, then run 'agentkeys down' and 'agentkeys up'"},
	{syscall.EDQUOT, CodeDisk, http.StatusInsufficientStorage, "raise the disk quota, then run 'agentkeys down' and 'agentkeys up'"},
	{syscall.EIO, CodeDisk, http.StatusInternalServerError, "the disk fails: copy what is on it to another, and set AGENTKEYS_HOME to it"},
	{syscall.EROFS, CodeDisk, http.StatusInternalServerError, "the disk is mounted read-only: mount it anew, then run 'agentkeys down' and 'agentkeys up'"},
	{ErrForbidden, CodeForbidden, http.StatusForbidden, "run this yourself, outside 'agentkeys run': an agent's process may not manage keys"},
	{daemon.ErrPeer, CodeForbidden, http.StatusForbidden, "run this as the user who started 'agentkeys up'"},
	{agentkeys.ErrName, CodeRequest, http.StatusBadRequest, ""},
	{catalog.ErrUnknown, CodeUnknown, http.StatusNotFound, "list the services with 'agentkeys services', or add your own with 'agentkeys services add FILE'"},
	{catalog.ErrFile, CodeRequest, http.StatusUnprocessableEntity, "mend that line; docs/reference/catalogue.md describes the format"},
	{catalog.ErrSettings, CodeRequest, http.StatusUnprocessableEntity, "'agentkeys services set --help' has examples"},
	{catalog.ErrPrice, CodeRequest, http.StatusUnprocessableEntity, "write MODEL=IN/OUT, in dollars for a million tokens, such as some-model=3/15"},
	{local.ErrServiceMoves, CodeConflict, http.StatusConflict, "remove the key first with 'agentkeys rm SERVICE', or add --force if it is meant for that host as well"},
	{local.ErrServiceInUse, CodeConflict, http.StatusConflict, "remove its key first with 'agentkeys rm SERVICE --force'"},
	{catalog.ErrKeyRefused, CodeBadKey, http.StatusUnprocessableEntity, "store an ordinary key; this kind can manage the account"},
	{catalog.ErrKeyPattern, CodeBadKey, http.StatusUnprocessableEntity, "check that the whole key was pasted; if the service has changed its keys, add --any-form"},
	{local.ErrAudience, CodeForbidden, http.StatusForbidden, "have the broker's operator list the audience under 'audiences' in its configuration; never the store's own or the signer's"},
	{local.ErrNoFederation, CodeNotFound, http.StatusNotFound, "'agentkeys federate SERVICE' shows how it is set up; 'agentkeys services show SERVICE' says which doors it has"},
	{federate.ErrSetup, CodeRequest, http.StatusUnprocessableEntity, "'agentkeys federate SERVICE' shows what is wanted"},
	{federate.ErrRefused, CodeExchange, http.StatusForbidden, "compare issuer, subject, audience and ids with what is set up at the service: 'agentkeys federate SERVICE' shows them"},
	{federate.ErrTemporary, CodeAway, http.StatusServiceUnavailable, "check the network and the address of the token endpoint, and try again"},
	{federate.ErrAnswer, CodeAway, http.StatusBadGateway, "check the address of the token endpoint"},
	{local.ErrKeyRejected, CodeBadKey, http.StatusUnprocessableEntity, "check the key on the service's own page; nothing was stored"},
	{local.ErrKeyForm, CodeBadKey, http.StatusUnprocessableEntity, "paste the key alone, without quotes or a line around it"},
	{local.ErrTooShort, CodeBadKey, http.StatusUnprocessableEntity, fmt.Sprintf("a key has at least %d characters", local.MinSecret)},
	{secret.ErrTooLarge, CodeBadKey, http.StatusRequestEntityTooLarge, "paste the key alone"},
	{local.ErrGranted, CodeConflict, http.StatusConflict, "revoke the grants first, or add --force to revoke them all"},
	{local.ErrNoCost, CodeRequest, http.StatusUnprocessableEntity, "give a budget in requests (--budget 1000req/day), or set prices with 'agentkeys services set NAME --price MODEL=IN/OUT'"},
	{local.ErrTerms, CodeRequest, http.StatusUnprocessableEntity, "choose others; 'agentkeys grant --help' has examples"},
	{local.ErrNoManagement, CodeConflict, http.StatusConflict, "store one with 'agentkeys store SERVICE --management'; 'agentkeys services show SERVICE' says where it comes from"},
	{local.ErrOtherAccount, CodeConflict, http.StatusConflict, "use a management key of the same account, or add --force if those keys are deleted on the service's page"},
	{local.ErrKeysAlive, CodeConflict, http.StatusConflict, "revoke the grants first and wait until 'agentkeys doctor' says that their keys are deleted, or add --force and delete them on the service's page"},
	{local.ErrNewKey, CodeAway, http.StatusBadGateway, "nothing was replaced; try again in a minute"},
	{mint.ErrRefused, CodeBadKey, http.StatusUnprocessableEntity, "check the management key on the service's page, and store a good one with 'agentkeys store SERVICE --management'"},
	{mint.ErrTemporary, CodeAway, http.StatusServiceUnavailable, "try again in a minute; what is there already goes on"},
	{mint.ErrSetup, CodeRequest, http.StatusUnprocessableEntity, "set what is missing with 'agentkeys services set SERVICE --mint-param NAME=VALUE' or '--mint-url URL'"},
	{mint.ErrUnsupported, CodeUnknown, http.StatusUnprocessableEntity, "'agentkeys services show SERVICE' says what is known about getting a key"},
	{mint.ErrAnswer, CodeAway, http.StatusBadGateway, "the service's API may have changed: see 'agentkeys doctor' for keys that are left there"},
	{local.ErrRotating, CodeConflict, http.StatusConflict, "wait for it to end"},
	{local.ErrAgentHost, CodeForbidden, http.StatusForbidden, "do it on a machine of the master's, after 'agentkeys login'"},
	{local.ErrRemote, CodeForbidden, http.StatusForbidden, "the signer's operator rotates its roots; 'agentkeys logout' goes back to those on this machine"},
	{local.ErrNoBroker, CodeConflict, http.StatusConflict, "log in at a broker first: 'agentkeys login --broker URL'"},
	{local.ErrLoggedOut, CodeLoggedOut, http.StatusForbidden, "log in anew: 'agentkeys down', 'agentkeys logout', 'agentkeys login --broker URL'"},
	{local.ErrRefusedAway, CodeForbidden, http.StatusForbidden, "the store or the signer refuses this wallet's session: ask the broker's operator to run 'agentkeys cloud verify'"},
	{local.ErrAway, CodeAway, http.StatusServiceUnavailable, "check the network and try again; 'agentkeys status' shows whether the broker is heard"},
	{local.ErrConfig, CodeCorrupt, http.StatusInternalServerError, "mend or remove the file it names"},
	{local.ErrNoMail, CodeConflict, http.StatusConflict, "on a laptop 'agentkeys up' takes mail unless it was started with --no-mail; at a broker its operator sets cloud.mail"},
	{local.ErrNoTag, CodeUnknown, http.StatusUnprocessableEntity, "give the service a mail_tag in a service file of your own; docs/reference/catalogue.md describes it"},
	{local.ErrMailAddress, CodeRequest, http.StatusUnprocessableEntity, "make one with 'agentkeys mail address SERVICE'"},
	{local.ErrMailSettings, CodeRequest, http.StatusUnprocessableEntity, "'agentkeys up --help' and 'agentkeys mail --help' have examples"},
	{local.ErrPlace, CodeRequest, http.StatusUnprocessableEntity, "the places are inbox and, where this machine receives mail itself, inbound and refused"},
	{local.ErrReview, CodeRequest, http.StatusUnprocessableEntity, "'agentkeys terms review --help' has examples"},
	{local.ErrNoReview, CodeNotFound, http.StatusNotFound, "'agentkeys terms' lists what has been reviewed"},
	{local.ErrNoTermsURL, CodeUnknown, http.StatusUnprocessableEntity, "find them on the service's pages and name them with --url URL"},
	{local.ErrTermsPage, CodeAway, http.StatusBadGateway, "read them in a browser, save the page, and give the copy with --text FILE"},
	{local.ErrMailFacts, CodeUnknown, http.StatusUnprocessableEntity, "name them with --sender and --link-host, or in a service file of your own"},
	{local.ErrUnasked, CodeAway, http.StatusServiceUnavailable, "check the network and run the same again: the key that was found is kept, and goes on from there"},
	{local.ErrDrawer, CodeRequest, http.StatusBadRequest, ""},
	{local.ErrEvent, CodeRequest, http.StatusBadRequest, ""},
	{mailbox.ErrOptions, CodeRequest, http.StatusUnprocessableEntity, "'agentkeys mail wait --help' has examples"},
	{mailstore.ErrGone, CodeNotFound, http.StatusNotFound, "list the messages with 'agentkeys mail ls'"},
	{mailstore.ErrTooLarge, CodeRequest, http.StatusUnprocessableEntity, "a mail of a sign-up is below 1 MiB: this is something else"},
	{book.ErrAgentExists, CodeExists, http.StatusConflict, "choose another label, or go on with the agent there is"},
	{book.ErrUnknownAgent, CodeNotFound, http.StatusNotFound, "list the agents with 'agentkeys agent list', or create it with 'agentkeys agent create LABEL'"},
	{book.ErrUnknownToken, CodeNotFound, http.StatusNotFound, "start a new session"},
	{book.ErrUnknownGrant, CodeNotFound, http.StatusNotFound, "list the grants with 'agentkeys grants'"},
	{book.ErrCorrupt, CodeCorrupt, http.StatusInternalServerError, "run 'agentkeys doctor'"},
	{vault.ErrNotFound, CodeNotFound, http.StatusNotFound, "store it first with 'agentkeys store SERVICE'"},
	{vault.ErrMissing, CodeCorrupt, http.StatusInternalServerError, "somebody removed it from the store: restore a backup, or store the key anew"},
	{vault.ErrRollback, CodeCorrupt, http.StatusInternalServerError, "an older copy of the credential was put back: restore the newest backup, or store the key anew"},
	{vault.ErrConflict, CodeConflict, http.StatusConflict, "somebody else changed it at the same time: try again"},
	{envelope.ErrCommitment, CodeCorrupt, http.StatusInternalServerError, damaged},
	{envelope.ErrDecrypt, CodeCorrupt, http.StatusInternalServerError, damaged},
	{envelope.ErrTruncated, CodeCorrupt, http.StatusInternalServerError, damaged},
	{envelope.ErrVersion, CodeCorrupt, http.StatusInternalServerError, damaged},
	{envelope.ErrRecord, CodeCorrupt, http.StatusInternalServerError, damaged},
	{envelope.ErrTooLarge, CodeCorrupt, http.StatusInternalServerError, damaged},
	{vault.ErrSize, CodeCorrupt, http.StatusInternalServerError, damaged},
	{vault.ErrMark, CodeCorrupt, http.StatusInternalServerError, "remove the damaged mark it names below the 'marks' directory: the next read then counts as the first one on a new device"},
	{signer.ErrUnknownEpoch, CodeCorrupt, http.StatusInternalServerError, "it was sealed with a root that has been retired: run 'agentkeys rm SERVICE --force' and store the key anew"},
	{audit.ErrStopped, CodeDisk, http.StatusServiceUnavailable, "the audit log could not be written, so nothing is lent: see 'agentkeys logs', mend the disk, then run 'agentkeys down' and 'agentkeys up'"},
	{ErrRequest, CodeRequest, http.StatusBadRequest, ""},
	{fs.ErrPermission, CodeDisk, http.StatusInternalServerError, "give yourself access to the file it names"},
}

const damaged = "the stored credential is damaged: restore a backup, or run 'agentkeys rm SERVICE --force' and store the key anew"

// describe turns an error into what the caller sees. An unforeseen one is
// logged whole and shown as it is: errors below never carry a secret.
func (s *Server) describe(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if d, ok := errors.AsType[*grant.Denial](err); ok {
		return &Error{Code: CodeDenied, Problem: d.Error(), status: http.StatusForbidden}
	}
	if t, ok := errors.AsType[*mailbox.Timeout](err); ok {
		return &Error{Code: CodeNoMail, Problem: t.Error(), Fix: t.Fix(), status: http.StatusGatewayTimeout}
	}
	for _, o := range outcomes {
		if errors.Is(err, o.is) {
			return &Error{Code: o.code, Problem: err.Error(), Fix: o.fix, status: o.status}
		}
	}
	if p, ok := errors.AsType[*brokerapi.Problem](err); ok {
		return &Error{Code: p.Code, Problem: err.Error(), Fix: p.Fix, status: http.StatusBadGateway}
	}
	s.log.Error("control request failed", "err", err)
	return &Error{Code: CodeInternal, Problem: err.Error(), Fix: "see 'agentkeys logs' for more", status: http.StatusInternalServerError}
}
