package sqlitestate

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
)

var _ broker.State = (*State)(nil)

func TestFirst(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "d%?#", "x y.db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: broker.Key{Kind: "a", Name: "b"}, Value: []byte{}}}, Events: []broker.NewEvent{{Topic: "x"}}})
	t.Log(v, err)
	i, err := s.Get(t.Context(), broker.Key{Kind: "a", Name: "b"})
	t.Log(i, err)
	l, err := s.List(t.Context(), "a", "", "", 10)
	t.Log(l, err)
	e, err := s.Events(t.Context(), 0, 10)
	t.Log(e, err)
	t.Log(s.Sweep(t.Context()), s.Ping(t.Context()), s.Close())
}
