package chrome

import (
	"io"
	"runtime"
	"strings"
	"testing"
)

func TestMessages(t *testing.T) {
	large, most := strings.Repeat("y", maxMessage)+"\x00", strings.Repeat("z", maxMessage-1)+"\x00"
	in := "one\x00" + large + "two\x00\x00" + large + large + most + "three\x00" + large + "cut off"
	out, err := io.ReadAll(newMessages(io.NopCloser(strings.NewReader(in))))
	if want := "one\x00two\x00\x00" + most + "three\x00"; err != nil || string(out) != want {
		t.Errorf("%d bytes, want %d; %v", len(out), len(want), err)
	}
}

// What a page has the browser say takes no memory of ours.
func TestLoudPages(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<p id=p>quiet</p><script>console.log('y'.repeat(30e6)); setTimeout(() => { p.textContent = 'loud' })</script>`)
	r := launch(t, s)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.open(shop + "/")
	for r.read("#p") != "loud" {
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 80<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
}
