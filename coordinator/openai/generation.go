package openai

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/coordinator/engine"
)

// Engine completes token sequences; *engine.Engine is the one that serves.
type Engine interface {
	// Submit starts a completion. Its events end with exactly one that has
	// Finish set, after which the channel is closed. Once ctx ends the engine
	// stops the work and must not wait for events to be read.
	Submit(ctx context.Context, r engine.Request) (<-chan engine.Event, error)
	// Context is the largest number of tokens of a prompt and its completion.
	Context() int
	// Ready says why no completion can be served now, or nil. Requests are
	// submitted all the same: the engine knows how long to wait.
	Ready() error
	// Stats returns the engine's load.
	Stats() engine.Stats
}

// generation is the work of one request: choices that run side by side.
type generation struct {
	params  params
	param   string // the field that holds the prompt
	choices []*choice
}

// generation prepares p.choices completions of every prompt.
func (s *Server) generation(x *exchange, p params, param string, prompts []*prompt) (
	*generation, *apiError,
) {
	if n := len(prompts) * p.choices; n > s.cfg.MaxChoices {
		return nil, invalid("n", "Invalid value for 'n': %d prompts with %d choices each exceed "+
			"the limit of %d.", len(prompts), p.choices, s.cfg.MaxChoices)
	}
	g := &generation{params: p, param: param}
	x.model = p.model
	for _, prompt := range prompts {
		room, err := s.fit(&p, len(prompt.ids), param)
		if err != nil {
			return nil, err
		}
		x.promptTokens += len(prompt.ids)
		for i := range p.choices {
			c := s.choice(x, g, prompt, room)
			c.counts = i == 0
			// A prompt's choices differ by their seeds; the first has the one that
			// was asked for, so that a list of prompts says what each says alone.
			c.request.Sampling.Seed += uint64(i)
			g.choices = append(g.choices, c)
		}
	}
	return g, nil
}

// choice prepares the next choice of g.
func (s *Server) choice(x *exchange, g *generation, prompt *prompt, room int) *choice {
	p := &g.params
	c := &choice{
		index:   len(g.choices),
		prompt:  prompt,
		scored:  p.logprobs >= 0,
		decoder: s.cfg.Tokenizer.NewDecoder(p.output.skipSpecial),
		stop:    stopper{stops: p.stops, include: p.includeStop},
		request: engine.Request{
			ID:        fmt.Sprintf("%s-%d", x.id, len(g.choices)),
			Prompt:    prompt.ids,
			Sampling:  p.sampling,
			MaxTokens: room, MinTokens: p.minTokens,
			Priority: p.priority, CacheSalt: p.cacheSalt,
			Logprobs:       p.engineLogprobs(),
			PromptLogprobs: p.prompt.logprobs >= 0,
		},
	}
	c.request.StopIDs = append(c.request.StopIDs, p.stopIDs...)
	if !p.ignoreEOS {
		c.request.StopIDs = append(c.request.StopIDs, s.cfg.Spec.EOS...)
	}
	return c
}

// arrival is an event on its way from a choice's stream to the request.
type arrival struct {
	choice *choice
	event  engine.Event
}

// errTruncated says that the engine broke its promise to say how it ended.
var errTruncated = errors.New("the engine closed a stream without a final event")

// run completes every choice of g and calls emit for whatever the client may
// see, in order of arrival. When it returns, the work has been stopped.
func (s *Server) run(ctx context.Context, x *exchange, g *generation,
	emit func(*choice, delta) error,
) error {
	var forwarders sync.WaitGroup
	defer forwarders.Wait()
	ctx, stop := x.within(ctx)
	defer stop()
	ctx = s.begin(ctx, x, g)
	arrivals := make(chan arrival, len(g.choices))
	for _, c := range g.choices {
		var one context.Context
		one, c.cancel = context.WithCancel(ctx)
		defer c.cancel()
		events, err := s.cfg.Engine.Submit(one, c.request)
		if err != nil {
			return err
		}
		if c.counts {
			s.metrics.promptTokens.Add(float64(len(c.prompt.ids)))
		}
		forwarders.Go(func() { forward(one, c, events, arrivals) })
	}
	defer s.giveUp(ctx, g)
	for left := len(g.choices); left > 0; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case a := <-arrivals:
			if a.choice.finished {
				continue // was on its way when a stop string ended the choice
			}
			d, err := a.choice.step(a.event)
			if err != nil {
				// Where the engine says no more than that it was told to stop.
				return cmp.Or(ctx.Err(), err)
			}
			s.observe(x, a.choice, a.event)
			x.reasoningTokens += d.reasoned
			if err := emit(a.choice, d); err != nil {
				return err
			}
			if a.choice.finished {
				s.complete(x, a.choice, d.finish)
				if a.choice.tokens > 0 {
					s.pace.add(time.Since(a.choice.firstToken))
				}
				left--
			}
		}
	}
	return nil
}

// forward passes on a choice's events until the last one or until ctx ends.
func forward(ctx context.Context, c *choice, events <-chan engine.Event, to chan<- arrival) {
	for {
		a := arrival{choice: c}
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				e = engine.Event{Token: -1, Finish: engine.FinishError, Err: errTruncated}
			}
			a.event = e
		}
		select {
		case <-ctx.Done():
			return
		case to <- a:
		}
		if a.event.Finish != "" {
			return
		}
	}
}
