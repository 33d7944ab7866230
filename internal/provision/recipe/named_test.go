package recipe

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

func TestNamed(t *testing.T) {
	asked := 0
	r := &Run{Value: func(_ context.Context, v catalog.Value) (secret.Value, error) {
		if asked++; v != catalog.ValueKeyName {
			return secret.Value{}, errors.New("another value is asked for")
		}
		return secret.FromString("agentkeys-1"), nil
	}}
	plain := catalog.Step{At: []catalog.Locator{{Role: "button", Name: "Delete"}}}
	if got, err := r.named(t.Context(), plain); err != nil || asked != 0 || !reflect.DeepEqual(got, plain) {
		t.Errorf("a step without a name is %+v, %v, asked %d times", got, err, asked)
	}
	step := catalog.Step{
		At: []catalog.Locator{{Name: "Delete " + KeyName}, {HasName: KeyName, CSS: KeyName}},
		If: []catalog.Locator{{Text: KeyName}}, Unless: []catalog.Locator{{HasText: "no " + KeyName}}, Until: []catalog.Locator{{Name: KeyName}},
	}
	got, err := r.named(t.Context(), step)
	want := catalog.Step{
		At: []catalog.Locator{{Name: "Delete agentkeys-1"}, {HasName: "agentkeys-1", CSS: KeyName}},
		If: []catalog.Locator{{Text: "agentkeys-1"}}, Unless: []catalog.Locator{{HasText: "no agentkeys-1"}}, Until: []catalog.Locator{{Name: "agentkeys-1"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if step.At[0].Name != "Delete "+KeyName {
		t.Error("the recipe itself was changed")
	}
}
