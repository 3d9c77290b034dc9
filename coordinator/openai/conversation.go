package openai

import (
	"context"
	"errors"

	"github.com/conclave-serve/conclave/internal/chat"
)

// conversation is what a request says to the model, by whichever endpoint.
type conversation struct {
	field    string // that holds the messages
	messages []chat.Value
	tools    toolset
	thinking thinking
	opening  opening
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
	readFormat(f, &req.structure, "response_format", false)
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
	req.opening = readOpening(f, req.messages)
	return req, f.err
}

// refuseChat refuses what OpenAI's chat API has and Conclave has not.
func refuseChat(f *fields) {
	f.refuse("functions", "is not supported; use 'tools'", "[]")
	f.refuse("function_call", "is not supported; use 'tool_choice'", `"none"`, `"auto"`)
	f.refuse("audio", "is not supported")
	f.refuse("modalities", "other than [\"text\"] is not supported", `["text"]`, "[]")
	f.refuse("web_search_options", "is not supported")
	f.refuse("documents", "is not supported", "[]")
	f.refuse("chat_template", "is not supported; the model's own template is used")
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

// render returns the ids of a conversation.
func (s *Server) render(c *conversation) ([]int32, *apiError) {
	spans, err := s.cfg.Template.Render(chat.Input{
		Messages: c.messages, Tools: c.tools.value, Kwargs: c.thinking.kwargs,
		AddGenerationPrompt: c.opening.generate, Now: s.now,
	})
	if err != nil {
		return nil, renderError(err, c.field)
	}
	if c.opening.resume {
		var found bool
		if spans, found = cutBehind(spans, c.opening.last); !found {
			return nil, invalid("continue_final_message", "Invalid 'continue_final_message': the chat "+
				"template does not show the last message's content.")
		}
	}
	return s.controls.encode(spans), nil
}

// converse prepares p.choices answers to a conversation.
func (s *Server) converse(ctx context.Context, x *exchange, p params, c *conversation) (
	*generation, *apiError,
) {
	ids, refused := s.render(c)
	if refused != nil {
		return nil, refused
	}
	ids = p.truncated(ids)
	h, refused := s.hold(ctx, &p, c, ids)
	if refused != nil {
		return nil, refused
	}
	if h.force, refused = s.bound(&c.thinking, h.force, ids); refused != nil {
		return nil, refused
	}
	g, refused := s.generation(x, p, c.field, []*prompt{{ids: ids}})
	if refused != nil {
		return nil, refused
	}
	for _, choice := range g.choices {
		choice.request.Force = h.entries(choice.request.MaxTokens)
		choice.preface = c.opening.echo
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
