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
}

type chatChoice struct {
	Index        int           `json:"index"`
	Message      chatMessage   `json:"message"`
	Logprobs     *chatLogprobs `json:"logprobs"`
	FinishReason engine.Finish `json:"finish_reason"`
}

type chatMessage struct {
	Role      string  `json:"role"`
	Content   string  `json:"content"`
	Reasoning string  `json:"reasoning_content,omitempty"`
	Refusal   *string `json:"refusal"` // always null
}

// chatChunk is one event of a streamed response.
type chatChunk struct {
	ID      string          `json:"id"`
	Object  string          `json:"object"`
	Created int64           `json:"created"`
	Model   string          `json:"model"`
	Choices []chatDelta     `json:"choices"`
	Usage   json.RawMessage `json:"usage,omitempty"`
}

type chatDelta struct {
	Index        int            `json:"index"`
	Delta        chatPart       `json:"delta"`
	Logprobs     *chatLogprobs  `json:"logprobs"`
	FinishReason *engine.Finish `json:"finish_reason"`
}

// chatPart is the part of a message that a chunk adds.
type chatPart struct {
	Role      string  `json:"role,omitempty"`
	Content   *string `json:"content,omitempty"`
	Reasoning string  `json:"reasoning_content,omitempty"`
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
	g, err := s.generation(x, req.params, "messages", []*prompt{req.prompt})
	if err != nil {
		return err
	}
	if s.controls.think >= 0 {
		open := s.controls.thinking(req.prompt.ids, s.cfg.Spec.EOS)
		for _, c := range g.choices {
			c.splitter = chat.NewSplitter(open)
		}
	}
	a := &chatAnswer{
		server: s, x: x, params: &req.params, id: "chatcmpl-" + s.newID(), created: s.now().Unix(),
		begun: make([]bool, len(g.choices)),
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
	begun   []bool // by choice: its first chunk was sent
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
// role, then text, at last one with the reason of the end.
func (a *chatAnswer) send(to *events, c *choice, d delta) error {
	if !a.begun[c.index] {
		a.begun[c.index] = true
		empty := ""
		first := chatDelta{Index: c.index, Delta: chatPart{Role: "assistant", Content: &empty}}
		if err := to.send(a.chunk(first)); err != nil {
			return err
		}
	}
	if d.content != "" || d.reasoning != "" || len(d.logprobs) > 0 {
		part := chatDelta{
			Index: c.index, Delta: chatPart{Reasoning: d.reasoning},
			Logprobs: a.server.chatLogprobs(d.logprobs),
		}
		if d.content != "" || d.reasoning == "" {
			part.Delta.Content = &d.content
		}
		if err := to.send(a.chunk(part)); err != nil {
			return err
		}
	}
	if d.finish == "" {
		return nil
	}
	return to.send(a.chunk(chatDelta{Index: c.index, FinishReason: &d.finish}))
}

// whole runs g and sends one response.
func (a *chatAnswer) whole(w http.ResponseWriter, r *http.Request, g *generation) *apiError {
	type gathered struct {
		reasoning, content strings.Builder
		logprobs           []tokenProb
		finish             engine.Finish
	}
	all := make([]gathered, len(g.choices))
	err := a.server.run(r.Context(), a.x, g, func(c *choice, d delta) error {
		into := &all[c.index]
		into.reasoning.WriteString(d.reasoning)
		into.content.WriteString(d.content)
		into.logprobs = append(into.logprobs, d.logprobs...)
		into.finish = d.finish
		return nil
	})
	if err != nil {
		return fromEngine(err, g.param)
	}
	response := chatCompletion{
		ID: a.id, Object: "chat.completion", Created: a.created, Model: a.server.cfg.ModelName,
		Choices: make([]chatChoice, len(all)), Usage: a.x.usageJSON(),
	}
	for i := range all {
		response.Choices[i] = chatChoice{
			Index: i,
			Message: chatMessage{
				Role: "assistant", Content: all[i].content.String(),
				Reasoning: all[i].reasoning.String(),
			},
			Logprobs:     a.server.chatLogprobs(all[i].logprobs),
			FinishReason: all[i].finish,
		}
	}
	writeJSON(w, http.StatusOK, response)
	return nil
}
