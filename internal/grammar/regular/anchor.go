package regular

import (
	"errors"
	"slices"
)

// errAnchor says that an anchor is repeated, whose meaning nobody relies on.
var errAnchor = errors.New("an anchor inside a repetition is not supported")

// variant tells parts of what a node matches: with [0] set, where the text begins and nowhere
// else; with [1] set, where it ends and nowhere else.
type variant [2]bool

// order lists the variants.
var order = [...]variant{{false, false}, {false, true}, {true, false}, {true, true}}

// parts is a node without its anchors: together the variants match what the node does.
type parts map[variant]*Node

func (p parts) add(v variant, n *Node) {
	if have := p[v]; have != nil {
		n = Union(have, n)
	}
	p[v] = n
}

// Full returns an expression without anchors of the texts that n matches from end to end.
func (n *Node) Full() (*Node, error) {
	p, err := n.split()
	if err != nil {
		return nil, err
	}
	var kids []*Node
	for _, v := range order {
		if part := p[v]; part != nil {
			kids = append(kids, part)
		}
	}
	return Union(kids...), nil
}

// Search returns an expression without anchors of the texts in which n is found.
func (n *Node) Search() (*Node, error) {
	p, err := n.split()
	if err != nil {
		return nil, err
	}
	anything := Times(Char(Any()), 0, Unbounded)
	var kids []*Node
	for _, v := range order {
		part := p[v]
		if part == nil {
			continue
		}
		if !v[0] {
			part = Concat(anything, part)
		}
		if !v[1] {
			part = Concat(part, anything)
		}
		kids = append(kids, part)
	}
	return Union(kids...), nil
}

// anchored reports whether n holds an anchor.
func (n *Node) anchored() bool {
	return n.Op == Begin || n.Op == End || slices.ContainsFunc(n.Kids, (*Node).anchored)
}

// split takes n apart by the anchors that it holds.
func (n *Node) split() (parts, error) {
	if !n.anchored() {
		return parts{{}: n}, nil
	}
	switch n.Op {
	case Begin:
		return parts{{true, false}: Concat()}, nil
	case End:
		return parts{{false, true}: Concat()}, nil
	case Cat:
		return n.splitCat()
	case Repeat:
		return n.splitRepeat()
	}
	out := parts{}
	for _, k := range n.Kids {
		p, err := k.split()
		if err != nil {
			return nil, err
		}
		for _, v := range order {
			if p[v] != nil {
				out.add(v, p[v])
			}
		}
	}
	return out, nil
}

func (n *Node) splitCat() (parts, error) {
	left := parts{{}: Concat()}
	for i := 0; i < len(n.Kids); {
		from := i
		for i < len(n.Kids) && !n.Kids[i].anchored() {
			i++
		}
		right := parts{{}: Concat(n.Kids[from:i]...)}
		if i == from {
			var err error
			if right, err = n.Kids[i].split(); err != nil {
				return nil, err
			}
			i++
		}
		left = left.then(right)
	}
	return left, nil
}

// then returns what matches p and behind it q. Where q matches only at the beginning, p matched
// nothing; where p matches only at the end, q matches nothing.
func (p parts) then(q parts) parts {
	out := parts{}
	for _, v := range order {
		for _, w := range order {
			l, r := p[v], q[w]
			if l == nil || r == nil || w[0] && !l.Nullable() || v[1] && !r.Nullable() {
				continue
			}
			switch {
			case w[0] && v[1]:
				out.add(variant{true, true}, Concat())
			case w[0]:
				out.add(variant{true, w[1]}, r)
			case v[1]:
				out.add(variant{v[0], true}, l)
			default:
				out.add(variant{v[0], w[1]}, Concat(l, r))
			}
		}
	}
	return out
}

func (n *Node) splitRepeat() (parts, error) {
	if n.Max != 0 && n.Max != 1 {
		return nil, errAnchor
	}
	out := parts{}
	if n.Max == 1 {
		var err error
		if out, err = n.Kids[0].split(); err != nil {
			return nil, err
		}
	}
	if n.Min == 0 {
		out.add(variant{}, Concat())
	}
	return out, nil
}
