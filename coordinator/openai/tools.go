package openai

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/chat"
)

// maxToolName bounds a function's name, which is forced token by token.
const maxToolName = 256

// notInName is what would end a function's name in the formats of calls, so that
// no answer could call it.
const notInName = " \t\r\n<>{}\""

// toolset is what a request says about functions that the model may call.
type toolset struct {
	value    chat.Value  // as the template describes them; none: the model is not to know any
	known    []chat.Tool // whose calls are looked for
	schemas  string      // where their schemas are, %d being the number of a tool
	strict   []bool      // whether arguments are held to the schema in any case
	required bool        // the model must call one
	name     string      // this one; "" means any
	parallel bool        // it may call several at once
}

// function is a function that a request offers.
type function struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Strict      bool            `json:"strict,omitempty"`
}

// readTools reads tools, tool_choice and parallel_tool_calls. flat says that a
// function's fields are the tool's own, as in /v1/responses.
func (s *Server) readTools(f *fields, flat bool) toolset {
	t := toolset{parallel: true}
	if _, ok := f.get("parallel_tool_calls"); ok {
		t.parallel = f.flag("parallel_tool_calls")
	}
	functions := readFunctions(f, flat)
	mode, name := readToolChoice(f)
	if f.err != nil || mode == "none" {
		return t // the model is not to know of them
	}
	for _, function := range functions {
		t.known = append(t.known, chat.Tool{Name: function.Name, Parameters: function.Parameters})
		t.strict = append(t.strict, function.Strict)
	}
	t.required, t.name, t.schemas = mode == "required", name, "tools[%d].function.parameters"
	if flat {
		t.schemas = "tools[%d].parameters"
	}
	switch {
	case t.required && len(functions) == 0:
		f.fail(invalid("tool_choice",
			"Invalid 'tool_choice': it asks for a call, but there are no 'tools'."))
	case name != "" && !slices.ContainsFunc(t.known,
		func(known chat.Tool) bool { return known.Name == name }):
		f.fail(invalid("tool_choice",
			"Invalid 'tool_choice': there is no function %q in 'tools'.", clip([]byte(name))))
	case len(functions) > 0 && s.dialect != nil && !s.dialect.Tools():
		f.fail(unsupported("tools", "The model '%s' has no format for calls of functions.",
			s.cfg.ModelName))
	}
	if f.err == nil && len(functions) > 0 {
		t.value = toolValue(f, functions, flat)
	}
	return t
}

// toolValue returns the tools as templates expect them: in the form of chat
// completions.
func toolValue(f *fields, functions []function, flat bool) chat.Value {
	raw, _ := f.get("tools")
	if flat {
		type tool struct {
			Type     string   `json:"type"`
			Function function `json:"function"`
		}
		tools := make([]tool, len(functions))
		for i, function := range functions {
			function.Strict = false // templates do not know it
			tools[i] = tool{"function", function}
		}
		raw = marshal(tools)
	}
	value, err := chat.ParseValue(raw)
	if err != nil {
		f.fail(invalid("tools", "Invalid 'tools': %s.", err))
	}
	return value
}

// readFunctions reads tools.
func readFunctions(f *fields, flat bool) []function {
	var tools []struct {
		Type     string   `json:"type"`
		Function function `json:"function"`
		function
	}
	if !f.decode("tools", &tools, "an array of tools") {
		return nil
	}
	functions := make([]function, len(tools))
	for i, tool := range tools {
		name := fmt.Sprintf("tools[%d]", i)
		if tool.Type != "function" {
			f.fail(unsupported(name+".type", "Unsupported tool type %q in '%s.type': only "+
				"\"function\" is supported.", clip([]byte(tool.Type)), name))
		}
		functions[i] = tool.function
		if !flat {
			functions[i] = tool.Function
			name += ".function"
		}
		checkFunction(f, name, functions[i])
	}
	return functions
}

// checkFunction checks the function that the field at describes.
func checkFunction(f *fields, at string, function function) {
	switch n := len(function.Name); {
	case n == 0:
		f.fail(invalid(at+".name", "Missing required parameter: '%s.name'.", at))
	case n > maxToolName:
		f.fail(invalid(at+".name", "Invalid '%s.name': a name has at most %d bytes, got %d.",
			at, maxToolName, n))
	case strings.ContainsAny(function.Name, notInName):
		f.fail(invalid(at+".name", "Invalid '%s.name': a name has no white space, quotes, brackets "+
			"or braces, got %q.", at, clip([]byte(function.Name))))
	}
	if p := function.Parameters; len(p) > 0 && p[0] != '{' && string(p) != "null" {
		f.wrongType(at+".parameters", "an object")
	}
}

// readToolChoice reads tool_choice: a mode, or the name of the function that
// must be called.
func readToolChoice(f *fields) (mode, name string) {
	raw, ok := f.get("tool_choice")
	if !ok {
		return "auto", ""
	}
	if json.Unmarshal(raw, &mode) == nil {
		switch mode {
		case "none", "auto", "required":
		default:
			f.fail(invalid("tool_choice", "Invalid value for 'tool_choice': %q is not one of "+
				"'none', 'auto' and 'required'.", clip([]byte(mode))))
		}
		return mode, ""
	}
	var choice struct {
		Type     string   `json:"type"`
		Function function `json:"function"`
		Name     string   `json:"name"`
	}
	if !f.decode("tool_choice", &choice, "a string or an object") {
		return "", ""
	}
	if choice.Type != "function" {
		f.fail(unsupported("tool_choice.type", "Unsupported type %q in 'tool_choice.type': only "+
			"\"function\" is supported.", clip([]byte(choice.Type))))
	}
	if name = choice.Function.Name; name == "" {
		name = choice.Name
	}
	if name == "" {
		f.fail(invalid("tool_choice", "Invalid 'tool_choice': it names no function."))
	}
	return "required", name
}

// forced returns entries of a dialect for the engine. field is what asks for
// them.
func (s *Server) forced(field string, entries []chat.Forced) ([]engine.Forced, *apiError) {
	force := make([]engine.Forced, len(entries))
	for i, entry := range entries {
		force[i] = engine.Forced{After: -1, Tokens: s.controls.encode(entry.Spans)}
		if entry.After == "" {
			continue
		}
		id, ok := s.controls.ID(entry.After)
		if !ok {
			return nil, unsupported(field, "Unsupported parameter: '%s': the model '%s' has no token %q, "+
				"behind which what is asked for would begin.", field, s.cfg.ModelName, entry.After)
		}
		force[i].After = id
	}
	return force, nil
}
