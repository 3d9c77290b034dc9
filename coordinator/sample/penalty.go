package sample

// see records a token of the prompt (added 0) or of the output (added 1).
func (s *Sampler) see(token, added int32) {
	if !s.valid(token) {
		return
	}
	place, known := s.index[token]
	if !known {
		place = int32(len(s.seen))
		s.index[token] = place
		s.seen = append(s.seen, occurrence{token: token})
	}
	s.seen[place].count += added
}

// adjust applies the logit bias and the penalties in place, keeping what
// restore needs. The formulas are those of vLLM's apply_penalties.
func (s *Sampler) adjust(logits []float32) {
	s.undo = s.undo[:0]
	for _, b := range s.bias {
		s.undo = append(s.undo, biased{b.token, logits[b.token]})
		logits[b.token] += b.value
	}
	for _, o := range s.seen {
		l := logits[o.token]
		s.undo = append(s.undo, biased{o.token, l})
		logits[o.token] = s.penalise(l, o.count)
	}
}

// penalise returns the logit l of a token that the output holds count times.
func (s *Sampler) penalise(l float32, count int32) float32 {
	p := &s.params
	if s.repeats() {
		if l > 0 {
			l /= p.RepetitionPenalty
		} else {
			l *= p.RepetitionPenalty
		}
	}
	if count > 0 {
		// The conversions keep the compiler from fusing the products into the
		// subtractions on architectures where it may.
		l -= float32(float32(count) * p.FrequencyPenalty)
		l -= p.PresencePenalty
	}
	return l
}

// restore puts back what adjust and forbid changed, newest first, because a token may
// have both a bias and a penalty.
func (s *Sampler) restore(logits []float32) {
	for i := len(s.undo) - 1; i >= 0; i-- {
		logits[s.undo[i].token] = s.undo[i].value
	}
}
