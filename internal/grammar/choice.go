package grammar

import (
	"slices"
	"strings"
)

// branch is one way of a choice: bytes, and what follows them.
type branch struct {
	text string
	rest []*Expr
}

// leading takes the bytes off that x begins with.
func leading(x *Expr) branch {
	b := branch{rest: []*Expr{x}}
	for len(b.rest) > 0 {
		switch first := b.rest[0]; {
		case first.op == opLiteral && first.mark == unmarked:
			b.text += first.text
			b.rest = b.rest[1:]
		case first.op == opSeq && len(first.kids) <= 64:
			b.rest = slices.Concat(first.kids, b.rest[1:])
		default:
			return b
		}
	}
	return b
}

// choice emits branches. Those that begin with the same bytes share them, so that a choice among a
// thousand words is one state, not a thousand.
func (c *compiler) choice(kids []*Expr, next int32) (int32, error) {
	branches := make([]branch, 0, len(kids))
	for _, k := range kids {
		if len(kids) > 1 {
			branches = append(branches, leading(k))
		} else {
			branches = append(branches, branch{rest: []*Expr{k}})
		}
	}
	slices.SortStableFunc(branches, func(a, b branch) int { return strings.Compare(a.text, b.text) })
	return c.branches(branches, 0, next)
}

// branches emits branches, sorted by their texts, whose first skip bytes are out.
func (c *compiler) branches(list []branch, skip int, next int32) (int32, error) {
	if len(list) > 1 {
		first, last := list[0].text, list[len(list)-1].text
		from := skip
		for skip < min(len(first), len(last)) && first[skip] == last[skip] {
			skip++
		}
		if skip > from {
			to, err := c.branches(list, skip, next)
			if err != nil {
				return 0, err
			}
			return c.literal(first[from:skip], to)
		}
	}
	var outs []int32
	var edges []edge
	for i := 0; i < len(list); {
		b := list[i]
		if len(b.text) == skip || len(list) == 1 {
			to, err := c.rest(b, skip, next)
			if err != nil {
				return 0, err
			}
			outs = append(outs, to)
			i++
			continue
		}
		j := i + 1
		for j < len(list) && list[j].text[skip] == b.text[skip] {
			j++
		}
		to, err := c.branches(list[i:j], skip+1, next)
		if err != nil {
			return 0, err
		}
		edges = append(edges, edge{b.text[skip], b.text[skip], to})
		i = j
	}
	if len(edges) > 0 {
		at, err := c.put(instruction{code: doBytes, edges: edges})
		if err != nil {
			return 0, err
		}
		outs = append(outs, at)
	}
	if len(outs) == 1 {
		return outs[0], nil
	}
	return c.put(instruction{code: doBranch, outs: outs})
}

// rest emits what is left of a branch.
func (c *compiler) rest(b branch, skip int, next int32) (int32, error) {
	var err error
	for _, x := range slices.Backward(b.rest) {
		if next, err = c.emit(x, next); err != nil {
			return 0, err
		}
	}
	return c.literal(b.text[skip:], next)
}
