//go:build amd64 || arm64

package kernels

import (
	"math"
	"unsafe"
)

// dotOperands is the parameter of the assembly: for queries t and keys j
//
//	scores[t*scoreStride + j] = dot(q[t*qStride:], keys[j*keyStride:])
//
// Strides are in bytes. kernels/gen has the names of the fields in this order.
type dotOperands struct {
	scores      *float32
	scoreStride int
	q           *float32
	qStride     int
	keys        *byte
	keyStride   int
	blocks      int // of 16 columns
	queries     int
	n           int // keys

	// What to prefetch of each key, some keys ahead, and of each value, which are read next.
	keyBytes    int
	values      *byte
	valueStride int
	valueBytes  int
}

// queryBytes is how much of the queries goes by for each pair of keys: what the first-level cache
// holds beside the keys.
const queryBytes = 16 << 10

// widenQueries is from how many queries on it pays to decode I8 into memory, rather than for every
// register tile. BF16 is as fast either way.
const widenQueries = 16

// dotCachedFast is dotCached for queries that are not empty.
func dotCachedFast(scores, q []float32, keys, values *Cached, n, dv int, panel []float32) {
	queries := len(scores) / n
	d := len(q) / queries
	switch {
	case d%lanes != 0:
		dotPadded(scores, q, keys, n)
		return
	case n == 1:
		dotOne(scores, q, keys)
		return
	case keys.Format == I8 && queries >= widenQueries && 2*d <= len(panel):
		dotWidened(scores, q, keys, n, panel)
		return
	}
	var o dotOperands
	o.keys, o.keyStride, o.n = &keys.Data[0], keys.Stride, n
	o.keyBytes = keys.Format.Bytes(d)
	if dv > 0 && &values.Data[0] != &keys.Data[0] {
		o.values, o.valueStride = &values.Data[0], values.Stride
		o.valueBytes = values.Format.Bytes(dv)
	}
	o.run(keys.Format, scores, n, q, queries)
}

// dotWidened is dotCachedFast for keys in I8, some at a time, by way of memory.
func dotWidened(scores, q []float32, keys *Cached, n int, panel []float32) {
	queries := len(scores) / n
	d := len(q) / queries
	most := len(panel) / d &^ 1 // they are read in pairs
	for j := 0; j < n; j += most {
		j = min(j, n-2) // two keys at least
		some := min(most, n-j)
		widenI8(&panel[0], &keys.Data[j*keys.Stride], keys.Stride, some, d)
		var o dotOperands
		o.keys, o.keyStride, o.n = (*byte)(unsafe.Pointer(&panel[0])), 4*d, some
		o.run(F32, scores[j:], n, q, queries)
	}
}

// run computes the products of the keys, of which there are at least two, with all queries, whose
// scores are stride numbers apart. The operands are a copy, so that what they point to may lie on
// the caller's stack.
func (o dotOperands) run(f Format, scores []float32, stride int, q []float32, queries int) {
	d := len(q) / queries
	together := max(queryBytes/(4*d), 6)
	keys := o
	for t := 0; t < queries; t += together {
		o = keys
		o.scores, o.scoreStride = &scores[t*stride], 4*stride
		o.q, o.qStride = &q[t*d], 4*d
		o.blocks, o.queries = d/lanes, min(together, queries-t)
		o.call(f)
		keys.keyBytes, keys.valueBytes = 0, 0 // they are cached now
	}
}

// call calls the assembly, which uses up the operands.
func (o *dotOperands) call(f Format) {
	p := (*byte)(unsafe.Pointer(o))
	alone := o.queries == 1 && o.n >= 4
	switch {
	case f == F32 && alone:
		dots1F32(p)
	case f == F32:
		dotsManyF32(p)
	case f == BF16 && alone:
		dots1BF16(p)
	case f == BF16:
		dotsBF16(p)
	case alone:
		dots1I8(p)
	default:
		dotsI8(p)
	}
}

// dotOne is dotCachedFast for one key, which is taken for two that lie in one place.
func dotOne(scores, q []float32, key *Cached) {
	const together = 16
	var twice [2 * together]float32
	queries := len(scores)
	d := len(q) / queries
	for t := 0; t < queries; t += together {
		some := min(together, queries-t)
		var o dotOperands
		o.keys, o.n = &key.Data[0], 2
		o.run(key.Format, twice[:], 2, q[t*d:(t+some)*d], some)
		for i := range some {
			scores[t+i] = twice[2*i]
		}
	}
}

// dotPadded is dotCachedFast for queries that end within a block. Two queries and two keys at a
// time are padded, as in tailBlocks.
func dotPadded(scores, q []float32, keys *Cached, n int) {
	const most = 1024
	queries := len(scores) / n
	d := len(q) / queries
	if d > most {
		dotCachedGeneric(scores, q, keys, n)
		return
	}
	width := (d + lanes - 1) / lanes * lanes
	var padded [4 * most]float32
	var four [4]float32
	qs, ks := padded[:2*width], padded[2*width:4*width]
	for i := range ks {
		ks[i] = math.Float32frombits(1 << 31) // -0
	}
	for t := 0; t < queries; t += 2 {
		for i := range min(2, queries-t) {
			copy(qs[i*width:], q[(t+i)*d:(t+i+1)*d])
		}
		for j := 0; j < n; j += 2 {
			for i := range min(2, n-j) {
				keys.stored(ks[i*width:][:d], j+i, 0)
			}
			var o dotOperands
			o.keys, o.keyStride, o.n = (*byte)(unsafe.Pointer(&ks[0])), 4*width, 2
			o.run(F32, four[:], 2, qs, 2)
			for i := range min(2, queries-t) {
				copy(scores[(t+i)*n+j:(t+i+1)*n], four[2*i:2*i+2])
			}
		}
	}
}

// addCachedFast is addCached.
func addCachedFast(acc, weights []float32, values *Cached, n int, panel []float32) {
	queries := len(weights) / n
	dv := len(acc) / queries
	columns := dv / 8 * 8
	switch {
	case columns == 0:
	case values.Format == I8 && queries >= widenQueries && 8*n <= len(panel):
		addWidened(acc, weights, values, n, columns, panel)
	default:
		addColumns(acc, dv, weights, values, n, columns)
	}
	if columns < dv {
		addCachedGeneric(acc, weights, values, n, columns)
	}
}

// addWidened is addColumns for values in I8, some columns at a time, by way of memory.
func addWidened(acc, weights []float32, values *Cached, n, columns int, panel []float32) {
	dv := len(acc) / (len(weights) / n)
	most := len(panel) / n / 8 * 8
	for from := 0; from < columns; from += most {
		some := min(most, columns-from)
		widenI8(&panel[0], &values.Data[from], values.Stride, n, some)
		var wide Cached
		wide.Stride = 4 * some
		wide.Data = unsafe.Slice((*byte)(unsafe.Pointer(&panel[0])), 4*n*some)
		addColumns(acc[from:], dv, weights, &wide, n, some)
	}
}

// addColumns adds columns, a multiple of 8, of the values to the sums, which are dv apart.
func addColumns(acc []float32, dv int, weights []float32, values *Cached, n, columns int) {
	queries := len(weights) / n
	for t := 0; t < queries; {
		sums, w := &acc[t*dv], &weights[t*n]
		switch left := queries - t; {
		case left >= 4:
			addValues4(sums, 4*dv, columns, w, values, n)
			t += 4
		case left >= 2:
			addValues2(sums, 4*dv, columns, w, values, n)
			t += 2
		default:
			addValues1(sums, 4*dv, columns, w, values, n)
			t++
		}
	}
}

func addValues4(acc *float32, accStride, columns int, w *float32, values *Cached, n int) {
	if addValues4Wide(acc, accStride, columns, w, values, n) {
		return
	}
	v, stride := &values.Data[0], values.Stride
	switch values.Format {
	case F32:
		values4F32(acc, accStride, columns, w, 4*n, v, stride, n)
	case BF16:
		values4BF16(acc, accStride, columns, w, 4*n, v, stride, n)
	case I8:
		values4I8(acc, accStride, columns, w, 4*n, v, stride, n)
	}
}

func addValues2(acc *float32, accStride, columns int, w *float32, values *Cached, n int) {
	v, stride := &values.Data[0], values.Stride
	switch values.Format {
	case F32:
		values2F32(acc, accStride, columns, w, 4*n, v, stride, n)
	case BF16:
		values2BF16(acc, accStride, columns, w, 4*n, v, stride, n)
	case I8:
		values2I8(acc, accStride, columns, w, 4*n, v, stride, n)
	}
}

func addValues1(acc *float32, accStride, columns int, w *float32, values *Cached, n int) {
	v, stride := &values.Data[0], values.Stride
	switch values.Format {
	case F32:
		values1F32(acc, accStride, columns, w, 4*n, v, stride, n)
	case BF16:
		values1BF16(acc, accStride, columns, w, 4*n, v, stride, n)
	case I8:
		values1I8(acc, accStride, columns, w, 4*n, v, stride, n)
	}
}

// mulScalesFast is mulScales.
func mulScalesFast(x []float32, c *Cached) {
	if c.ScaleStride == 1 {
		mulRowFast(x, c.Scales)
		return
	}
	var scales [64]float32
	for from := 0; from < len(x); from += len(scales) {
		part := x[from:min(from+len(scales), len(x))]
		for j := range part {
			scales[j] = c.Scales[(from+j)*c.ScaleStride]
		}
		mulRowFast(part, scales[:])
	}
}
