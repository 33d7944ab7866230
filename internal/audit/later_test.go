package audit

import (
	"slices"
	"testing"
)

// TestLaterFrameBehindZeros: space that was never written is passed over
// quickly, and nothing that stands in it is.
func TestLaterFrameBehindZeros(t *testing.T) {
	frame := appendFrame(nil, 7, 5, []byte("an entry"))
	sealFrames(frame)
	for at := range 3 * len(zeros) {
		if at > 50 && at%len(zeros) > 50 && at%len(zeros) < len(zeros)-50 {
			continue
		}
		b := slices.Concat(make([]byte, at), frame, make([]byte, 2*len(zeros)))
		if known, found := laterFrame(b, 3); !found || known != 5 {
			t.Errorf("behind %d zeros: %d, %v", at, known, found)
		}
		if _, found := laterFrame(b, 7); found {
			t.Errorf("behind %d zeros, and no later one", at)
		}
	}
	if _, found := laterFrame(make([]byte, 5*len(zeros)), 0); found {
		t.Error("in nothing")
	}
}
