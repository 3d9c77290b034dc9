package sample

import (
	"fmt"
	"math"
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
}

// LogitError says that a model produced logits that name no next token.
type LogitError struct {
	// Token is the first id whose logit is unusable, or -1 if every logit is
	// minus infinity.
	Token int32
	// Value is that logit: NaN or plus infinity.
	Value float32
}

// Error implements error.
func (e *LogitError) Error() string {
	if e.Token < 0 {
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
	keys    []uint64 // members of the bucket that a cut falls into
	blocks  []uint64 // weight of each block of blockTokens ids

	copied []float32 // the logits under a mask
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
		if s.cutsTopK() || s.cutsTopP() {
			s.buckets = make([]bucket, bucketCount)
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

// Remember counts token as the next one of the output, for the penalties.
func (s *Sampler) Remember(token int32) {
	if s.index != nil {
		s.see(token, 1)
	}
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
	if allowed != nil {
		logits = s.masked(logits, allowed)
	}
	s.adjust(logits)
	s.ban(logits, banned)
	token, err := s.choose(logits)
	s.restore(logits)
	if err != nil {
		return -1, err
	}
	return token, nil
}

// masked returns a copy of logits in which what allowed leaves out is minus
// infinity. NaN stays what it is: it tells of a broken model.
func (s *Sampler) masked(logits []float32, allowed []uint64) []float32 {
	if len(allowed) < (s.vocab+63)/64 {
		panic("sample: the mask is smaller than the vocabulary")
	}
	s.copied = append(s.copied[:0], logits...)
	least := float32(math.Inf(-1))
	for i, l := range s.copied {
		if allowed[i/64]>>(i%64)&1 == 0 && l == l {
			s.copied[i] = least
		}
	}
	return s.copied
}

// ban makes ids impossible, until restore.
func (s *Sampler) ban(logits []float32, ids []int32) {
	for _, id := range ids {
		if s.valid(id) {
			s.undo = append(s.undo, biased{id, logits[id]})
			logits[id] = float32(math.Inf(-1))
		}
	}
}

// choose picks a token from adjusted logits.
func (s *Sampler) choose(logits []float32) (int32, error) {
	random := draw(s.params.Seed, s.draws)
	s.draws++
	best, err := argmax(logits)
	if err != nil || s.inverse == 0 {
		return best, err
	}
	return s.pick(logits, logits[best], random), nil
}

// argmax returns the lowest id with the largest logit.
func argmax(logits []float32) (int32, error) {
	best, top := -1, float32(math.Inf(-1))
	for i, l := range logits {
		if l > top {
			best, top = i, l
		} else if l != l {
			return -1, &LogitError{Token: int32(i), Value: l}
		}
	}
	if best < 0 {
		return -1, &LogitError{Token: -1}
	}
	if math.IsInf(float64(top), 1) {
		return -1, &LogitError{Token: int32(best), Value: top}
	}
	return int32(best), nil
}

func (s *Sampler) valid(token int32) bool { return token >= 0 && int(token) < s.vocab }
func (s *Sampler) cutsTopK() bool         { return s.params.TopK > 0 && s.params.TopK < s.vocab }
func (s *Sampler) cutsTopP() bool         { return s.params.TopP > 0 && s.params.TopP < 1 }
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
