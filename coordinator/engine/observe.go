package engine

import (
	"time"

	"github.com/conclave-serve/conclave/internal/obs"
)

// StepReport is what a forward pass was.
type StepReport struct {
	// Rows counts the positions computed.
	Rows int
	// Took is the time of the pass, and of sampling after it.
	Took time.Duration
}

// traced begins the trace of the step at hand, if a request in it is sampled;
// otherwise it is nil and costs nothing.
func (e *Engine) traced() (step *obs.Step) {
	for _, s := range e.running {
		if s.share > 0 {
			step = step.With(s.trace, s.share)
		}
	}
	return step
}

// observed tells of the step at hand, which began then and has ended, with err
// or without. No caller has heard of an end yet: whoever does ends the trace.
func (e *Engine) observed(step *obs.Step, began time.Time, err error) {
	if e.cfg.OnStep != nil && err == nil {
		e.cfg.OnStep(StepReport{Rows: len(e.rows), Took: time.Since(began)})
	}
	step.End(obs.StepFacts{
		Number: e.steps, Rows: len(e.rows), Sequences: len(e.running), Err: err,
	})
}
