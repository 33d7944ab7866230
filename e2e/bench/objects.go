package main

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
	"github.com/litentry/agentkeys/internal/s3mail"
)

const mailBucket = "the-bucket"

// objects answers what routing asks of S3: ranged reads, and conditional
// copies, which it does not keep, so that they can be made over and over. It
// looks at no signature.
type objects map[string]held

type held struct {
	data []byte
	etag string
}

func newObjects() objects {
	o := objects{}
	for _, m := range slices.Concat(sized(), mixture("mix", false), mixture("to", true)) {
		data := m.Bytes()
		sum := md5.Sum(data)
		o["/"+mailBucket+"/inbound/"+m.ID] = held{data, `"` + hex.EncodeToString(sum[:]) + `"`}
	}
	return o
}

func (o objects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, there := o[r.URL.Path]
	var from, to int
	_, span := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
	match := r.Header.Get("If-Match")
	source := o["/"+r.Header.Get("X-Amz-Copy-Source")]
	switch {
	case r.Method == http.MethodGet && there && span == nil && from < len(x.data) && (match == "" || match == x.etag):
		part := x.data[from:min(to+1, len(x.data))]
		h := w.Header()
		h.Set("ETag", x.etag)
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+len(part)-1, len(x.data)))
		h.Set("Content-Length", strconv.Itoa(len(part)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(part)
	case r.Method == http.MethodPut && source.etag != "" && source.etag == r.Header.Get("X-Amz-Copy-Source-If-Match") && r.Header.Get("If-None-Match") == "*":
		fmt.Fprintf(w, "%s<CopyObjectResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;%s&quot;</ETag></CopyObjectResult>", xml.Header, strings.Trim(source.etag, `"`))
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, xml.Header+"<Error><Code>NoSuchKey</Code></Error>")
	}
}

// byHand is what somebody would write for the two calls alone: one that reads
// the first 2,048 bytes and one that copies, signed, and nothing decided.
type byHand struct {
	addr   string
	client *http.Client
}

func newByHand(addr string) *byHand {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy, t.MaxIdleConnsPerHost = nil, 32
	return &byHand{addr, &http.Client{Transport: t, Timeout: time.Minute}}
}

func (h *byHand) route(name string) error {
	inbox := "/bots/" + mailstoretest.Wallet(1).String() + "/inbound/"
	_, etag, err := h.do(http.MethodGet, "/inbound/"+name, http.StatusPartialContent, [2]string{"range", "bytes=0-2047"})
	if err != nil {
		return err
	}
	body, _, err := h.do(http.MethodPut, inbox+name, http.StatusOK,
		[2]string{"if-none-match", "*"}, [2]string{"x-amz-copy-source", mailBucket + "/inbound/" + name}, [2]string{"x-amz-copy-source-if-match", etag},
		[2]string{"x-amz-tagging", s3mail.Tag}, [2]string{"x-amz-tagging-directive", "REPLACE"})
	if err == nil && !strings.Contains(string(body), "<CopyObjectResult") {
		err = errors.New("not copied")
	}
	return err
}

// do signs all headers given, by Signature Version 4.
func (h *byHand) do(method, path string, want int, headers ...[2]string) (body []byte, etag string, err error) {
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	path = "/" + mailBucket + path
	now := time.Now().UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	headers = append(headers, [2]string{"host", h.addr}, [2]string{"x-amz-content-sha256", empty}, [2]string{"x-amz-date", stamp})
	slices.SortFunc(headers, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	req, err := http.NewRequest(method, "http://"+h.addr+path, nil)
	if err != nil {
		return nil, "", err
	}
	var lines, names strings.Builder
	for i, kv := range headers {
		lines.WriteString(kv[0] + ":" + kv[1] + "\n")
		if i > 0 {
			names.WriteByte(';')
		}
		names.WriteString(kv[0])
		if kv[0] != "host" {
			req.Header.Set(kv[0], kv[1])
		}
	}
	sum := sha256.Sum256([]byte(method + "\n" + path + "\n\n" + lines.String() + "\n" + names.String() + "\n" + empty))
	scope := day + "/eu-central-1/s3/aws4_request"
	key := []byte("AWS4" + "example")
	for _, s := range []string{day, "eu-central-1", "s3", "aws4_request", "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(s))
		key = m.Sum(nil)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/"+scope+", SignedHeaders="+names.String()+", Signature="+hex.EncodeToString(key))
	res, err := h.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err == nil && res.StatusCode != want {
		err = fmt.Errorf("%s %s: %s", method, path, res.Status)
	}
	return body, res.Header.Get("ETag"), err
}
