package mint

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

// google is the API Keys API, v2: making a key is a long-running operation, and
// its string is a request of its own. The id of a key is its name, so that a
// second request for the same one makes no second key. The management key is an
// OAuth access token.
var google = shape{
	caps:   Caps{Delete: true, List: true},
	header: "Authorization", prefix: "Bearer ",
	needs: []string{"project"},
	check: func(ctx context.Context, m *Minter, k secret.Value) error {
		return m.call(ctx, k, http.MethodGet, m.googleKeys()+"?pageSize=1", nil, &struct{}{})
	},
	mint: googleMint,
	revoke: func(ctx context.Context, m *Minter, k secret.Value, id string) (bool, error) {
		return m.drop(ctx, k, m.googleKeys()+"/"+url.PathEscape(id))
	},
	list: func(ctx context.Context, m *Minter, k secret.Value) (all []Listed, err error) {
		err = pages(func(next string) (string, error) {
			q := url.Values{"pageSize": {"300"}}
			if next != "" {
				q.Set("pageToken", next)
			}
			var out struct {
				Keys []struct{ Name, DisplayName string } `json:"keys"`
				Next string                               `json:"nextPageToken"`
			}
			if err := m.call(ctx, k, http.MethodGet, m.googleKeys()+"?"+q.Encode(), nil, &out); err != nil {
				return "", err
			}
			for _, d := range out.Keys {
				all = append(all, Listed{d.Name[strings.LastIndexByte(d.Name, '/')+1:], d.DisplayName})
			}
			return out.Next, nil
		})
		return all, err
	},
}

func (m *Minter) googleKeys() string {
	return "/v2/projects/" + url.PathEscape(m.params["project"]) + "/locations/global/keys"
}

type googleOperation struct {
	Name     string
	Done     bool
	Error    *struct{ Code int }
	Response struct{ Name string }
}

func googleMint(ctx context.Context, m *Minter, k secret.Value, w Want) (Key, error) {
	in := map[string]any{
		"displayName":  w.Name,
		"restrictions": map[string]any{"apiTargets": []map[string]string{{"service": "generativelanguage.googleapis.com"}}},
	}
	var op googleOperation
	if err := m.call(ctx, k, http.MethodPost, m.googleKeys()+"?keyId="+url.QueryEscape(w.Name), in, &op); err != nil {
		return Key{}, err
	}
	for pause := 200 * time.Millisecond; !op.Done; pause = min(2*pause, 2*time.Second) {
		if !strings.HasPrefix(op.Name, "operations/") || !segment(strings.TrimPrefix(op.Name, "operations/")) {
			return Key{}, fmt.Errorf("%w: an operation without a name", ErrAnswer)
		}
		if err := m.wait(ctx, pause); err != nil {
			return Key{}, err
		}
		name := op.Name
		op = googleOperation{}
		if err := m.call(ctx, k, http.MethodGet, "/v2/"+name, nil, &op); err != nil {
			return Key{}, possible(err)
		}
		op.Name = name
	}
	if op.Error != nil {
		return Key{}, fmt.Errorf("%w: the operation failed with code %d", ErrAnswer, op.Error.Code)
	}
	id := w.Name
	if n := op.Response.Name; n != "" && n[strings.LastIndexByte(n, '/')+1:] != id {
		return Key{}, fmt.Errorf("%w: a key with another id", ErrAnswer)
	}
	var out struct{ KeyString string }
	if err := m.call(ctx, k, http.MethodGet, m.googleKeys()+"/"+url.PathEscape(id)+"/keyString", nil, &out); err != nil {
		return Key{}, possible(err)
	}
	return made(id, out.KeyString)
}

// possible hides that the last request made nothing: one before it did.
func possible(err error) error {
	if n, ok := errors.AsType[none](err); ok {
		return n.error
	}
	return err
}
