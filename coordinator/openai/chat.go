package openai

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/chat"
)

// chatCompletion is a response of /v1/chat/completions.
type chatCompletion struct {
	ID      string          `json:"id"`
	Object  string          `json:"object"`
	Created int64           `json:"created"`
	Model   string          `json:"model"`
	Choices []chatChoice    `json:"choices"`
	Usage   json.RawMessage `json:"usage"`

	PromptLogprobs json.RawMessage `json:"prompt_logprobs,omitempty"`
	PromptIDs      []int32         `json:"prompt_token_ids,omitempty"`
}

type chatChoice struct {
	Index        int           `json:"index"`
	Message      chatMessage   `json:"message"`
	Logprobs     *chatLogprobs `json:"logprobs"`
	FinishReason engine.Finish `json:"finish_reason"`
	IDs          []int32       `json:"token_ids,omitempty"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content *string `json:"content"` // null if there is nothing but calls
	reasoningText
	Calls   []chatCall `json:"tool_calls,omitempty"`
	Refusal *string    `json:"refusal"` // always null
}

// reasoningText is reasoning under both names that clients look for.
type reasoningText struct {
	Content   string `json:"reasoning_content,omitempty"`
	Reasoning string `json:"reasoning,omitempty"`
}

// chatCall is a call of a function, or in a stream a piece of one.
type chatCall struct {
	Index    *int         `json:"index,omitempty"` // in a stream
	ID       string       `json:"id,omitempty"`    // not in later pieces
	Type     string       `json:"type,omitempty"`  // likewise
	Function chatFunction `json:"function"`
}

type chatFunction struct {
	Name      string `json:"name,omitempty"` // not in later pieces
	Arguments string `json:"arguments"`
}

// chatChunk is one event of a streamed response.
type chatChunk struct {
	ID      string          `json:"id"`
	Object  string          `json:"object"`
	Created int64           `json:"created"`
	Model   string          `json:"model"`
	Choices []chatDelta     `json:"choices"`
	Usage   json.RawMessage `json:"usage,omitempty"`

	PromptIDs []int32 `json:"prompt_token_ids,omitempty"`
}

type chatDelta struct {
	Index        int            `json:"index"`
	Delta        chatPart       `json:"delta"`
	Logprobs     *chatLogprobs  `json:"logprobs"`
	FinishReason *engine.Finish `json:"finish_reason"`
	IDs          []int32        `json:"token_ids,omitempty"`
}

// chatPart is the part of a message that a chunk adds.
type chatPart struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
	reasoningText
	Calls []chatCall `json:"tool_calls,omitempty"`
}

// chat answers POST /v1/chat/completions.
func (s *Server) chat(w http.ResponseWriter, r *http.Request, x *exchange) *apiError {
	f, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	req, err := s.readChat(f)
	if err != nil {
		return err
	}
	g, err := s.converse(r.Context(), x, req.params, &req.conversation)
	if err != nil {
		return err
	}
	a := &chatAnswer{
		server: s, x: x, params: &req.params, id: "chatcmpl-" + s.newID(), created: s.now().Unix(),
		begun: make([]bool, len(g.choices)), ids: make([][]int32, len(g.choices)),
	}
	if !req.stream {
		return a.whole(w, r, g)
	}
	to := newEvents(w)
	emit := func(c *choice, d delta) error { return a.send(to, c, d) }
	return s.stream(r, x, g, to, emit, func() any {
		last := a.chunk()
		last.Usage = usageField(a.params, x, true)
		return last
	})
}

// chatAnswer formats what the choices of a chat completion say.
type chatAnswer struct {
	server  *Server
	x       *exchange
	params  *params
	id      string
	created int64
	begun   []bool    // by choice: its first chunk was sent
	ids     [][]int32 // by choice: tokens that no chunk has told of
}

// chunk returns an event with the given choices and no usage.
func (a *chatAnswer) chunk(choices ...chatDelta) chatChunk {
	if choices == nil {
		choices = []chatDelta{}
	}
	return chatChunk{
		ID: a.id, Object: "chat.completion.chunk", Created: a.created,
		Model: a.server.cfg.ModelName, Choices: choices, Usage: usageField(a.params, a.x, false),
	}
}

// send sends a delta as the events that clients expect: first one with the
// role, then one for each part, at last one with the reason of the end.
func (a *chatAnswer) send(to *events, c *choice, d delta) error {
	empty := ""
	if !a.begun[c.index] {
		a.begun[c.index] = true
		first := a.chunk(chatDelta{
			Index: c.index, Delta: chatPart{Role: "assistant", Content: &empty},
		})
		if a.params.output.ids {
			first.PromptIDs = c.prompt.ids
		}
		if err := to.send(first); err != nil {
			return err
		}
	}
	a.ids[c.index] = append(a.ids[c.index], d.ids...)
	pieces := a.pieces(d.parts)
	if len(pieces) == 0 && len(d.logprobs) > 0 {
		pieces = []chatPart{{Content: &empty}}
	}
	for i, piece := range pieces {
		part := chatDelta{Index: c.index, Delta: piece}
		if i == 0 {
			part.Logprobs = a.server.chatLogprobs(a.params, d.logprobs)
			part.IDs = a.takeIDs(c)
		}
		if err := to.send(a.chunk(part)); err != nil {
			return err
		}
	}
	if d.finish == "" {
		return nil
	}
	last := chatDelta{Index: c.index, FinishReason: &d.finish, IDs: a.takeIDs(c)}
	return to.send(a.chunk(last))
}

// takeIDs returns the tokens that no chunk has told of, if the client wants
// them.
func (a *chatAnswer) takeIDs(c *choice) []int32 {
	ids := a.ids[c.index]
	a.ids[c.index] = nil
	if !a.params.output.ids {
		return nil
	}
	return ids
}

// pieces returns what parts add to a message, an event each. The first event of
// a call names the function and has no arguments.
func (a *chatAnswer) pieces(parts []chat.Part) []chatPart {
	var pieces []chatPart
	for _, p := range parts {
		if p.Reasoning != "" {
			pieces = append(pieces, chatPart{reasoningText: reasoningText{p.Reasoning, p.Reasoning}})
		}
		if p.Content != "" {
			pieces = append(pieces, chatPart{Content: &p.Content})
		}
		if p.Call == nil {
			continue
		}
		if p.Call.Name != "" {
			pieces = append(pieces, chatPart{Calls: []chatCall{{
				Index: &p.Call.Index, ID: a.server.callID(p.Call), Type: "function",
				Function: chatFunction{Name: p.Call.Name},
			}}})
		}
		if p.Call.Arguments != "" {
			pieces = append(pieces, chatPart{Calls: []chatCall{{
				Index: &p.Call.Index, Function: chatFunction{Arguments: p.Call.Arguments},
			}}})
		}
	}
	return pieces
}

// callID returns the id of a call that begins: the model's own, if it has one
// that its template expects back.
func (s *Server) callID(call *chat.CallPart) string {
	if call.Native != "" {
		return call.Native
	}
	return "call_" + s.newID()
}

// message is what a choice has said.
type message struct {
	reasoning, content strings.Builder
	calls              []*callText
	logprobs           []tokenProb
	prompt             []engine.TokenLogprob
	ids                []int32
	finish             engine.Finish
}

// callText is a call that a choice has made.
type callText struct {
	id, name  string
	arguments strings.Builder
}

// add takes a delta.
func (m *message) add(s *Server, d delta) {
	for _, p := range d.parts {
		m.reasoning.WriteString(p.Reasoning)
		m.content.WriteString(p.Content)
		if p.Call == nil {
			continue
		}
		if p.Call.Name != "" {
			m.calls = append(m.calls, &callText{id: s.callID(p.Call), name: p.Call.Name})
		}
		if n := len(m.calls); n > 0 {
			m.calls[n-1].arguments.WriteString(p.Call.Arguments)
		}
	}
	m.logprobs = append(m.logprobs, d.logprobs...)
	m.prompt = append(m.prompt, d.prompt...)
	m.ids = append(m.ids, d.ids...)
	m.finish = d.finish
}

// format returns the message as a response holds it.
func (m *message) format() chatMessage {
	content, reasoning := m.content.String(), m.reasoning.String()
	out := chatMessage{
		Role: "assistant", Content: &content, reasoningText: reasoningText{reasoning, reasoning},
	}
	if content == "" && len(m.calls) > 0 {
		out.Content = nil
	}
	for _, call := range m.calls {
		out.Calls = append(out.Calls, chatCall{
			ID: call.id, Type: "function",
			Function: chatFunction{Name: call.name, Arguments: call.arguments.String()},
		})
	}
	return out
}

// whole runs g and sends one response.
func (a *chatAnswer) whole(w http.ResponseWriter, r *http.Request, g *generation) *apiError {
	all := make([]message, len(g.choices))
	err := a.server.run(r.Context(), a.x, g, func(c *choice, d delta) error {
		all[c.index].add(a.server, d)
		return nil
	})
	if err != nil {
		return a.server.failure(err, g.param)
	}
	response := chatCompletion{
		ID: a.id, Object: "chat.completion", Created: a.created, Model: a.server.cfg.ModelName,
		Choices: make([]chatChoice, len(all)), Usage: a.x.usageJSON(),
	}
	for i := range all {
		response.Choices[i] = chatChoice{
			Index: i, Message: all[i].format(), FinishReason: all[i].finish,
			Logprobs: a.server.chatLogprobs(a.params, all[i].logprobs),
		}
		if a.params.output.ids {
			response.Choices[i].IDs = all[i].ids
		}
	}
	response.PromptLogprobs = a.server.promptLogprobs(a.params, all[0].prompt)
	if a.params.output.ids {
		response.PromptIDs = g.choices[0].prompt.ids
	}
	writeJSON(w, http.StatusOK, response)
	return nil
}
