package envelope

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/litentry/agentkeys"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsPath = "testdata/vectors.json"

// vectorFile and what is in it are described in testdata/README.md.
type vectorFile struct {
	Format  string   `json:"format"`
	Vectors []vector `json:"vectors"`
}

type vector struct {
	ID     string        `json:"id"`
	KEK    string        `json:"kek"`
	Name   vectorName    `json:"name"`
	Sealed []byte        `json:"sealed"`
	Result string        `json:"result"`
	Header *vectorHeader `json:"header,omitempty"`
	Record *vectorRecord `json:"record,omitempty"`
}

type vectorName struct {
	Wallet  string `json:"wallet"`
	Service string `json:"service"`
}

// Decimal strings: a revision may exceed what a JSON number holds exactly.
type vectorHeader struct {
	Epoch    string `json:"epoch"`
	Revision string `json:"revision"`
}

type vectorRecord struct {
	Secret     []byte `json:"secret"`
	Kind       string `json:"kind"`
	KeyID      string `json:"key_id"`
	Route      string `json:"route"`
	VerifiedAt int64  `json:"verified_at"`
	ExpiresAt  int64  `json:"expires_at"`
}

// results names every sentinel once, as the vectors and the JavaScript
// decoder spell it.
var results = map[string]error{
	"ok":         nil,
	"truncated":  ErrTruncated,
	"version":    ErrVersion,
	"too-large":  ErrTooLarge,
	"zero":       ErrZero,
	"commitment": ErrCommitment,
	"decrypt":    ErrDecrypt,
	"record":     ErrRecord,
}

func resultOf(err error) string {
	for r, sentinel := range results {
		if errors.Is(err, sentinel) {
			return r
		}
	}
	return fmt.Sprintf("unexpected error %v", err)
}

func TestVectors(t *testing.T) {
	seen := map[string]int{}
	for _, v := range readVectors(t).Vectors {
		seen[v.Result]++
		h, r, err := Open(testKEK(t, v.KEK), v.Name.parse(), v.Sealed)
		if got := resultOf(err); got != v.Result {
			t.Errorf("%s: %s, want %s", v.ID, got, v.Result)
			continue
		}
		if err != nil {
			wantNothing(t, v.ID, h, r)
			continue
		}
		if d := cmp.Diff(v.Header, describeHeader(h)); d != "" {
			t.Errorf("%s: header %s", v.ID, d)
		}
		if d := cmp.Diff(v.Record, describeRecord(r)); d != "" {
			t.Errorf("%s: record %s", v.ID, d)
		}
		// One record, one encoding: the same salt gives the same bytes.
		again, err := seal(testKEK(t, v.KEK), v.Name.parse(), h, r, saltOf(v.Sealed))
		if err != nil || !bytes.Equal(again, v.Sealed) {
			t.Errorf("%s: does not seal to itself again (error %v)", v.ID, err)
		}
	}
	total := 0
	for r := range results {
		total += seen[r]
		if seen[r] == 0 {
			t.Errorf("no vector with result %q", r)
		}
	}
	if total < 150 {
		t.Errorf("%d vectors, want at least 150", total)
	}
}

// TestVectorsAreCurrent fails when the code no longer makes the published
// bytes. A change to them is a new version of the format, not an update.
func TestVectorsAreCurrent(t *testing.T) {
	want, err := json.MarshalIndent(vectorFile{Format: "agentkeys credential envelope v1", Vectors: makeVectors(t)}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(vectorsPath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(vectorsPath)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what the code makes; if vectors were only added, run go test -run TestVectorsAreCurrent -update", vectorsPath)
	}
}

func readVectors(t testing.TB) vectorFile {
	t.Helper()
	b, err := os.ReadFile(vectorsPath)
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func (n vectorName) parse() Name {
	return Name{agentkeys.Must(agentkeys.ParseWallet(n.Wallet)), agentkeys.Must(agentkeys.ParseService(n.Service))}
}

func describeHeader(h Header) *vectorHeader {
	return &vectorHeader{strconv.FormatUint(uint64(h.Epoch), 10), strconv.FormatUint(h.Revision, 10)}
}

func describeRecord(r Record) *vectorRecord {
	unix := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.Unix()
	}
	return &vectorRecord{r.Secret.Expose(), r.Kind, r.KeyID, r.Route, unix(r.VerifiedAt), unix(r.ExpiresAt)}
}

func saltOf(sealed []byte) [saltSize]byte { return [saltSize]byte(sealed[saltAt:commitmentAt]) }

func testKEK(t testing.TB, hexKey string) KEK {
	t.Helper()
	b, err := hex.DecodeString(hexKey)
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKEK(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wantNothing(t *testing.T, what string, h Header, r Record) {
	t.Helper()
	if h != (Header{}) || !r.Secret.IsZero() || r.Kind+r.KeyID+r.Route != "" || !r.VerifiedAt.IsZero() || !r.ExpiresAt.IsZero() {
		t.Errorf("%s: a refusal returned part of the envelope", what)
	}
}
