package main

import (
	"errors"
	"fmt"
	"testing"
)

// full is a disk without space.
type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

// TestPrintFails: what could not be written is no success.
func TestPrintFails(t *testing.T) {
	want := errors.New("no space")
	for _, json := range []bool{false, true} {
		a := &app{stdout: full{want}, json: json}
		if err := a.print(1, func() { fmt.Fprintln(a.stdout, "one"); a.table("A", nil) }); !errors.Is(err, want) {
			t.Errorf("json %v: %v", json, err)
		}
		if a.stdout != (full{want}) {
			t.Error("stdout is another afterwards")
		}
	}
}
