package router

// Call is one layer's work for one worker: everything that its message holds
// but the activations. Expert i owns the next RowCounts[i] entries of Rows and
// Weights.
type Call struct {
	// Holder indexes the table's holders.
	Holder int
	// Tokens are the batch rows whose activations travel, in ascending order.
	Tokens []uint32
	// Experts are indices within the layer, ascending.
	Experts, RowCounts []uint32
	// Rows index Tokens.
	Rows    []uint32
	Weights []float32
}

// Slot says where the outputs of one expert are found.
type Slot struct {
	Expert uint32
	// Call indexes the route's calls, the first that answered for the expert; -1
	// until one has. The outputs are entries First to First+Count-1 of its rows.
	Call, First, Count int
}

// Route is how the choices of one layer are carried out. It is reused from
// layer to layer: each call of Plan overwrites the last.
type Route struct {
	// Calls are those of Plan, at most one per worker, and then those of Again
	// and Also.
	Calls []Call
	// Slots lists the experts in use in ascending order: the order in which
	// outputs are combined.
	Slots []Slot

	asked    []int // by slot: calls that may still answer for it
	left     int   // slots without an answer
	tokens   int
	byHolder []int      // holder → index into Calls, or -1
	slotOf   []int      // expert → index into Slots; of experts in use
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
	for e, rows := range r.rows[:len(t.replicas[layer])] {
		if len(rows) > 0 {
			r.slotOf[e] = len(r.Slots)
			r.Slots = append(r.Slots, Slot{Expert: uint32(e), Call: -1, Count: len(rows)})
			r.asked = append(r.asked, 0)
		}
	}
	r.left = len(r.Slots)
	return r.Again(t, layer, states)
}

// Again divides the experts that nobody is asked for any more, because all
// calls for them have failed, among workers, in calls after the present ones.
// It returns what Plan does. The table need not be that of Plan.
func (r *Route) Again(t *Table, layer int, states []State) (missing int) {
	missing = -1
	r.balance.begin(len(t.Holders), len(t.replicas[layer]), states)
	for i, s := range r.Slots {
		if s.Call < 0 && r.asked[i] == 0 &&
			!r.balance.add(int(s.Expert), t.replicas[layer][s.Expert], states) && missing < 0 {
			missing = int(s.Expert)
		}
	}
	r.divide(len(t.Holders))
	return missing
}

// Also asks others for the experts of a call that is late, but may still
// answer, and reports whether there is anybody to ask for any of them. Whoever
// is late with them is to be excluded by its state, and a call is to be given
// once only: then nobody is asked twice, and all are in the end.
func (r *Route) Also(t *Table, layer, call int, states []State) bool {
	r.balance.begin(len(t.Holders), len(t.replicas[layer]), states)
	for _, e := range r.Calls[call].Experts {
		if r.Slots[r.slotOf[e]].Call < 0 {
			r.balance.add(int(e), t.replicas[layer][e], states)
		}
	}
	return r.divide(len(t.Holders)) > 0
}

// divide makes calls of the experts that are open in balance and returns how
// many.
func (r *Route) divide(holders int) int {
	first := len(r.Calls)
	for len(r.byHolder) < holders {
		r.byHolder = append(r.byHolder, -1)
	}
	for i := range r.byHolder {
		r.byHolder[i] = -1
	}
	r.balance.solve()
	for _, e := range r.balance.open {
		r.place(r.balance.holder[e], e)
	}
	for i := first; i < len(r.Calls); i++ {
		r.localise(&r.Calls[i], r.tokens)
	}
	return len(r.Calls) - first
}

// Answered takes in that a call has answered. What another call has answered
// already stays as it is: nothing is added twice.
func (r *Route) Answered(call int) {
	first := 0
	for i, e := range r.Calls[call].Experts {
		at := r.slotOf[e]
		r.asked[at]--
		if s := &r.Slots[at]; s.Call < 0 {
			s.Call, s.First = call, first
			r.left--
		}
		first += int(r.Calls[call].RowCounts[i])
	}
}

// Failed takes in that a call will not answer.
func (r *Route) Failed(call int) {
	for _, e := range r.Calls[call].Experts {
		r.asked[r.slotOf[e]]--
	}
}

// Complete reports whether every expert has been answered for.
func (r *Route) Complete() bool { return r.left == 0 }

// Unasked reports whether there is an expert without an answer that nobody is
// asked for.
func (r *Route) Unasked() bool {
	for i, n := range r.asked {
		if n == 0 && r.Slots[i].Call < 0 {
			return true
		}
	}
	return false
}

func (r *Route) reset(experts int) {
	r.Calls, r.Slots, r.asked = r.Calls[:0], r.Slots[:0], r.asked[:0]
	for len(r.rows) < experts {
		r.rows = append(r.rows, nil)
		r.weights = append(r.weights, nil)
		r.slotOf = append(r.slotOf, 0)
	}
	for e := range r.rows {
		r.rows[e], r.weights[e] = r.rows[e][:0], r.weights[e][:0]
	}
}

// place appends expert e with its tokens to the holder's call.
func (r *Route) place(holder, e int) {
	at := r.byHolder[holder]
	if at < 0 {
		at = len(r.Calls)
		r.byHolder[holder] = at
		if at < cap(r.Calls) {
			r.Calls = r.Calls[:at+1]
		} else {
			r.Calls = append(r.Calls, Call{})
		}
		c := &r.Calls[at]
		*c = Call{
			Holder: holder, Tokens: c.Tokens[:0], Experts: c.Experts[:0],
			RowCounts: c.RowCounts[:0], Rows: c.Rows[:0], Weights: c.Weights[:0],
		}
	}
	c := &r.Calls[at]
	r.asked[r.slotOf[e]]++
	c.Experts = append(c.Experts, uint32(e))
	c.RowCounts = append(c.RowCounts, uint32(len(r.rows[e])))
	c.Rows = append(c.Rows, r.rows[e]...)
	c.Weights = append(c.Weights, r.weights[e]...)
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

// Token returns the batch row of entry i of a call's rows.
func (c *Call) Token(i int) int { return int(c.Tokens[c.Rows[i]]) }
