package openai

import (
	"errors"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/chat"
)

// conversation is what a request says to the model, by whichever endpoint.
type conversation struct {
	field    string // that holds the messages
	messages []chat.Value
	tools    toolset
	thinking thinking
}

// chatRequest is a parsed body of /v1/chat/completions.
type chatRequest struct {
	params
	conversation
}

// readChat parses a body of /v1/chat/completions.
func (s *Server) readChat(f *fields) (*chatRequest, *apiError) {
	req := &chatRequest{params: s.readParams(f)}
	readPromptOptions(f, &req.params)
	readMaxTokens(f, &req.params, 1, "max_completion_tokens", "max_tokens")
	alternatives, named := f.integer("top_logprobs", 0, maxAlternatives)
	switch wanted := f.flag("logprobs"); {
	case wanted:
		req.logprobs = int(alternatives)
	case named && alternatives > 0:
		f.fail(invalid("top_logprobs", "'top_logprobs' requires 'logprobs' to be true."))
	}
	refuseChat(f)
	if f.err == nil {
		f.err = s.needTemplate("messages")
	}
	if f.err != nil {
		return nil, f.err
	}
	req.conversation = conversation{
		field: "messages", messages: readMessages(f), tools: s.readTools(f, false),
		thinking: s.readThinking(f),
	}
	return req, f.err
}

// refuseChat refuses what OpenAI's chat API has and Conclave has not.
func refuseChat(f *fields) {
	f.refuse("functions", "is not supported; use 'tools'", "[]")
	f.refuse("function_call", "is not supported; use 'tool_choice'", `"none"`, `"auto"`)
	f.refuse("response_format", "other than {\"type\": \"text\"} is not supported",
		`{"type":"text"}`)
	f.refuse("audio", "is not supported")
	f.refuse("modalities", "other than [\"text\"] is not supported", `["text"]`, "[]")
	f.refuse("web_search_options", "is not supported")
	f.refuse("documents", "is not supported", "[]")
	f.refuse("chat_template", "is not supported; the model's own template is used")
	f.refuse("echo", "is not supported in chats", "false")
	f.refuse("continue_final_message", "is not supported", "false")
	f.refuse("add_generation_prompt", "other than true is not supported", "true")
}

// needTemplate refuses a conversation, which param holds, if the model has no
// chat template.
func (s *Server) needTemplate(param string) *apiError {
	if s.cfg.Template != nil {
		return nil
	}
	return unsupported(param, "The model '%s' has no chat template: use /v1/completions.",
		s.cfg.ModelName)
}

// converse prepares p.choices answers to a conversation.
func (s *Server) converse(x *exchange, p params, c *conversation) (*generation, *apiError) {
	spans, err := s.cfg.Template.Render(chat.Input{
		Messages: c.messages, Tools: c.tools.value, Kwargs: c.thinking.kwargs,
		AddGenerationPrompt: true, Now: s.now,
	})
	if err != nil {
		return nil, renderError(err, c.field)
	}
	ids := p.truncated(s.controls.encode(spans))
	var force []engine.Forced
	var refused *apiError
	if c.tools.required {
		if force, refused = s.forceCall(&c.tools, ids); refused != nil {
			return nil, refused
		}
	}
	if force, refused = s.bound(&c.thinking, force, ids); refused != nil {
		return nil, refused
	}
	g, refused := s.generation(x, p, c.field, []*prompt{{ids: ids}})
	if refused != nil {
		return nil, refused
	}
	for _, choice := range g.choices {
		choice.request.Force = force
		choice.parser = s.dialect.NewParser(chat.ParserConfig{
			Vocabulary: s.controls, Prompt: ids, Tools: c.tools.known,
			ParallelCalls: c.tools.parallel,
		})
	}
	x.reasons = true
	return g, nil
}

// renderError maps a template's error. A template sees nothing but the request,
// so the request is to blame.
func renderError(err error, param string) *apiError {
	var template *chat.Error
	switch {
	case errors.Is(err, chat.ErrKwarg):
		return invalid("chat_template_kwargs", "Invalid 'chat_template_kwargs': %s.", err)
	case errors.As(err, &template):
		return invalid(param, "The chat template refuses these messages: %s.", err)
	}
	return invalid(param, "The chat template cannot render these messages: %s.", err)
}
