package manage

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

var plays = map[string]play{
	"openrouter": {base: "/api/v1", header: "Authorization", prefix: "Bearer ", refuse: 401, routes: []route{
		{"POST /api/v1/keys", routerMint},
		{"GET /api/v1/keys", routerList},
		{"DELETE /api/v1/keys/{hash}", func(s *Server, c *call) (int, any) {
			if !s.remove(c.PathValue("hash")) {
				return 404, object{"error": object{"code": 404, "message": "API key not found"}}
			}
			return 200, object{"deleted": true}
		}},
	}},
	"openai": {base: "/v1", header: "Authorization", prefix: "Bearer ", refuse: 401, routes: []route{
		{"POST /v1/organization/projects/{p}/service_accounts", openAIMint},
		{"GET /v1/organization/projects/{p}/service_accounts", openAIList},
		{"DELETE /v1/organization/projects/{p}/service_accounts/{id}", func(s *Server, c *call) (int, any) {
			id := c.PathValue("id")
			if c.PathValue("p") != Scope || !s.remove(id) {
				return 404, object{"error": object{"message": "not found"}}
			}
			return 200, object{"object": "organization.project.service_account.deleted", "id": id, "deleted": true}
		}},
	}},
	"google": {base: "", header: "Authorization", prefix: "Bearer ", refuse: 401, routes: []route{
		{"POST /v2/projects/{p}/locations/global/keys", googleMint},
		{"GET /v2/projects/{p}/locations/global/keys", googleList},
		{"GET /v2/projects/{p}/locations/global/keys/{id}/keyString", googleString},
		{"GET /v2/operations/{op}", googleOperation},
		{"DELETE /v2/projects/{p}/locations/global/keys/{id}", func(s *Server, c *call) (int, any) {
			if c.PathValue("p") != Scope || !s.remove(c.PathValue("id")) {
				return 404, object{"error": object{"code": 404, "status": "NOT_FOUND"}}
			}
			return 200, object{"name": "operations/akmf.delete-" + random(4)}
		}},
	}},
	"xai": {base: "", header: "Authorization", prefix: "Bearer ", refuse: 401, routes: []route{
		{"GET /auth/management-keys/validation", func(*Server, *call) (int, any) {
			return 200, object{"scope": "SCOPE_TEAM", "scopeId": Scope, "teamId": Scope}
		}},
		{"POST /auth/teams/{team}/api-keys", xAIMint},
		{"GET /auth/teams/{team}/api-keys", func(s *Server, c *call) (int, any) {
			if c.PathValue("team") != Scope {
				return 403, object{"code": 7}
			}
			return 200, object{"apiKeys": s.each(func(k Key) object {
				return object{"apiKeyId": k.ID, "name": k.Name, "redactedApiKey": "xai-...", "teamId": Scope, "disabled": false}
			})}
		}},
		{"DELETE /auth/api-keys/{id}", func(s *Server, c *call) (int, any) {
			if !s.remove(c.PathValue("id")) {
				return 404, object{"code": 5, "message": "not found"}
			}
			return 200, object{}
		}},
	}},
	"resend": {base: "", header: "Authorization", prefix: "Bearer ", refuse: 401, routes: []route{
		{"POST /api-keys", resendMint},
		{"GET /api-keys", func(s *Server, c *call) (int, any) {
			return 200, object{"object": "list", "has_more": false, "data": s.each(func(k Key) object {
				return object{"id": k.ID, "name": k.Name, "created_at": "2026-11-01 00:00:00.000000+00"}
			})}
		}},
		{"DELETE /api-keys/{id}", func(s *Server, c *call) (int, any) {
			if !s.remove(c.PathValue("id")) {
				return 404, object{"statusCode": 404, "name": "not_found", "message": "API key not found"}
			}
			return 200, nil
		}},
	}},
	"elevenlabs": {base: "", header: "Xi-Api-Key", refuse: 401, routes: []route{
		{"POST /v1/service-accounts/{id}/api-keys", elevenMint},
		{"GET /v1/service-accounts/{id}/api-keys", func(s *Server, c *call) (int, any) {
			if c.PathValue("id") != Scope {
				return 404, object{"detail": object{"status": "not_found"}}
			}
			return 200, object{"api-keys": s.each(func(k Key) object {
				return object{"key_id": k.ID, "name": k.Name, "hint": "abcd", "is_disabled": false}
			})}
		}},
		{"DELETE /v1/service-accounts/{id}/api-keys/{key}", func(s *Server, c *call) (int, any) {
			if c.PathValue("id") != Scope || !s.remove(c.PathValue("key")) {
				return 404, object{"detail": object{"status": "not_found"}}
			}
			return 200, object{"status": "ok"}
		}},
	}},
}

func routerMint(s *Server, c *call) (int, any) {
	bad := func(message string) (int, any) {
		return 400, object{"error": object{"code": 400, "message": message}}
	}
	name := c.text("name")
	if name == "" {
		return bad("name is required")
	}
	limit, limited := c.body["limit"].(float64)
	if c.body["limit"] != nil && (!limited || limit <= 0) {
		return bad("limit is a number")
	}
	reset := c.text("limit_reset")
	switch reset {
	case "", "daily", "weekly", "monthly":
	default:
		return bad("limit_reset")
	}
	var expires time.Time
	if text := c.text("expires_at"); text != "" {
		var err error
		if expires, err = time.Parse(time.RFC3339, text); err != nil || !expires.After(s.opts.Now()) {
			return bad("expires_at")
		}
	}
	secret := "sk-or-v1-" + random(32)
	k := s.make(random(32), name, secret)
	s.mu.Lock()
	defer s.mu.Unlock()
	k.Limit, k.Reset, k.Expires = limit, reset, expires
	return 201, object{"data": routerKey(k.Key), "key": secret}
}

func routerKey(k Key) object {
	o := object{
		"hash": k.ID, "name": k.Name, "label": "sk-or-v1-abc...def", "disabled": false, "usage": k.Spent,
		"limit": nil, "limit_remaining": nil, "limit_reset": nil, "expires_at": nil, "created_at": "2026-11-01T00:00:00Z",
	}
	if k.Limit > 0 {
		o["limit"], o["limit_remaining"] = k.Limit, max(0, k.Limit-k.Spent)
	}
	if k.Reset != "" {
		o["limit_reset"] = k.Reset
	}
	if !k.Expires.IsZero() {
		o["expires_at"] = k.Expires.Format(time.RFC3339)
	}
	return o
}

// routerPage is how many keys a page of the list has.
const routerPage = 100

func routerList(s *Server, c *call) (int, any) {
	all := s.each(routerKey)
	from, err := strconv.Atoi(c.URL.Query().Get("offset"))
	if err != nil || from < 0 {
		from = 0
	}
	from = min(from, len(all))
	return 200, object{"data": all[from:min(from+routerPage, len(all))]}
}

func openAIMint(s *Server, c *call) (int, any) {
	if c.PathValue("p") != Scope {
		return 404, object{"error": object{"message": "no such project"}}
	}
	if c.text("name") == "" {
		return 400, object{"error": object{"message": "name is required"}}
	}
	secret, id := "sk-svcacct-"+random(40), "svc_acct_"+random(8)
	s.make(id, c.text("name"), secret)
	return 200, object{
		"object": "organization.project.service_account", "id": id, "name": c.text("name"), "role": "member", "created_at": 1793491200,
		"api_key": object{"object": "organization.project.service_account.api_key", "id": "key_" + random(8), "name": "Secret Key", "value": secret, "created_at": 1793491200},
	}
}

func openAIList(s *Server, c *call) (int, any) {
	if c.PathValue("p") != Scope {
		return 404, object{"error": object{"message": "no such project"}}
	}
	all := s.each(func(k Key) object {
		return object{"object": "organization.project.service_account", "id": k.ID, "name": k.Name, "role": "member"}
	})
	if after := c.URL.Query().Get("after"); after != "" {
		for i, k := range all {
			if k["id"] == after {
				all = all[i+1:]
				break
			}
		}
	}
	limit, err := strconv.Atoi(c.URL.Query().Get("limit"))
	if err != nil {
		limit = 20
	}
	more := len(all) > limit
	all = all[:min(limit, len(all))]
	out := object{"object": "list", "data": all, "has_more": more}
	if len(all) > 0 {
		out["first_id"], out["last_id"] = all[0]["id"], all[len(all)-1]["id"]
	}
	return 200, out
}

// googleSecret is a key's string, which must be the same whenever it is asked
// for, and is not kept.
func (s *Server) googleSecret(id string) string {
	return "AQ." + strings.Repeat("x", 4) + digestOf(s.management, id)
}

func googleMint(s *Server, c *call) (int, any) {
	id := c.URL.Query().Get("keyId")
	if c.PathValue("p") != Scope || id == "" {
		return 403, object{"error": object{"code": 403, "status": "PERMISSION_DENIED"}}
	}
	if s.byID(id) != nil {
		return 409, object{"error": object{"code": 409, "status": "ALREADY_EXISTS"}}
	}
	s.make(id, c.text("displayName"), s.googleSecret(id))
	return 200, object{"name": "operations/akmf." + id}
}

func googleOperation(s *Server, c *call) (int, any) {
	name := c.PathValue("op")
	id := strings.TrimPrefix(name, "akmf.")
	out := object{"name": "operations/" + name}
	// The first question comes too early.
	asked := 0
	for _, seen := range s.Seen() {
		if strings.HasSuffix(seen.Path, name) {
			asked++
		}
	}
	if k := s.byID(id); k != nil && asked > 0 {
		out["done"] = true
		out["response"] = object{"@type": "type.googleapis.com/google.api.apikeys.v2.Key", "name": "projects/1/locations/global/keys/" + id, "uid": "u-1", "displayName": k.Name}
	}
	return 200, out
}

func googleString(s *Server, c *call) (int, any) {
	id := c.PathValue("id")
	if s.byID(id) == nil {
		return 404, object{"error": object{"code": 404, "status": "NOT_FOUND"}}
	}
	return 200, object{"keyString": s.googleSecret(id)}
}

func googleList(s *Server, c *call) (int, any) {
	if c.PathValue("p") != Scope {
		return 403, object{"error": object{"code": 403, "status": "PERMISSION_DENIED"}}
	}
	all := s.each(func(k Key) object {
		return object{"name": "projects/1/locations/global/keys/" + k.ID, "uid": "u", "displayName": k.Name}
	})
	if len(all) == 0 {
		return 200, object{}
	}
	return 200, object{"keys": all}
}

func xAIMint(s *Server, c *call) (int, any) {
	acls, _ := c.body["acls"].([]any)
	if c.PathValue("team") != Scope || c.text("name") == "" || len(acls) == 0 {
		return 400, object{"code": 3, "message": "invalid argument"}
	}
	var expires time.Time
	if text := c.text("expireTime"); text != "" {
		var err error
		if expires, err = time.Parse(time.RFC3339, text); err != nil {
			return 400, object{"code": 3, "message": "expireTime"}
		}
	}
	secret, id := "xai-"+random(40), random(16)
	k := s.make(id, c.text("name"), secret)
	s.mu.Lock()
	defer s.mu.Unlock()
	k.Expires = expires
	return 200, object{"apiKey": secret, "apiKeyId": id, "name": k.Name, "teamId": Scope, "redactedApiKey": "xai-...", "aclStrings": acls}
}

func resendMint(s *Server, c *call) (int, any) {
	name := c.text("name")
	if name == "" || len(name) > 50 {
		return 422, object{"statusCode": 422, "name": "validation_error"}
	}
	secret, id := "re_"+random(16), random(16)
	s.make(id, name, secret)
	return http.StatusCreated, object{"id": id, "token": secret}
}

func elevenMint(s *Server, c *call) (int, any) {
	if c.PathValue("id") != Scope || c.text("name") == "" || c.body["permissions"] == nil {
		return 422, object{"detail": []object{{"msg": "field required"}}}
	}
	secret, id := "sk_"+random(24), random(10)
	s.make(id, c.text("name"), secret)
	return 200, object{"xi-api-key": secret, "key_id": id}
}
