package openai

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/conclave-serve/conclave/coordinator/engine"
)

const (
	// maxAllowed bounds allowed_token_ids; it is longer than any vocabulary.
	maxAllowed = 1 << 20
	// maxBadWords and maxBadWordBytes bound what is compared with the output
	// after every token.
	maxBadWords     = 256
	maxBadWordBytes = 256
	// maxCacheSalt holds a salt of 256 bits in any notation, and names.
	maxCacheSalt = 512
)

// promptOptions are what a request wants done with its prompt.
type promptOptions struct {
	logprobs int // alternatives to each token of the prompt; -1: none are reported
	truncate int // tokens of the prompt's end that are kept; 0: all
}

// outputOptions are in which forms a request wants its answer.
type outputOptions struct {
	skipSpecial bool // special tokens are no text
	ids         bool // the ids of prompt and answer, too
	asIDs       bool // tokens of log-probabilities are named by their ids
}

// engineLogprobs is how many alternatives the engine must report: those of the
// answer or those of the prompt.
func (p *params) engineLogprobs() int { return max(p.logprobs, p.prompt.logprobs) }

// readAllowed reads allowed_token_ids.
func (s *Server) readAllowed(f *fields) []int32 {
	ids := s.readTokens(f, "allowed_token_ids", maxAllowed)
	if _, ok := f.get("allowed_token_ids"); ok && len(ids) == 0 {
		f.fail(invalid("allowed_token_ids",
			"Invalid 'allowed_token_ids': an empty array allows nothing."))
	}
	return ids
}

// readBadWords reads bad_words as vLLM does: a word counts at the beginning of a
// text and, if it is one with as many tokens, behind a space.
func (s *Server) readBadWords(f *fields) [][]int32 {
	words := readStrings(f, "bad_words", maxBadWords, maxBadWordBytes)
	var encoded [][]int32
	for _, word := range words {
		word = strings.TrimLeft(word, " \t\r\n")
		plain := s.cfg.Tokenizer.Encode(word)
		spaced := s.cfg.Tokenizer.Encode(" " + word)
		if len(plain) > 0 {
			encoded = append(encoded, plain)
		}
		if len(spaced) == len(plain) && len(plain) > 0 && spaced[0] != plain[0] {
			encoded = append(encoded, spaced)
		}
	}
	return encoded
}

// readStrings reads a list of at most count strings with 1 to size bytes each.
func readStrings(f *fields, name string, count, size int) []string {
	var raw []*string // nil after null, which is no string
	if !f.decode(name, &raw, "an array of strings") {
		return nil
	}
	if slices.Contains(raw, nil) {
		f.wrongType(name, "an array of strings")
		return nil
	}
	if len(raw) > count {
		f.fail(invalid(name, "Invalid '%s': at most %d strings are allowed, got %d.",
			name, count, len(raw)))
		return nil
	}
	list := make([]string, len(raw))
	for i, text := range raw {
		if n := len(*text); n == 0 || n > size {
			f.fail(invalid(name, "Invalid '%s': each string must have 1 to %d bytes, got %d.",
				name, size, n))
		}
		list[i] = *text
	}
	return list
}

// readScheduling reads what tells a request's place in the queue and in the
// cache.
func readScheduling(f *fields, p *params) {
	if n, ok := f.integer("priority", math.MinInt32, math.MaxInt32); ok {
		p.priority = int(n)
	}
	p.cacheSalt = f.text("cache_salt")
	_, given := f.get("cache_salt")
	if n := len(p.cacheSalt); given && (n == 0 || n > maxCacheSalt) {
		f.fail(invalid("cache_salt", "Invalid 'cache_salt': must have 1 to %d bytes, got %d.",
			maxCacheSalt, n))
	}
}

// readIgnored checks what is accepted and changes nothing here.
func readIgnored(f *fields) {
	for _, name := range []string{"user", "service_tier", "safety_identifier", "prompt_cache_key"} {
		f.text(name)
	}
	f.flag("spaces_between_special_tokens")
	f.flag("store")
	readMetadata(f)
}

// readPromptOptions reads what chat and text completions may want done with
// their prompt, and what they may want to see of it.
func readPromptOptions(f *fields, p *params) {
	if k, ok := f.integer("prompt_logprobs", 0, maxAlternatives); ok {
		p.prompt.logprobs = int(k)
		if p.stream {
			f.fail(invalid("prompt_logprobs",
				"The 'prompt_logprobs' parameter is not available when 'stream' is enabled."))
		}
	}
	// vLLM's -1 means the whole context, which is refused a token later anyway.
	if n, ok := f.integer("truncate_prompt_tokens", -1, math.MaxInt32); ok {
		if n == 0 {
			f.fail(invalid("truncate_prompt_tokens",
				"Invalid value for 'truncate_prompt_tokens': must be -1 or at least 1, got 0."))
		}
		p.prompt.truncate = int(max(n, 0))
	}
	p.output.ids = f.flag("return_token_ids")
	p.output.asIDs = f.flag("return_tokens_as_token_ids")
}

// refusePromptOptions refuses these where the answer has no place for them.
func refusePromptOptions(f *fields) {
	f.refuse("prompt_logprobs", "is not supported in responses")
	f.refuse("truncate_prompt_tokens", "is not supported in responses", "-1")
	f.refuse("return_token_ids", "is not supported in responses", "false")
	f.refuse("return_tokens_as_token_ids", "is not supported in responses", "false")
}

// truncated returns the end of a prompt that the request wants kept.
func (p *params) truncated(ids []int32) []int32 {
	if n := p.prompt.truncate; n > 0 && len(ids) > n {
		return ids[len(ids)-n:]
	}
	return ids
}

// promptProb is what vLLM tells of a token that is or could be in a prompt.
type promptProb struct {
	Logprob float32 `json:"logprob"`
	Rank    *int    `json:"rank"` // null if the token is not among the most likely
	Token   string  `json:"decoded_token"`
}

// promptLogprobs formats the log-probabilities of a prompt, with k alternatives
// to each token: an object from ids for each, null for the first. It is nil if
// they were not asked for.
func (s *Server) promptLogprobs(p *params, tokens []engine.TokenLogprob) json.RawMessage {
	k := p.prompt.logprobs
	if k < 0 || len(tokens) == 0 {
		return nil
	}
	list := make([]map[int32]promptProb, len(tokens))
	for i, t := range tokens[1:] {
		entry := map[int32]promptProb{
			t.Token: {Logprob: finite(t.Logprob), Token: s.cfg.Tokenizer.Decode([]int32{t.Token}, false)},
		}
		for rank, a := range t.Top {
			if rank < k || a.Token == t.Token {
				place := rank + 1
				entry[a.Token] = promptProb{
					finite(a.Logprob), &place, s.cfg.Tokenizer.Decode([]int32{a.Token}, false),
				}
			}
		}
		list[i+1] = entry
	}
	return marshal(list)
}
