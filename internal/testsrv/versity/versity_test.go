package versity

import (
	"net/http"
	"os"
	"testing"
	"time"
)

func TestStart(t *testing.T) {
	begin := time.Now()
	s := Start(t, Options{Issuer: http.NotFoundHandler()})
	t.Log("up after", time.Since(begin))
	if err := s.PutProvider(t.Context(), "sts.amazonaws.com"); err != nil {
		t.Fatal(err)
	}
	if err := s.PutBucket(t.Context(), "bucket-one", false); err != nil {
		t.Fatal(err)
	}
	if err := s.PutBucket(t.Context(), "bucket-two", true); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile("/etc/hosts")
	t.Log(string(b))
}
