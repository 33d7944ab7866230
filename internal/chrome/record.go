package chrome

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"

	"github.com/litentry/agentkeys/internal/provision/har"
)

// bodyTime bounds the wait for the body of an answer that is recorded.
const bodyTime = 10 * time.Second

// begin records a request.
func begin(r *har.Recorder, e fetch.EventRequestPaused) {
	q := har.Request{Method: e.Request.Method, URL: e.Request.URL}
	for name, v := range e.Request.Headers {
		if s, ok := v.(string); ok {
			q.Headers = append(q.Headers, har.Pair{Name: name, Value: s})
		}
	}
	slices.SortFunc(q.Headers, func(a, b har.Pair) int { return strings.Compare(a.Name, b.Name) })
	for _, part := range e.Request.PostDataEntries {
		if part != nil {
			q.Body = append(q.Body, part.Bytes...)
		}
	}
	r.Begin(string(e.RequestID), q)
}

// answered records an answer, and lets it pass.
func answered(s session, r *har.Recorder, e fetch.EventRequestPaused) {
	id := string(e.RequestID)
	if e.ResponseErrorReason != "" {
		r.Failed(id, string(e.ResponseErrorReason))
		s.tell(fetch.ContinueRequest.Method, fetch.ContinueRequestParams{RequestID: e.RequestID})
		return
	}
	p := har.Response{Status: int(e.ResponseStatusCode), StatusText: e.ResponseStatusText}
	for _, h := range e.ResponseHeaders {
		if h != nil {
			p.Headers = append(p.Headers, har.Pair{Name: h.Name, Value: h.Value})
		}
	}
	r.Response(id, p)
	go func() {
		// A redirect has no body that could be asked for, and a stream no end.
		if p.Status/100 != 3 && e.ResourceType != network.ResourceTypeEventSource {
			ctx, cancel := context.WithTimeout(context.Background(), bodyTime)
			if b, err := cdp.Call(ctx, s, fetch.GetResponseBody, fetch.GetResponseBodyParams{RequestID: e.RequestID}); err == nil {
				r.Body(id, b.Body)
			}
			cancel()
		}
		s.tell(fetch.ContinueRequest.Method, fetch.ContinueRequestParams{RequestID: e.RequestID})
	}()
}

// replay answers a request from an archive, or as a network that is down.
func replay(s session, a *har.Archive, e fetch.EventRequestPaused) {
	entry, ok := a.Match(e.Request.Method, e.Request.URL)
	if !ok {
		s.tell(fetch.FailRequest.Method, fetch.FailRequestParams{RequestID: e.RequestID, ErrorReason: network.ErrorReasonInternetDisconnected})
		return
	}
	p := fetch.FulfillRequestParams{RequestID: e.RequestID, ResponseCode: int64(entry.Response.Status), Body: []byte(entry.Response.Content.Text)}
	typed := false
	for _, h := range entry.Response.Headers {
		switch strings.ToLower(h.Name) {
		case "content-encoding", "content-length", "transfer-encoding", "connection", "alt-svc":
			continue // of the way that the answer came then
		case "content-type":
			typed = true
		}
		p.ResponseHeaders = append(p.ResponseHeaders, &fetch.HeaderEntry{Name: h.Name, Value: h.Value})
	}
	if !typed && entry.Response.Content.MimeType != "" {
		p.ResponseHeaders = append(p.ResponseHeaders, &fetch.HeaderEntry{Name: "Content-Type", Value: entry.Response.Content.MimeType})
	}
	if http.StatusText(entry.Response.Status) == "" {
		p.ResponsePhrase = fmt.Sprint(entry.Response.Status)
	}
	s.tell(fetch.FulfillRequest.Method, p)
}
