package shard

import (
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// Work is the scratch memory of an expert's arithmetic, used again from expert
// to expert by one goroutine at a time. The zero value is ready for use.
//
// Whoever computes an expert does it here, so that the bits are the same
// wherever it runs.
type Work struct {
	x    []float32 // [rows, hidden]
	gate []float32 // [rows, expert width]
	up   []float32
	y    []float32 // [rows, hidden]
}

// Run computes, for the given rows of x [tokens, hidden] and their gate weights g,
//
//	y = g * Down( act(Gate x, Up x) )
//
// and returns y [rows, hidden], which is valid until the next Run.
func (w *Work) Run(
	pool *kernels.Pool, a model.Activation, e *Expert, x []float32, rows []uint32, g []float32,
) []float32 {
	n, width, hidden := len(rows), e.Gate.Rows, e.Gate.Cols
	w.x = sized(w.x, n*hidden)
	for j, t := range rows {
		copy(w.x[j*hidden:(j+1)*hidden], x[int(t)*hidden:])
	}
	w.gate, w.up = sized(w.gate, n*width), sized(w.up, n*width)
	w.y = sized(w.y, n*hidden)
	pool.MatMul(w.gate, w.x, n, e.Gate)
	pool.MatMul(w.up, w.x, n, e.Up)
	Activate(a, w.gate, w.gate, w.up)
	pool.MatMul(w.y, w.gate, n, e.Down)
	for j, g := range g {
		row := w.y[j*hidden : (j+1)*hidden]
		for k := range row {
			row[k] *= g
		}
	}
	return w.y
}

// sized returns a slice of length n, in buf's memory if that is large enough.
func sized(buf []float32, n int) []float32 {
	if cap(buf) < n {
		return make([]float32, n)
	}
	return buf[:n]
}
