package dispatch

import (
	"errors"
	"math"
	"slices"

	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/router"
)

// doubts are what workers have said in a flight that others must confirm or refute: one
// with broken memory, or of ill will, must neither fail a request nor poison its answer
// while another has the same experts, or the last resort. Who repeats it, which is when
// nobody else was left to ask, is believed, unless there is the last resort.
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

// judge says whether an answer counts. It is refused where it is doubtful; its lane is
// sound, others are asked.
func (d *Dispatcher) judge(f *flight, l *lane, r *wire.Response, c *router.Call) error {
	if err := d.check(f, l, r, c); err != nil {
		var rejected *rejectedError
		if !errors.As(err, &rejected) || !d.note(&f.doubts.invalid, l, c.Slots()...) {
			return err
		}
		d.warn(l, "it calls a request invalid: "+rejected.message)
		return &refusedError{rejected.worker, rejected.message}
	}
	if r.Format.Finite(r.Outputs.Bytes()) || !d.noteInfinite(f, l, r, c) {
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

// note takes in what a worker says of slots, and reports whether it is to be doubted.
func (d *Dispatcher) note(list *[]doubt, l *lane, slots ...int) (doubtful bool) {
	for _, slot := range slots {
		said := doubt{slot, l.worker}
		if !slices.Contains(*list, said) {
			*list, doubtful = append(*list, said), true
		}
	}
	return doubtful || d.resorts()
}

// noteInfinite notes the slots of an answer whose outputs are not finite though what the
// experts were given is, and reports whether that is to be doubted. Where what they were
// given is not finite either, it is the model's own doing.
func (d *Dispatcher) noteInfinite(
	f *flight, l *lane, r *wire.Response, c *router.Call,
) (doubtful bool) {
	h := d.cfg.Hidden
	row := h * r.Format.Size()
	if r.Summed { // any of the experts may be to blame
		for i, t := range c.Tokens {
			if !r.Format.Finite(r.Outputs.Bytes()[i*row:(i+1)*row]) && finite(f.x[int(t)*h:][:h]) {
				return d.note(&f.doubts.infinite, l, c.Slots()...)
			}
		}
		return false
	}
	from := 0
	for _, slot := range c.Slots() {
		end := from + f.route.Slots[slot].Count
		for i := from; i < end; i++ {
			if r.Format.Finite(r.Outputs.Bytes()[i*row:(i+1)*row]) || !finite(f.x[c.Token(i)*h:][:h]) {
				continue
			}
			doubtful = d.note(&f.doubts.infinite, l, slot) || doubtful
			break
		}
		from = end
	}
	return doubtful
}

func finite(x []float32) bool {
	for _, v := range x {
		if math.Float32bits(v)&0x7f80_0000 == 0x7f80_0000 {
			return false
		}
	}
	return true
}
