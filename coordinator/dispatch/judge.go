package dispatch

import (
	"errors"
	"math"
	"slices"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
)

// doubts are what workers have said in a flight that only a second opinion makes true: a
// single worker with broken memory, or of ill will, must neither fail a request nor poison
// its answer while another has the same experts, or the last resort. Where there is no
// other, the same worker is asked again, and then believed.
//
// They are by slot of the route: of replicas that share an expert's rows, none has an
// opinion on the other's.
type doubts struct {
	invalid  []doubt // asked for by a request that was called invalid
	infinite []doubt // whose outputs were not finite
}

// doubt is of what a worker has said of a slot.
type doubt struct {
	slot   int
	worker string
}

func (d *doubts) clear() { d.invalid, d.infinite = d.invalid[:0], d.infinite[:0] }

// judge says whether an answer counts. It is refused where it is unbelievable and the first
// of its kind; its lane is sound, others are asked.
func (d *Dispatcher) judge(f *flight, l *lane, r *wire.Response, c *router.Call) error {
	err := d.check(l, r, c)
	var rejected *rejectedError
	switch {
	case errors.As(err, &rejected):
		if !d.note(&f.doubts.invalid, l, c.Slots()...) {
			return err
		}
		d.warn(l, "it calls a request invalid: "+rejected.message)
		return &refusedError{rejected.worker, rejected.message}
	case err != nil:
		return err
	case r.Format.Finite(r.Outputs.Bytes()) || !d.noteInfinite(f, l, r, c):
		return nil
	}
	d.warn(l, "its outputs are not finite")
	return &refusedError{l.worker, "outputs are not finite"}
}

// warn tells of a doubt, once for each lane.
func (d *Dispatcher) warn(l *lane, why string) {
	if !l.doubted.Swap(true) {
		d.cfg.Log.Warn("worker doubted, asking another", "worker", l.worker, "why", why)
	}
}

// note takes in what a worker says of slots, and reports whether there is one on which
// that is the first opinion.
func (d *Dispatcher) note(list *[]doubt, l *lane, slots ...int) (first bool) {
	for _, slot := range slots {
		i := slices.IndexFunc(*list, func(x doubt) bool { return x.slot == slot })
		if i < 0 {
			*list = append(*list, doubt{slot, l.worker})
		}
		// It does not vouch for itself while there is somebody better to ask.
		first = first || i < 0 || (*list)[i].worker == l.worker && d.resorts()
	}
	return first
}

// noteInfinite notes the slots of an answer whose outputs are not finite though what the
// experts were given is, and reports whether that is the first opinion on one of them. Where
// it is not, the outputs are the model's own doing.
func (d *Dispatcher) noteInfinite(
	f *flight, l *lane, r *wire.Response, c *router.Call,
) (first bool) {
	h := d.cfg.Hidden
	row := h * r.Format.Size()
	from := 0
	for _, slot := range c.Slots() {
		end := from + f.route.Slots[slot].Count
		for i := from; i < end; i++ {
			if r.Format.Finite(r.Outputs.Bytes()[i*row:(i+1)*row]) || !finite(f.x[c.Token(i)*h:][:h]) {
				continue
			}
			first = d.note(&f.doubts.infinite, l, slot) || first
			break
		}
		from = end
	}
	return first
}

func finite(x []float32) bool {
	for _, v := range x {
		if math.Float32bits(v)&0x7f80_0000 == 0x7f80_0000 {
			return false
		}
	}
	return true
}
