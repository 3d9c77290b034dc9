package regular

import "slices"

// Op says what a Node matches.
type Op uint8

// The operations of a Node.
const (
	Chars  Op = iota // one character of Set
	Cat              // Kids one after the other; without Kids, the empty text
	Alt              // one of Kids; without Kids, nothing at all
	Repeat           // Kids[0], Min to Max times
	Begin            // the empty text where the whole text begins
	End              // the empty text where the whole text ends
)

// Unbounded is the Max of a repetition without bound.
const Unbounded = -1

// Node is a regular expression.
type Node struct {
	Op       Op
	Set      Set
	Kids     []*Node
	Min, Max int
}

// Char returns what matches one character of s.
func Char(s Set) *Node { return &Node{Op: Chars, Set: s} }

// Text returns what matches the text s alone.
func Text(s string) *Node {
	kids := make([]*Node, 0, len(s))
	for _, c := range s {
		kids = append(kids, Char(One(c)))
	}
	return Concat(kids...)
}

// Concat returns what matches kids one after the other.
func Concat(kids ...*Node) *Node {
	if len(kids) == 1 {
		return kids[0]
	}
	return &Node{Op: Cat, Kids: kids}
}

// Union returns what matches one of kids.
func Union(kids ...*Node) *Node {
	if len(kids) == 1 {
		return kids[0]
	}
	return &Node{Op: Alt, Kids: kids}
}

// Times returns what matches n least to most times; most may be Unbounded.
func Times(n *Node, least, most int) *Node {
	return &Node{Op: Repeat, Kids: []*Node{n}, Min: least, Max: most}
}

// Nullable reports whether n matches the empty text, wherever it is.
func (n *Node) Nullable() bool {
	switch n.Op {
	case Cat:
		return !slices.ContainsFunc(n.Kids, func(k *Node) bool { return !k.Nullable() })
	case Alt:
		return slices.ContainsFunc(n.Kids, (*Node).Nullable)
	case Repeat:
		return n.Min == 0 || n.Kids[0].Nullable()
	case Begin, End:
		return true
	}
	return false
}
