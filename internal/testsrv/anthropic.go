package testsrv

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"net/http"
	"strings"
)

var anthropic = vendor{
	base: "/v1",
	// Version 1 of the official JavaScript client sends its API key as a bearer
	// token, the Go client as x-api-key.
	xAPIKey:    true,
	errorEvent: "error",
	routes: []route{
		{method: "GET", path: "/models", serve: versioned(claudeModels)},
		{method: "GET", path: "/models/{model}", serve: versioned(claudeModel)},
		{method: "POST", path: "/messages", serve: versioned(messages)},
		{method: "POST", path: "/messages/count_tokens", serve: versioned(countTokens)},
	},
	stamp: func(h http.Header, c *call) {
		h.Set("Request-Id", requestID(c))
		if c.label == "" {
			return
		}
		h.Set("Anthropic-Organization-Id", "00000000-0000-4000-8000-000000000000")
		for kind, limit := range map[string][2]string{
			"Requests": {"4000", "3999"}, "Tokens": {"480000", "479000"},
			"Input-Tokens": {"400000", "399000"}, "Output-Tokens": {"80000", "80000"},
		} {
			h.Set("Anthropic-Ratelimit-"+kind+"-Limit", limit[0])
			h.Set("Anthropic-Ratelimit-"+kind+"-Remaining", limit[1])
			h.Set("Anthropic-Ratelimit-"+kind+"-Reset", "2025-11-01T00:00:00Z")
		}
	},
	failure: func(f *failure, c *call) any {
		kind, ok := map[int]string{
			400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
			413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
		}[f.status]
		if !ok {
			kind = "api_error"
		}
		return object{"type": "error", "error": object{"type": kind, "message": f.message}, "request_id": requestID(c)}
	},
	noKey: func(string) *failure {
		return &failure{status: http.StatusUnauthorized, message: "x-api-key header is required"}
	},
	wrongKey: func(string) *failure {
		return &failure{status: http.StatusUnauthorized, message: "invalid x-api-key"}
	},
}

func requestID(c *call) string {
	sum := sha256.Sum256(c.body)
	return "req_" + hex.EncodeToString(sum[:12])
}

// exchanged refuses a token of the token endpoint that comes as a key does, or
// without the beta that such tokens are part of.
func exchanged(c *call) error {
	switch {
	case !strings.HasPrefix(c.credential, "sk-ant-oat01-"):
		return nil
	case c.Header.Get("X-Api-Key") != "":
		return &failure{status: http.StatusUnauthorized, message: "invalid x-api-key"}
	case !strings.Contains(strings.Join(c.Header.Values("Anthropic-Beta"), ","), "oauth-2025-04-20"):
		return &failure{status: http.StatusUnauthorized, message: "this kind of token needs the oauth-2025-04-20 beta"}
	}
	return nil
}

func versioned(serve func(*Server, *call) (answer, error)) func(*Server, *call) (answer, error) {
	return func(s *Server, c *call) (answer, error) {
		if err := exchanged(c); err != nil {
			return answer{}, err
		}
		if c.Header.Get("Anthropic-Version") == "" {
			return answer{}, &failure{status: http.StatusBadRequest, message: "anthropic-version: header is required"}
		}
		return serve(s, c)
	}
}

func claudeModelOf(id, name string) object {
	return object{"type": "model", "id": id, "display_name": name, "created_at": "2025-11-01T00:00:00Z"}
}

func claudeModels(*Server, *call) (answer, error) {
	return answer{body: object{
		"data":     []object{claudeModelOf("claude-sonnet-4-5", "Claude Sonnet 4.5"), claudeModelOf("claude-haiku-4-5", "Claude Haiku 4.5")},
		"has_more": false, "first_id": "claude-sonnet-4-5", "last_id": "claude-haiku-4-5",
	}}, nil
}

func claudeModel(_ *Server, c *call) (answer, error) {
	id := c.PathValue("model")
	return answer{body: claudeModelOf(id, id)}, nil
}

type messagesRequest struct {
	Model     string    `json:"model"`
	Messages  []message `json:"messages"`
	MaxTokens int       `json:"max_tokens"`
	Stream    bool      `json:"stream"`
}

func (q messagesRequest) check(count bool) error {
	switch {
	case q.Model == "":
		return &failure{status: http.StatusBadRequest, message: "model: Field required"}
	case len(q.Messages) == 0:
		return &failure{status: http.StatusBadRequest, message: "messages: Field required"}
	case !count && q.MaxTokens < 1:
		return &failure{status: http.StatusBadRequest, message: "max_tokens: Field required"}
	}
	return nil
}

func countTokens(s *Server, c *call) (answer, error) {
	var q messagesRequest
	if err := c.decode(&q); err != nil {
		return answer{}, err
	}
	if err := q.check(true); err != nil {
		return answer{}, err
	}
	if err := behaviourOf(q.Model).refusal(c, q.Model, false); err != nil {
		return answer{}, err
	}
	return answer{body: object{"input_tokens": tokens(prompt(q.Messages))}}, nil
}

func messages(s *Server, c *call) (answer, error) {
	var q messagesRequest
	if err := c.decode(&q); err != nil {
		return answer{}, err
	}
	if err := q.check(false); err != nil {
		return answer{}, err
	}
	b := behaviourOf(q.Model)
	if err := b.refusal(c, q.Model, q.Stream); err != nil {
		return answer{}, err
	}
	r := s.reply(c, b, prompt(q.Messages))
	usage := claudeUsage(c, r)
	m := object{
		"id": "msg_" + r.id, "type": "message", "role": "assistant", "model": q.Model,
		"content": []object{{"type": "text", "text": r.text}}, "stop_reason": "end_turn", "stop_sequence": nil, "usage": usage,
	}
	if q.Stream {
		return answer{events: messageEvents(s, c, b, r, m, usage)}, nil
	}
	return answer{body: m}, nil
}

// claudeUsage counts the prompt as written to the cache if the request asks
// for caching anywhere.
func claudeUsage(c *call, r reply) object {
	written := 0
	if bytes.Contains(c.body, []byte(`"cache_control"`)) {
		written = r.input
	}
	return object{
		"input_tokens": r.input - written, "output_tokens": r.output,
		"cache_creation_input_tokens": written, "cache_read_input_tokens": 0,
		"cache_creation": object{"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
		"service_tier":   "standard",
	}
}

func messageEvents(s *Server, c *call, b behaviour, r reply, m, usage object) iter.Seq[event] {
	return func(yield func(event) bool) {
		send := func(kind string, fields object) bool {
			return yield(event{name: kind, data: with(fields, object{"type": kind})})
		}
		start := with(m, object{"content": []any{}, "stop_reason": nil, "usage": with(usage, object{"output_tokens": 1})})
		if !send("message_start", object{"message": start}) ||
			!send("content_block_start", object{"index": 0, "content_block": object{"type": "text", "text": ""}}) ||
			!send("ping", nil) {
			return
		}
		k := 0
		for piece := range r.each() {
			if stop, ok := b.midstream(s, c, k); ok {
				yield(stop)
				return
			}
			if !send("content_block_delta", object{"index": 0, "delta": object{"type": "text_delta", "text": piece}}) {
				return
			}
			k++
		}
		_ = send("content_block_stop", object{"index": 0}) &&
			send("message_delta", object{"delta": object{"stop_reason": "end_turn", "stop_sequence": nil}, "usage": with(usage, nil)}) &&
			send("message_stop", nil)
	}
}
