package engine

import "slices"

// Guesses come from what followed the same words before, looked for by the
// last draftGram tokens, or else draftLeast of them: shorter ones find chance,
// longer ones little.
const (
	draftGram  = 4
	draftLeast = 2
)

// propose guesses the tokens after those that s has, if it decodes: up to
// Draft of them, computed together with the next one. Each is kept only if the
// model chooses it, so a guess changes how many steps an answer takes and
// nothing else. Saxena, "Prompt Lookup Decoding", 2023.
func (s *sequence) propose(e *Engine) {
	s.draft = s.draft[:0]
	if e.cfg.Draft == 0 || s.remaining() != 1 {
		return
	}
	room := min(e.cfg.Draft, s.req.MaxTokens-s.generated()-1, e.context-len(s.tokens)-1)
	if room > 0 {
		s.draft = append(s.draft, continuationOf(s.tokens, room)...)
	}
}

// continuationOf returns up to n tokens that followed the latest earlier
// occurrence of the end of tokens; none if it is new.
func continuationOf(tokens []int32, n int) []int32 {
	for gram := min(draftGram, len(tokens)-1); gram >= draftLeast; gram-- {
		end := tokens[len(tokens)-gram:]
		for at := len(tokens) - gram - 1; at >= 0; at-- {
			if tokens[at] == end[0] && slices.Equal(tokens[at:at+gram], end) {
				return tokens[at+gram : min(at+gram+n, len(tokens))]
			}
		}
	}
	return nil
}
