package envelope

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type answer struct {
	ID     string        `json:"id"`
	Result string        `json:"result"`
	Header *vectorHeader `json:"header"`
	Record *vectorRecord `json:"record"`
}

// decodeWithNode asks the JavaScript reader. It is sent no expectations.
func decodeWithNode(t *testing.T, vectors []vector) []answer {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed, and the second reader needs it; `make setup` installs it")
	}
	var questions vectorFile
	for _, v := range vectors {
		questions.Vectors = append(questions.Vectors, vector{ID: v.ID, KEK: v.KEK, Name: v.Name, Sealed: v.Sealed})
	}
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "testdata/decode.mjs")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("decode.mjs: %v\n%s", err, stderr.Bytes())
	}
	var answers []answer
	if err := json.Unmarshal(out, &answers); err != nil {
		t.Fatal(err)
	}
	if len(answers) != len(vectors) {
		t.Fatalf("%d answers to %d vectors", len(answers), len(vectors))
	}
	return answers
}

func TestNodeAgreesOnVectors(t *testing.T) {
	vectors := readVectors(t).Vectors
	for i, got := range decodeWithNode(t, vectors) {
		v := vectors[i]
		if d := cmp.Diff(answer{v.ID, v.Result, v.Header, v.Record}, got); d != "" {
			t.Errorf("%s: %s", v.ID, d)
		}
	}
}

// TestNodeAgreesOnMutants seals plaintexts a few bytes away from valid ones
// and wants one verdict of both readers: what one of them takes and the other
// does not would be two credentials in one envelope.
func TestNodeAgreesOnMutants(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var seeds [][]byte
	seeds = append(seeds, padded(canonical))
	for _, m := range malformed() {
		seeds = append(seeds, m.plaintext)
	}
	pieces := []string{"\x00", "\"", "\\", "\\u0000", "\\u001f", "\\n", "{", "}", ",", ":", "0", "1", "-", ".", "e1", "=", "A", " ", "\n", "\xff", "\u2028", "null", "\"v\":1,"}

	kek, h := kekFor(bobRouter, 1), Header{1, 1}
	var vectors []vector
	for i := range 3000 {
		p := bytes.Clone(seeds[rnd.IntN(len(seeds))])
		text := bytes.TrimRight(p, "\x00")
		for range 1 + rnd.IntN(2) {
			if len(text) == 0 {
				break
			}
			at := rnd.IntN(len(text))
			end := min(at+rnd.IntN(3), len(text))
			text = bytes.Join([][]byte{text[:at], text[end:]}, []byte(pieces[rnd.IntN(len(pieces))]))
		}
		sealed := sealRaw(t, testKEK(t, kek), bobRouter.parse(), h, padded(string(text)), [saltSize]byte(stream("mutant", saltSize)))
		vectors = append(vectors, vector{ID: fmt.Sprintf("%d: %q", i, text), KEK: kek, Name: bobRouter, Sealed: sealed})
	}
	valid := 0
	for i, got := range decodeWithNode(t, vectors) {
		want := answer{ID: vectors[i].ID}
		h, r, err := Open(testKEK(t, kek), bobRouter.parse(), vectors[i].Sealed)
		want.Result = resultOf(err)
		if err == nil {
			valid++
			want.Header, want.Record = describeHeader(h), describeRecord(r)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("Go and JavaScript differ on %s: %s", vectors[i].ID, d)
		}
	}
	if valid < 10 {
		t.Errorf("%d of %d mutants are valid: they test only the refusals", valid, len(vectors))
	}
	t.Logf("%d of %d mutants are valid", valid, len(vectors))
}
