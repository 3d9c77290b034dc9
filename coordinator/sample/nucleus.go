package sample

import (
	"math"
	"math/bits"
	"slices"

	"github.com/conclave-serve/conclave/kernels"
)

// Top-p counts weights, not logits, into buckets: a weight's is its highest bits,
// at least five of them, which takes no arithmetic beside what the weight took.
// Where the bucket in which the cut falls holds many tokens, it is divided once more.
const (
	weightBuckets = (64-weightBits)<<(weightBits-1) + 1<<weightBits
	weightBits    = 5

	// partBits is how many of the bits that follow divide a bucket.
	partBits = 9

	// sortTokens is how many tokens are sorted rather than divided.
	sortTokens = 64

	// logitSlack is more than a weight is off the exponential that it stands for, in
	// nats, and than the logarithm is.
	logitSlack = 1e-9
)

// weightBucket returns the bucket of a weight; greater weights are in no lesser one.
func weightBucket(w uint64) int {
	shift := max(bits.Len64(w)-weightBits, 0)
	return shift<<(weightBits-1) + int(w>>(shift&63))
}

// bucketRange returns the least weight of a bucket, and by how many bits the others
// are apart from it at most.
func bucketRange(bucket int) (least uint64, width int) {
	const half = 1 << (weightBits - 1)
	width = max(bucket/half-1, 0)
	return uint64(bucket-width*half) << width, width
}

// cutTopP returns the key of the last of the most likely tokens, among those
// that l leaves, whose weights together reach TopP.
func (s *Sampler) cutTopP(logits []float32, l *limits) uint64 {
	clear(s.buckets)
	total := uint64(0)
	for first := 0; first < len(logits); first += blockTokens {
		weights, sum := s.weigh(logits, first, l)
		total += sum
		for _, w := range weights {
			s.buckets[weightBucket(w)].weight += w
		}
	}
	need := needed(s.params.TopP, total)
	b := weightBucket(uint64(s.scale))
	for b > 0 && need > s.buckets[b].weight {
		need -= s.buckets[b].weight
		b--
	}
	p := s.weighing(l.top)
	s.collect(logits, &p, l, b)
	if len(s.keys) > sortTokens {
		need = s.narrow(&p, b, need)
	}
	slices.Sort(s.keys)
	return s.reachDown(need, l.top)
}

// collect gathers the keys of a bucket. Its weights are turned into logits, so that
// most tokens need no more than a look.
func (s *Sampler) collect(logits []float32, p *kernels.Weighing, l *limits, bucket int) {
	least, width := bucketRange(bucket)
	logit := func(weight float64) float64 { // whose weight lies there before it is rounded
		return p.Top + math.Log(weight/p.Scale)/p.Inverse
	}
	slack := logitSlack / p.Inverse
	low := float32(logit(float64(least)-0.5) - slack)
	high := float32(logit(float64(least+1<<width)-0.5) + slack)
	low = max(math.Nextafter32(low, float32(math.Inf(-1))), l.low)
	high = math.Nextafter32(high, float32(math.Inf(1)))
	from, span := order(low), order(max(low, high))-order(low)
	s.keys = s.keys[:0]
	for i, v := range logits {
		// One comparison: two would be mispredicted where low is in the midst of the logits.
		if order(v)-from <= span && weightBucket(p.Of(v)) == bucket {
			if k := key(v, i); k >= l.cut {
				s.keys = append(s.keys, k)
			}
		}
	}
}

// narrow leaves those of a bucket's keys among which the cut falls, and returns what
// of need they must reach.
func (s *Sampler) narrow(p *kernels.Weighing, bucket int, need uint64) uint64 {
	least, width := bucketRange(bucket)
	shift := max(width-partBits, 0)
	part := func(k uint64) (int, uint64) {
		w := p.Of(keyLogit(k))
		return int((w - least) >> shift), w
	}
	clear(s.buckets)
	for _, k := range s.keys {
		at, w := part(k)
		s.buckets[at].weight += w
	}
	b := 1<<partBits - 1
	for b > 0 && need > s.buckets[b].weight {
		need -= s.buckets[b].weight
		b--
	}
	s.keys = slices.DeleteFunc(s.keys, func(k uint64) bool {
		at, _ := part(k)
		return at != b
	})
	return need
}
