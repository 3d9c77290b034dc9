package dispatch

import (
	"errors"
	"math"
	"slices"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
)

// doubts is what one worker has said in a flight that only a second opinion makes true: a
// single worker with broken memory, or of ill will, must neither fail a request nor poison
// its answer while another has the same experts. Where there is no other, the same worker
// is asked again, and then believed.
type doubts struct {
	rejected bool     // the request was called invalid
	experts  []uint32 // whose outputs were not finite
}

func (d *doubts) clear() { d.rejected, d.experts = false, d.experts[:0] }

// judge says whether an answer counts. It is refused where it is unbelievable and the first
// of its kind; its lane is sound, others are asked.
func (d *Dispatcher) judge(f *flight, l *lane, r *wire.Response, c *router.Call) error {
	err := d.check(l, r, c)
	var rejected *rejectedError
	if errors.As(err, &rejected) && !f.doubts.rejected {
		f.doubts.rejected = true
		d.doubt(l, "it calls a request invalid: "+rejected.message)
		return &refusedError{rejected.worker, rejected.message}
	}
	if err != nil || r.Format.Finite(r.Outputs.Bytes()) || !d.news(f, r, c) {
		return err
	}
	d.doubt(l, "its outputs are not finite")
	return &refusedError{l.worker, "outputs are not finite"}
}

// doubt says so once for each lane.
func (d *Dispatcher) doubt(l *lane, why string) {
	if !l.doubted.Swap(true) {
		d.cfg.Log.Warn("worker doubted, asking another", "worker", l.worker, "why", why)
	}
}

// news notes the experts of an answer whose outputs are not finite, and reports whether
// there is one that was not noted before. There is none where what they were given was not
// finite either: then it is the model's own doing.
func (d *Dispatcher) news(f *flight, r *wire.Response, c *router.Call) bool {
	h := d.cfg.Hidden
	for _, t := range c.Tokens {
		if !finite(f.x[int(t)*h : (int(t)+1)*h]) {
			return false
		}
	}
	found, first := false, 0
	row := h * r.Format.Size()
	for i, e := range c.Experts {
		next := first + int(c.RowCounts[i])
		rows := r.Outputs.Bytes()[first*row : next*row]
		if first = next; !r.Format.Finite(rows) && !slices.Contains(f.doubts.experts, e) {
			f.doubts.experts = append(f.doubts.experts, e)
			found = true
		}
	}
	return found
}

func finite(x []float32) bool {
	for _, v := range x {
		if math.Float32bits(v)&0x7f80_0000 == 0x7f80_0000 {
			return false
		}
	}
	return true
}
