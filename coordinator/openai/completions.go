package openai

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-serve/conclave/coordinator/engine"
)

// defaultTextTokens is OpenAI's max_tokens for text completions.
const defaultTextTokens = 16

// textCompletion is a response of /v1/completions, and every chunk of one.
type textCompletion struct {
	ID      string          `json:"id"`
	Object  string          `json:"object"`
	Created int64           `json:"created"`
	Model   string          `json:"model"`
	Choices []textChoice    `json:"choices"`
	Usage   json.RawMessage `json:"usage,omitempty"`
}

type textChoice struct {
	Index        int            `json:"index"`
	Text         string         `json:"text"`
	Logprobs     *textLogprobs  `json:"logprobs"`
	FinishReason *engine.Finish `json:"finish_reason"`

	PromptLogprobs json.RawMessage `json:"prompt_logprobs,omitempty"`
	PromptIDs      []int32         `json:"prompt_token_ids,omitempty"` // in the first chunk
	IDs            []int32         `json:"token_ids,omitempty"`
}

// textRequest is a parsed body of /v1/completions.
type textRequest struct {
	params
	prompts []*prompt
	echo    bool
}

// completions answers POST /v1/completions.
func (s *Server) completions(w http.ResponseWriter, r *http.Request, x *exchange) *apiError {
	f, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	req, err := s.readText(f)
	if err != nil {
		return err
	}
	g, err := s.generation(x, req.params, "prompt", req.prompts)
	if err != nil {
		return err
	}
	h, err := s.holdText(r.Context(), &req.structure)
	if err != nil {
		return err
	}
	for _, c := range g.choices {
		c.request.Force = h.entries(c.request.MaxTokens)
		// The engine generates nothing only if it has a prompt to score.
		if req.echo && (req.logprobs >= 0 || req.maxTokens == 0) {
			c.request.PromptLogprobs = true
		}
	}
	a := newTextAnswer(s, x, req, len(g.choices))
	if !req.stream {
		return a.whole(w, r, g)
	}
	to := newEvents(w)
	emit := func(c *choice, d delta) error {
		if a.add(c, d) {
			return to.send(a.chunk(a.take(c, d.finish)))
		}
		return nil
	}
	return s.stream(r, x, g, to, emit, func() any {
		last := a.chunk()
		last.Usage = usageField(&req.params, x, true)
		return last
	})
}

// readText parses a body of /v1/completions.
func (s *Server) readText(f *fields) (*textRequest, *apiError) {
	req := &textRequest{params: s.readParams(f), echo: f.flag("echo")}
	readPromptOptions(f, &req.params)
	req.fallback = defaultTextTokens
	readMaxTokens(f, &req.params, 0, "max_tokens")
	if req.maxTokens == 0 && !req.echo {
		f.fail(invalid("max_tokens",
			"Invalid value for 'max_tokens': 0 is only allowed together with 'echo'."))
	}
	if k, ok := f.integer("logprobs", 0, maxAlternatives); ok {
		req.logprobs = int(k)
	}
	readFormat(f, &req.structure, "response_format", false)
	f.refuse("suffix", "is not supported", `""`)
	f.refuse("best_of", "other than 'n' is not supported", fmt.Sprint(req.choices))
	if f.err == nil {
		req.prompts = s.readPrompts(f)
	}
	for _, p := range req.prompts {
		if kept := req.truncated(p.ids); len(kept) < len(p.ids) {
			p.ids, p.text = kept, s.cfg.Tokenizer.Decode(kept, false)
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return req, nil
}

// readPrompts reads prompt: a string, a list of strings, a list of token ids or
// a list of such lists.
func (s *Server) readPrompts(f *fields) []*prompt {
	const types = "a string, an array of strings, an array of token ids, or an array of those"
	raw, ok := f.get("prompt")
	if !ok {
		f.fail(invalid("prompt", "Missing required parameter: 'prompt'."))
		return nil
	}
	var text string
	whole := f.flagOr("add_special_tokens", true)
	if json.Unmarshal(raw, &text) == nil {
		return []*prompt{s.textPrompt(text, whole)}
	}
	var list []json.RawMessage
	if !f.decode("prompt", &list, types) {
		return nil
	}
	if len(list) == 0 {
		f.fail(invalid("prompt", "Invalid 'prompt': the array is empty."))
		return nil
	}
	if _, number := wholeNumber(list[0]); number {
		return s.idPrompts(f, "prompt", list)
	}
	if len(list) > s.cfg.MaxChoices {
		f.fail(invalid("prompt", "Invalid 'prompt': at most %d prompts are allowed, got %d.",
			s.cfg.MaxChoices, len(list)))
		return nil
	}
	var prompts []*prompt
	for i, item := range list {
		var ids []json.RawMessage
		switch {
		case string(item) == "null":
			f.wrongType("prompt", types)
		case json.Unmarshal(item, &text) == nil:
			prompts = append(prompts, s.textPrompt(text, whole))
		case json.Unmarshal(item, &ids) == nil:
			prompts = append(prompts, s.idPrompts(f, fmt.Sprintf("prompt[%d]", i), ids)...)
		default:
			f.wrongType("prompt", types)
		}
	}
	return prompts
}

// textPrompt encodes a prompt that the client writes as a text: its control
// tokens are meant. whole puts the tokens around it with which the tokenizer
// begins and ends a text, unless it spells them out; echo returns them too.
func (s *Server) textPrompt(text string, whole bool) *prompt {
	p := &prompt{ids: s.cfg.Tokenizer.Encode(text), text: text}
	if !whole {
		return p
	}
	before, after := s.cfg.Tokenizer.Template()
	if len(p.ids) >= len(before) && slices.Equal(p.ids[:len(before)], before) {
		before = nil
	}
	p.ids = slices.Concat(before, p.ids, after)
	p.text = s.cfg.Tokenizer.Decode(before, false) + text + s.cfg.Tokenizer.Decode(after, false)
	return p
}

func (s *Server) idPrompts(f *fields, name string, raw []json.RawMessage) []*prompt {
	ids, err := s.tokens(name, raw)
	if err != nil {
		f.fail(err)
		return nil
	}
	return []*prompt{{ids: ids, text: s.cfg.Tokenizer.Decode(ids, false)}}
}

// textAnswer gathers what the choices of a text completion say.
type textAnswer struct {
	server  *Server
	x       *exchange
	req     *textRequest
	id      string
	created int64
	choices []textState
}

// textState is what a choice has said and not sent yet.
type textState struct {
	text    strings.Builder
	tokens  []engine.TokenLogprob
	prompt  []engine.TokenLogprob
	ids     []int32
	begun   bool       // something was added
	sent    bool       // something was taken
	offsets textOffset // of the characters sent
}

func newTextAnswer(s *Server, x *exchange, req *textRequest, choices int) *textAnswer {
	return &textAnswer{
		server: s, x: x, req: req, id: "cmpl-" + s.newID(), created: s.now().Unix(),
		choices: make([]textState, choices),
	}
}

// add takes a delta and says whether there is anything to send.
func (a *textAnswer) add(c *choice, d delta) bool {
	state := &a.choices[c.index]
	if !state.begun && a.req.echo {
		state.text.WriteString(c.prompt.text)
	}
	state.begun = true
	for _, part := range d.parts {
		state.text.WriteString(part.Content)
	}
	if a.req.logprobs >= 0 {
		if a.req.echo {
			state.tokens = append(state.tokens, d.prompt...)
		}
		for _, t := range d.logprobs {
			state.tokens = append(state.tokens, t.TokenLogprob)
		}
	}
	state.prompt = append(state.prompt, d.prompt...)
	state.ids = append(state.ids, d.ids...)
	return state.text.Len() > 0 || len(state.tokens) > 0 || d.finish != ""
}

// take returns what a choice has said since the last time.
func (a *textAnswer) take(c *choice, finish engine.Finish) textChoice {
	state := &a.choices[c.index]
	t := textChoice{Index: c.index, Text: state.text.String()}
	if a.req.logprobs >= 0 {
		startsPrompt := a.req.echo && !state.sent
		t.Logprobs = a.server.textLogprobs(&a.req.params, &state.offsets, state.tokens, startsPrompt)
	}
	t.PromptLogprobs = a.server.promptLogprobs(&a.req.params, state.prompt)
	if a.req.output.ids {
		t.IDs = state.ids
		if !state.sent {
			t.PromptIDs = c.prompt.ids
		}
	}
	if finish != "" {
		t.FinishReason = &finish
	}
	state.text.Reset()
	state.tokens, state.prompt, state.ids = nil, nil, nil
	state.sent = true
	return t
}

// chunk returns a response with the given choices and no usage.
func (a *textAnswer) chunk(choices ...textChoice) textCompletion {
	if choices == nil {
		choices = []textChoice{}
	}
	return textCompletion{
		ID: a.id, Object: "text_completion", Created: a.created, Model: a.server.cfg.ModelName,
		Choices: choices, Usage: usageField(&a.req.params, a.x, false),
	}
}

// whole runs g and sends one response.
func (a *textAnswer) whole(w http.ResponseWriter, r *http.Request, g *generation) *apiError {
	finish := make([]engine.Finish, len(g.choices))
	err := a.server.run(r.Context(), a.x, g, func(c *choice, d delta) error {
		a.add(c, d)
		finish[c.index] = d.finish
		return nil
	})
	if err != nil {
		return a.server.failure(err, g.param)
	}
	response := a.chunk()
	for _, c := range g.choices {
		response.Choices = append(response.Choices, a.take(c, finish[c.index]))
	}
	response.Usage = a.x.usageJSON()
	writeJSON(w, http.StatusOK, response)
	return nil
}
