package worker

import (
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// TestOtherQuant refuses to hold experts otherwise than coordinators of the checkpoint think, and minds
// no coordinator of another one.
func TestOtherQuant(t *testing.T) {
	state := func(model string) membership.State {
		return membership.State{Coordinators: map[string]membership.Coordinator{
			"a": {ID: "a", Addr: "h:1", Model: model},
		}}
	}
	own := Identity{ID: "w", Model: shard.QuantInt8.Model("f")}
	for _, theirs := range []string{shard.QuantInt8.Model("f"), "g", shard.QuantInt4.Model("g")} {
		if err := otherQuant(state(theirs), own); err != nil {
			t.Errorf("%s: %v", theirs, err)
		}
	}
	for theirs, want := range map[string]string{
		"f":                                  "worker w holds experts in int8, coordinator a at h:1 in none",
		shard.QuantInt8.Rounded().Model("f"): "in int8,activations=int8: give both the same --experts-quant and --activations",
	} {
		if err := otherQuant(state(theirs), own); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
