package sample

import (
	"math"
	"math/bits"
	"slices"

	"github.com/conclave-serve/conclave/kernels"
)

// The tokens that top-k, top-p and min-p leave are always the most likely ones
// down to some token. Finding that token takes no sort: logits are counted into
// buckets, and only the bucket in which the cut falls is sorted. A small top-k
// takes a heap instead, and top-p has its own buckets (nucleus.go).
const (
	// bucketCount buckets of 1/bucketsPerNat cover 32 nats below the most
	// likely token. Below that weights are zero, so that nothing can be cut.
	// Narrower buckets do not fit the first-level cache, wider ones leave more
	// to sort.
	bucketsPerNat = 16
	bucketCount   = 32*bucketsPerNat + 1

	// blockTokens ids share one partial sum. Smaller blocks make the search for
	// the drawn token's block longer, larger ones the search inside it.
	blockTokens = 512

	// heapTokens is the largest top-k found with a heap, which is faster than
	// counting as long as few logits enter it.
	heapTokens = 256

	// maxVocab keeps the sum of all weights below 2^62 at 31 bits per weight.
	maxVocab = 1 << 30
)

// bucket counts the logits of one slice of the distribution.
type bucket struct {
	count  int
	weight uint64
}

// key orders tokens: a greater key has a greater logit or, at equal logits, a
// lower id.
func key(logit float32, token int) uint64 {
	return uint64(order(logit))<<32 | uint64(^uint32(token))
}

// order turns a logit into an integer of the same order.
func order(logit float32) uint32 {
	b := math.Float32bits(logit + 0) // -0 becomes +0
	return b ^ (uint32(int32(b)>>31) | 1<<31)
}

// keyToken and keyLogit undo key.
func keyToken(k uint64) int { return int(^uint32(k)) }

func keyLogit(k uint64) float32 {
	b := uint32(k >> 32)
	if b>>31 != 0 {
		return math.Float32frombits(b &^ (1 << 31))
	}
	return math.Float32frombits(^b)
}

// lowest returns the logit of the key cut, or minus infinity if cut is 0.
// Comparing with it first is cheaper than making a key.
func lowest(cut uint64) float32 {
	if cut == 0 {
		return float32(math.Inf(-1))
	}
	return keyLogit(cut)
}

// weightScale returns the weight of the most likely token: as many bits as
// leave room for the sum over the vocabulary.
func weightScale(vocab int) float64 {
	return math.Ldexp(1, min(62-bits.Len(uint(vocab)), 44))
}

// weighing says what the weights of logits are whose maximum is top.
func (s *Sampler) weighing(top float32) kernels.Weighing {
	return kernels.Weighing{
		Low: float32(math.Inf(-1)), Top: float64(top), Inverse: s.inverse, Scale: s.scale,
	}
}

// weight returns the probability of a token relative to the most likely one,
// whose logit is top, as a multiple of 1/scale.
func (s *Sampler) weight(logit, top float32) uint64 {
	p := s.weighing(top)
	return p.Of(logit)
}

// bucketOf returns the bucket of a logit: 0 holds the most likely token.
func (s *Sampler) bucketOf(logit, top float32) int {
	d := float64((float64(top)-float64(logit))*s.inverse) * bucketsPerNat
	if d < bucketCount-1 {
		return int(d)
	}
	return bucketCount - 1
}

// pick draws a token from adjusted logits whose maximum is top.
func (s *Sampler) pick(logits []float32, top float32, random uint64) int32 {
	l := s.limits(logits, top)
	total := s.sumBlocks(logits, l)
	// The high half of random*total is uniform on [0, total).
	target, _ := bits.Mul64(random, total)
	return s.locate(logits, l, target)
}

// limits says which tokens a draw may return.
type limits struct {
	top   float32 // logit of the most likely token
	cut   uint64  // least key that top-k and top-p leave
	floor uint64  // least weight that min-p leaves

	// What cut is: low is its logit, last the greatest id with that logit which is
	// left, and above the least logit of which all are.
	low, above float32
	last       int

	typical bool   // typical-p cuts, by
	mean    uint64 // the mean surprise, and
	far     uint64 // the greatest key of distance that is left
}

// leave sets the cut.
func (l *limits) leave(cut uint64) {
	l.cut, l.low, l.last = cut, lowest(cut), keyToken(cut)
	l.above = math.Nextafter32(l.low, float32(math.Inf(1)))
	if cut == 0 {
		l.above, l.last = l.low, 0
	}
}

// limits applies top-k, then top-p to what is left, then min-p, then typical-p.
func (s *Sampler) limits(logits []float32, top float32) limits {
	l := limits{top: top}
	l.leave(0)
	topK := s.cutsTopK(len(logits))
	if topK && s.params.TopK <= heapTokens {
		l.leave(s.cutHeap(logits, top))
	} else {
		if topK {
			l.leave(s.cutTopK(logits, top))
		}
		if s.cutsTopP() {
			l.leave(s.cutTopP(logits, &l))
		}
	}
	if s.params.MinP > 0 {
		l.floor = uint64(math.Ceil(min(float64(s.params.MinP), 1) * s.scale))
	}
	if s.cutsTypical() {
		s.cutTypical(logits, &l)
	}
	return l
}

// cutHeap applies a small top-k, and top-p to the tokens it leaves.
func (s *Sampler) cutHeap(logits []float32, top float32) uint64 {
	s.keys = largest(s.keys, logits, s.params.TopK)
	if !s.cutsTopP() {
		return s.keys[0]
	}
	slices.Sort(s.keys)
	total := uint64(0)
	for _, k := range s.keys {
		total += s.weight(keyLogit(k), top)
	}
	return s.reachDown(needed(s.params.TopP, total), top)
}

// needed returns the part of total that the tokens which top-p or typical-p
// keeps must reach.
func needed(part float32, total uint64) uint64 {
	return uint64(math.Ceil(float64(part) * float64(total)))
}

// reachDown walks keys from the most likely token down until the weights reach
// need, and returns the key where that happens.
func (s *Sampler) reachDown(need uint64, top float32) uint64 {
	for i := len(s.keys) - 1; i > 0; i-- {
		w := s.weight(keyLogit(s.keys[i]), top)
		if w >= need {
			return s.keys[i]
		}
		need -= w
	}
	return s.keys[0]
}

// cutTopK returns the key of the TopK-th most likely token.
func (s *Sampler) cutTopK(logits []float32, top float32) uint64 {
	clear(s.buckets)
	for _, l := range logits {
		s.buckets[s.bucketOf(l, top)].count++
	}
	rank := s.params.TopK
	b := 0
	for rank > s.buckets[b].count {
		rank -= s.buckets[b].count
		b++
	}
	if b == bucketCount-1 {
		return 0 // the tokens beyond the cut cannot be drawn anyway
	}
	s.sortBucket(logits, top, b)
	return s.keys[len(s.keys)-rank]
}

// sortBucket collects the keys of bucket b in ascending order.
func (s *Sampler) sortBucket(logits []float32, top float32, b int) {
	s.keys = s.keys[:0]
	for i, l := range logits {
		if s.bucketOf(l, top) == b {
			s.keys = append(s.keys, key(l, i))
		}
	}
	slices.Sort(s.keys)
}

// weigh returns the weights of the block of ids from first on, zero for tokens
// that l drops, and their sum. They are valid until the next call.
func (s *Sampler) weigh(logits []float32, first int, l *limits) (weights []uint64, sum uint64) {
	part := logits[first:min(first+blockTokens, len(logits))]
	weights = s.weights[:len(part)]
	ties := min(max(l.last+1-first, 0), len(part)) // up to there the least logit is left
	p := s.weighing(l.top)
	p.Low, p.Least = l.low, l.floor
	sum = p.Weigh(weights[:ties], part[:ties])
	p.Low = l.above
	sum += p.Weigh(weights[ties:], part[ties:])
	if l.typical {
		for i, w := range weights {
			if w > 0 && s.distance(part[i], first+i, l) > l.far {
				weights[i] = 0
				sum -= w
			}
		}
	}
	return weights, sum
}

// sumBlocks fills blocks with the weights of the tokens that are kept and
// returns their sum, which is at least the weight of the most likely token.
func (s *Sampler) sumBlocks(logits []float32, l limits) uint64 {
	total := uint64(0)
	for b := range (len(logits) + blockTokens - 1) / blockTokens {
		_, s.blocks[b] = s.weigh(logits, b*blockTokens, &l)
		total += s.blocks[b]
	}
	return total
}

// locate returns the token at which the running sum of kept weights, in
// ascending order of ids, first exceeds target.
func (s *Sampler) locate(logits []float32, l limits, target uint64) int32 {
	b := 0
	for target >= s.blocks[b] {
		target -= s.blocks[b]
		b++
	}
	weights, _ := s.weigh(logits, b*blockTokens, &l)
	i := 0
	for target >= weights[i] {
		target -= weights[i]
		i++
	}
	return int32(b*blockTokens + i)
}

// kept returns the weight of a token, or zero if l drops it.
func (s *Sampler) kept(logit float32, token int, l *limits) uint64 {
	if logit <= l.low && key(logit, token) < l.cut {
		return 0
	}
	w := s.weight(logit, l.top)
	if w < l.floor || l.typical && w > 0 && s.distance(logit, token, l) > l.far {
		return 0
	}
	return w
}
