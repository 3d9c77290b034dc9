package sample

import (
	"math"
	"math/bits"
	"slices"
)

// restrict prepares what Params says about allowed tokens and bad words.
func (s *Sampler) restrict() {
	if len(s.params.Allowed) > 0 {
		s.only = make([]uint64, s.maskWords())
		for _, id := range s.params.Allowed {
			if s.valid(id) {
				s.only[id/64] |= 1 << (id % 64)
			}
		}
	}
	for _, word := range s.params.BadWords {
		if len(word) > 0 {
			s.words = append(s.words, word)
			s.reach = max(s.reach, len(word)-1)
		}
	}
}

// maskWords is the length of a mask over the vocabulary.
func (s *Sampler) maskWords() int { return (s.vocab + 63) / 64 }

// mask returns what both allowed and Params.Allowed leave; nil is everything.
func (s *Sampler) mask(allowed []uint64) []uint64 {
	if allowed == nil {
		return s.only
	}
	if len(allowed) < s.maskWords() {
		panic("sample: the mask is smaller than the vocabulary")
	}
	if s.only == nil {
		return allowed
	}
	s.both = slices.Grow(s.both[:0], len(s.only))[:len(s.only)]
	for i, word := range s.only {
		s.both[i] = word & allowed[i]
	}
	return s.both
}

// chooseUnder chooses among the tokens of mask, or all if that is nil. Weights
// are relative to the most likely token that is left and summed in the order of
// ids, so the logits that are left, put side by side, give the draw that all of
// them would with minus infinity in the gaps.
func (s *Sampler) chooseUnder(logits []float32, mask []uint64) (int32, *LogitError) {
	if mask == nil {
		return s.choose(logits)
	}
	place, err := s.choose(s.gather(logits, mask))
	if err != nil {
		if err.Token >= 0 {
			err.Token = nth(mask, err.Token)
		}
		return -1, err
	}
	return nth(mask, place), nil
}

// fewTokens of a word of a mask are taken one by one; more are likely to come in
// runs.
const fewTokens = 48

// gather puts the logits of the tokens in mask side by side.
func (s *Sampler) gather(logits []float32, mask []uint64) []float32 {
	if s.gathered == nil {
		s.gathered = make([]float32, s.vocab)
	}
	n := 0
	for i, word := range mask[:s.maskWords()] {
		part := logits[i*64 : min(i*64+64, s.vocab)]
		word &= math.MaxUint64 >> (64 - len(part))
		for bits.OnesCount64(word) > fewTokens { // whole runs of tokens
			start := bits.TrailingZeros64(word)
			end := start + bits.TrailingZeros64(^(word >> start))
			n += copy(s.gathered[n:], part[start:end])
			word &^= math.MaxUint64 >> (64 - end)
		}
		for ; word != 0; word &= word - 1 {
			s.gathered[n] = part[bits.TrailingZeros64(word)]
			n++
		}
	}
	return s.gathered[:n]
}

// nth returns the id of the token that gather put at place.
func nth(mask []uint64, place int32) int32 {
	i := int32(0)
	for n := int32(bits.OnesCount64(mask[i])); place >= n; n = int32(bits.OnesCount64(mask[i])) {
		place -= n
		i++
	}
	word := mask[i]
	for ; place > 0; place-- {
		word &= word - 1
	}
	return i*64 + int32(bits.TrailingZeros64(word))
}

// forbid makes a token impossible, until restore.
func (s *Sampler) forbid(logits []float32, id int32) {
	if s.valid(id) {
		s.undo = append(s.undo, biased{id, logits[id]})
		logits[id] = float32(math.Inf(-1))
	}
}

// forbidWords makes impossible what would complete a bad word, and says whether
// there was any.
func (s *Sampler) forbidWords(logits []float32) (found bool) {
	for _, word := range s.words {
		last := len(word) - 1
		if last <= len(s.recent) && slices.Equal(s.recent[len(s.recent)-last:], word[:last]) {
			s.forbid(logits, word[last])
			found = true
		}
	}
	return found
}

// follow remembers the end of the output, as far as bad words look at it.
func (s *Sampler) follow(token int32) {
	if s.reach == 0 {
		return
	}
	if len(s.recent) == 2*s.reach {
		s.recent = append(s.recent[:0], s.recent[s.reach:]...)
	}
	s.recent = append(s.recent, token)
}
