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
	// Call indexes the route's calls; the outputs are entries First to
	// First+Count-1 of its rows.
	Call, First, Count int
}

// Route is how the choices of one layer are carried out. It is reused from
// layer to layer: each call of Plan overwrites the last.
type Route struct {
	// Calls has at most one entry per worker.
	Calls []Call
	// Slots lists the experts in use in ascending order: the order in which
	// outputs are combined.
	Slots []Slot

	byHolder []int      // holder → index into Calls, or -1
	rows     [][]uint32 // expert → tokens that chose it
	weights  [][]float32
	local    []uint32 // token → row within a call, during fill
}

// Plan divides the choices of one layer among workers. It returns the first
// expert that no reachable worker serves, or -1.
func (r *Route) Plan(t *Table, layer int, c Choice) (missing int) {
	width := len(t.replicas[layer])
	r.reset(len(t.Holders), width)
	for i, e := range c.Experts {
		r.rows[e] = append(r.rows[e], uint32(i/c.K))
		r.weights[e] = append(r.weights[e], c.Weights[i])
	}
	for e := range width {
		if len(r.rows[e]) == 0 {
			continue
		}
		holder := t.replica(layer, e)
		if holder < 0 {
			return e
		}
		r.place(holder, e)
	}
	for i := range r.Calls {
		r.localise(&r.Calls[i], len(c.Experts)/c.K)
	}
	return -1
}

func (r *Route) reset(holders, experts int) {
	r.Calls, r.Slots = r.Calls[:0], r.Slots[:0]
	for len(r.byHolder) < holders {
		r.byHolder = append(r.byHolder, -1)
	}
	for i := range r.byHolder {
		r.byHolder[i] = -1
	}
	for len(r.rows) < experts {
		r.rows = append(r.rows, nil)
		r.weights = append(r.weights, nil)
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
	r.Slots = append(r.Slots, Slot{
		Expert: uint32(e), Call: at, First: len(c.Rows), Count: len(r.rows[e]),
	})
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
