package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/coordinator/forward"
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/coordinator/sample"
	"github.com/conclave-serve/conclave/coordinator/sched"
	"github.com/conclave-serve/conclave/internal/obs"
	"github.com/conclave-serve/conclave/kernels"
)

// Model runs one step; *forward.Model implements it.
type Model interface {
	// Step returns logits [rows that ask, vocab], valid until the next call. It
	// runs the rows in up to so many parts, which changes no bit.
	Step(ctx context.Context, rows []forward.Row, parts int) ([]float32, error)
}

// Session brackets a step; *dispatch.Dispatcher implements it.
type Session interface {
	Begin()
	End()
}

// Config is what an engine is made of.
type Config struct {
	Model Model
	Cache *kvcache.Cache
	// Session, if set, is told when a step begins and ends.
	Session Session
	// Vocab is the width of the logits, Tokens the number of ids that may be
	// sampled: a model's output matrix is often padded beyond its tokenizer.
	Vocab, Tokens int
	// Context is the largest number of positions of a sequence.
	Context int
	// MaxRows bounds the positions computed in a step, MaxLogits those of them
	// that need logits, MaxRunning the sequences in the batch.
	MaxRows, MaxLogits, MaxRunning int
	// MaxWaiting bounds the sequences that wait for a place.
	MaxWaiting int
	// MicroBatches is in how many parts steps run; 0: whatever is faster.
	MicroBatches int
	// Draft is how many tokens are guessed after each sequence's own, from what
	// followed the same words earlier in it; 0: none. It changes no answer.
	Draft int
	// Expanded, if set, says how many positions of a sequence with a prompt of
	// so many tokens have pages that no sequence with another prompt length may
	// share: see kvcache.Identity.
	Expanded func(prompt int) int
	// Pool, if set, is what sequences are sampled on between steps.
	Pool *kernels.Pool
	// OnStep, if set, hears of every forward pass that has succeeded. It is called
	// by the loop and must not block.
	OnStep func(StepReport)
}

// Engine runs requests. Its methods are safe for concurrent use.
type Engine struct {
	cfg     Config
	context int // positions a sequence may have: the model's or the cache's

	// Owned by the loop. Both lists are in order: see before.
	running, waiting []*sequence
	ending           []*sequence // released; their last events are not delivered yet
	// full: the first of waiting found too few pages. Cleared when some come back,
	// or can be shared.
	full    bool
	rows    []forward.Row
	demands []sched.Demand
	shares  []int
	tuner   sched.Tuner

	preemptions, steps, drafted, accepted, generated int64

	wake     chan struct{} // holds a token while the loop may have news
	stopping <-chan struct{}
	stop     context.CancelFunc
	ended    chan struct{} // closed when the loop has ended
	pumps    sync.WaitGroup

	mu       sync.Mutex
	inbox    []*sequence
	arrivals uint64
	pending  int // in the inbox or waiting
	draining bool
	stats    Stats
}

// New starts an engine; Close stops it.
func New(cfg Config) (*Engine, error) {
	if cfg.Vocab < 1 || cfg.Tokens < 1 || cfg.Tokens > cfg.Vocab || cfg.Context < 1 {
		return nil, fmt.Errorf("engine: %d tokens of %d logits, context %d",
			cfg.Tokens, cfg.Vocab, cfg.Context)
	}
	if cfg.MaxRows < 1 || cfg.MaxLogits < 1 || cfg.MaxLogits > cfg.MaxRows {
		return nil, fmt.Errorf("engine: steps of %d rows, %d of them with logits",
			cfg.MaxRows, cfg.MaxLogits)
	}
	if cfg.MicroBatches < 0 || cfg.MicroBatches > forward.MicroBatches || cfg.Draft < 0 {
		return nil, fmt.Errorf("engine: steps in %d parts, guesses of %d tokens",
			cfg.MicroBatches, cfg.Draft)
	}
	if cfg.MaxRunning < 1 || cfg.MaxWaiting < 1 {
		return nil, fmt.Errorf("engine: %d sequences may run and %d wait", cfg.MaxRunning, cfg.MaxWaiting)
	}
	e := &Engine{
		cfg: cfg, context: min(cfg.Context, cfg.Cache.Tokens()),
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stopping, e.stop = ctx.Done(), stop
	e.publish()
	go e.run(ctx)
	return e, nil
}

// Submit queues a request. The events of its completion arrive on the returned
// channel; when ctx ends, the work stops and the channel is closed. A caller
// that has not taken all events by then may miss some, but not the last.
func (e *Engine) Submit(ctx context.Context, r Request) (<-chan Event, error) {
	if err := e.validate(&r); err != nil {
		return nil, err
	}
	s := &sequence{
		req: r, ctx: ctx, out: newMailbox(), tokens: append([]int32(nil), r.Prompt...),
		sampler: sample.New(r.Sampling, e.cfg.Tokens, r.Prompt),
		force:   forcing{left: r.Force}, arrived: time.Now(),
		trace: obs.RequestFrom(ctx),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining {
		return nil, ErrDraining
	}
	// Those for whom there is a place do not wait: they are about to run.
	free := max(0, e.cfg.MaxRunning-e.stats.Running)
	if e.pending >= e.cfg.MaxWaiting+free {
		return nil, fmt.Errorf("%w: %d of %d", ErrQueueFull, e.pending-free, e.cfg.MaxWaiting)
	}
	e.pending++
	e.arrivals++
	s.number = e.arrivals
	e.inbox = append(e.inbox, s)
	out := make(chan Event, 16)
	e.pumps.Go(func() { s.out.pump(ctx, e.stopping, out) })
	e.signal()
	return out, nil
}

func (e *Engine) validate(r *Request) error {
	if len(r.Prompt) == 0 {
		return fmt.Errorf("%w: the prompt has no tokens", ErrInvalid)
	}
	for i, t := range r.Prompt {
		if t < 0 || int(t) >= e.cfg.Vocab {
			return fmt.Errorf("%w: prompt token %d is %d, the vocabulary has %d",
				ErrInvalid, i, t, e.cfg.Vocab)
		}
	}
	if r.MaxTokens < 0 || r.MaxTokens == 0 && !r.PromptLogprobs {
		return fmt.Errorf("%w: max tokens is %d", ErrInvalid, r.MaxTokens)
	}
	if err := validateForce(r.Force, e.cfg.Vocab); err != nil {
		return err
	}
	room := e.context - len(r.Prompt)
	if room < min(r.MaxTokens, 1) {
		return fmt.Errorf("%w: it has %d tokens, the model's context here is %d",
			ErrTooLong, len(r.Prompt), e.context)
	}
	return nil
}

// Context is the largest number of tokens of a prompt and its completion.
func (e *Engine) Context() int { return e.context }

// Stats returns the load of now.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Waiting = e.pending
	return s
}

// Draining reports whether the engine refuses new requests because it stops.
func (e *Engine) Draining() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.draining
}

// Drain refuses new requests and waits until those accepted have ended, or ctx
// has.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	e.signal()
	select {
	case <-e.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain engine: %w", ctx.Err())
	}
}

// Close stops the engine; requests that still run end with ErrDraining. It may
// be called more than once.
func (e *Engine) Close() {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	e.stop()
	<-e.ended
	e.pumps.Wait()
}

// signal wakes the loop.
func (e *Engine) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run is the loop; it owns the sequences until ctx ends, or until the engine
// drains and none is left.
func (e *Engine) run(ctx context.Context) {
	defer close(e.ended)
	for ctx.Err() == nil {
		e.collect()
		if len(e.running)+len(e.waiting) == 0 {
			if e.drained() {
				break
			}
			select {
			case <-e.wake:
			case <-ctx.Done():
			}
			continue
		}
		e.step(ctx)
	}
	e.collect()
	e.running = append(e.running, e.waiting...)
	e.waiting = nil
	e.abort(ErrDraining)
	e.settle()
}

// collect takes what callers have submitted.
func (e *Engine) collect() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.inbox {
		e.waiting = insert(e.waiting, s)
		e.full = e.full && e.waiting[0] != s
	}
	clear(e.inbox)
	e.inbox = e.inbox[:0]
}

// publish makes the loop's counts visible.
func (e *Engine) publish() {
	pages := e.cfg.Cache.Stats()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending = len(e.inbox) + len(e.waiting)
	e.stats = Stats{
		Running: len(e.running), PagesUsed: pages.Used, PagesCached: pages.Cached,
		PagesTotal: pages.Total, PrefixQueries: pages.Queried, PrefixHits: pages.Hit,
		DraftTokens: e.drafted, AcceptedTokens: e.accepted,
		Preemptions: e.preemptions, Steps: e.steps, GeneratedTokens: e.generated,
	}
}

// drained reports that nothing is left, and nothing can come, of a draining
// engine whose loop has no sequences.
func (e *Engine) drained() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.draining && len(e.inbox) == 0
}
