// Package grammar holds what a model says to a grammar, token by token.
//
// It owns expressions of texts and control tokens ([Expr]), their compilation for a vocabulary
// ([Compile], [Cache]), and the masks of the tokens that may come next ([Matcher]). Regular
// expressions and EBNF are read here, JSON schemas in the subpackage jsonschema. It knows nothing
// of models, sampling, dialects or requests.
//
// How it works: an expression becomes a program, a nondeterministic automaton over bytes with a
// stack for rules and counters for repetitions. The states that texts lead to, each a list of
// instructions with their stacks, are made when they are reached; so are the edges between them
// and, by a walk through the trie of the vocabulary, the masks. Inside of strings, where nearly all
// tokens are allowed, the tokens that are characters of one set and nothing else come from a list
// per set, and the walk is over the rest.
//
// Invariants:
//   - A mask allows exactly the tokens that Accept takes and, if the number of tokens is limited,
//     after which the text can still be completed. Where texts can be read in so many ways that
//     limits are met, less is allowed, never more; nor is what gives a JSON object a name twice.
//   - A text that can be completed always has a next token: every byte that a grammar needs has a
//     token of its own, or what needs it is left out at compilation.
//   - What is allowed depends on the text so far and on the limit, never on what was computed
//     before or on other matchers.
//   - Sizes are bounded: of a grammar's source, its program, its states, a search. Beyond that is
//     an error at compilation, never later.
//   - A Vocabulary, a Grammar and a Cache may be used by several goroutines; a Matcher by one.
//
// Example:
//
//	v := grammar.NewVocabulary(size, bytesOfToken) // once
//	x, err := grammar.Regex(`[a-z]+@[a-z]+\.com`)
//	g, err := grammar.Compile(x, v)
//	m := g.NewMatcher()
//	for left := maxTokens; left > 0 && !m.MustEnd(); left-- {
//		m.Mask(allowed, left)
//		m.Accept(sample(logits, allowed)) // or the end of the text, if m.MayEnd()
//	}
package grammar
