package brokerapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
)

var update = flag.Bool("update", false, "write openapi.json anew from openapi.yaml")

func load(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestDocument: openapi.yaml is a valid OpenAPI 3.1 document, and what is
// served is the same.
func TestDocument(t *testing.T) {
	doc := load(t)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("version %s", doc.OpenAPI)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := doc.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := json.Indent(&buf, text, "", " "); err != nil {
		t.Fatal(err)
	}
	buf.WriteByte('\n')
	if *update {
		if err := os.WriteFile("openapi.json", buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(buf.Bytes(), brokerapi.OpenAPI()) {
		t.Error("openapi.json is not openapi.yaml; run: go test ./internal/brokerapi -update")
	}
}

// TestSchemas: each body has in the document the fields that it has here, and
// demands those that are never left out.
func TestSchemas(t *testing.T) {
	doc := load(t)
	for _, body := range []any{
		brokerapi.Config{}, brokerapi.LoginRequest{}, brokerapi.Login{}, brokerapi.MailProof{}, brokerapi.WalletProof{},
		brokerapi.PasskeyBegin{}, brokerapi.Handoff{}, brokerapi.HandoffProof{}, brokerapi.Session{}, brokerapi.Device{},
		brokerapi.AgentRequest{}, brokerapi.Agent{}, brokerapi.Enrolment{}, brokerapi.EnrolRequest{}, brokerapi.Terms{},
		brokerapi.TokenAnswer{}, brokerapi.Snapshot{}, brokerapi.Revoked{}, brokerapi.Beat{}, brokerapi.Problem{},
		grant.Grant{}, grant.Requests{}, grant.Budget{}, grant.Rate{},
	} {
		ty := reflect.TypeOf(body)
		ref := doc.Components.Schemas[ty.Name()]
		if ref == nil {
			t.Errorf("there is no schema %s", ty.Name())
			continue
		}
		demanded := map[string]bool{}
		for _, name := range ref.Value.Required {
			demanded[name] = true
		}
		for i := range ty.NumField() {
			name, opts, _ := strings.Cut(ty.Field(i).Tag.Get("json"), ",")
			if ref.Value.Properties[name] == nil {
				t.Errorf("%s: no property %s", ty.Name(), name)
			}
			if demanded[name] && opts != "" {
				t.Errorf("%s: %s is demanded, and may be left out", ty.Name(), name)
			}
		}
		if got := len(ref.Value.Properties); got != ty.NumField() {
			t.Errorf("%s: %d properties, %d fields", ty.Name(), got, ty.NumField())
		}
	}
}
