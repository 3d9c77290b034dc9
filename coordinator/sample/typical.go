package sample

import (
	"math/bits"
	"slices"
)

// Typical-p (Meister et al. 2022, "Locally Typical Sampling") keeps the tokens
// whose surprise, -log p, is nearest to the entropy, which is the mean surprise.
// Both hold the same log of the sum of all weights, so that distances are those
// of x = (top-logit)/temperature from its mean: nothing needs a logarithm.
const (
	// surpriseBits is the number of fractional bits of a surprise. Tokens with a
	// weight are less than 32 nats from the most likely one, so that a distance
	// has 34 bits and a key with it 64.
	surpriseBits = 29

	// tokenBits are what maxVocab leaves of a key for the id.
	tokenBits = 30

	// distanceShift makes buckets of 1/bucketsPerNat nats of a distance.
	distanceShift = surpriseBits - 4
)

// surprise returns x of a token that has a weight, in units of 2^-surpriseBits.
func (s *Sampler) surprise(logit, top float32) uint64 {
	x := float64((float64(top) - float64(logit)) * s.inverse)
	return uint64(x*(1<<surpriseBits) + 0.5)
}

// distance returns a key that orders tokens by the distance of their surprise
// from the mean, at equal distances by id.
func (s *Sampler) distance(logit float32, token int, l *limits) uint64 {
	d := s.surprise(logit, l.top)
	if d < l.mean {
		d = l.mean - d
	} else {
		d -= l.mean
	}
	return d<<tokenBits | uint64(token)
}

// cutTypical adds typical-p to the limits l of the other cuts.
func (s *Sampler) cutTypical(logits []float32, l *limits) {
	var high, low, total uint64 // the sum of weighted surprises has 128 bits
	for i, logit := range logits {
		if logit < l.low {
			continue
		}
		if w := s.kept(logit, i, l); w > 0 {
			h, m := bits.Mul64(w, s.surprise(logit, l.top))
			var carry uint64
			low, carry = bits.Add64(low, m, 0)
			high += h + carry
			total += w
		}
	}
	l.mean, _ = bits.Div64(high, low, total)
	clear(s.buckets)
	for i, logit := range logits {
		if logit < l.low {
			continue
		}
		if w := s.kept(logit, i, l); w > 0 {
			s.buckets[s.distance(logit, i, l)>>(tokenBits+distanceShift)].weight += w
		}
	}
	need := needed(s.params.TypicalP, total)
	b := uint64(0)
	for b < bucketCount-1 && need > s.buckets[b].weight {
		need -= s.buckets[b].weight
		b++
	}
	l.far = s.reachOut(logits, l, b, need)
	l.typical = true
}

// reachOut walks the tokens of a bucket of distances from the nearest one on
// until their weights reach need, and returns the key where that happens.
func (s *Sampler) reachOut(logits []float32, l *limits, bucket, need uint64) uint64 {
	s.keys = s.keys[:0]
	for i, logit := range logits {
		if logit < l.low || s.kept(logit, i, l) == 0 {
			continue
		}
		if k := s.distance(logit, i, l); k>>(tokenBits+distanceShift) == bucket {
			s.keys = append(s.keys, k)
		}
	}
	slices.Sort(s.keys)
	for _, k := range s.keys {
		w := s.weight(logits[k&(maxVocab-1)], l.top)
		if w >= need {
			return k
		}
		need -= w
	}
	return s.keys[len(s.keys)-1]
}
