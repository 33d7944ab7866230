package mint

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

// dollars is an amount as a JSON number.
func dollars(m grant.Money) json.Number {
	s := strings.TrimPrefix(m.String(), "$")
	return json.Number(strings.TrimSuffix(strings.TrimSuffix(s, "0"), ".0"))
}

// moment is a time as RFC 3339, whole seconds in UTC. It is rounded down: a key
// must not outlive what it was made for.
func moment(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// pages asks for page after page until there is none.
func pages(ask func(next string) (more string, err error)) error {
	next := ""
	for range maxPages {
		more, err := ask(next)
		if err != nil || more == "" {
			return err
		}
		if more == next {
			break
		}
		next = more
	}
	return fmt.Errorf("%w: a list without an end", ErrAnswer)
}

// POST /keys, GET /keys?offset=, DELETE /keys/{hash}.
var openRouter = shape{
	caps:   Caps{Windows: []grant.Window{grant.Day, grant.Week, grant.Month, grant.Total}, Expiry: true, Delete: true, List: true},
	header: "Authorization", prefix: "Bearer ",
	scope: []string{"workspace_id"},
	check: func(ctx context.Context, m *Minter, k secret.Value) error {
		var out struct {
			Data *[]struct{} `json:"data"`
		}
		if err := m.call(ctx, k, http.MethodGet, "/keys", nil, &out); err != nil {
			return err
		}
		if out.Data == nil {
			return fmt.Errorf("%w: no list of keys", ErrAnswer)
		}
		return nil
	},
	mint: func(ctx context.Context, m *Minter, k secret.Value, w Want) (Key, error) {
		in := struct {
			Name      string       `json:"name"`
			Limit     *json.Number `json:"limit,omitempty"`
			Reset     string       `json:"limit_reset,omitempty"`
			Expires   string       `json:"expires_at,omitempty"`
			Workspace string       `json:"workspace_id,omitempty"`
		}{Name: w.Name, Workspace: m.params["workspace_id"]}
		if w.Limit > 0 {
			n := dollars(w.Limit)
			in.Limit = &n
			in.Reset = map[grant.Window]string{grant.Day: "daily", grant.Week: "weekly", grant.Month: "monthly"}[w.Per]
		}
		if !w.Expires.IsZero() {
			in.Expires = moment(w.Expires)
		}
		var out struct {
			Key  string `json:"key"`
			Data struct {
				Hash    string `json:"hash"`
				Name    string `json:"name"`
				Limit   any    `json:"limit"` // in dollars; none of these three keeps a key from being used
				Reset   any    `json:"limit_reset"`
				Expires any    `json:"expires_at"`
			} `json:"data"`
		}
		if err := m.call(ctx, k, http.MethodPost, "/keys", in, &out); err != nil {
			return Key{}, err
		}
		if n := out.Data.Name; n != "" && n != w.Name {
			return Key{}, fmt.Errorf("%w: a key with another name", ErrAnswer) // to another request, maybe
		}
		key, err := made(out.Data.Hash, out.Key)
		limit, ok := out.Data.Limit.(float64)
		reset, _ := out.Data.Reset.(string)
		key.unlimited = !ok || limit > float64(w.Limit)/float64(grant.USD) || reset != in.Reset
		text, _ := out.Data.Expires.(string)
		end, terr := time.Parse(time.RFC3339, text)
		key.unending = terr != nil || end.After(w.Expires)
		return key, err
	},
	revoke: func(ctx context.Context, m *Minter, k secret.Value, id string) (bool, error) {
		return m.drop(ctx, k, "/keys/"+url.PathEscape(id))
	},
	list: func(ctx context.Context, m *Minter, k secret.Value) (all []Listed, err error) {
		err = pages(func(string) (string, error) {
			q := url.Values{"offset": {fmt.Sprint(len(all))}, "include_disabled": {"true"}}
			if ws := m.params["workspace_id"]; ws != "" {
				q.Set("workspace_id", ws)
			}
			var out struct {
				Data []struct{ Hash, Name string } `json:"data"`
			}
			if err := m.call(ctx, k, http.MethodGet, "/keys?"+q.Encode(), nil, &out); err != nil || len(out.Data) == 0 {
				return "", err
			}
			for _, d := range out.Data {
				all = append(all, Listed{d.Hash, d.Name})
			}
			return fmt.Sprint(len(all)), nil
		})
		return all, err
	},
}

// A service account for each key: to delete it deletes the key. The name and the
// paging of the list are the API reference's.
var openAI = shape{
	caps:   Caps{Delete: true, List: true},
	header: "Authorization", prefix: "Bearer ",
	needs: []string{"project"},
	check: func(ctx context.Context, m *Minter, k secret.Value) error {
		return m.call(ctx, k, http.MethodGet, m.openAIAccounts()+"?limit=1", nil, &struct{}{})
	},
	mint: func(ctx context.Context, m *Minter, k secret.Value, w Want) (Key, error) {
		var out struct {
			ID  string `json:"id"`
			Key struct {
				Value string `json:"value"`
			} `json:"api_key"`
		}
		if err := m.call(ctx, k, http.MethodPost, m.openAIAccounts(), map[string]string{"name": w.Name}, &out); err != nil {
			return Key{}, err
		}
		return made(out.ID, out.Key.Value)
	},
	revoke: func(ctx context.Context, m *Minter, k secret.Value, id string) (bool, error) {
		return m.drop(ctx, k, m.openAIAccounts()+"/"+url.PathEscape(id))
	},
	list: func(ctx context.Context, m *Minter, k secret.Value) (all []Listed, err error) {
		err = pages(func(after string) (string, error) {
			q := url.Values{"limit": {"100"}}
			if after != "" {
				q.Set("after", after)
			}
			var out struct {
				Data []struct{ ID, Name string } `json:"data"`
				Last string                      `json:"last_id"`
				More bool                        `json:"has_more"`
			}
			if err := m.call(ctx, k, http.MethodGet, m.openAIAccounts()+"?"+q.Encode(), nil, &out); err != nil {
				return "", err
			}
			for _, d := range out.Data {
				all = append(all, Listed{d.ID, d.Name})
			}
			if !out.More {
				return "", nil
			}
			return out.Last, nil
		})
		return all, err
	},
}

func (m *Minter) openAIAccounts() string {
	return "/organization/projects/" + url.PathEscape(m.params["project"]) + "/service_accounts"
}

// The list has no name in the answer of a deletion; acls are needed for a key
// that may do anything, and what is lent of it is the proxy's to say.
var xAI = shape{
	caps:   Caps{Expiry: true, Delete: true, List: true},
	header: "Authorization", prefix: "Bearer ",
	needs: []string{"team"},
	check: func(ctx context.Context, m *Minter, k secret.Value) error {
		return m.call(ctx, k, http.MethodGet, "/auth/management-keys/validation", nil, &struct{}{})
	},
	mint: func(ctx context.Context, m *Minter, k secret.Value, w Want) (Key, error) {
		in := struct {
			Name    string   `json:"name"`
			ACLs    []string `json:"acls"`
			Expires string   `json:"expireTime,omitempty"`
		}{Name: w.Name, ACLs: []string{"api-key:model:*", "api-key:endpoint:*"}}
		if !w.Expires.IsZero() {
			in.Expires = moment(w.Expires)
		}
		var out struct{ APIKeyID, APIKey string }
		if err := m.call(ctx, k, http.MethodPost, "/auth/teams/"+url.PathEscape(m.params["team"])+"/api-keys", in, &out); err != nil {
			return Key{}, err
		}
		return made(out.APIKeyID, out.APIKey)
	},
	revoke: func(ctx context.Context, m *Minter, k secret.Value, id string) (bool, error) {
		return m.drop(ctx, k, "/auth/api-keys/"+url.PathEscape(id))
	},
	list: func(ctx context.Context, m *Minter, k secret.Value) (all []Listed, err error) {
		err = pages(func(next string) (string, error) {
			q := url.Values{"pageSize": {"100"}}
			if next != "" {
				q.Set("paginationToken", next)
			}
			var out struct {
				Keys []struct{ APIKeyID, Name string } `json:"apiKeys"`
				Next string                            `json:"paginationToken"`
			}
			if err := m.call(ctx, k, http.MethodGet, "/auth/teams/"+url.PathEscape(m.params["team"])+"/api-keys?"+q.Encode(), nil, &out); err != nil {
				return "", err
			}
			for _, d := range out.Keys {
				all = append(all, Listed{d.APIKeyID, d.Name})
			}
			return out.Next, nil
		})
		return all, err
	},
}

// The parent must be a full_access key; the keys it makes may send and nothing
// else, unless the owner sets the permission.
var resend = shape{
	caps:   Caps{Delete: true, List: true},
	header: "Authorization", prefix: "Bearer ",
	check: func(ctx context.Context, m *Minter, k secret.Value) error {
		return m.call(ctx, k, http.MethodGet, "/api-keys", nil, &struct{}{})
	},
	mint: func(ctx context.Context, m *Minter, k secret.Value, w Want) (Key, error) {
		in := struct {
			Name       string `json:"name"`
			Permission string `json:"permission"`
			Domain     string `json:"domain_id,omitempty"`
		}{w.Name, "sending_access", m.params["domain_id"]}
		if p := m.params["permission"]; p != "" {
			in.Permission = p
		}
		var out struct{ ID, Token string }
		if err := m.call(ctx, k, http.MethodPost, "/api-keys", in, &out); err != nil {
			return Key{}, err
		}
		return made(out.ID, out.Token)
	},
	revoke: func(ctx context.Context, m *Minter, k secret.Value, id string) (bool, error) {
		return m.drop(ctx, k, "/api-keys/"+url.PathEscape(id))
	},
	list: func(ctx context.Context, m *Minter, k secret.Value) (all []Listed, err error) {
		err = pages(func(after string) (string, error) {
			path := "/api-keys"
			if after != "" {
				path += "?" + url.Values{"after": {after}}.Encode()
			}
			var out struct {
				Data []struct{ ID, Name string } `json:"data"`
				More bool                        `json:"has_more"`
			}
			if err := m.call(ctx, k, http.MethodGet, path, nil, &out); err != nil {
				return "", err
			}
			for _, d := range out.Data {
				all = append(all, Listed{d.ID, d.Name})
			}
			if !out.More || len(out.Data) == 0 {
				return "", nil
			}
			return out.Data[len(out.Data)-1].ID, nil
		})
		return all, err
	},
}

// Its limit is in characters, which is no money, and so is not used.
var elevenLabs = shape{
	caps:   Caps{Delete: true, List: true},
	header: "Xi-Api-Key",
	needs:  []string{"service_account"},
	check: func(ctx context.Context, m *Minter, k secret.Value) error {
		_, err := m.elevenLabsKeys(ctx, k)
		return err
	},
	mint: func(ctx context.Context, m *Minter, k secret.Value, w Want) (Key, error) {
		in := map[string]any{"name": w.Name, "permissions": "all"}
		if p := m.params["permissions"]; p != "" && p != "all" {
			in["permissions"] = strings.Split(p, ",")
		}
		var out struct {
			Key string `json:"xi-api-key"`
			ID  string `json:"key_id"`
		}
		if err := m.call(ctx, k, http.MethodPost, m.elevenLabsPath(), in, &out); err != nil {
			return Key{}, err
		}
		return made(out.ID, out.Key)
	},
	revoke: func(ctx context.Context, m *Minter, k secret.Value, id string) (bool, error) {
		return m.drop(ctx, k, m.elevenLabsPath()+"/"+url.PathEscape(id))
	},
	list: func(ctx context.Context, m *Minter, k secret.Value) ([]Listed, error) {
		return m.elevenLabsKeys(ctx, k)
	},
}

func (m *Minter) elevenLabsPath() string {
	return "/v1/service-accounts/" + url.PathEscape(m.params["service_account"]) + "/api-keys"
}

func (m *Minter) elevenLabsKeys(ctx context.Context, k secret.Value) ([]Listed, error) {
	var out struct {
		Keys []struct {
			ID   string `json:"key_id"`
			Name string `json:"name"`
		} `json:"api-keys"`
	}
	if err := m.call(ctx, k, http.MethodGet, m.elevenLabsPath(), nil, &out); err != nil {
		return nil, err
	}
	var all []Listed
	for _, d := range out.Keys {
		all = append(all, Listed{d.ID, d.Name})
	}
	return all, nil
}
