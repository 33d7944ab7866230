package signersrv

import (
	"encoding/json"
	"net/http"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signerapi"
	"github.com/litentry/agentkeys/internal/webserve"
)

// walletRequest is signerapi.WalletRequest as it is read: an agent that is
// null must not turn into its master.
type walletRequest struct {
	Account string          `json:"account"`
	Agent   json.RawMessage `json:"agent"`
}

func (q walletRequest) path() (signer.Path, error) {
	if q.Agent == nil {
		return signer.MasterPath(), nil
	}
	var label string
	if string(q.Agent) == "null" || json.Unmarshal(q.Agent, &label) != nil {
		return signer.Path{}, agentkeys.ErrName
	}
	a, err := agentkeys.ParseAgent(label)
	return signer.AgentPath(a), err
}

// wallet answers a broker. What it answers is no secret, but only brokers have
// a reason to ask, and their number is known.
func (s *Server) wallet(r *http.Request) (answer, error) {
	p, err := peer(r)
	if err != nil {
		return nil, err
	}
	if !s.isBroker(p) {
		return nil, forbidden("the key of this certificate is not one of the brokers'")
	}
	var q walletRequest
	if err := webserve.DecodeJSON(r, &q); err != nil {
		return nil, err
	}
	account, err := signer.ParseAccountID(q.Account)
	if err == nil {
		var path signer.Path
		if path, err = q.path(); err == nil {
			var w agentkeys.Wallet
			if w, err = s.o.Core.Wallet(account, path); err != nil {
				return nil, s.failed(r, err)
			}
			return jsonAnswer{signerapi.WalletAnswer{Wallet: w}}, nil
		}
	}
	return nil, &brokerapi.Problem{
		Code: brokerapi.CodeRequest, Status: http.StatusBadRequest, Title: "The request is malformed",
		Detail: "the account or the agent is malformed",
	}
}
