package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// HopConfig says what Hop measures. Zero values mean the defaults.
type HopConfig struct {
	Peer Peer // required
	// Tokens are the sizes of calls; default 1, 8, 32 and 256.
	Tokens []int
	// Wire is the format of activations; default BF16.
	Wire wire.Format
	// Duration is about how long each size takes on each path; default 2 s.
	Duration time.Duration
	// Busy says that other work runs on all cores; it is only reported.
	Busy bool
	// Progress, if set, hears what is measured next.
	Progress func(what string)
}

func (c *HopConfig) setDefaults() error {
	if c.Tokens == nil {
		c.Tokens = []int{1, 8, 32, 256}
	}
	if c.Wire == 0 {
		c.Wire = wire.BF16
	}
	if c.Duration == 0 {
		c.Duration = 2 * time.Second
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if c.Peer.Hidden < 1 || c.Peer.Hidden > maxSide || len(c.Peer.Ends) == 0 || c.Duration < 0 {
		return fmt.Errorf("hops of %d numbers to %d ends for %v: want some of each, and not more "+
			"than %d numbers", c.Peer.Hidden, len(c.Peer.Ends), c.Duration, maxSide)
	}
	for _, n := range c.Tokens {
		if n < 1 || n > maxPayload/(c.Wire.Size()*c.Peer.Hidden) {
			return fmt.Errorf("calls of %d tokens of %d numbers: want 1 or more, in up to %d bytes",
				n, c.Peer.Hidden, maxPayload)
		}
	}
	return nil
}

// HopReport is what Hop found.
type HopReport struct {
	Hidden int         `json:"hidden"`
	Wire   string      `json:"wire"`
	Busy   bool        `json:"busy"`
	Hops   []HopResult `json:"hops"`
}

// HopResult is one size of call on one path.
type HopResult struct {
	Network string `json:"network"`
	Tokens  int    `json:"tokens"`
	// Bytes are the activations of a call, which go there and come back.
	Bytes int     `json:"bytes"`
	Raw   Latency `json:"raw"` // of a bare socket
	// Computed is a bare socket whose other end computes what the worker does before it answers; the
	// time of that is left out.
	Computed Latency `json:"computed"`
	Lane     Latency `json:"lane"` // of the lane: without queue and compute, by the worker's clock
	// Call is of Send and Receive, without compute: with encoding and adding up.
	Call Latency `json:"call"`
	// LaneRatio and CallRatio compare medians with that of the bare socket, and ComputedRatio the
	// lane's with that of the one that computes.
	LaneRatio     float64 `json:"lane_ratio"`
	CallRatio     float64 `json:"call_ratio"`
	ComputedRatio float64 `json:"computed_ratio"`
	// GRPC are the same over stock gRPC.
	GRPC StockResult `json:"grpc"`
	// Throughput is bytes a second in both directions together, at the median.
	RawThroughput  float64 `json:"raw_bytes_per_second"`
	CallThroughput float64 `json:"call_bytes_per_second"`
}

// StockResult is one size of call on one path over stock gRPC.
type StockResult struct {
	Lane      Latency `json:"lane"`
	Call      Latency `json:"call"`
	LaneRatio float64 `json:"lane_ratio"`
	CallRatio float64 `json:"call_ratio"`
}

// Latency is round trips, in seconds.
type Latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_seconds"`
	P99   float64 `json:"p99_seconds"`
}

func latency(seconds []float64) Latency {
	return Latency{len(seconds), quantile(seconds, 0.5), quantile(seconds, 0.99)}
}

// Hop measures calls to a worker against bare sockets on the same path.
func Hop(ctx context.Context, cfg HopConfig) (*HopReport, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	r := &HopReport{Hidden: cfg.Peer.Hidden, Wire: cfg.Wire.String(), Busy: cfg.Busy}
	for _, end := range cfg.Peer.Ends {
		b, err := newHopBench(ctx, cfg, end)
		if err != nil {
			return nil, err
		}
		for _, tokens := range cfg.Tokens {
			cfg.Progress(fmt.Sprintf("%s, %d tokens", end.Network, tokens))
			result, err := b.measure(ctx, tokens)
			if err != nil {
				b.close()
				return nil, err
			}
			r.Hops = append(r.Hops, result)
		}
		b.close()
	}
	return r, nil
}

// hopBench is a lane to the other end on each transport.
type hopBench struct {
	cfg           HopConfig
	end           End
	direct, stock *dispatch.Dispatcher
}

func (b *hopBench) close() {
	b.direct.Close()
	b.stock.Close()
}

func newHopBench(ctx context.Context, cfg HopConfig, end End) (*hopBench, error) {
	direct, err := newHopDispatcher(ctx, cfg, end, dispatch.TransportDirect)
	if err != nil {
		return nil, err
	}
	stock, err := newHopDispatcher(ctx, cfg, end, dispatch.TransportGRPC)
	if err != nil {
		direct.Close()
		return nil, err
	}
	return &hopBench{cfg, end, direct, stock}, nil
}

func newHopDispatcher(
	ctx context.Context, cfg HopConfig, end End, transport dispatch.Transport,
) (*dispatch.Dispatcher, error) {
	d, err := dispatch.New(dispatch.Config{
		Model: rigModel, Experts: []int{1}, Hidden: cfg.Peer.Hidden, Format: cfg.Wire,
		MaxMessage: maxMessage, Transport: transport,
	})
	if err != nil {
		return nil, err
	}
	var one shard.Set
	one.Add(0)
	d.Update(nil, []dispatch.Worker{{
		ID: hopWorker, Incarnation: hopWorker, Addr: end.Worker, Ready: []shard.Set{one},
	}})
	if err := awaitTable(ctx, d); err != nil {
		d.Close()
		return nil, fmt.Errorf("%s %s: %w", end.Network, end.Worker, err)
	}
	return d, nil
}

const (
	// burst is how many round trips of one kind follow each other, and are warmed up by: a hop
	// seldom comes alone, but others' work comes and goes.
	burst = 50
	// mostTrips bounds the times that are kept.
	mostTrips = 1 << 18
)

// measure takes turns between the lane and a bare socket.
func (b *hopBench) measure(ctx context.Context, tokens int) (r HopResult, err error) {
	payload := tokens * b.cfg.Peer.Hidden * b.cfg.Wire.Size()
	var raw [2]*rawSocket // without computing and with
	for i := range raw {
		if raw[i], err = dialRaw(ctx, b.end, payload, i*tokens); err != nil {
			return r, err
		}
		conn := raw[i].conn
		defer func() { err = errors.Join(err, conn.Close()) }()
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // wakes a round trip
		defer stop()
	}
	direct, stock := b.call(b.direct, tokens), b.call(b.stock, tokens)
	defer direct.end()
	defer stock.end()
	var t trips
	if err := t.turn(ctx, raw, direct, stock); err != nil { // makes buffers and connections larger
		return r, err
	}
	t = trips{}
	for began := time.Now(); ; {
		if err := t.turn(ctx, raw, direct, stock); err != nil {
			return r, err
		}
		if time.Since(began) >= b.cfg.Duration || len(t.raw) >= mostTrips {
			break
		}
	}
	return t.result(HopResult{Network: b.end.Network, Tokens: tokens, Bytes: payload}), nil
}

// trips are the seconds of round trips.
type trips struct {
	raw, computed []float64 // on bare sockets
	direct, stock laneTrips
}

// laneTrips are those of one transport.
type laneTrips struct{ lane, call []float64 }

// turn goes on a burst of round trips on the bare socket, and then through each lane.
func (t *trips) turn(ctx context.Context, raw [2]*rawSocket, direct, stock *hopCall) error {
	for i, to := range []*[]float64{&t.raw, &t.computed} {
		for range burst {
			took, err := raw[i].roundTrip()
			if err != nil {
				return errors.Join(ctx.Err(), err)
			}
			*to = append(*to, took)
		}
	}
	return errors.Join(t.direct.burst(ctx, direct), t.stock.burst(ctx, stock))
}

func (t *laneTrips) burst(ctx context.Context, c *hopCall) error {
	for range burst {
		lane, call, err := c.run(ctx)
		if err != nil {
			return err
		}
		t.lane, t.call = append(t.lane, lane), append(t.call, call)
	}
	return nil
}

// result fills in what follows from the times.
func (t *trips) result(r HopResult) HopResult {
	r.Raw, r.Lane, r.Call = latency(t.raw), latency(t.direct.lane), latency(t.direct.call)
	r.LaneRatio, r.CallRatio = r.Lane.P50/r.Raw.P50, r.Call.P50/r.Raw.P50
	r.Computed = latency(t.computed)
	r.ComputedRatio = r.Lane.P50 / r.Computed.P50
	g := &r.GRPC
	g.Lane, g.Call = latency(t.stock.lane), latency(t.stock.call)
	g.LaneRatio, g.CallRatio = g.Lane.P50/r.Raw.P50, g.Call.P50/r.Raw.P50
	both := 2 * float64(r.Bytes)
	r.RawThroughput, r.CallThroughput = both/r.Raw.P50, both/r.Call.P50
	return r
}

// hopCall is one layer of some tokens, which all chose the same expert.
type hopCall struct {
	dispatcher *dispatch.Dispatcher
	x, out     []float32
	choice     router.Choice
}

// call begins a step of some tokens.
func (b *hopBench) call(d *dispatch.Dispatcher, tokens int) *hopCall {
	n := tokens * b.cfg.Peer.Hidden
	c := &hopCall{dispatcher: d, x: ones(n), out: ones(n), choice: router.Choice{K: 1}}
	c.choice.Resize(tokens)
	for i := range tokens {
		c.choice.Experts[i], c.choice.Weights[i] = 0, 1
	}
	d.Begin()
	return c
}

func (c *hopCall) end() { c.dispatcher.End() }

// run makes the call and returns the seconds of the lane, and of all but what the worker computed.
func (c *hopCall) run(ctx context.Context) (lane, call float64, err error) {
	before := c.dispatcher.Hops()[hopWorker]
	began := time.Now()
	c.dispatcher.Send(0, 0, c.x, c.choice)
	if err := c.dispatcher.Receive(ctx, 0, c.out); err != nil {
		return 0, 0, err
	}
	took := time.Since(began)
	after := c.dispatcher.Hops()[hopWorker]
	if after.Calls != before.Calls+1 || after.Failures != before.Failures {
		return 0, 0, fmt.Errorf("a call failed: %s", after.LastFailure)
	}
	return (after.Network - before.Network).Seconds(),
		(took - (after.Compute - before.Compute)).Seconds(), nil
}
