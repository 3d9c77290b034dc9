// Package regular knows regular languages of characters: it parses regular expressions and works
// with the automata of what they match.
//
// It owns sets of characters ([Set]), expressions over them ([Node]), the syntax in which people
// write these ([Parse]), and deterministic automata ([DFA]) with intersection, difference and
// bounds of length. It knows nothing of bytes, tokens, grammars or JSON.
//
// Invariants:
//   - A Set is canonical: sorted, disjoint, not adjacent ranges without surrogates. Two sets are
//     the same exactly if their ranges are.
//   - Nodes and automata do not change once they are made, and may be shared.
//   - A construct that this package does not know is an [Error] that names it; nothing is guessed.
//   - The size of an automaton, and the work to make it, is bounded; beyond that is [ErrTooLarge].
//   - No input panics.
//
// Example:
//
//	n, err := regular.Parse(`^[a-z]+-\d{4}$`, regular.ECMA)
//	whole, err := n.Search()                   // strings in which the expression is found
//	d, err := whole.DFA()
//	short, err := d.And(regular.Length(0, 8))  // of at most 8 characters
package regular
