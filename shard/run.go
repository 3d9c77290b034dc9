package shard

import (
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// Group is what is asked of some experts of a layer at once: Experts[i] computes
// the next Counts[i] of Rows, which are rows of X, times their gate weights.
type Group struct {
	Experts []*Expert
	Counts  []uint32
	X       []float32 // [tokens, hidden]
	Rows    []uint32
	Weights []float32
}

// Sink takes the outputs of a Group: y is elements from to from+len(y) of the
// output for Rows[row]. It is called by several threads at once, never twice for
// one element, and must not keep y.
type Sink interface {
	Put(row, from int, y []float32)
}

// Work is the scratch memory of experts' arithmetic, used again from group to
// group by one goroutine at a time. The zero value is ready for use.
//
// Whoever computes an expert does it here, so that the bits are the same
// wherever it runs.
type Work struct {
	pool       *kernels.Pool
	activation model.Activation
	x          []float32
	sink       Sink

	parts  []part    // those with the most rows first
	wave   []part    // those that are being computed
	inputs []float32 // of the wave
	middle []float32 // of the wave: the activations between its experts' halves
	tiles  []tile    // one for each thread
	// Of a wave of interleaved experts, inputs and middles are rounded.
	roundedInputs, roundedMiddle kernels.Rounded

	single struct { // the group and the outputs of Run
		experts [1]*Expert
		counts  [1]uint32
		y       []float32 // [rows, hidden]
		hidden  int
	}
}

// RunGroup computes, for each expert of the group, its rows of X and their gate
// weights g,
//
//	y = g * Down( act(Gate x, Up x) )
//
// on all threads of the pool, and gives y to the sink.
func (w *Work) RunGroup(pool *kernels.Pool, a model.Activation, g Group, sink Sink) {
	w.pool, w.activation, w.x, w.sink = pool, a, g.X, sink
	w.divide(&g)
	for rest := w.parts; len(rest) > 0; rest = rest[len(w.wave):] {
		w.runWave(rest[:waveOf(rest)])
	}
	// The request's memory and the weights are not held on to.
	clear(w.parts)
	w.pool, w.x, w.sink, w.wave = nil, nil, nil, nil
}

// Run is RunGroup for one expert and all its rows. It returns y [rows, hidden],
// which is valid until the next Run.
func (w *Work) Run(
	pool *kernels.Pool, a model.Activation, e *Expert, x []float32, rows []uint32, g []float32,
) []float32 {
	s := &w.single
	s.experts[0], s.counts[0], s.hidden = e, uint32(len(rows)), e.Down.Rows
	s.y = sized(s.y, len(rows)*s.hidden)
	w.RunGroup(pool, a, Group{s.experts[:], s.counts[:], x, rows, g}, (*keep)(w))
	s.experts[0] = nil
	return s.y
}

// keep is Work as the sink of Run.
type keep Work

func (k *keep) Put(row, from int, y []float32) {
	copy(k.single.y[row*k.single.hidden+from:], y)
}

// sized returns a slice of length n, in buf's memory if that is large enough.
func sized(buf []float32, n int) []float32 {
	if cap(buf) < n {
		return make([]float32, n)
	}
	return buf[:n]
}
