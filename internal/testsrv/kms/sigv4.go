package kms

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// authentic verifies a request by AWS Signature Version 4, in its header form
// and for a path of / without a query, which is all that KMS is sent:
//
//	Authorization: AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/kms/aws4_request,
//	  SignedHeaders=<names>, Signature=<hex>
func (s *Server) authentic(r *http.Request, body []byte) error {
	const algorithm = "AWS4-HMAC-SHA256"
	auth, ok := strings.CutPrefix(r.Header.Get("Authorization"), algorithm+" ")
	if !ok {
		return refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	fields := map[string]string{}
	for f := range strings.SplitSeq(auth, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
		fields[name] = value
	}
	at := r.Header.Get("X-Amz-Date")
	when, err := time.Parse("20060102T150405Z", at)
	if err != nil {
		return refuse("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'.")
	}
	if d := s.o.Now().Sub(when); d > 5*time.Minute || d < -5*time.Minute {
		return refuse("InvalidSignatureException", "Signature expired")
	}
	scope := at[:8] + "/" + s.o.Region + "/kms/aws4_request"
	id, gotScope, _ := strings.Cut(fields["Credential"], "/")
	switch {
	case id != s.o.AccessKey:
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	case gotScope != scope:
		return refuse("InvalidSignatureException", "Credential should be scoped to a valid region and service.")
	}
	names := strings.Split(fields["SignedHeaders"], ";")
	for _, must := range []string{"host", "x-amz-date", "x-amz-target"} {
		if !slices.Contains(names, must) {
			return refuse("IncompleteSignatureException", "'"+must+"' must be a 'SignedHeader'")
		}
	}
	if !slices.IsSorted(names) {
		return refuse("IncompleteSignatureException", "SignedHeaders is not sorted")
	}
	var canonical strings.Builder
	canonical.WriteString("POST\n/\n\n")
	for _, n := range names {
		v := strings.Join(r.Header.Values(n), ",")
		switch n {
		case "host":
			v = r.Host
		case "content-length":
			v = r.Header.Get("Content-Length")
			if v == "" {
				v = strconv.FormatInt(r.ContentLength, 10)
			}
		}
		canonical.WriteString(n + ":" + strings.Join(strings.Fields(v), " ") + "\n")
	}
	sum := sha256.Sum256(body)
	canonical.WriteString("\n" + fields["SignedHeaders"] + "\n" + hex.EncodeToString(sum[:]))
	hashed := sha256.Sum256([]byte(canonical.String()))
	toSign := algorithm + "\n" + at + "\n" + scope + "\n" + hex.EncodeToString(hashed[:])
	k := []byte("AWS4" + s.o.Secret)
	for part := range strings.SplitSeq(scope, "/") {
		k = mac(k, part)
	}
	want := hex.EncodeToString(mac(k, toSign))
	if !hmac.Equal([]byte(want), []byte(fields["Signature"])) {
		return refuse("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")
	}
	return nil
}

func mac(key []byte, s string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(s))
	return m.Sum(nil)
}
