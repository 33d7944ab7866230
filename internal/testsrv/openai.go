package testsrv

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"math"
	"net/http"
	"strings"
)

// created is the time in every answer that has one: 2025-11-01T00:00:00Z.
const created = 1761955200

var openAI = vendor{
	base: "/v1",
	routes: []route{
		{method: "GET", path: "/models", serve: openAIModels},
		{method: "GET", path: "/models/{model}", serve: openAIModel},
		{method: "POST", path: "/chat/completions", serve: chat(false)},
		{method: "POST", path: "/responses", serve: responses},
		{method: "POST", path: "/embeddings", serve: embeddings},
	},
	stamp: func(h http.Header, c *call) {
		id := sha256.Sum256(c.body)
		h.Set("X-Request-Id", "req_"+hex.EncodeToString(id[:16]))
		h.Set("Openai-Version", "2020-10-01")
		h.Set("Openai-Processing-Ms", "42")
		if c.label == "" {
			return
		}
		h.Set("Openai-Organization", "org-testsrv")
		h.Set("X-Ratelimit-Limit-Requests", "5000")
		h.Set("X-Ratelimit-Remaining-Requests", "4999")
		h.Set("X-Ratelimit-Reset-Requests", "12ms")
		h.Set("X-Ratelimit-Limit-Tokens", "800000")
		h.Set("X-Ratelimit-Remaining-Tokens", "799900")
		h.Set("X-Ratelimit-Reset-Tokens", "8ms")
	},
	failure: func(f *failure, _ *call) any {
		kind := "invalid_request_error"
		switch {
		case f.status == http.StatusTooManyRequests:
			kind = "requests"
		case f.status >= 500:
			kind = "server_error"
		}
		return object{"error": object{"message": f.message, "type": kind, "param": null(f.param), "code": null(f.code)}}
	},
	noKey: func(string) *failure {
		return &failure{status: http.StatusUnauthorized, message: "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."}
	},
	wrongKey: func(presented string) *failure {
		return &failure{status: http.StatusUnauthorized, message: "Incorrect API key provided: " + mask(presented) + ".", code: "invalid_api_key"}
	},
}

type object = map[string]any

func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// mask shows the ends of a key, as the vendors' errors and key lists do.
func mask(key string) string {
	if len(key) < 16 {
		return strings.Repeat("*", len(key))
	}
	return key[:8] + strings.Repeat("*", 8) + key[len(key)-4:]
}

func openAIModelOf(id string) object {
	return object{"id": id, "object": "model", "created": created, "owned_by": "system"}
}

func openAIModels(*Server, *call) (answer, error) {
	return answer{body: object{"object": "list", "data": []object{
		openAIModelOf("gpt-5"), openAIModelOf("gpt-5-mini"), openAIModelOf("text-embedding-3-small"),
	}}}, nil
}

func openAIModel(_ *Server, c *call) (answer, error) {
	return answer{body: openAIModelOf(c.PathValue("model"))}, nil
}

// chat serves /chat/completions for OpenAI, and for OpenRouter with its cost,
// its comments and its habit of always reporting the usage of a stream.
func chat(router bool) func(*Server, *call) (answer, error) {
	return func(s *Server, c *call) (answer, error) {
		var q struct {
			Model         string    `json:"model"`
			Messages      []message `json:"messages"`
			Stream        bool      `json:"stream"`
			StreamOptions struct {
				IncludeUsage bool `json:"include_usage"`
			} `json:"stream_options"`
		}
		if err := c.decode(&q); err != nil {
			return answer{}, err
		}
		if q.Model == "" || len(q.Messages) == 0 {
			return answer{}, &failure{status: http.StatusBadRequest, message: "you must provide a model and messages parameter"}
		}
		b := behaviourOf(q.Model)
		if err := b.refusal(c, q.Model, q.Stream); err != nil {
			return answer{}, err
		}
		r := s.reply(c, b, prompt(q.Messages))
		usage := chatUsage(r, router)
		if router && s.opts.Charge != nil {
			if err := s.opts.Charge(c.credential, Cost(r.input, r.output)); err != nil {
				return answer{}, &failure{status: http.StatusPaymentRequired, message: "Insufficient credits: " + err.Error()}
			}
		}
		about := object{"id": "chatcmpl-" + r.id, "created": created, "model": q.Model, "service_tier": "default", "system_fingerprint": "fp_testsrv"}
		if router {
			about = object{"id": "gen-" + r.id, "created": created, "model": q.Model, "provider": "testsrv"}
		}
		if q.Stream {
			return answer{events: chatEvents(s, c, b, r, about, usage, q.StreamOptions.IncludeUsage, router)}, nil
		}
		return answer{body: with(about, object{"object": "chat.completion", "usage": usage, "choices": []object{{
			"index": 0, "finish_reason": "stop", "logprobs": nil,
			"message": object{"role": "assistant", "content": r.text, "refusal": nil, "annotations": []any{}},
		}}})}, nil
	}
}

func chatUsage(r reply, router bool) object {
	usage := object{
		"prompt_tokens": r.input, "completion_tokens": r.output, "total_tokens": r.input + r.output,
		"prompt_tokens_details":     object{"cached_tokens": 0, "audio_tokens": 0},
		"completion_tokens_details": object{"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
	}
	if router {
		usage["cost"] = Cost(r.input, r.output)
		usage["is_byok"] = false
		usage["cost_details"] = object{"upstream_inference_cost": nil}
	}
	return usage
}

func chatEvents(s *Server, c *call, b behaviour, r reply, about, usage object, include, router bool) iter.Seq[event] {
	include = include || router
	chunk := func(delta object, finish any) event {
		e := with(about, object{"object": "chat.completion.chunk", "choices": []object{{
			"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish,
		}}})
		if include && !router {
			e["usage"] = nil
		}
		return event{data: e}
	}
	return func(yield func(event) bool) {
		if router && !yield(event{comment: "OPENROUTER PROCESSING"}) {
			return
		}
		if !yield(chunk(object{"role": "assistant", "content": "", "refusal": nil}, nil)) {
			return
		}
		k := 0
		for piece := range r.each() {
			if stop, ok := b.midstream(s, c, k); ok {
				yield(stop)
				return
			}
			if !yield(chunk(object{"content": piece}, nil)) {
				return
			}
			k++
		}
		if !yield(chunk(object{}, "stop")) {
			return
		}
		if include {
			last := with(about, object{"object": "chat.completion.chunk", "choices": []object{}, "usage": usage})
			if !yield(event{data: last}) {
				return
			}
		}
		yield(event{raw: "[DONE]"})
	}
}

// midstream is what comes instead of piece k of the text, if anything does.
func (b behaviour) midstream(s *Server, c *call, k int) (event, bool) {
	switch {
	case k < 3:
		return event{}, false
	case b.cut:
		return event{cut: true}, true
	case b.broken:
		f := &failure{status: http.StatusInternalServerError, message: "The server had an error while processing your request."}
		return event{name: s.vendor.errorEvent, data: s.vendor.failure(f, c)}, true
	}
	return event{}, false
}

func with(a, b object) object {
	sum := make(object, len(a)+len(b))
	for k, v := range a {
		sum[k] = v
	}
	for k, v := range b {
		sum[k] = v
	}
	return sum
}

// embeddings answers with eight figures from a digest of each input.
func embeddings(_ *Server, c *call) (answer, error) {
	var q struct {
		Model    string `json:"model"`
		Input    inputs `json:"input"`
		Encoding string `json:"encoding_format"`
	}
	if err := c.decode(&q); err != nil {
		return answer{}, err
	}
	if err := behaviourOf(q.Model).refusal(c, q.Model, false); err != nil {
		return answer{}, err
	}
	var data []object
	used := 0
	for i, text := range q.Input {
		used += tokens(text)
		sum := sha256.Sum256([]byte(text))
		figures := make([]float32, 8)
		var raw []byte
		for k := range figures {
			figures[k] = float32(binary.BigEndian.Uint32(sum[4*k:]))/math.MaxUint32 - 0.5
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(figures[k]))
		}
		e := object{"object": "embedding", "index": i, "embedding": figures}
		if q.Encoding == "base64" {
			e["embedding"] = base64.StdEncoding.EncodeToString(raw)
		}
		data = append(data, e)
	}
	return answer{body: object{"object": "list", "model": q.Model, "data": data, "usage": object{"prompt_tokens": used, "total_tokens": used}}}, nil
}
