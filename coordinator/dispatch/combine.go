package dispatch

import (
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
)

// A token's outputs are added in f32, in ascending order of experts, beginning with
// zero. Where one call has all of a layer's experts its worker may do that, which is
// the same to the bit, and answers with a row for each token instead of one for each
// of its experts.

// sums reports whether the answer to a call may be sums.
func (f *flight) sums(c *router.Call) bool {
	return f.choice.K > 1 && len(c.Slots()) == len(f.route.Slots)
}

// combineNumbers is from how many outputs on all threads add: a few microseconds.
const combineNumbers = 64 << 10

// combine sets out to the sums of the outputs of all experts.
func (d *Dispatcher) combine(f *flight, out []float32) {
	h := d.cfg.Hidden
	if f.summed >= 0 {
		body, row := f.attempts[f.summed].outputs(), h*wire.F32.Size()
		for i, t := range f.route.Calls[f.summed].Tokens {
			wire.F32.Decode(out[int(t)*h:][:h], body[i*row:(i+1)*row])
		}
		return
	}
	clear(out)
	j := &d.adding
	j.d, j.flight, j.out, j.width = d, f, out, h
	if pool := d.cfg.Pool; pool == nil || len(f.choice.Experts)*h < combineNumbers {
		j.Do(0, 0)
	} else {
		j.width = (h/pool.Threads() + addingStep) / addingStep * addingStep
		pool.Run((h+j.width-1)/j.width, j)
	}
	j.flight, j.out = nil, nil
}

// adding adds the outputs of experts. An item is some columns of all of them, so
// that each is read once, and the order of a sum is always the same.
type adding struct {
	d      *Dispatcher
	flight *flight
	out    []float32 // [tokens, hidden]
	width  int       // columns of an item
}

// addingStep is what the columns of an item are multiples of: some cache lines.
const addingStep = 128

// Do implements kernels.Job.
func (j *adding) Do(item, _ int) {
	f, h, format := j.flight, j.d.cfg.Hidden, j.d.cfg.Format
	lo := item * j.width
	hi, size := min(lo+j.width, h), format.Size()
	for _, slot := range f.route.Slots {
		c := &f.route.Calls[slot.Call]
		body := f.attempts[slot.Call].outputs()
		for i := slot.First; i < slot.First+slot.Count; i++ {
			at := i * h
			format.Add(j.out[c.Token(i)*h:][lo:hi], body[(at+lo)*size:(at+hi)*size])
		}
	}
}
