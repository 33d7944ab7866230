package cloud

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// ErrToken: what should be a web-identity token of a wallet is none.
var ErrToken = errors.New("not a web-identity token of a wallet")

// WalletOfToken reads, without verifying anything, which wallet a token is
// about: STS verifies it. The token is in no error.
func WalletOfToken(token string) (agentkeys.Wallet, error) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return agentkeys.Wallet{}, fmt.Errorf("%w: it has %d parts and not 3", ErrToken, len(parts))
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return agentkeys.Wallet{}, fmt.Errorf("%w: its claims cannot be read", ErrToken)
	}
	rest, ok := strings.CutPrefix(claims.Subject, cloudpolicy.SubjectPrefix)
	if !ok {
		return agentkeys.Wallet{}, fmt.Errorf("%w: its subject does not begin with %s", ErrToken, cloudpolicy.SubjectPrefix)
	}
	w, err := agentkeys.ParseWallet(rest)
	if err != nil {
		return agentkeys.Wallet{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	return w, nil
}
