package sched

// Demand is what one running sequence could use in a step.
type Demand struct {
	// Rows is the number of positions not yet computed; 1 while decoding.
	Rows int
	// AllLogits says that every row needs logits, not only the last.
	AllLogits bool
}

// Budget is what one step offers.
type Budget struct{ Rows, Logits int }

// Share gives each demand, in order of arrival, its rows in the next step; the
// result is written to shares, which has an entry per demand.
func Share(demands []Demand, b Budget, shares []int) {
	for i, d := range demands {
		shares[i] = 0
		if d.Rows == 1 && b.Rows > 0 && b.Logits > 0 {
			shares[i] = 1
			b.Rows--
			b.Logits--
		}
	}
	for i, d := range demands {
		if d.Rows <= 1 {
			continue
		}
		n := min(d.Rows, b.Rows)
		switch {
		case d.AllLogits:
			n = min(n, b.Logits)
			b.Logits -= n
		case n == d.Rows && b.Logits == 0:
			n-- // all but the row that asks for logits
		case n == d.Rows:
			b.Logits--
		}
		shares[i] = n
		b.Rows -= n
	}
}
