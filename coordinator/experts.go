package coordinator

import (
	"context"
	"errors"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/router"
)

// experts is the dispatcher as the forward pass sees it, with its failures in
// the engine's terms.
type experts struct{ d *dispatch.Dispatcher }

// Send implements forward.Experts.
func (x experts) Send(micro, layer int, in []float32, c router.Choice) {
	x.d.Send(micro, layer, in, c)
}

// Receive implements forward.Experts.
func (x experts) Receive(ctx context.Context, micro int, out []float32) error {
	err := x.d.Receive(ctx, micro, out)
	if lost := new(dispatch.UnavailableError); errors.As(err, &lost) {
		return &engine.UnavailableError{Reason: lost.Error()}
	}
	return err // forward names the layer
}

// serving is the engine as the API sees it, ready only when every expert can
// be reached, or is computed here.
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
	if t := s.dispatcher.Table(); !t.Complete() && !s.dispatcher.LastResort() {
		return &engine.UnavailableError{Reason: t.Missing()}
	}
	return nil
}
