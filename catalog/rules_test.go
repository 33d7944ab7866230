package catalog

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

type recorder struct{}

func (recorder) Record(context.Context, grant.Event) error { return nil }
func (recorder) Note(grant.Event) error                    { return nil }

// decide asks what would ask in earnest: a grant without rules of its own.
func decide(t *testing.T, e *Entry, method, path string) (grant.Code, bool) {
	t.Helper()
	w := agentkeys.WalletFrom([20]byte{19: 1})
	a := agentkeys.Must(agentkeys.ParseAgent("tester"))
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := &grant.Grant{ID: "g", Master: w, Wallet: w, Agent: a, Svc: e.ID, Created: now, Expires: now.Add(time.Hour)}
	d := grant.NewDecider(grant.NewLedger(), recorder{})
	_, err := d.Use(t.Context(), a, w, e.ID, g, e.Policy(), grant.Request{ID: "r", Method: method, Path: path, Time: now})
	if err == nil {
		return "", true
	}
	var denial *grant.Denial
	if !errors.As(err, &denial) {
		t.Fatal(err)
	}
	return denial.Code, false
}

func TestRules(t *testing.T) {
	table := map[string]struct{ allowed, shut, denied string }{
		"openrouter": {
			`POST /chat/completions; POST /responses; POST /messages; POST /embeddings; POST /rerank; POST /images
			POST /audio/speech; POST /audio/transcriptions; GET /models; GET /models/openai/gpt-4o/endpoints; GET /images/models`,
			`GET /key; GET /key/; GET /KEY; GET /keys; POST /keys; DELETE /keys/abc; GET /Keys/abc; POST /auth/keys; POST /auth/keys/code
			GET /byok; POST /byok/1; GET /credits; POST /credits/coinbase; GET /activity; GET /analytics/meta; POST /analytics/query
			GET /workspaces; GET /workspaces/1/members; GET /guardrails/1; GET /observability/destinations; GET /organization/members
			GET /scim/groups; GET /generation/content; GET /files; GET /files/1/content; POST /presets/a/chat/completions; POST /oauth/token`,
			`GET /chat/completions; DELETE /models/a; POST /videos; GET /; GET /generation`,
		},
		"brave-search": {
			`GET /web/search; POST /web/search; GET /images/search; GET /news/search; GET /suggest/search; GET /llm/context; POST /chat/completions`,
			``,
			`GET /; DELETE /web/search; GET /keys; POST /suggest/search`,
		},
		"jina": {`POST /embeddings; POST /rerank; POST /classify`, ``, `GET /embeddings; GET /api_key/user; POST /train`},
		"anthropic": {
			`POST /v1/messages; POST /v1/messages/count_tokens; GET /v1/models; GET /v1/models/claude-opus-4`,
			`POST /v1/oauth/token; GET /v1/organizations/api_keys; POST /v1/organizations/federation_rules; GET /v1/vaults
			POST /v1/vaults/1/credentials; GET /v1/files; GET /v1/files/1/content; POST /v1/tunnels/1/reveal_token`,
			`POST /v1/messages/batches; GET /v1/messages; POST /messages; DELETE /v1/models/a`,
		},
		"groq": {
			`POST /openai/v1/chat/completions; POST /openai/v1/responses; GET /openai/v1/models; GET /openai/v1/models/openai/gpt-oss-20b; POST /openai/v1/audio/transcriptions`,
			`DELETE /openai/v1/models/a; POST /openai/v1/files; GET /openai/v1/files/1/content; POST /openai/v1/batches`,
			`POST /v1/chat/completions; POST /chat/completions`,
		},
		"gemini": {
			`GET /v1beta/models; GET /v1beta/models/gemini-2.5-flash; POST /v1beta/models/gemini-2.5-flash:generateContent
			POST /v1beta/models/gemini-2.5-flash:streamGenerateContent; POST /v1beta/models/x:embedContent; POST /v1/models/x:countTokens`,
			`POST /v1beta/auth_tokens; POST /v1alpha/auth_tokens; GET /v1beta/files; DELETE /v1beta/files/a; POST /v1beta/files:register
			POST /upload/v1beta/files; GET /v1beta/cachedContents; POST /v1beta/batches`,
			`POST /v2/projects/p/locations/global/keys; POST /v1beta/models/x:asyncBatchEmbedContent; POST /v1beta/models/a/b:generateContent`,
		},
		"openai": {
			`POST /chat/completions; POST /responses; POST /embeddings; POST /images/generations; POST /audio/speech; GET /models; GET /models/gpt-4o`,
			`GET /organization/admin_api_keys; POST /organization/projects/p/service_accounts; POST /realtime/client_secrets; GET /me; GET /ME
			GET /files; POST /files; GET /containers/1/files; POST /realtime/sessions; POST /chatkit/sessions; POST /projects/p/roles; DELETE /models/m; POST /uploads`,
			`GET /chat/completions; POST /v1/chat/completions; POST /assistants; GET /responses/1`,
		},
		"github": {
			`GET /rate_limit; GET /repos/a/b; GET /repos/a/b/issues; GET /repos/a/b/contents/x/y.go; POST /repos/a/b/issues; POST /repos/a/b/pulls; GET /search/code; GET /repositories/1/issues`,
			`POST /app/installations/1/access_tokens; POST /app-manifests/c/conversions; GET /user/keys; POST /user/keys; GET /repos/a/b/keys; POST /repos/a/b/hooks
			GET /repos/a/b/actions/secrets; PUT /repos/a/b/actions/secrets/S; PUT /orgs/o/actions/secrets/S; POST /orgs/o/hooks; POST /repos/a/b/actions/runners/registration-token
			POST /graphql; PUT /repos/a/b/environments/e/secrets/S`,
			`PUT /repos/a/b/contents/x; DELETE /repos/a/b; PUT /repos/a/b/pulls/1/merge; POST /user/repos; POST /repos/a/b/git/refs; GET /user/emails; POST /gists`,
		},
		"mistral": {
			`POST /v1/chat/completions; POST /v1/fim/completions; POST /v1/embeddings; POST /v1/ocr; GET /v1/models; GET /v1/models/mistral-large`,
			`GET /api/admin/keys; DELETE /v1/models/m; GET /v1/connectors; POST /v1/connectors/c/user/credentials; GET /v1/files; GET /v1/files/1/url; GET /v1/libraries; POST /v1/workflows/w/execute`,
			`POST /v1/conversations; POST /v1/agents; GET /v1/api-key`,
		},
		"deepseek": {`POST /chat/completions; POST /v1/chat/completions; GET /models`, `GET /user/balance; GET /User/Balance`, `POST /keys`},
		"tavily":   {`POST /search; POST /extract; POST /crawl; POST /map`, `GET /usage; POST /generate-keys`, `GET /v1/api-key; GET /search`},
		"exa":      {`POST /search; POST /contents; POST /findSimilar; POST /answer`, `POST /team-management/api-keys; GET /monitors; POST /v0/webhooks`, `GET /v1/api-key; POST /agent/runs; POST /research/v1`},
		"firecrawl": {
			`POST /v2/scrape; POST /v2/search; POST /v2/map; POST /v2/crawl; GET /v2/crawl/1; DELETE /v2/crawl/1; POST /v1/scrape`,
			`GET /v2/team/credit-usage; GET /v1/team/token-usage; GET /v2/crawl/active; GET /v1/crawl/ongoing`,
			`POST /v0/scrape; GET /v2/keys`,
		},
		"resend": {
			`POST /emails; POST /emails/batch; GET /emails/1`,
			`GET /api-keys; POST /api-keys; DELETE /api-keys/1; GET /webhooks; POST /webhooks/1; GET /domains; POST /domains; GET /domains/1; GET /emails/receiving; GET /logs; GET /oauth/grants`,
			`GET /emails; POST /broadcasts; GET /contacts; POST /emails/1/share`,
		},
		"huggingface": {
			`POST /chat/completions; POST /responses; GET /models; GET /models/openai/gpt-oss-20b`,
			`GET /api/whoami-v2; POST /oauth/token; POST /api/repos/create; POST /api/models/a/b/commit/main`,
			`DELETE /models/a; POST /embeddings`,
		},
		"replicate": {
			`POST /v1/predictions; GET /v1/predictions/1; POST /v1/predictions/1/cancel; POST /v1/models/a/b/predictions; GET /v1/models; GET /v1/collections`,
			`GET /v1/webhooks/default/secret; GET /v1/account; POST /v1/files; POST /v1/trainings`,
			`GET /v1/predictions; POST /v1/models; DELETE /v1/models/a/b; POST /v1/deployments`,
		},
		"elevenlabs": {
			`POST /v1/text-to-speech/v; POST /v1/text-to-speech/v/stream; POST /v1/speech-to-text; POST /v1/sound-generation; GET /v1/models; GET /v1/voices; GET /v1/voices/v`,
			`GET /v1/user; GET /v1/user/subscription; GET /v1/service-accounts; POST /v1/service-accounts/1/api-keys; POST /v1/single-use-token/t; GET /v1/convai/secrets
			GET /v1/convai/secrets/1; GET /v1/convai/conversation/get-signed-url; GET /v1/workspace/members; POST /v1/workspaces/api-keys/disable`,
			`DELETE /v1/voices/v; POST /v1/voices/add; GET /v1/history`,
		},
		"perplexity": {
			`POST /chat/completions; POST /search; POST /v1/responses; POST /v1/embeddings`,
			`POST /generate_auth_token; POST /revoke_auth_token; POST /Generate_Auth_Token/; GET /async/chat/completions`,
			`GET /models; GET /v1/responses/1`,
		},
		"xai": {`POST /chat/completions; POST /responses; POST /images/generations; GET /models`, `GET /api-key; POST /auth/teams/t/api-keys; GET /files`, `GET /responses/1; POST /videos/generations`},
		"together": {
			`POST /chat/completions; POST /embeddings; POST /rerank; POST /images/generations; GET /models`,
			`GET /whoami; GET /deployments/secrets; GET /projects/p/configs; POST /endpoints; POST /files/upload; POST /fine-tunes; POST /tci/execute`,
			`GET /v1/api-key; DELETE /models/a`,
		},
		"cohere": {
			`POST /v2/chat; POST /v2/embed; POST /v2/rerank; POST /v1/tokenize; GET /v1/models`,
			`POST /v1/check-api-key; GET /v1/connectors; GET /v1/datasets; POST /v1/finetuning/finetuned-models; POST /v1/embed-jobs`,
			`GET /v2/chat; DELETE /v1/models/m`,
		},
		"x": {
			`GET /tweets/1; GET /tweets/search/recent; POST /tweets; GET /users/me; GET /users/by/username/jack; GET /users/1/tweets`,
			`POST /oauth2/token; POST /oauth2/invalidate_token; POST /oauth2/revoke; GET /webhooks; POST /account_activity/webhooks/1/subscriptions/all; GET /dm_events; GET /usage/tweets`,
			`DELETE /tweets/1; POST /users/1/likes; POST /users/1/following; GET /tweets/search/all`,
		},
		"meta": {
			`GET /v23.0/1/feed; POST /v23.0/1/feed; GET /v23.0/1/posts; POST /v23.0/1/photos; GET /v23.0/1/insights`,
			`GET /oauth/access_token; GET /v23.0/oauth/access_token; GET /debug_token; GET /v23.0/debug_token; GET /refresh_access_token; GET /v23.0/me/accounts; GET /me/accounts; POST /v23.0/1/subscriptions`,
			`GET /v23.0/me; GET /me; GET /v23.0/1; DELETE /v23.0/1; POST /v23.0/1`,
		},
		"instagram": {
			`GET /me; GET /v23.0/me; GET /v23.0/1/media; POST /v23.0/1/media; POST /v23.0/1/media_publish`,
			`GET /access_token; GET /refresh_access_token; POST /oauth/access_token; GET /debug_token; GET /v23.0/refresh_access_token`,
			`DELETE /v23.0/1; POST /v23.0/1/messages`,
		},
	}
	for _, e := range all(t) {
		row, ok := table[e.ID.String()]
		if !ok {
			t.Errorf("%s has no row", e.ID)
			continue
		}
		check := func(list string, want grant.Code) {
			for req := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ';' || r == '\n' }) {
				method, path, ok := strings.Cut(strings.TrimSpace(req), " ")
				if !ok {
					t.Fatalf("%s: %q", e.ID, req)
				}
				if code, allowed := decide(t, e, method, path); code != want || allowed != (want == "") {
					t.Errorf("%s: %s %s: %q, want %q", e.ID, method, path, code, want)
				}
			}
		}
		check(row.allowed, "")
		check(row.shut, grant.CodePathShut)
		check(row.denied, grant.CodePathDenied)
	}
}
