package coordinator

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/router"
)

// experts is the dispatcher as the forward pass sees it, with its failures in
// the engine's terms.
type experts struct{ d *dispatch.Dispatcher }

// Run implements forward.Experts.
func (x experts) Run(
	ctx context.Context, layer int, in []float32, c router.Choice, out []float32,
) error {
	err := x.d.Run(ctx, layer, in, c, out)
	var lost *dispatch.UnavailableError
	switch {
	case errors.As(err, &lost):
		return &engine.UnavailableError{Reason: lost.Error()}
	case err != nil:
		return fmt.Errorf("run experts of layer %d: %w", layer, err)
	}
	return nil
}

// serving is the engine as the API sees it, ready only when every expert can
// be reached.
type serving struct{ *Coordinator }

// Submit implements openai.Engine.
func (s serving) Submit(ctx context.Context, r engine.Request) (<-chan engine.Event, error) {
	return s.engine.Submit(ctx, r)
}

// Context implements openai.Engine.
func (s serving) Context() int { return s.engine.Context() }

// Stats implements openai.Engine.
func (s serving) Stats() engine.Stats { return s.engine.Stats() }

// Ready implements openai.Engine.
func (s serving) Ready() error {
	if s.engine.Draining() {
		return engine.ErrDraining
	}
	if t := s.dispatcher.Table(); !t.Complete() {
		return &engine.UnavailableError{Reason: t.Missing()}
	}
	return nil
}
