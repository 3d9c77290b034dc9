package worker

import (
	"context"
	"fmt"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// sameQuant refuses a cluster whose coordinators serve this worker's checkpoint, but with experts
// in another quantisation: nobody would ever ask this worker.
func sameQuant(ctx context.Context, client *membership.Client, own Identity) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for state := range client.Watch(ctx) {
		return otherQuant(state, own)
	}
	return fmt.Errorf("read the registry: %w", ctx.Err())
}

func otherQuant(state membership.State, own Identity) error {
	model, experts := shard.SplitModel(own.Model)
	for _, k := range state.Coordinators {
		theirs, quant := shard.SplitModel(k.Model)
		if theirs == model && quant != experts {
			return fmt.Errorf("worker %s holds experts in %s, coordinator %s at %s in %s: "+
				"give both the same --experts-quant and --activations", own.ID, experts, k.ID, k.Addr, quant)
		}
	}
	return nil
}
