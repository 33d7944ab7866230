package remotetest

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/litentry/agentkeys/internal/brokerapi"
)

// proveMail posts a link's token, as the page behind the link does.
func (w *World) proveMail(login, secret string) (h brokerapi.Handoff) {
	w.t.Helper()
	body, err := json.Marshal(brokerapi.MailProof{Token: secret})
	if err != nil {
		w.t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.Roots}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Post(w.URL+strings.Replace(brokerapi.PathLoginMail, "{id}", login, 1), "application/json", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil || h.Code == "" {
		w.t.Fatalf("the link: status %d %v", resp.StatusCode, err)
	}
	return h
}
