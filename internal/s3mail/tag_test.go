package s3mail_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/s3mail"
)

// TestTags: a copy carries the one tag if it is to, and never one of what has
// arrived; by a plain request and by the SDK's client.
func TestTags(t *testing.T) {
	if want := (url.Values{cloudpolicy.MailTag: {cloudpolicy.MailTagValue}}).Encode(); s3mail.Tag != want {
		t.Errorf("copies carry %s, and the policies and the lifecycle speak of %s", s3mail.Tag, want)
	}
	for _, tagged := range []bool{true, false} {
		for _, plain := range []bool{true, false} {
			s := newStandIn(t)
			c := s.config()
			c.TagCopies = tagged
			b, err := s3mail.Open(c, s3mail.Credentials{Router: static("router")})
			if err != nil {
				t.Fatal(err)
			}
			s.put("inbound/m1", []byte("x"))
			o := s.objects["inbound/m1"]
			o.tag = "theirs=1"
			s.objects["inbound/m1"] = o
			v := read(t, b, first).Version
			once := !plain
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if !once || r.Method != http.MethodPut {
					return false
				}
				once = false
				fail(w, http.StatusServiceUnavailable, "SlowDown", "")
				return true
			}
			if created, err := b.Place(t.Context(), first, v, wallet); err != nil || !created {
				t.Fatal(created, err)
			}
			once = !plain
			if created, err := b.Refuse(t.Context(), first, v, "malformed"); err != nil || !created {
				t.Fatal(created, err)
			}
			want := ""
			if tagged {
				want = s3mail.Tag
			}
			for _, key := range []string{"bots/" + wallet.String() + "/inbound/m1", "refused/malformed/m1"} {
				if o, ok := s.objects[key]; !ok || o.tag != want {
					t.Errorf("tagged %t, plain %t: %s carries %q", tagged, plain, key, o.tag)
				}
			}
			if s.objects["inbound/m1"].tag != "theirs=1" {
				t.Error("what has arrived was tagged")
			}
		}
	}
	if _, err := s3mail.Open(s3mail.Config{Region: "eu-central-1", Bucket: bucket, TagCopies: true, StreamCopies: true}, s3mail.Credentials{Router: static("x")}); !errors.Is(err, s3mail.ErrConfig) {
		t.Errorf("tags in a stream: %v", err)
	}
}
