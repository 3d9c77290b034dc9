package sample

import (
	"fmt"
	"math"
	"slices"

	"github.com/conclave-serve/conclave/kernels"
)

// Params says how tokens are chosen. The zero value is greedy decoding without
// penalties.
type Params struct {
	// Temperature divides the logits; 0 or less picks the most likely token.
	Temperature float32
	// TopP keeps the fewest most likely tokens whose probabilities reach TopP;
	// 0, or 1 and more, keeps all.
	TopP float32
	// MinP drops tokens less likely than MinP times the most likely one.
	MinP float32
	// TypicalP keeps the fewest tokens whose surprise is nearest to the mean and
	// whose probabilities reach TypicalP, of those that the other cuts leave;
	// 0, or 1 and more, keeps all.
	TypicalP float32
	// TopK keeps the TopK most likely tokens; 0 or less keeps all.
	TopK int
	// Seed selects the sequence of random numbers.
	Seed uint64
	// RepetitionPenalty divides positive and multiplies negative logits of
	// tokens in the prompt or the output; 0 means 1, which is none.
	RepetitionPenalty float32
	// FrequencyPenalty is subtracted once per occurrence in the output.
	FrequencyPenalty float32
	// PresencePenalty is subtracted from tokens that occur in the output.
	PresencePenalty float32
	// LogitBias is added to the logits before everything else. Ids outside the
	// vocabulary are ignored.
	LogitBias map[int32]float32
	// Allowed are the only tokens that may be drawn; none means all. Ids outside
	// the vocabulary are ignored.
	Allowed []int32
	// BadWords are sequences of tokens that never come: the last token of one is
	// impossible where the output ends with the others.
	BadWords [][]int32
}

// LogitError says that logits name no next token.
type LogitError struct {
	// Token is the first id whose logit is unusable, or -1 if every logit is
	// minus infinity.
	Token int32
	// Value is that logit: NaN or plus infinity.
	Value float32
	// Restricted says that Allowed, BadWords or a ban have left no token, so that
	// the model need not be to blame.
	Restricted bool
}

// Error implements error.
func (e *LogitError) Error() string {
	switch {
	case e.Restricted:
		return "the tokens that are allowed here are all forbidden, or impossible"
	case e.Token < 0:
		return "every logit is minus infinity"
	}
	return fmt.Sprintf("logit of token %d is %v", e.Token, e.Value)
}

// Sampler draws the tokens of one sequence. It is not safe for concurrent use.
type Sampler struct {
	params  Params
	vocab   int
	inverse float64 // 1 / temperature
	draws   uint64  // random numbers used so far

	bias  []biased
	seen  []occurrence    // distinct tokens that penalties concern, oldest first
	index map[int32]int32 // token to its place in seen; nil without penalties
	undo  []biased        // logits that adjust changed, with their old values

	scale   float64 // weight of the most likely token
	buckets []bucket
	weights []uint64 // of a block of tokens
	keys    []uint64 // members of the bucket that a cut falls into
	blocks  []uint64 // weight of each block of blockTokens ids

	only     []uint64  // mask of Params.Allowed; nil: all
	both     []uint64  // scratch: only and a mask from outside
	gathered []float32 // the logits that a mask leaves

	words  [][]int32 // Params.BadWords
	recent []int32   // the end of the output, as long as words need it
	reach  int       // tokens of it that they look at
}

// biased is a token with a logit or with what is added to its logit.
type biased struct {
	token int32
	value float32
}

// occurrence counts one token in the output; prompt tokens start at zero.
type occurrence struct {
	token int32
	count int32
}

// New returns the sampler of a sequence that starts with prompt. Tokens are
// drawn from the ids 0 to vocab-1; logits beyond them (rows that pad the
// model's output matrix) are ignored.
func New(p Params, vocab int, prompt []int32) *Sampler {
	if vocab <= 0 || vocab > maxVocab {
		panic("sample: vocabulary size is out of range")
	}
	s := &Sampler{params: p, vocab: vocab, scale: weightScale(vocab)}
	if p.Temperature > 0 {
		s.inverse = 1 / float64(p.Temperature)
		s.blocks = make([]uint64, (vocab+blockTokens-1)/blockTokens)
		s.weights = make([]uint64, min(vocab, blockTokens))
		if s.cutsTopK(vocab) || s.cutsTopP() || s.cutsTypical() {
			s.buckets = make([]bucket, max(bucketCount, weightBuckets))
		}
	}
	for token, value := range p.LogitBias {
		if s.valid(token) && value != 0 {
			s.bias = append(s.bias, biased{token, value})
		}
	}
	if s.repeats() || p.FrequencyPenalty != 0 || p.PresencePenalty != 0 {
		s.index = make(map[int32]int32)
		for _, token := range prompt {
			s.see(token, 0)
		}
	}
	s.restrict()
	return s
}

// Next chooses the next token and remembers it.
func (s *Sampler) Next(logits []float32) (int32, error) {
	token, err := s.Choose(logits, nil, nil)
	if err == nil {
		s.Remember(token)
	}
	return token, err
}

// Remember counts token as the next one of the output, for the penalties and
// the bad words.
func (s *Sampler) Remember(token int32) {
	if s.index != nil {
		s.see(token, 1)
	}
	s.follow(token)
}

// Vocab returns the number of ids that may be drawn.
func (s *Sampler) Vocab() int { return s.vocab }

// Choose chooses the next token from logits [>= vocab] f32. allowed, if not
// nil, has bit i%64 of word i/64 set for every id i that may be chosen; banned
// ids may not. The error is a *LogitError.
func (s *Sampler) Choose(logits []float32, allowed []uint64, banned []int32) (int32, error) {
	if len(logits) < s.vocab {
		panic("sample: fewer logits than the vocabulary has tokens")
	}
	logits = logits[:s.vocab]
	s.adjust(logits)
	for _, id := range banned {
		s.forbid(logits, id)
	}
	restricted := s.forbidWords(logits) || s.only != nil || len(banned) > 0
	token, err := s.chooseUnder(logits, s.mask(allowed))
	s.restore(logits)
	if err != nil {
		err.Restricted = restricted && err.Token < 0
		return -1, err
	}
	return token, nil
}

// choose picks a token from adjusted logits.
func (s *Sampler) choose(logits []float32) (int32, *LogitError) {
	random := draw(s.params.Seed, s.draws)
	s.draws++
	best, err := argmax(logits)
	if err != nil || s.inverse == 0 {
		return best, err
	}
	return s.pick(logits, logits[best], random), nil
}

// argmax returns the lowest id with the largest logit.
func argmax(logits []float32) (int32, *LogitError) {
	best, top := -1, float32(math.Inf(-1))
	for first := 0; first < len(logits); first += blockTokens {
		part := logits[first:min(first+blockTokens, len(logits))]
		highest, nan := kernels.Highest(part)
		if nan {
			at := slices.IndexFunc(part, func(l float32) bool { return l != l })
			return -1, &LogitError{Token: int32(first + at), Value: part[at]}
		}
		if highest > top {
			best, top = first, highest
		}
	}
	if best < 0 {
		return -1, &LogitError{Token: -1}
	}
	best += slices.Index(logits[best:], top)
	if math.IsInf(float64(top), 1) {
		return -1, &LogitError{Token: int32(best), Value: top}
	}
	return int32(best), nil
}

func (s *Sampler) valid(token int32) bool { return token >= 0 && int(token) < s.vocab }
func (s *Sampler) cutsTopK(n int) bool    { return s.params.TopK > 0 && s.params.TopK < n }
func (s *Sampler) cutsTopP() bool         { return s.params.TopP > 0 && s.params.TopP < 1 }
func (s *Sampler) cutsTypical() bool      { return s.params.TypicalP > 0 && s.params.TypicalP < 1 }
func (s *Sampler) repeats() bool {
	return s.params.RepetitionPenalty != 0 && s.params.RepetitionPenalty != 1
}

// draw returns random number i of seed: the finaliser of SplitMix64 (Steele,
// Lea and Flood 2014) over a counter, keyed by the mixed seed.
func draw(seed, i uint64) uint64 {
	return mix(mix(seed+golden) + (i+1)*golden)
}

const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio, odd

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
