package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/grant"
)

// usageMeter reads OpenRouter's usage.cost.
type usageMeter struct {
	docs  []string
	cost  grant.Money
	known bool
}

func (m *usageMeter) Feed(doc []byte) {
	m.docs = append(m.docs, string(doc))
	var d struct {
		Usage *struct {
			Cost *float64 `json:"cost"`
		} `json:"usage"`
	}
	if json.Unmarshal(doc, &d) == nil && d.Usage != nil && d.Usage.Cost != nil {
		m.cost, m.known = grant.Money(*d.Usage.Cost*1e9), true
	}
}

func (m *usageMeter) Result() (grant.Money, bool) { return m.cost, m.known }

// fastMeter finds the same as cheaply as a service's own scanner would.
type fastMeter struct {
	cost  grant.Money
	known bool
}

func (m *fastMeter) Feed(doc []byte) {
	if i := bytes.LastIndex(doc, []byte(`"cost":`)); i >= 0 {
		digits := doc[i+len(`"cost":`):]
		end := bytes.IndexAny(digits, ",}")
		if f, err := strconv.ParseFloat(string(digits[:max(end, 0)]), 64); err == nil {
			m.cost, m.known = grant.Money(f*1e9), true
		}
	}
}

func (m *fastMeter) Result() (grant.Money, bool) { return m.cost, m.known }

func TestMetering(t *testing.T) {
	doc := `{"id":"x","echo":"` + canary + `","usage":{"cost":0.25}}`
	redacted := strings.ReplaceAll(doc, canary, stars(canary))
	sse := ": comment\n\ndata: {\"choices\":[]}\n\nevent: x\ndata: " + doc + "\n\ndata: [DONE]\n\n"
	big := `{"usage":{"cost":1},"pad":"` + strings.Repeat("x", maxMeteredBody) + `"}`
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		coding                  string
		want                    grant.Money
		docs                    []string
	}{
		{"json", "application/json", doc, 200, "", grant.USD / 4, []string{redacted}},
		{"json with charset", "Application/JSON; charset=utf-8", doc, 201, "", grant.USD / 4, []string{redacted}},
		{"json suffix", "application/vnd.x+json", doc, 200, "", grant.USD / 4, []string{redacted}},
		{"compressed json", "application/json", doc, 200, "gzip", grant.USD / 4, []string{redacted}},
		{"large json", "application/json", strings.Repeat(" ", 100000) + doc, 200, "", grant.USD / 4, []string{strings.Repeat(" ", 100000) + redacted}},
		{"stream", "text/event-stream", sse, 200, "", grant.USD / 4, []string{redacted}},
		{"stream with charset", "text/event-stream;charset=utf-8", sse, 200, "", grant.USD / 4, []string{redacted}},
		{"compressed stream", "text/event-stream", sse, 200, "zstd", grant.USD / 4, []string{redacted}},
		{"stream without last blank line", "text/event-stream", "data: " + doc, 200, "", grant.USD / 4, []string{redacted}},
		{"text", "text/plain", doc, 200, "", 0, nil},
		{"nothing said", "", doc, 200, "", 0, nil},
		{"error", "application/json", doc, 402, "", 0, nil},
		{"redirect", "application/json", doc, 302, "", 0, nil},
		{"beyond the bound", "application/json", big, 200, "", 0, nil},
		{"beyond the bound, compressed", "application/json", big, 200, "gzip", 0, nil},
		{"event beyond the bound", "text/event-stream", "data: " + big + "\n\ndata: {\"usage\":{\"cost\":0.5}}\n\n", 200, "", grant.USD / 2, []string{`{"usage":{"cost":0.5}}`}},
		{"no cost", "application/json", `{"usage":{}}`, 200, "", 0, []string{`{"usage":{}}`}},
	} {
		for _, length := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/length=%v", c.name, length), func(t *testing.T) {
				m := new(usageMeter)
				route := upstream(t, true, func(w http.ResponseWriter, _ *http.Request) {
					body := []byte(c.body)
					w.Header()["Content-Type"] = []string{c.contentType}
					if c.coding != "" {
						body = encode(t, c.coding, c.body)
						w.Header().Set("Content-Encoding", c.coding)
					}
					if length {
						w.Header().Set("Content-Length", fmt.Sprint(len(body)))
					}
					w.WriteHeader(c.status)
					for _, part := range [][]byte{body[:len(body)/3], body[len(body)/3:]} {
						_, _ = w.Write(part)
						_ = http.NewResponseController(w).Flush()
					}
				})
				route.Meter = func() Meter { return m }
				b := newBackend(route)
				if _, body := get(t, serve(t, b, Options{}), "/openrouter/a"); len(body) != len(c.body) {
					t.Errorf("%d bytes, want %d", len(body), len(c.body))
				}
				if o := b.outcome(t); o.Cost != c.want || o.Known != (c.want > 0) || o.Status != c.status || o.Reason != "" {
					t.Errorf("outcome %+v", o)
				}
				if !slices.Equal(m.docs, c.docs) {
					t.Errorf("fed %.300q", m.docs)
				}
			})
		}
	}
}

// A cut or abandoned answer costs what it said before.
func TestMeteringOfCutStream(t *testing.T) {
	pieces := make(chan string, 3)
	pieces <- "data: {\"usage\":{\"cost\":0.5}}\n\n"
	pieces <- "data: {\"usage\":{\"cost\":7"
	route := gated(t, false, "text/event-stream", pieces)
	route.Meter = func() Meter { return new(usageMeter) }
	b := newBackend(route)
	res, err := client(t).Do(newRequest(t, "GET", "http://"+serve(t, b, Options{})+"/openrouter/a", nil))
	if err != nil {
		t.Fatal(err)
	}
	pieces <- "cut"
	_, _ = io.ReadAll(res.Body)
	_ = res.Body.Close()
	if o := b.outcome(t); o.Cost != grant.USD/2 || !o.Known || o.Reason != "upstream-cut" {
		t.Errorf("outcome %+v", o)
	}
}

// events is what the specification says of a stream, over the whole text: the
// data of each event that has one of the keys.
func events(text string, keys []string) []string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	var out, data []string
	has := false
	flush := func() {
		joined := strings.Join(data, "\n")
		for _, k := range keys {
			if has && strings.Contains(joined, k) {
				out = append(out, joined)
				break
			}
		}
		data, has = nil, false
	}
	for line := range strings.SplitSeq(text, "\n") {
		field, value, _ := strings.Cut(line, ":")
		switch {
		case line == "":
			flush()
		case field == "data":
			data, has = append(data, strings.TrimPrefix(value, " ")), true
		}
	}
	flush()
	return out
}

func tapped(text string, keys []string, cuts func(n int) int) []string {
	m := new(usageMeter)
	t := newTap(m, keys, "text/event-stream", -1)
	for b := []byte(text); len(b) > 0; {
		n := cuts(len(b))
		t.feed(bytes.Clone(b[:n])) // what is fed is not kept
		clear(b[:n])
		b = b[n:]
	}
	t.end()
	return m.docs
}

func TestEvents(t *testing.T) {
	keys := []string{"usage", "cost"}
	for _, text := range []string{
		"", "\n", "data", "data: usage", "data:usage\n\n", "data: usage\ndata: two\n\n", "data\ndata: usage\n\n", "data: one\r\ndata: usage\r\n\r\n", "data: usage\r\rdata: cost\r\r",
		"datax: usage\n\ndata : usage\n\n data: usage\n\n", ": data: usage\n\n", "event: usage\n\n", "data:  two spaces usage\n\n", "data: usage\n\n\n\n\ndata: cost\n\n", "\xef\xbb\xbfdata: usage\n\n", "data: a:b:usage\n\n",
	} {
		want := events(text, keys)
		for n := 1; n <= len(text)+1; n++ {
			if got := tapped(text, keys, func(left int) int { return min(n, left) }); !slices.Equal(got, want) {
				t.Errorf("%q in pieces of %d: %q, want %q", text, n, got, want)
			}
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add("data: usage\r\n\r\ndata: x\n\n", uint64(1))
	f.Add("data\rdata:cost\r\n\n", uint64(2))
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		if len(text) > maxMeteredEvent/2 {
			return
		}
		keys := []string{"u", "cost"}
		rng := rand.New(rand.NewPCG(seed, 0))
		want := events(text, keys)
		if got := tapped(text, keys, func(left int) int { return 1 + rng.IntN(left) }); !slices.Equal(got, want) {
			t.Fatalf("%q: %q, want %q", text, got, want)
		}
	})
}

// What a tap keeps is bounded, whatever comes.
func TestTapsAreBounded(t *testing.T) {
	line := bytes.Repeat([]byte("x"), 64<<10)
	for name, prefix := range map[string]string{"line": "data: ", "lines": "\ndata: ", "comment": ": "} {
		tp := newTap(new(usageMeter), []string{"usage"}, "text/event-stream", -1).(*eventTap)
		tp.feed([]byte(prefix))
		for range 100 {
			tp.feed(line)
			if name == "lines" {
				tp.feed([]byte(prefix))
			}
			if n := cap(tp.line) + cap(tp.data); n > 4*maxMeteredEvent {
				t.Fatalf("%s: %d bytes are kept", name, n)
			}
		}
		tp.feed([]byte("\n\ndata: usage\n\n"))
		tp.end()
		if m := tp.meter.(*usageMeter); !slices.Equal(m.docs, []string{"usage"}) {
			t.Errorf("%s: fed %.100q", name, m.docs)
		}
		if cap(tp.data) > bigBuffer {
			t.Errorf("%s: %d bytes stay", name, cap(tp.data))
		}
	}
	bt := newTap(new(usageMeter), nil, "application/json", -1).(*bodyTap)
	for range 100 {
		if bt.feed(line); cap(bt.buf) > 2*maxMeteredBody {
			t.Fatalf("%d bytes are kept", cap(bt.buf))
		}
	}
}
