package router

import (
	"cmp"
	"slices"
)

// Here is the holder of a call that is no worker's: it is computed where it is
// routed.
const Here = -1

// Call is one layer's work for one worker: everything that its message holds
// but the activations. Expert i owns the next RowCounts[i] entries of Rows and
// Weights.
type Call struct {
	// Holder indexes the table's holders, or is Here.
	Holder int
	// Tokens are the batch rows whose activations travel, in ascending order.
	Tokens []uint32
	// Experts are indices within the layer, ascending.
	Experts, RowCounts []uint32
	// Rows index Tokens.
	Rows    []uint32
	Weights []float32

	slots []int // of the route, ascending: whose rows these are
	late  bool
}

// Slot says where outputs of one expert are found: of all tokens that chose it,
// or, where its replicas share them, of some. A slot is asked for and answered as
// a whole.
type Slot struct {
	Expert uint32
	// From is the first of the expert's tokens that the slot is of, by the order of
	// the batch; Count is how many there are.
	From, Count int
	// Call indexes the route's calls, the first that answered for the slot; -1
	// until one has. The outputs are entries First to First+Count-1 of its rows.
	Call, First int
}

// Route is how the choices of one layer are carried out. It is reused from
// layer to layer: each call of Plan overwrites the last.
type Route struct {
	// Calls are those of Plan, at most one per worker, and then those of Again,
	// Also and TakeHere.
	Calls []Call
	// Slots lists the experts in use in ascending order: the order in which
	// outputs are combined. The slots of an expert divide its tokens.
	Slots []Slot

	asked    []int // by slot: calls that may still answer for it
	hoped    []int // by slot: those of them that are not late
	left     int   // slots without an answer
	tokens   int
	byHolder []int      // holder → index into Calls, or -1
	rows     [][]uint32 // expert → tokens that chose it
	weights  [][]float32
	local    []uint32 // token → row within a call, during fill
	balance  balance
}

// Plan divides the choices of one layer among workers. states, by holder, may
// be shorter than the table's holders or nil. Plan returns the first expert
// that nobody may be asked for, or -1; the others are divided all the same.
func (r *Route) Plan(t *Table, layer int, c Choice, states []State) (missing int) {
	r.reset(len(t.replicas[layer]))
	r.tokens = len(c.Experts) / max(c.K, 1)
	for i, e := range c.Experts {
		r.rows[e] = append(r.rows[e], uint32(i/c.K))
		r.weights[e] = append(r.weights[e], c.Weights[i])
	}
	missing = -1
	b := &r.balance
	b.begin(len(t.Holders), states)
	for e, rows := range r.rows[:len(t.replicas[layer])] {
		if len(rows) > 0 && !b.add(part{expert: e, rows: len(rows)}, t.replicas[layer][e], states) &&
			missing < 0 {
			missing = e
		}
	}
	experts := len(b.parts)
	b.solve(true)
	if len(b.parts) > experts {
		slices.SortFunc(b.parts, func(p, q part) int {
			return cmp.Or(cmp.Compare(p.expert, q.expert), cmp.Compare(p.from, q.from))
		})
	}
	for i := range b.parts {
		p := &b.parts[i]
		p.slot = i
		r.Slots = append(r.Slots, Slot{Expert: uint32(p.expert), From: p.from, Count: p.rows, Call: -1})
		r.asked, r.hoped = append(r.asked, 0), append(r.hoped, 0)
	}
	r.left = len(r.Slots)
	r.divide(len(t.Holders))
	return missing
}

// Again divides the slots that nobody is asked for any more, because all calls
// for them have failed, among workers, in calls after the present ones. It
// returns what Plan does. The table need not be that of Plan.
func (r *Route) Again(t *Table, layer int, states []State) (missing int) {
	missing = -1
	r.balance.begin(len(t.Holders), states)
	for i, s := range r.Slots {
		if s.Call < 0 && r.asked[i] == 0 && !r.open(t, layer, i, states) && missing < 0 {
			missing = int(s.Expert)
		}
	}
	r.balance.solve(false)
	r.divide(len(t.Holders))
	return missing
}

// Also asks others for the slots of a call that is late, but may still answer,
// and reports whether there is anybody to ask for any of them. Whoever is late
// with them is to be excluded by its state, and a call is to be given once only:
// then nobody is asked twice, and all are in the end.
func (r *Route) Also(t *Table, layer, call int, states []State) bool {
	r.balance.begin(len(t.Holders), states)
	for _, i := range r.Calls[call].slots {
		if r.Slots[i].Call < 0 {
			r.open(t, layer, i, states)
		}
	}
	r.balance.solve(false)
	return r.divide(len(t.Holders)) > 0
}

// open opens a slot in balance and reports whether anybody may be asked for it.
func (r *Route) open(t *Table, layer, slot int, states []State) bool {
	s := r.Slots[slot]
	p := part{expert: int(s.Expert), slot: slot, from: s.From, rows: s.Count}
	return r.balance.add(p, t.replicas[layer][s.Expert], states)
}

// divide makes calls of what balance has decided and returns how many.
func (r *Route) divide(holders int) int {
	first := len(r.Calls)
	for len(r.byHolder) < holders {
		r.byHolder = append(r.byHolder, -1)
	}
	for i := range r.byHolder {
		r.byHolder[i] = -1
	}
	for _, p := range r.balance.parts {
		if p.holder < 0 {
			continue
		}
		if r.byHolder[p.holder] < 0 {
			r.byHolder[p.holder] = r.call(p.holder)
		}
		r.place(r.byHolder[p.holder], p.slot)
	}
	for i := first; i < len(r.Calls); i++ {
		r.localise(&r.Calls[i], r.tokens)
	}
	return len(r.Calls) - first
}

// Overdue returns the first slot without an answer that nobody is asked for who
// is not late; -1 if there is none.
func (r *Route) Overdue() int {
	for i, n := range r.hoped {
		if n == 0 && r.Slots[i].Call < 0 {
			return i
		}
	}
	return -1
}

// TakeHere makes a call, without a worker, of a slot that is computed here, and
// returns its index. As with any other call, Answered and Failed say what became
// of it.
func (r *Route) TakeHere(slot int) (call int) {
	call = r.call(Here)
	r.place(call, slot)
	r.localise(&r.Calls[call], r.tokens)
	return call
}

// Late takes in that a call is late, though it may still be answered.
func (r *Route) Late(call int) {
	c := &r.Calls[call]
	if c.late {
		return
	}
	c.late = true
	for _, at := range c.slots {
		r.hoped[at]--
	}
}

// Answered takes in that a call has answered. What another call has answered
// already stays as it is: nothing is added twice.
func (r *Route) Answered(call int) {
	r.Failed(call) // nobody is asked any more
	first := 0
	for _, at := range r.Calls[call].slots {
		s := &r.Slots[at]
		if s.Call < 0 {
			s.Call, s.First = call, first
			r.left--
		}
		first += s.Count
	}
}

// Failed takes in that a call will not answer.
func (r *Route) Failed(call int) {
	r.Late(call)
	for _, at := range r.Calls[call].slots {
		r.asked[at]--
	}
}

// Complete reports whether every slot has been answered for.
func (r *Route) Complete() bool { return r.left == 0 }

// Unasked reports whether there is a slot without an answer that nobody is asked
// for.
func (r *Route) Unasked() bool {
	for i, n := range r.asked {
		if n == 0 && r.Slots[i].Call < 0 {
			return true
		}
	}
	return false
}

func (r *Route) reset(experts int) {
	r.Calls, r.Slots = r.Calls[:0], r.Slots[:0]
	r.asked, r.hoped = r.asked[:0], r.hoped[:0]
	for len(r.rows) < experts {
		r.rows = append(r.rows, nil)
		r.weights = append(r.weights, nil)
	}
	for e := range r.rows {
		r.rows[e], r.weights[e] = r.rows[e][:0], r.weights[e][:0]
	}
}

// call appends an empty call, in the memory of one of an earlier layer.
func (r *Route) call(holder int) int {
	at := len(r.Calls)
	if at < cap(r.Calls) {
		r.Calls = r.Calls[:at+1]
	} else {
		r.Calls = append(r.Calls, Call{})
	}
	c := &r.Calls[at]
	*c = Call{
		Holder: holder, Tokens: c.Tokens[:0], Experts: c.Experts[:0],
		RowCounts: c.RowCounts[:0], Rows: c.Rows[:0], Weights: c.Weights[:0], slots: c.slots[:0],
	}
	return at
}

// place appends a slot to a call. Two slots of an expert are one expert to the
// worker.
func (r *Route) place(call, slot int) {
	c, s := &r.Calls[call], &r.Slots[slot]
	r.asked[slot]++
	r.hoped[slot]++
	c.slots = append(c.slots, slot)
	if n := len(c.Experts); n > 0 && c.Experts[n-1] == s.Expert {
		c.RowCounts[n-1] += uint32(s.Count)
	} else {
		c.Experts = append(c.Experts, s.Expert)
		c.RowCounts = append(c.RowCounts, uint32(s.Count))
	}
	c.Rows = append(c.Rows, r.rows[s.Expert][s.From:s.From+s.Count]...)
	c.Weights = append(c.Weights, r.weights[s.Expert][s.From:s.From+s.Count]...)
}

// localise collects the distinct tokens of a call and turns its rows from
// batch rows into indices of them.
func (r *Route) localise(c *Call, tokens int) {
	const absent = ^uint32(0)
	if cap(r.local) < tokens {
		r.local = make([]uint32, tokens)
	}
	local := r.local[:tokens]
	for i := range local {
		local[i] = absent
	}
	for _, t := range c.Rows {
		local[t] = 0
	}
	for t, v := range local {
		if v != absent {
			local[t] = uint32(len(c.Tokens))
			c.Tokens = append(c.Tokens, uint32(t))
		}
	}
	for i, t := range c.Rows {
		c.Rows[i] = local[t]
	}
}

// Reads is how many times an expert's weights could be read in the time that the
// call's work takes.
func (c *Call) Reads() float64 {
	n := 0.0
	for _, rows := range c.RowCounts {
		n += reads(int(rows))
	}
	return n
}

// Slots are the indices of the route's slots that the call asks for, in the order of its
// rows. They must stay as they are.
func (c *Call) Slots() []int { return c.slots }

// Token returns the batch row of entry i of a call's rows.
func (c *Call) Token(i int) int { return int(c.Tokens[c.Rows[i]]) }
