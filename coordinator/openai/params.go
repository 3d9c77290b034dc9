package openai

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/conclave-serve/conclave/coordinator/sample"
)

const (
	// maxStops is the number of stop strings that clients of vLLM may send;
	// OpenAI allows 4. Each is looked for after every token.
	maxStops = 16
	// maxStopBytes bounds the text that a stop string can hold back.
	maxStopBytes = 256
	// maxAlternatives is OpenAI's limit on top_logprobs. Selecting and sending
	// more costs more than the token itself.
	maxAlternatives = 20
)

// params is what all kinds of completions have in common.
type params struct {
	model       string // as the client calls it; empty if it does not
	sampling    sample.Params
	maxTokens   int // -1: not given
	fallback    int // what then applies, if it fits; 0: as many as fit
	minTokens   int
	stops       []string
	includeStop bool // the stop string is part of the text
	stopIDs     []int32
	ignoreEOS   bool
	choices     int
	logprobs    int // of the answer, as engine.Request.Logprobs
	prompt      promptOptions
	output      outputOptions
	priority    int
	cacheSalt   string
	stream      bool
	usage       bool // stream_options.include_usage
	usageSoFar  bool // stream_options.continuous_usage_stats
	structure   structure
}

// readParams reads the common fields. The caller looks at f.err.
func (s *Server) readParams(f *fields) params {
	p := params{
		maxTokens: -1, choices: 1, logprobs: -1,
		prompt: promptOptions{logprobs: -1}, output: outputOptions{skipSpecial: true},
	}
	p.model = s.readModel(f)
	s.readSampling(f, &p)
	s.readEnd(f, &p)
	if n, ok := f.integer("n", 1, int64(s.cfg.MaxChoices)); ok {
		p.choices = int(n)
	}
	p.stream = f.flag("stream")
	readStreamOptions(f, &p)
	readScheduling(f, &p)
	p.output.skipSpecial = f.flagOr("skip_special_tokens", true)
	readIgnored(f)
	f.refuse("use_beam_search", "is not supported", "false")
	readGuided(f, &p.structure)
	return p
}

// readModel checks and returns the model that a request names. One that names
// none means the one that is served.
func (s *Server) readModel(f *fields) string {
	if _, named := f.get("model"); !named {
		return ""
	}
	name := f.text("model")
	if err := s.checkModel(name); err != nil {
		f.fail(err)
	}
	return name
}

// readEnd reads what ends a completion.
func (s *Server) readEnd(f *fields, p *params) {
	p.stops = readStops(f)
	p.includeStop = f.flag("include_stop_str_in_output")
	p.stopIDs = s.readTokens(f, "stop_token_ids", maxStops)
	p.ignoreEOS = f.flag("ignore_eos")
	if n, ok := f.integer("min_tokens", 0, math.MaxInt32); ok {
		p.minTokens = int(n)
	}
}

// readSampling reads how tokens are chosen: the request first, then the
// model's generation_config, then OpenAI's defaults.
func (s *Server) readSampling(f *fields, p *params) {
	d := s.cfg.Spec.Sampling
	number := func(name string, low, high float64, model *float64, otherwise float64) float32 {
		if value, ok := f.number(name, low, high); ok {
			return float32(value)
		}
		if model != nil {
			return float32(*model)
		}
		return float32(otherwise)
	}
	sp := &p.sampling
	sp.Temperature = number("temperature", 0, 2, d.Temperature, 1)
	// The sampler's zero means "all"; OpenAI's means the most likely token.
	sp.TopP = max(number("top_p", 0, 1, d.TopP, 1), math.SmallestNonzeroFloat32)
	if typical, ok := f.number("typical_p", 0, 1); ok {
		sp.TypicalP = max(float32(typical), math.SmallestNonzeroFloat32)
	}
	sp.MinP = number("min_p", 0, 1, d.MinP, 0)
	sp.RepetitionPenalty = number("repetition_penalty", 0.01, 100, d.RepetitionPenalty, 1)
	sp.FrequencyPenalty = number("frequency_penalty", -2, 2, nil, 0)
	sp.PresencePenalty = number("presence_penalty", -2, 2, nil, 0)
	if d.TopK != nil {
		sp.TopK = *d.TopK
	}
	if k, ok := f.integer("top_k", -1, math.MaxInt32); ok {
		sp.TopK = int(max(k, 0))
	}
	if seed, ok := f.integer("seed", math.MinInt64, math.MaxInt64); ok {
		sp.Seed = uint64(seed)
	} else {
		sp.Seed = s.randomSeed()
	}
	sp.LogitBias = s.readBias(f)
	sp.Allowed = s.readAllowed(f)
	sp.BadWords = s.readBadWords(f)
}

// readBias reads logit_bias: token id to a number between -100 and 100.
func (s *Server) readBias(f *fields) map[int32]float32 {
	var raw map[string]*float64 // nil after null, which is no number
	if !f.decode("logit_bias", &raw, "an object from token ids to numbers") || len(raw) == 0 {
		return nil
	}
	bias := make(map[int32]float32, len(raw))
	for name, value := range raw {
		id, err := strconv.ParseInt(name, 10, 32)
		// "7" and "07" would be two biases for one token.
		if err != nil || !s.isToken(id) || name != strconv.FormatInt(id, 10) {
			f.fail(invalid("logit_bias", "Invalid key in 'logit_bias': %q is not a token id "+
				"between 0 and %d.", clip([]byte(name)), s.vocab-1))
			return nil
		}
		if value == nil {
			f.wrongType("logit_bias", "an object from token ids to numbers")
			return nil
		}
		if *value < -100 || *value > 100 {
			f.fail(invalid("logit_bias", "Invalid value in 'logit_bias': must be between -100 "+
				"and 100, got %v for token %d.", *value, id))
			return nil
		}
		bias[int32(id)] = float32(*value)
	}
	return bias
}

// isToken says whether id may stand in a prompt or be biased.
func (s *Server) isToken(id int64) bool { return id >= 0 && id < int64(s.vocab) }

// readTokens reads a list of at most limit token ids.
func (s *Server) readTokens(f *fields, name string, limit int) []int32 {
	var raw []json.RawMessage
	if !f.decode(name, &raw, "an array of token ids") {
		return nil
	}
	ids, err := s.tokens(name, raw)
	if err != nil {
		f.fail(err)
	}
	if len(ids) > limit {
		f.fail(invalid(name, "Invalid '%s': at most %d token ids are allowed, got %d.",
			name, limit, len(ids)))
	}
	return ids
}

// tokens checks a list of token ids that was sent as the field name.
func (s *Server) tokens(name string, raw []json.RawMessage) ([]int32, *apiError) {
	ids := make([]int32, len(raw))
	for i, r := range raw {
		id, ok := wholeNumber(r)
		if !ok || !s.isToken(id) {
			return nil, invalid(fmt.Sprintf("%s[%d]", name, i),
				"Invalid token id in '%s': must be an integer between 0 and %d, got %s.",
				name, s.vocab-1, clip(r))
		}
		ids[i] = int32(id)
	}
	return ids, nil
}

// clip shortens what an error message quotes.
func clip(raw []byte) string { return shorten(string(raw), 40) }

// shorten returns the beginning of a text, at most so many bytes of it.
func shorten(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	return strings.ToValidUTF8(text[:bytes], "") + "…"
}

// readStops reads stop: null, a string or a list of strings.
func readStops(f *fields) []string {
	raw, ok := f.get("stop")
	if !ok {
		return nil
	}
	var one string
	var stops []string
	if json.Unmarshal(raw, &one) == nil {
		stops = []string{one}
	} else if !f.decode("stop", &stops, "a string or an array of strings") {
		return nil
	}
	if len(stops) > maxStops {
		f.fail(invalid("stop", "Invalid 'stop': at most %d strings are allowed, got %d.",
			maxStops, len(stops)))
	}
	for _, stop := range stops {
		if stop == "" || len(stop) > maxStopBytes {
			f.fail(invalid("stop", "Invalid 'stop': each string must have 1 to %d bytes, got %d.",
				maxStopBytes, len(stop)))
		}
	}
	return stops
}

// readStreamOptions reads stream_options, which only streams may have.
func readStreamOptions(f *fields, p *params) {
	var options map[string]json.RawMessage
	if !f.decode("stream_options", &options, "an object") {
		return
	}
	if !p.stream {
		f.fail(invalid("stream_options",
			"The 'stream_options' parameter is only allowed when 'stream' is enabled."))
	}
	inner := f.inside("stream_options", options)
	p.usage = inner.flag("include_usage")
	// As vLLM has it, the one means nothing without the other.
	p.usageSoFar = inner.flag("continuous_usage_stats") && p.usage
}
