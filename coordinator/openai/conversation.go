package openai

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/internal/chat/jinja"
)

// chatRequest is a parsed body of /v1/chat/completions.
type chatRequest struct {
	params
	prompt *prompt
}

// readChat parses a body of /v1/chat/completions and renders its prompt.
func (s *Server) readChat(f *fields) (*chatRequest, *apiError) {
	req := &chatRequest{params: s.readParams(f)}
	readMaxTokens(f, &req.params, 1, "max_completion_tokens", "max_tokens")
	alternatives, named := f.integer("top_logprobs", 0, maxAlternatives)
	switch wanted := f.flag("logprobs"); {
	case wanted:
		req.logprobs = int(alternatives)
	case named && alternatives > 0:
		f.fail(invalid("top_logprobs", "'top_logprobs' requires 'logprobs' to be true."))
	}
	refuseChat(f)
	if f.err != nil {
		return nil, f.err
	}
	if s.cfg.Template == nil {
		return nil, unsupported("messages",
			"The model '%s' has no chat template: use /v1/completions.", s.cfg.ModelName)
	}
	in := chat.Input{AddGenerationPrompt: true, Now: s.now}
	in.Messages = readMessages(f)
	in.Tools = readTools(f)
	in.Kwargs = readKwargs(f)
	if f.err != nil {
		return nil, f.err
	}
	spans, err := s.cfg.Template.Render(in)
	if err != nil {
		return nil, renderError(err)
	}
	req.prompt = &prompt{ids: s.controls.encode(spans)}
	return req, nil
}

// refuseChat refuses what OpenAI's chat API has and Conclave has not.
func refuseChat(f *fields) {
	f.refuse("functions", "is not supported; use 'tools'", "[]")
	f.refuse("function_call", "is not supported; use 'tool_choice'", `"none"`, `"auto"`)
	f.refuse("tool_choice", "other than \"auto\" or \"none\" is not supported", `"auto"`, `"none"`)
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

// renderError maps a template's error. A template sees nothing but the request,
// so the request is to blame.
func renderError(err error) *apiError {
	var template *chat.Error
	switch {
	case errors.Is(err, chat.ErrKwarg):
		return invalid("chat_template_kwargs", "Invalid 'chat_template_kwargs': %s.", err)
	case errors.As(err, &template):
		return invalid("messages", "The chat template refuses these messages: %s.", err)
	}
	return invalid("messages", "The chat template cannot render these messages: %s.", err)
}

// readMessages reads messages, which must be a list of turns with known roles.
func readMessages(f *fields) []chat.Value {
	raw, ok := f.get("messages")
	if !ok {
		f.fail(invalid("messages", "Missing required parameter: 'messages'."))
		return nil
	}
	messages, err := chat.ParseMessages(raw)
	if err != nil {
		f.fail(invalid("messages", "Invalid 'messages': %s.", err))
		return nil
	}
	if len(messages) == 0 {
		f.fail(invalid("messages", "Invalid 'messages': the array is empty."))
	}
	for i, m := range messages {
		object, _ := m.Object()
		value, _ := object.Get("role")
		switch role, _ := value.Text(); role {
		case "system", "user", "assistant", "tool":
		case "developer":
			messages[i] = asSystem(object)
		default:
			f.fail(invalid(fmt.Sprintf("messages[%d].role", i), "Invalid value for "+
				"'messages[%d].role': %q is not one of 'system', 'developer', 'user', "+
				"'assistant' and 'tool'.", i, clip([]byte(role))))
		}
	}
	return messages
}

// asSystem returns a developer's message as the system message that it is:
// OpenAI renamed the role, and most templates drop a role they do not know
// without a word.
func asSystem(message *jinja.Object) chat.Value {
	out := jinja.NewObject()
	for i := range message.Len() {
		key, value := message.At(i)
		if name, _ := key.Text(); name == "role" {
			value = jinja.LiteralString("system")
		}
		out.Set(key, value)
	}
	return jinja.Dict(out)
}

// readTools reads tools, which the template describes to the model.
func readTools(f *fields) chat.Value {
	raw, ok := f.get("tools")
	if !ok {
		return chat.Value{}
	}
	var tools []struct {
		Type     string `json:"type"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if !f.decode("tools", &tools, "an array of tools") {
		return chat.Value{}
	}
	for i, tool := range tools {
		name := fmt.Sprintf("tools[%d]", i)
		if tool.Type != "function" {
			f.fail(unsupported(name+".type", "Unsupported tool type %q in '%s.type': only "+
				"\"function\" is supported.", clip([]byte(tool.Type)), name))
		}
		if tool.Function.Name == "" {
			f.fail(invalid(name+".function.name", "Missing required parameter: "+
				"'%s.function.name'.", name))
		}
	}
	value, err := chat.ParseValue(raw)
	if err != nil {
		f.fail(invalid("tools", "Invalid 'tools': %s.", err))
	}
	if choice, _ := f.get("tool_choice"); len(tools) == 0 || string(choice) == `"none"` {
		return chat.Value{} // the model is not to know of them
	}
	return value
}

// readKwargs reads the template's own switches, such as enable_thinking.
func readKwargs(f *fields) map[string]any {
	var raw map[string]json.RawMessage
	f.decode("chat_template_kwargs", &raw, "an object")
	kwargs := make(map[string]any, len(raw)+1)
	if effort := f.text("reasoning_effort"); effort != "" {
		kwargs["reasoning_effort"] = effort
	}
	for name, value := range raw {
		kwargs[name] = value
	}
	return kwargs
}
