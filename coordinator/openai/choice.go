package openai

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/internal/tokenizer"
)

// choice turns the tokens of one completion into what its client may see.
type choice struct {
	index   int
	prompt  *prompt
	request engine.Request
	cancel  context.CancelFunc

	decoder  *tokenizer.Decoder
	stop     stopper
	splitter *chat.Splitter // nil: everything is content

	tokens    int // generated so far, the stopping token included
	lastToken time.Time
	decoded   int // bytes that the decoder returned
	released  int // bytes that the stopper returned
	pending   []tokenProb
	finished  bool
}

// tokenProb is a token's log-probability and its place in the decoded text.
type tokenProb struct {
	engine.TokenLogprob
	start, end int
}

// delta is what one event adds to a choice.
type delta struct {
	reasoning string
	content   string
	logprobs  []tokenProb           // of tokens whose text is out
	prompt    []engine.TokenLogprob // once, if asked for
	finish    engine.Finish
}

// step takes the next event of the completion.
func (c *choice) step(e engine.Event) (delta, error) {
	switch {
	case e.Err != nil:
		return delta{}, e.Err
	case e.Finish == engine.FinishCancelled:
		return delta{}, context.Canceled
	case e.Finish == engine.FinishError:
		return delta{}, errors.New("the engine gave up without a reason")
	}
	d := delta{prompt: e.Prompt, finish: e.Finish}
	text := ""
	if e.Token >= 0 {
		c.tokens++
		if !c.isStop(e) {
			text = c.take(e)
		}
	}
	if e.Finish != "" {
		text += c.decoder.Flush()
	}
	out, stopped := c.stop.push(text)
	switch {
	case stopped:
		d.finish = engine.FinishStop
		c.cancel()
	case d.finish != "":
		out += c.stop.flush()
	}
	c.finished = d.finish != ""
	c.released += len(out)
	d.logprobs = c.release(stopped)
	d.reasoning, d.content = c.split(out)
	return d, nil
}

// isStop says whether the event's token ended the completion: such a token is
// no part of the text.
func (c *choice) isStop(e engine.Event) bool {
	return e.Finish == engine.FinishStop && slices.Contains(c.request.StopIDs, e.Token)
}

// take decodes a token and remembers its log-probability.
func (c *choice) take(e engine.Event) string {
	text := c.decoder.Push(e.Token)
	if c.request.Logprobs >= 0 {
		c.pending = append(c.pending,
			tokenProb{e.Logprob, c.decoded, c.decoded + len(text)})
	}
	c.decoded += len(text)
	return text
}

// release returns the log-probabilities of tokens whose text is out. When a
// stop string was found, a token that straddles its beginning still counts and
// those inside it do not; at any other end all do.
func (c *choice) release(stopped bool) []tokenProb {
	n := 0
	for n < len(c.pending) {
		p := c.pending[n]
		out := p.end <= c.released || c.finished && (!stopped || p.start < c.released)
		if !out {
			break
		}
		n++
	}
	out := c.pending[:n:n]
	c.pending = c.pending[n:]
	return out
}

// split separates reasoning from content.
func (c *choice) split(text string) (reasoning, content string) {
	if c.splitter == nil {
		return "", text
	}
	reasoning, content = c.splitter.Push(text)
	if c.finished {
		r, t := c.splitter.Flush()
		reasoning, content = reasoning+r, content+t
	}
	return reasoning, content
}
