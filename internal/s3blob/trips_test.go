package s3blob_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/s3blob"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
	"github.com/litentry/agentkeys/internal/vault"
)

// counter counts what goes over the wire.
type counter struct{ n atomic.Int64 }

func (c *counter) Do(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return wire.Do(r)
}

// TestRoundTrips on the real server: a cold read asks STS once and the store
// once, a read with a live session the store alone, and a hundred at once STS
// once.
func TestRoundTrips(t *testing.T) {
	w := cloudtest.Wallet(1)
	cloud := cloudtest.Start(t, w)
	k := vault.CredentialKey(w, key.Service())
	put(t, open(t, config(cloud), sessions(t, cloud)), k, "x", vault.Create())

	var sts, store counter
	s, err := awssts.New(awssts.Config{Region: versity.Region, Endpoint: cloud.STS, RoleARN: cloudtest.Roles, Client: &sts}, cloud.Token)
	if err != nil {
		t.Fatal(err)
	}
	c := config(cloud)
	c.Client = &store
	b, err := s3blob.Open(c, s.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	read := func(wantSTS, wantStore int64) {
		t.Helper()
		if _, _, err := b.Get(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		if a, b := sts.n.Swap(0), store.n.Swap(0); a != wantSTS || b != wantStore {
			t.Errorf("%d of STS and %d of the store, want %d and %d", a, b, wantSTS, wantStore)
		}
	}
	read(1, 1)
	read(0, 1)
	s.Forget(w)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, _, err := b.Get(t.Context(), k); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if a, b := sts.n.Swap(0), store.n.Swap(0); a != 1 || b != 100 {
		t.Errorf("a hundred at once: %d of STS and %d of the store", a, b)
	}
	// The other calls cost one each, too; only a deletion by claim costs two.
	if _, err := b.Put(t.Context(), k, []byte("y"), vault.Create()); err == nil {
		t.Fatal("created over what is there")
	}
	_, v, err := b.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	store.n.Store(0)
	if v, err = b.Put(t.Context(), k, []byte("y"), vault.Replace(v)); err != nil || store.n.Swap(0) != 1 {
		t.Errorf("replace: %v", err)
	}
	if _, err := b.List(t.Context(), vault.CredentialPrefix(w), vault.Key{}, 10); err != nil || store.n.Swap(0) != 1 {
		t.Errorf("list: %v", err)
	}
	if err := b.Delete(t.Context(), k, v); err != nil || store.n.Swap(0) != 2 {
		t.Errorf("delete: %v", err)
	}
	if sts.n.Load() != 0 {
		t.Error("STS was asked again")
	}
}

// TestTripsForNothing: what is not there costs one request, or, where a store
// says 403 for it as AWS does to the data role, one more to be sure.
func TestTripsForNothing(t *testing.T) {
	for _, hide := range []bool{false, true} {
		f := newFake(t)
		f.hide = hide
		_, _, err := f.open(t).Get(t.Context(), key)
		is(t, "get", err, vault.ErrNotFound)
		want := 1
		if hide {
			want = 2
		}
		if n := f.count("GET"); n != want || len(f.log) != want {
			t.Errorf("hidden %t: %v", hide, f.log)
		}
	}
}
