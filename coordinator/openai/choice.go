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

// finishCalls is the reason of the end of an answer that calls functions.
const finishCalls engine.Finish = "tool_calls"

// choice turns the tokens of one completion into what its client may see.
//
// A token becomes text, in which stop strings are looked for; what is safe from
// them goes to the parser. Control tokens of the model's dialect reach the
// parser as tokens, at their place in the text.
type choice struct {
	index   int
	prompt  *prompt
	request engine.Request
	cancel  context.CancelFunc
	scored  bool   // the answer's log-probabilities are reported
	preface string // content that the answer begins with, of the request's own

	decoder *tokenizer.Decoder
	stop    stopper
	parser  *chat.Parser // nil: everything is content

	counts     bool // the first choice of its prompt: whose tokens count once
	tokens     int  // generated so far, the stopping token included
	firstToken time.Time
	lastToken  time.Time
	timing     engine.Timing
	decoded    int    // bytes that the decoder returned
	released   int    // bytes that the stopper returned
	unparsed   string // the last of these: part of a control token's text
	marks      []mark // control tokens that the parser has not seen
	pending    []tokenProb
	parts      []chat.Part // of the step at hand
	undecided  int         // tokens since the last part
	called     bool        // a function was called
	finished   bool
}

// mark is a control token at its place in the decoded text.
type mark struct {
	id         int32
	start, end int
}

// tokenProb is a token's log-probability and its place in the decoded text.
type tokenProb struct {
	engine.TokenLogprob
	start, end int
}

// delta is what one event adds to a choice.
type delta struct {
	parts    []chat.Part
	reasoned int                   // tokens that turned out to be reasoning
	ids      []int32               // the event's token, if it has one
	logprobs []tokenProb           // of tokens whose text is out
	prompt   []engine.TokenLogprob // once, if asked for
	finish   engine.Finish
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
	c.parts = nil
	d := delta{prompt: e.Prompt, finish: e.Finish}
	stopped := false
	if e.Token >= 0 {
		c.tokens++
		c.undecided++
		d.ids = []int32{e.Token}
		stopped = c.take(e)
	}
	if e.Finish != "" && !stopped {
		stopped = c.end(e)
	}
	if stopped {
		d.finish = engine.FinishStop
		c.cancel()
	}
	if c.finished = d.finish != ""; c.finished {
		c.parse(true)
		if c.parser != nil {
			c.parts = append(c.parts, c.parser.Flush()...)
		}
	}
	d.parts, d.reasoned = c.parts, c.reasoned()
	if c.preface != "" {
		d.parts = slices.Insert(d.parts, 0, chat.Part{Content: c.preface})
		c.preface = ""
	}
	d.logprobs = c.release(stopped)
	if c.called && d.finish == engine.FinishStop {
		d.finish = finishCalls
	}
	return d, nil
}

// isStop says whether the event's token ended the completion: such a token is
// no part of the text, unless what ends a completion is to be.
func (c *choice) isStop(e engine.Event) bool {
	return !c.stop.include && e.Finish == engine.FinishStop &&
		slices.Contains(c.request.StopIDs, e.Token)
}

// take decodes the event's token and remembers its log-probability. stopped
// says that a stop string has come.
func (c *choice) take(e engine.Event) (stopped bool) {
	if c.isStop(e) {
		return false
	}
	control := c.parser != nil && c.parser.Control(e.Token)
	text := ""
	if control {
		text = c.decoder.Flush() // what the token cuts off is text before it
	}
	start := c.decoded + len(text)
	text += c.decoder.Push(e.Token)
	if c.scored {
		c.pending = append(c.pending, tokenProb{e.Logprob, c.decoded, c.decoded + len(text)})
	}
	c.decoded += len(text)
	if control {
		c.marks = append(c.marks, mark{e.Token, start, c.decoded})
	}
	stopped = c.push(text)
	if control && start == c.decoded && !stopped {
		// A special token is no text: nothing that follows it can complete a stop
		// string that began before it.
		c.emit(c.stop.flush())
	}
	return stopped
}

// end takes in what is held back when no more tokens come.
func (c *choice) end(e engine.Event) (stopped bool) {
	text := c.decoder.Flush()
	c.decoded += len(text)
	if c.push(text) {
		return true
	}
	c.emit(c.stop.flush())
	if c.parser != nil && c.isStop(e) && c.parser.Control(e.Token) {
		c.parse(true)
		c.parts = append(c.parts, c.parser.Token(e.Token)...)
	}
	return false
}

// push adds decoded text, in which stop strings are looked for, unless nobody
// sees it or the completion is too short to end.
func (c *choice) push(text string) (stopped bool) {
	if c.parser != nil && c.parser.Markup() {
		c.emit(c.stop.flush() + text)
		return false
	}
	if c.tokens <= c.request.MinTokens {
		c.emit(c.stop.pass(text))
		return false
	}
	out, stopped := c.stop.push(text)
	c.emit(out)
	return stopped
}

// emit passes text that is safe from stop strings on to the parser.
func (c *choice) emit(text string) {
	c.released += len(text)
	c.unparsed += text
	c.parse(false)
}

// parse gives the parser what it has not seen of the released text, and the
// control tokens in it. The beginning of a control token's text waits for the
// rest of it, unless all says that there is none.
func (c *choice) parse(all bool) {
	for len(c.marks) > 0 && c.marks[0].end <= c.released {
		m := c.marks[0]
		c.marks = c.marks[1:]
		before := m.start - (c.released - len(c.unparsed))
		c.text(c.unparsed[:before])
		c.unparsed = c.unparsed[m.end-m.start+before:]
		c.parts = append(c.parts, c.parser.Token(m.id)...)
	}
	n := len(c.unparsed)
	if len(c.marks) > 0 && !all {
		n = min(n, c.marks[0].start-(c.released-len(c.unparsed)))
	}
	c.text(c.unparsed[:n])
	c.unparsed = c.unparsed[n:]
}

// text gives ordinary text to the parser.
func (c *choice) text(text string) {
	switch {
	case text == "":
	case c.parser == nil:
		c.parts = append(c.parts, chat.Part{Content: text})
	default:
		c.parts = append(c.parts, c.parser.Text(text)...)
	}
}

// reasoned returns how many tokens the parts of this step show to be reasoning:
// those since the last part, if nothing but reasoning came of them.
func (c *choice) reasoned() int {
	if len(c.parts) == 0 {
		return 0
	}
	n := c.undecided
	c.undecided = 0
	for _, p := range c.parts {
		c.called = c.called || p.Call != nil
		if p.Content != "" || p.Call != nil {
			n = 0
		}
	}
	return n
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
