package testsrv

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

const question = "What is the answer?"

func chatBody(model string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"stream":%t,"stream_options":{"include_usage":true},"max_tokens":64,"messages":[{"role":"system","content":"x"},{"role":"user","content":[{"type":"text","text":%q}]}]}`, model, stream, question)
}

// api is how a client of one endpoint asks and where the answer has its text.
type api struct {
	name  string
	shape Shape
	path  string
	body  func(model string, stream bool) string
	auth  []string
	text  []any // in the plain answer
	delta []any // in an event
	usage []any
	fail  []any // message in an error
}

var apis = []api{
	{"openrouter", OpenRouter, "/api/v1/chat/completions", chatBody, []string{"Authorization", "Bearer " + key},
		[]any{"choices", 0, "message", "content"}, []any{"choices", 0, "delta", "content"}, []any{"usage", "completion_tokens"}, []any{"error", "message"}},
	{"openai", OpenAI, "/v1/chat/completions", chatBody, []string{"Authorization", "Bearer " + key},
		[]any{"choices", 0, "message", "content"}, []any{"choices", 0, "delta", "content"}, []any{"usage", "completion_tokens"}, []any{"error", "message"}},
	{"responses", OpenAI, "/v1/responses", func(model string, stream bool) string {
		return fmt.Sprintf(`{"model":%q,"stream":%t,"input":%q}`, model, stream, question)
	}, []string{"Authorization", "Bearer " + key},
		[]any{"output", 0, "content", 0, "text"}, []any{"delta"}, []any{"usage", "output_tokens"}, []any{"error", "message"}},
	{"anthropic", Anthropic, "/v1/messages", chatBody, []string{"X-Api-Key", key, "Anthropic-Version", "2023-06-01"},
		[]any{"content", 0, "text"}, []any{"delta", "text"}, []any{"usage", "output_tokens"}, []any{"error", "message"}},
	{"anthropic bearer", Anthropic, "/v1/messages", chatBody, []string{"Authorization", "Bearer " + key, "Anthropic-Version", "2023-06-01"},
		[]any{"content", 0, "text"}, []any{"delta", "text"}, []any{"usage", "output_tokens"}, []any{"error", "message"}},
}

func forEachAPI(t *testing.T, run func(t *testing.T, a api, http1 bool)) {
	for _, a := range apis {
		for _, http1 := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/http1=%t", a.name, http1), func(t *testing.T) { run(t, a, http1) })
		}
	}
}

func TestPlainAnswer(t *testing.T) {
	forEachAPI(t, func(t *testing.T, a api, http1 bool) {
		s := start(t, Options{Shape: a.shape})
		c := clientOf(t, s, http1)
		resp := do(t, c, "POST", s.URL()+a.path, a.body("some-model", false), a.auth...)
		text := read(t, resp)
		if resp.StatusCode != 200 || at(t, text, a.text...) != Reply(question) {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		if n, _ := at(t, text, a.usage...).(float64); n < 1 {
			t.Errorf("usage in %s", text)
		}
		if again := read(t, do(t, c, "POST", s.URL()+a.path, a.body("some-model", false), a.auth...)); again != text {
			t.Errorf("not the same answer twice:\n%s\n%s", text, again)
		}
		if got := s.Requests()[0]; got.Key != "first" || strings.HasPrefix(got.Proto, "HTTP/1") != http1 {
			t.Errorf("%+v", got)
		}
	})
}

// TestStreamOneByOne lets the server send event k+1 only when the client has
// read event k: whatever is held back on the way hangs the test.
func TestStreamOneByOne(t *testing.T) {
	for _, compress := range []bool{false, true} {
		forEachAPI(t, func(t *testing.T, a api, http1 bool) {
			// One token at a time: the one for event k+1 is put in when the client
			// has read event k, and the last is left over.
			gates := make(chan struct{}, 1)
			s := start(t, Options{Shape: a.shape, Compress: compress, Gate: func(ctx context.Context, _ int) error {
				select {
				case <-gates:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}})
			headers := append([]string{"Accept-Encoding", "gzip"}, a.auth...)
			resp := do(t, clientOf(t, s, http1), "POST", s.URL()+a.path, a.body("some-model", true), headers...)
			var body io.Reader = resp.Body
			if compress != (resp.Header.Get("Content-Encoding") == "gzip") {
				t.Fatalf("coding %q", resp.Header.Get("Content-Encoding"))
			}
			gates <- struct{}{}
			if compress {
				z, err := gzip.NewReader(body)
				if err != nil {
					t.Fatal(err)
				}
				body = z
			}
			text, last, n := "", "", 0
			for lines := bufio.NewScanner(body); lines.Scan(); {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && data != "[DONE]" {
					if d, ok := at(t, data, a.delta...).(string); ok {
						text += d
					}
					last = data
				}
				if lines.Text() == "" {
					n++
					gates <- struct{}{}
				}
			}
			if text != Reply(question) || n < 8 {
				t.Errorf("%d events, text %q, last %s", n, text, last)
			}
		})
	}
}

// events reads a whole stream: the names and the data, without comments.
func events(t *testing.T, resp *http.Response) (names, data []string) {
	t.Helper()
	name := ""
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = v
		}
		if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			names, data = append(names, name), append(data, v)
			name = ""
		}
	}
	return names, data
}

func TestUsageInStreams(t *testing.T) {
	stream := func(a api, body string) []string {
		s := start(t, Options{Shape: a.shape})
		_, data := events(t, do(t, clientOf(t, s, false), "POST", s.URL()+a.path, body, a.auth...))
		return data
	}
	plain := func(a api) string {
		return strings.Replace(a.body("m", true), `"include_usage":true`, `"include_usage":false`, 1)
	}
	router, openai, resp, claude := apis[0], apis[1], apis[2], apis[3]

	all := stream(openai, chatBody("m", true))
	usage := all[len(all)-2]
	if all[len(all)-1] != "[DONE]" || at(t, usage, "usage", "total_tokens") == nil || at(t, usage, "choices", 0) != nil {
		t.Errorf("openai: %q", usage)
	}
	if strings.Contains(strings.Join(stream(openai, plain(openai)), ""), "usage") {
		t.Error("openai: usage without include_usage")
	}
	all = stream(router, plain(router))
	usage = all[len(all)-2]
	in, _ := at(t, usage, "usage", "prompt_tokens").(float64)
	out, _ := at(t, usage, "usage", "completion_tokens").(float64)
	if at(t, usage, "usage", "cost") != Cost(int(in), int(out)) || in == 0 {
		t.Errorf("openrouter: %q", usage)
	}
	all = stream(resp, resp.body("m", true))
	if usage = all[len(all)-1]; at(t, usage, "type") != "response.completed" || at(t, usage, "response", "usage", "total_tokens") == nil {
		t.Errorf("responses: %q", usage)
	}

	all = stream(claude, strings.Replace(chatBody("m", true), `"type":"text"`, `"type":"text","cache_control":{"type":"ephemeral"}`, 1))
	first, usage := all[0], all[len(all)-2]
	if at(t, first, "type") != "message_start" || at(t, first, "message", "usage", "cache_creation_input_tokens") == 0.0 ||
		at(t, first, "message", "usage", "output_tokens") != 1.0 ||
		at(t, usage, "type") != "message_delta" || at(t, usage, "usage", "input_tokens") != 0.0 || at(t, usage, "usage", "output_tokens") == 1.0 {
		t.Errorf("anthropic: %q %q", first, usage)
	}
}

func TestErrors(t *testing.T) {
	forEachAPI(t, func(t *testing.T, a api, http1 bool) {
		s := start(t, Options{Shape: a.shape})
		c := clientOf(t, s, http1)
		for _, status := range []int{400, 401, 402, 403, 404, 413, 429, 500, 503, 529} {
			resp := do(t, c, "POST", s.URL()+a.path, a.body("vendor/error-"+strconv.Itoa(status), true), a.auth...)
			text := read(t, resp)
			if m, _ := at(t, text, a.fail...).(string); resp.StatusCode != status || m == "" || (resp.Header.Get("Retry-After") != "") != (status == 429) {
				t.Errorf("%d: %d %v %s", status, resp.StatusCode, resp.Header, text)
			}
		}
		for _, body := range []string{"", "{", "{}", `{"model":1}`, `{"model":"m","messages":[]}`} {
			if resp := do(t, c, "POST", s.URL()+a.path, body, a.auth...); resp.StatusCode != 400 {
				t.Errorf("%q: %d", body, resp.StatusCode)
			}
		}
		for _, auth := range [][]string{
			{},
			{"Authorization", "Bearer wrong"},
			{"Authorization", "Basic " + key},
			{"Authorization", "Bearer " + key, "Authorization", "Bearer wrong"},
			{"Authorization", "Bearer wrong", "X-Api-Key", "other"},
		} {
			resp := do(t, c, "POST", s.URL()+a.path, a.body("m", false), append(auth, "Anthropic-Version", "2023-06-01")...)
			if m, _ := at(t, read(t, resp), a.fail...).(string); resp.StatusCode != 401 || m == "" {
				t.Errorf("%v: %d", auth, resp.StatusCode)
			}
		}
	})
}

func TestMidstream(t *testing.T) {
	forEachAPI(t, func(t *testing.T, a api, http1 bool) {
		s := start(t, Options{Shape: a.shape})
		c := clientOf(t, s, http1)
		_, data := events(t, do(t, c, "POST", s.URL()+a.path, a.body("error-midstream", true), a.auth...))
		last := data[len(data)-1]
		if at(t, last, a.fail...) == nil && at(t, last, "message") == nil {
			t.Errorf("last event %s", last)
		}
		resp := do(t, c, "POST", s.URL()+a.path, a.body("cut-midstream", true), a.auth...)
		if b, err := io.ReadAll(resp.Body); err == nil || len(b) == 0 {
			t.Errorf("cut: %q, %v", b, err)
		}
		resp = do(t, c, "POST", s.URL()+a.path, a.body("cut-midstream", false), a.auth...)
		if resp.StatusCode != 500 {
			t.Errorf("not streaming: %d", resp.StatusCode)
		}

		for want, n := range map[int]int{1: 1, 3: 3, 500: 500} {
			_, data = events(t, do(t, c, "POST", s.URL()+a.path, a.body("events-"+strconv.Itoa(n), true), a.auth...))
			text, got := "", 0
			for _, d := range data {
				if d == "[DONE]" {
					continue
				}
				if piece, _ := at(t, d, a.delta...).(string); piece != "" {
					text += piece
					got++
				}
			}
			if got != want || !strings.HasPrefix(text, Reply(question)) {
				t.Errorf("events-%d: %d pieces, %q", n, got, text)
			}
		}
	})
}

func TestEchoKeyModels(t *testing.T) {
	forEachAPI(t, func(t *testing.T, a api, http1 bool) {
		s := start(t, Options{Shape: a.shape})
		c := clientOf(t, s, http1)
		if text := read(t, do(t, c, "POST", s.URL()+a.path, a.body("echo-key", false), a.auth...)); !strings.Contains(text, key) {
			t.Errorf("plain: %s", text)
		}
		if text := read(t, do(t, c, "POST", s.URL()+a.path, a.body("echo-key-error", false), a.auth...)); !strings.Contains(text, key) {
			t.Errorf("error: %s", text)
		}
		_, data := events(t, do(t, c, "POST", s.URL()+a.path, a.body("echo-key", true), a.auth...))
		text := ""
		for _, d := range data {
			if d != "[DONE]" {
				piece, _ := at(t, d, a.delta...).(string)
				text += piece
			}
		}
		if !strings.Contains(text, key) {
			t.Errorf("stream: %s", text)
		}
	})
}

func TestOtherRoutes(t *testing.T) {
	bearer := []string{"Authorization", "Bearer " + key}
	claude := append(bearer, "Anthropic-Version", "2023-06-01")
	for _, c := range []struct {
		shape              Shape
		method, path, body string
		auth               []string
		status             int
		want               string
	}{
		{OpenRouter, "GET", "/api/v1/key", "", bearer, 200, `"label":"sk-test-********wxyz"`},
		{OpenRouter, "GET", "/api/v1/key", "", nil, 401, `{"error":{"code":401,"message":"No auth credentials found"}}`},
		{OpenRouter, "GET", "/api/v1/models", "", nil, 200, `"openai/gpt-5-mini"`},
		{OpenRouter, "GET", "/api/v1/keys", "", bearer, 200, `"label":"sk-test-********wxyz"`},
		{OpenRouter, "POST", "/api/v1/keys", `{"name":"new"}`, bearer, 201, `"name":"new"`},
		{OpenRouter, "GET", "/api/v1/chat/..//%2e%2E/v1/keys", "", bearer, 200, `"hash"`},
		{OpenRouter, "GET", "/api/v1/other", "", bearer, 404, `"code":404`},
		{OpenAI, "GET", "/v1/models", "", bearer, 200, `"object":"list"`},
		{OpenAI, "GET", "/v1/models/gpt-5", "", bearer, 200, `"id":"gpt-5"`},
		{OpenAI, "GET", "/v1/models", "", []string{"Authorization", "Bearer sk-0123456789abcdefgh"}, 401, `sk-01234********efgh`},
		{OpenAI, "POST", "/v1/embeddings", `{"model":"m","input":"a"}`, bearer, 200, `"embedding":[`},
		{OpenAI, "POST", "/v1/embeddings", `{"model":"m","input":["a","b"],"encoding_format":"base64"}`, bearer, 200, `"index":1`},
		{OpenAI, "POST", "/v1/embeddings", `{"model":"error-429","input":"a"}`, bearer, 429, `"rate_limit_exceeded"`},
		{Anthropic, "GET", "/v1/models", "", claude, 200, `"first_id"`},
		{Anthropic, "GET", "/v1/models/m", "", claude, 200, `"display_name":"m"`},
		{Anthropic, "GET", "/v1/models", "", bearer, 400, `anthropic-version`},
		{Anthropic, "POST", "/v1/messages/count_tokens", chatBody("m", false), claude, 200, `{"input_tokens":`},
		{Anthropic, "POST", "/v1/messages", `{"model":"m","messages":[{"role":"user","content":"x"}]}`, claude, 400, `max_tokens: Field required`},
		{Anthropic, "POST", "/v1/messages", chatBody("error-529", false), claude, 529, `"overloaded_error"`},
	} {
		s := start(t, Options{Shape: c.shape})
		resp := do(t, clientOf(t, s, true), c.method, s.URL()+c.path, c.body, c.auth...)
		if text := read(t, resp); resp.StatusCode != c.status || !strings.Contains(text, c.want) || (c.status != 400 && strings.Contains(text, key)) {
			t.Errorf("%s %s %s: %d %s", c.shape, c.method, c.path, resp.StatusCode, text)
		}
	}
}

func TestRateHeaders(t *testing.T) {
	for _, c := range []struct {
		a      api
		header string
	}{{apis[1], "X-Ratelimit-Remaining-Tokens"}, {apis[3], "Anthropic-Ratelimit-Input-Tokens-Remaining"}} {
		s := start(t, Options{Shape: c.a.shape})
		resp := do(t, clientOf(t, s, false), "POST", s.URL()+c.a.path, c.a.body("m", true), c.a.auth...)
		if resp.Header.Get(c.header) == "" {
			t.Errorf("%s: %v", c.a.name, resp.Header)
		}
	}
}
