package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"syscall"
	"testing"

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

// TestDescribe writes down what a caller is told of each thing that can be
// wrong. Scripts depend on the codes.
func TestDescribe(t *testing.T) {
	w := newWorld(t)
	table := []struct {
		err    error
		code   string
		status int
		fix    string // a part of it, "" for none
	}{
		{syscall.ENOSPC, "disk", 507, "free some space"},
		{syscall.EDQUOT, "disk", 507, "quota"},
		{syscall.EIO, "disk", 500, "copy what is on it"},
		{syscall.EROFS, "disk", 500, "mount it anew"},
		{ErrForbidden, "forbidden", 403, "outside 'agentkeys run'"},
		{daemon.ErrPeer, "forbidden", 403, "as the user who started"},
		{agentkeys.ErrName, "malformed", 400, ""},
		{catalog.ErrUnknown, "unknown-service", 404, "agentkeys services"},
		{catalog.ErrFile, "malformed", 422, "mend that line"},
		{catalog.ErrSettings, "malformed", 422, "services set --help"},
		{catalog.ErrPrice, "malformed", 422, "MODEL=IN/OUT"},
		{local.ErrServiceMoves, "conflict", 409, "agentkeys rm SERVICE"},
		{local.ErrServiceInUse, "conflict", 409, "agentkeys rm SERVICE"},
		{local.ErrAudience, "forbidden", 403, "'audiences'"},
		{local.ErrNoFederation, "not-found", 404, "agentkeys federate"},
		{federate.ErrSetup, "malformed", 422, "agentkeys federate"},
		{federate.ErrRefused, "exchange-refused", 403, "compare issuer"},
		{federate.ErrTemporary, "unreachable", 503, "token endpoint"},
		{federate.ErrAnswer, "unreachable", 502, "token endpoint"},
		{catalog.ErrKeyRefused, "key-refused", 422, "an ordinary key"},
		{catalog.ErrKeyPattern, "key-refused", 422, "--any-form"},
		{local.ErrKeyRejected, "key-refused", 422, "nothing was stored"},
		{local.ErrKeyForm, "key-refused", 422, "without quotes"},
		{local.ErrTooShort, "key-refused", 422, "8 characters"},
		{secret.ErrTooLarge, "key-refused", 413, "the key alone"},
		{local.ErrGranted, "conflict", 409, "--force"},
		{local.ErrNoCost, "malformed", 422, "1000req/day"},
		{local.ErrTerms, "malformed", 422, "grant --help"},
		{local.ErrRotating, "conflict", 409, "wait"},
		{local.ErrNoManagement, "conflict", 409, "store SERVICE --management"},
		{local.ErrOtherAccount, "conflict", 409, "the same account"},
		{local.ErrKeysAlive, "conflict", 409, "doctor"},
		{local.ErrNewKey, "unreachable", 502, "nothing was replaced"},
		{mint.ErrRefused, "key-refused", 422, "a good one"},
		{mint.ErrTemporary, "unreachable", 503, "in a minute"},
		{mint.ErrSetup, "malformed", 422, "--mint-param"},
		{mint.ErrUnsupported, "unknown-service", 422, "services show"},
		{mint.ErrAnswer, "unreachable", 502, "doctor"},
		{local.ErrReview, "malformed", 422, "terms review --help"},
		{local.ErrNoReview, "not-found", 404, "agentkeys terms"},
		{local.ErrNoTermsURL, "unknown-service", 422, "--url"},
		{local.ErrTermsPage, "unreachable", 502, "--text"},
		{local.ErrAgentHost, "forbidden", 403, "the master's"},
		{local.ErrRemote, "forbidden", 403, "operator"},
		{local.ErrNoBroker, "conflict", 409, "agentkeys login"},
		{local.ErrLoggedOut, "logged-out", 403, "agentkeys login"},
		{local.ErrRefusedAway, "forbidden", 403, "cloud verify"},
		{local.ErrAway, "unreachable", 503, "agentkeys status"},
		{&brokerapi.Problem{Code: "too-many-requests", Title: "slow down", Fix: "wait a minute"}, "too-many-requests", 502, "wait a minute"},
		{local.ErrConfig, "corrupt", 500, "the file it names"},
		{local.ErrNoMail, "conflict", 409, "--no-mail"},
		{local.ErrNoTag, "unknown-service", 422, "mail_tag"},
		{local.ErrMailAddress, "malformed", 422, "mail address"},
		{local.ErrMailSettings, "malformed", 422, "up --help"},
		{local.ErrMailFacts, "unknown-service", 422, "--sender"},
		{local.ErrPlace, "malformed", 422, "inbox"},
		{mailbox.ErrOptions, "malformed", 422, "mail wait --help"},
		{local.ErrUnasked, "unreachable", 503, "goes on from there"},
		{local.ErrDrawer, "malformed", 400, ""},
		{local.ErrEvent, "malformed", 400, ""},
		{mailstore.ErrGone, "not-found", 404, "mail ls"},
		{mailstore.ErrTooLarge, "malformed", 422, "1 MiB"},
		{book.ErrAgentExists, "exists", 409, "another label"},
		{book.ErrUnknownAgent, "not-found", 404, "agent create"},
		{book.ErrUnknownGrant, "not-found", 404, "agentkeys grants"},
		{book.ErrUnknownToken, "not-found", 404, "new session"},
		{book.ErrCorrupt, "corrupt", 500, "doctor"},
		{vault.ErrNotFound, "not-found", 404, "agentkeys store"},
		{vault.ErrMissing, "corrupt", 500, "backup"},
		{vault.ErrRollback, "corrupt", 500, "newest backup"},
		{vault.ErrConflict, "conflict", 409, "try again"},
		{envelope.ErrCommitment, "corrupt", 500, "backup"},
		{envelope.ErrDecrypt, "corrupt", 500, "backup"},
		{envelope.ErrTruncated, "corrupt", 500, "backup"},
		{envelope.ErrVersion, "corrupt", 500, "backup"},
		{envelope.ErrRecord, "corrupt", 500, "backup"},
		{envelope.ErrTooLarge, "corrupt", 500, "backup"},
		{vault.ErrSize, "corrupt", 500, "backup"},
		{vault.ErrMark, "corrupt", 500, "'marks'"},
		{signer.ErrUnknownEpoch, "corrupt", 500, "store the key anew"},
		{audit.ErrStopped, "disk", 503, "agentkeys down"},
		{ErrRequest, "malformed", 400, ""},
		{fs.ErrPermission, "disk", 500, "the file it names"},
	}
	tested := map[error]bool{}
	for _, c := range table {
		tested[c.err] = true
		err := fmt.Errorf("doing something: %w", &vault.Error{Err: c.err})
		got := w.server.describe(err)
		if got.Code != c.code || got.status != c.status || got.Problem != err.Error() || !strings.Contains(got.Fix, c.fix) || c.fix == "" && got.Fix != "" {
			t.Errorf("%v: %d %s, fix %q", c.err, got.status, got.Code, got.Fix)
		}
	}
	met := map[error]bool{}
	for _, o := range outcomes {
		if !tested[o.is] || met[o.is] {
			t.Errorf("%v has no test, or is there twice", o.is)
		}
		met[o.is] = true
		if o.status < 400 || o.code == "" {
			t.Errorf("%v: %d %q", o.is, o.status, o.code)
		}
	}
	if before := w.logged(); strings.Contains(before, "control request failed") {
		t.Errorf("logged: %s", before)
	}

	// What is most specific counts: a stopped log says why it stopped.
	got := w.server.describe(fmt.Errorf("%w: %w", audit.ErrStopped, syscall.ENOSPC))
	if got.Code != CodeDisk || !strings.Contains(got.Fix, "free some space") {
		t.Errorf("%+v", got)
	}
	got = w.server.describe(fmt.Errorf("x: %w", &grant.Denial{Code: grant.CodeNoGrant, Detail: "no"}))
	if got.Code != CodeDenied || got.status != 403 {
		t.Errorf("%+v", got)
	}
	ready := &Error{Code: CodeExists, Problem: "p", Fix: "f", status: 409}
	if got = w.server.describe(fmt.Errorf("x: %w", ready)); got != ready {
		t.Errorf("%+v", got)
	}
	got = w.server.describe(errors.New("nobody thought of this"))
	if got.Code != CodeInternal || got.status != http.StatusInternalServerError || got.Fix == "" || !strings.Contains(w.logged(), "nobody thought of this") {
		t.Errorf("%+v, logged %s", got, w.logged())
	}
}
