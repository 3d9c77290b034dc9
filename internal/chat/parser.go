package chat

import (
	"encoding/json"
	"slices"
)

// Vocabulary finds the ids of control tokens.
type Vocabulary interface {
	ID(token string) (int32, bool)
}

// Tool is a function that a request offers.
type Tool struct {
	Name string
	// Parameters is the JSON schema of the arguments, or nil. Dialects that write arguments as bare
	// text need it to tell "1" from 1.
	Parameters json.RawMessage
	// Loose lets a grammar of calls take any arguments, whatever Parameters says.
	Loose bool
}

// ParserConfig describes one answer.
type ParserConfig struct {
	Vocabulary Vocabulary
	// Prompt is the encoded prompt: it may have opened a block of reasoning.
	Prompt []int32
	// Tools are the functions that the request offers. If there are none, the syntax of tool calls
	// is ordinary content.
	Tools []Tool
	// ParallelCalls false lets only the first call count.
	ParallelCalls bool
}

// Part is a piece of an answer; exactly one field is set.
type Part struct {
	Reasoning string
	Content   string
	Call      *CallPart
}

// CallPart is a piece of a tool call.
type CallPart struct {
	Index     int    // of the call within the answer
	Name      string // on the first part of a call only
	Arguments string // the pieces of a call add up to its arguments' JSON
	Native    string // the model's own id of the call, if it wrote one; on the first part only
}

// Parser splits one answer into reasoning, content and tool calls while it is written. However the
// text is cut into pieces, the parts add up to the same answer.
type Parser struct {
	lexer   lexer
	machine machine
	out     *output
}

// machine turns tags and the text between them into output.
type machine interface {
	text(s string)
	tag(t tag)
	end()
}

// NewParser returns a Parser for one answer.
func (d *Dialect) NewParser(c ParserConfig) *Parser {
	p := &Parser{out: &output{parallel: c.ParallelCalls}}
	if d.name == harmony {
		p.lexer.add(c.Vocabulary, true, harmonyTags()...)
		p.machine = newHarmony(p.out, &p.lexer, c)
		return p
	}
	t := &tagged{out: p.out}
	p.machine = t
	// a model that nothing is known of may quote the tags, unless it has them as tokens
	p.lexer.add(c.Vocabulary, d.name != plain, thinkOpen, thinkClose)
	t.prompted(lastTag(c.Prompt, p.lexer.id(thinkOpen), p.lexer.id(thinkClose),
		turns(c.Vocabulary)))
	if len(c.Tools) > 0 {
		var tags []string
		tags, t.newReader = d.calls(c.Tools)
		p.lexer.add(c.Vocabulary, true, tags...)
	}
	return p
}

// Control says whether id is a control token of the dialect: Token takes it, not Text its spelling.
func (p *Parser) Control(id int32) bool {
	_, ok := p.lexer.ids[id]
	return ok
}

// Token takes a control token.
func (p *Parser) Token(id int32) []Part {
	if spelling, ok := p.lexer.ids[id]; ok {
		p.lexer.flush(p.machine)
		p.machine.tag(tag{spelling: spelling})
	}
	return p.out.take()
}

// Text takes decoded text, cut anywhere between runes.
func (p *Parser) Text(s string) []Part {
	p.lexer.text(p.machine, s)
	return p.out.take()
}

// Flush ends the answer.
func (p *Parser) Flush() []Part {
	p.lexer.flush(p.machine)
	p.machine.end()
	return p.out.take()
}

// Markup says that text at this place is a header that nobody sees.
func (p *Parser) Markup() bool {
	m, ok := p.machine.(*harmonyMachine)
	return ok && m.state == harmonyHeader
}

// ThinkBlock returns the tokens that open and close a block of reasoning, and says whether a prompt
// ends inside one; ok is false if the vocabulary does not have both.
func ThinkBlock(prompt []int32, v Vocabulary) (open, shut int32, inside, ok bool) {
	open, opens := v.ID(thinkOpen)
	shut, shuts := v.ID(thinkClose)
	if !opens || !shuts {
		return -1, -1, false, false
	}
	return open, shut, lastTag(prompt, open, shut, turns(v)) == thinkOpen, true
}

// turns returns the ids of the tokens that end a turn of a conversation.
func turns(v Vocabulary) []int32 {
	var ids []int32
	if v == nil {
		return nil
	}
	for _, t := range []string{
		"<|im_end|>", "<|endoftext|>", "<｜end▁of▁sentence｜>", "<|user|>", "<|observation|>", "<|eot_id|>",
		"</s>", "<|end|>", "<end_of_turn>",
	} {
		if id, ok := v.ID(t); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// lastTag returns which of the ids open and shut, negative if there is none, stands last in a
// prompt's last turn, as its spelling.
func lastTag(prompt []int32, open, shut int32, ends []int32) string {
	for _, id := range slices.Backward(prompt) {
		switch {
		case id == open:
			return thinkOpen
		case id == shut:
			return thinkClose
		case slices.Contains(ends, id):
			return ""
		}
	}
	return ""
}
