package s3blob_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/s3blob"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
	"github.com/litentry/agentkeys/internal/vault"
)

// BenchmarkRead is a credential read, cold (STS and GET) and with a live
// session (GET), by the packages here and by hand, against the same real
// server. cpu-µs/op is this process's alone; of a cold one it includes making
// the token and handing bytes to STS, the same for both.
//
// Each has a server of its own, because this one's STS gets slower with each
// session that it has given; past some hundreds it throttles.
func BenchmarkRead(b *testing.B) {
	b.Run("live/hand", func(b *testing.B) { benchmarkRead(b, false, false) })
	b.Run("live/ours", func(b *testing.B) { benchmarkRead(b, false, true) })
	b.Run("cold/hand", func(b *testing.B) { benchmarkRead(b, true, false) })
	b.Run("cold/ours", func(b *testing.B) { benchmarkRead(b, true, true) })
}

func benchmarkRead(b *testing.B, cold, ours bool) {
	w := cloudtest.Wallet(1)
	cloud := cloudtest.Start(b, w)
	k := vault.CredentialKey(w, agentkeys.Must(agentkeys.ParseService("openrouter")))
	s, err := awssts.New(awssts.Config{Region: versity.Region, Endpoint: cloud.STS, RoleARN: cloudtest.Roles}, cloud.Token)
	if err != nil {
		b.Fatal(err)
	}
	store, err := s3blob.Open(config(cloud), s.Credentials)
	if err != nil {
		b.Fatal(err)
	}
	want := bytes.Repeat([]byte("x"), 400) // about an envelope
	if _, err := store.Put(b.Context(), k, want, vault.Create()); err != nil {
		b.Fatal(err)
	}
	h := byHand{cloud: cloud, wallet: w, key: k.String()}
	read := func() ([]byte, error) {
		switch {
		case ours && cold:
			s.Forget(w)
		case cold:
			h.creds.ID = ""
		}
		if !ours {
			return h.get()
		}
		d, _, err := store.Get(context.Background(), k)
		return d, err
	}
	if _, err := read(); err != nil { // connections
		b.Fatal(err)
	}
	before := cpu()
	for b.Loop() {
		if got, err := read(); err != nil || !bytes.Equal(got, want) {
			b.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// byHand is what somebody would write without an SDK.
type byHand struct {
	cloud  *cloudtest.Cloud
	wallet agentkeys.Wallet
	key    string
	creds  struct {
		ID     string `xml:"AssumeRoleWithWebIdentityResult>Credentials>AccessKeyId"`
		Secret string `xml:"AssumeRoleWithWebIdentityResult>Credentials>SecretAccessKey"`
		Token  string `xml:"AssumeRoleWithWebIdentityResult>Credentials>SessionToken"`
	}
}

func (h *byHand) get() ([]byte, error) {
	if h.creds.ID == "" {
		raw, err := h.cloud.Token(context.Background(), h.wallet)
		if err != nil {
			return nil, err
		}
		res, err := wire.PostForm(h.cloud.STS, url.Values{
			"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "DurationSeconds": {"900"}, "WebIdentityToken": {raw},
			"RoleArn": {versity.RoleARN("agentkeys-" + h.wallet.String())}, "RoleSessionName": {"agentkeys"},
		})
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		if err := xml.NewDecoder(res.Body).Decode(&h.creds); err != nil {
			return nil, err
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
	req, err := http.NewRequest("GET", h.cloud.Endpoint+"/"+cloudtest.Bucket+"/"+h.key, nil)
	if err != nil {
		return nil, err
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	now := time.Now().UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	canonical := "GET\n" + req.URL.EscapedPath() + "\n\nhost:" + req.URL.Host + "\nx-amz-content-sha256:" + empty + "\nx-amz-date:" + stamp +
		"\nx-amz-security-token:" + h.creds.Token + "\n\nhost;x-amz-content-sha256;x-amz-date;x-amz-security-token\n" + empty
	scope := day + "/" + versity.Region + "/s3/aws4_request"
	sum := sha256.Sum256([]byte(canonical))
	k := []byte("AWS4" + h.creds.Secret)
	for _, s := range []string{day, versity.Region, "s3", "aws4_request", "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])} {
		m := hmac.New(sha256.New, k)
		m.Write([]byte(s))
		k = m.Sum(nil)
	}
	req.Header.Set("X-Amz-Content-Sha256", empty)
	req.Header.Set("X-Amz-Date", stamp)
	req.Header.Set("X-Amz-Security-Token", h.creds.Token)
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+h.creds.ID+"/"+scope+", SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature="+hex.EncodeToString(k))
	res, err := wire.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, vault.MaxBlob))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, data)
	}
	return data, err
}
