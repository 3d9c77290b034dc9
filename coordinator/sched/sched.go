package sched

// Demand is what one running sequence could use in a step.
type Demand struct {
	// Rows is the number of positions not yet computed; 1 while decoding.
	Rows int
	// AllLogits says that every row needs logits, not only the last.
	AllLogits bool
	// Draft is how many positions beyond Rows are worth computing on a guess,
	// each with logits. Only a sequence that decodes has any.
	Draft int
}

// Budget is what one step offers.
type Budget struct{ Rows, Logits int }

// Share gives each demand, in the order in which the sequences come first, its
// rows in the next step; the result is written to shares, which has an entry
// per demand.
func Share(demands []Demand, b Budget, shares []int) {
	for i, d := range demands {
		shares[i] = 0
		if d.Rows == 1 && b.Rows > 0 && b.Logits > 0 {
			shares[i] = 1
			b.Rows--
			b.Logits--
		}
	}
	b.Rows -= sharePrompts(demands, b.Rows, shares)
	for i, d := range demands {
		if d.Rows > 1 {
			b.Logits -= trim(&shares[i], d, b.Logits)
		}
	}
	for i, d := range demands {
		if shares[i] == 1 && d.Rows == 1 {
			n := min(d.Draft, b.Rows, b.Logits)
			shares[i] += n
			b.Rows -= n
			b.Logits -= n
		}
	}
}

// sharePrompts divides rows among the prompts and returns how many it gave. The
// first prompt gets half of them or more, so that it is done in at most twice
// the time that it would take alone; the others divide the rest evenly, so that
// a short one never waits for a long one to end.
func sharePrompts(demands []Demand, rows int, shares []int) (given int) {
	first, others, wanted := -1, 0, 0
	for i, d := range demands {
		switch {
		case d.Rows <= 1:
		case first < 0:
			first = i
		default:
			others++
			wanted += d.Rows
		}
	}
	if first < 0 {
		return 0
	}
	shares[first] = min(demands[first].Rows, max((rows+1)/2, rows-wanted))
	given = shares[first]
	for left := rows - given; others > 0 && left > 0; left = rows - given {
		even := max(left/others, 1)
		for i := first + 1; i < len(demands) && given < rows; i++ {
			rest := demands[i].Rows - shares[i]
			if demands[i].Rows <= 1 || rest == 0 {
				continue
			}
			n := min(rest, even, rows-given)
			shares[i] += n
			given += n
			if n == rest {
				others--
			}
		}
	}
	return given
}

// trim makes a prompt's share fit the logits that are left, and returns how
// many of them it takes.
func trim(share *int, d Demand, logits int) int {
	switch {
	case d.AllLogits:
		*share = min(*share, logits)
		return *share
	case *share < d.Rows:
		return 0
	case logits == 0:
		*share-- // all but the row that asks for logits
		return 0
	}
	return 1
}
