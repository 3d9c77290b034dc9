package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/coordinator/sample"
)

// leastLogprob stands for minus infinity, which JSON cannot say; OpenAI's API
// uses the same number.
const leastLogprob = -9999

func finite(logprob float32) float32 {
	if logprob > leastLogprob {
		return logprob
	}
	return leastLogprob // also for NaN
}

// chatLogprobs is the logprobs object of a chat choice.
type chatLogprobs struct {
	Content []chatLogprob `json:"content"`
}

type chatLogprob struct {
	chatToken
	Top []chatToken `json:"top_logprobs"`
}

type chatToken struct {
	Token   string  `json:"token"`
	Logprob float32 `json:"logprob"`
	Bytes   []int   `json:"bytes"` // []byte would become base64
}

// chatLogprobs formats the log-probabilities of tokens; nil if there are none.
func (s *Server) chatLogprobs(p *params, tokens []tokenProb) *chatLogprobs {
	if len(tokens) == 0 {
		return nil
	}
	l := &chatLogprobs{Content: make([]chatLogprob, len(tokens))}
	for i, t := range tokens {
		entry := chatLogprob{chatToken: s.chatToken(p, t.Token, t.Logprob), Top: []chatToken{}}
		for _, a := range p.alternatives(t.TokenLogprob) {
			entry.Top = append(entry.Top, s.chatToken(p, a.Token, a.Logprob))
		}
		l.Content[i] = entry
	}
	return l
}

// alternatives returns those of t that the answer is to show; the engine may
// have been asked for more, to describe the prompt.
func (p *params) alternatives(t engine.TokenLogprob) []sample.Alternative {
	return t.Top[:min(len(t.Top), max(p.logprobs, 0))]
}

func (s *Server) chatToken(p *params, id int32, logprob float32) chatToken {
	raw := s.cfg.Tokenizer.Bytes(id)
	t := chatToken{
		Token:   p.tokenName(id, strings.ToValidUTF8(string(raw), "\uFFFD")),
		Logprob: finite(logprob),
		Bytes:   make([]int, len(raw)),
	}
	for i, b := range raw {
		t.Bytes[i] = int(b)
	}
	return t
}

// tokenName returns the id of a token as vLLM writes it where the request wants
// that, or else its text.
func (p *params) tokenName(id int32, text string) string {
	if p.output.asIDs {
		return fmt.Sprintf("token_id:%d", id)
	}
	return text
}

// textLogprobs is the logprobs object of a text completion.
type textLogprobs struct {
	Tokens   []string     `json:"tokens"`
	Logprobs []*float32   `json:"token_logprobs"` // null for the first of a prompt
	Top      []tokenProbs `json:"top_logprobs"`
	Offsets  []int        `json:"text_offset"` // in characters
}

// tokenProbs is an object from tokens to log-probabilities, in order.
type tokenProbs []namedProb

type namedProb struct {
	token   string
	logprob float32
}

// MarshalJSON writes the object with its most likely token first. Of two
// tokens with the same text the more likely one counts; nil becomes null.
func (t tokenProbs) MarshalJSON() ([]byte, error) {
	if t == nil {
		return []byte("null"), nil
	}
	var b bytes.Buffer
	b.WriteByte('{')
	seen := make(map[string]bool, len(t))
	for _, p := range t {
		if seen[p.token] {
			continue
		}
		seen[p.token] = true
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(p.token)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(p.logprob)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// textOffset counts the characters of a completion's text as its
// log-probabilities are formatted.
type textOffset struct{ characters int }

// textLogprobs formats the tokens that follow the text counted by at. first
// says that the first one starts a prompt and has no probability.
func (s *Server) textLogprobs(
	p *params, at *textOffset, tokens []engine.TokenLogprob, first bool,
) *textLogprobs {
	l := &textLogprobs{
		Tokens:   make([]string, len(tokens)),
		Logprobs: make([]*float32, len(tokens)),
		Top:      make([]tokenProbs, len(tokens)),
		Offsets:  make([]int, len(tokens)),
	}
	for i, t := range tokens {
		raw := s.cfg.Tokenizer.Bytes(t.Token)
		l.Tokens[i] = p.tokenName(t.Token, tokenText(raw))
		l.Offsets[i] = at.characters
		at.characters += countCharacters(raw)
		if first && i == 0 {
			continue
		}
		logprob := finite(t.Logprob)
		l.Logprobs[i] = &logprob
		l.Top[i] = make(tokenProbs, 0, len(t.Top)+1)
		for _, a := range p.alternatives(t) {
			name := p.tokenName(a.Token, tokenText(s.cfg.Tokenizer.Bytes(a.Token)))
			l.Top[i] = append(l.Top[i], namedProb{name, finite(a.Logprob)})
		}
		// As OpenAI and vLLM do, the object also holds the token itself.
		l.Top[i] = append(l.Top[i], namedProb{l.Tokens[i], logprob})
	}
	return l
}

// tokenText names a token that is not text by its bytes, as OpenAI does.
func tokenText(raw []byte) string {
	if utf8.Valid(raw) {
		return string(raw)
	}
	var b strings.Builder
	b.WriteString("bytes:")
	for _, c := range raw {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return b.String()
}

// countCharacters counts the characters that begin in raw, so that a character
// in the bytes of several tokens counts once.
func countCharacters(raw []byte) int {
	n := 0
	for _, c := range raw {
		if utf8.RuneStart(c) {
			n++
		}
	}
	return n
}
