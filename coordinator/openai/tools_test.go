package openai

import (
	"slices"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/chat"
)

const twoTools = `"tools":[{"type":"function","function":{"name":"add"}},` +
	`{"type":"function","function":{"name":"größe.é-2"}}]`

// TestForcedCalls makes the engine say what is forced, and the rest of a call:
// the answer is that call.
func TestForcedCalls(t *testing.T) {
	function := func(name string) string {
		return `{"type":"function","function":{"name":"` + name + `"}}`
	}
	for name, c := range map[string]struct{ extra, rest, want string }{
		"required": {twoTools + `,"tool_choice":"required"`, `add", "arguments": {"a": 1}}</tool_call>`,
			`add{"a": 1}`},
		"required of one": {oneTool + `,"tool_choice":"required"`, `{"a": 1}}</tool_call>`, `f{"a": 1}`},
		"named":           {twoTools + `,"tool_choice":` + function("add"), `{}}</tool_call>`, `add{}`},
		"named, beyond ASCII": {twoTools + `,"tool_choice":` + function("größe.é-2"),
			`{}}</tool_call>`, `größe.é-2{}`},
		"free": {twoTools + `,"tool_choice":"auto"`, "hello", ""},
		"none": {twoTools + `,"tool_choice":"none"`, `<tool_call>{"name": "add"}</tool_call>`, ""},
	} {
		s, e := newServer(t, "")
		e.script = func(r engine.Request) ([]engine.Event, error) {
			var events []engine.Event
			for _, entry := range r.Force {
				if entry.After >= 0 {
					t.Errorf("%s: forced after token %d", name, entry.After)
				}
				for _, id := range entry.Tokens {
					events = append(events, engine.Event{Token: id})
				}
			}
			if (len(events) > 0) != (c.want != "") {
				t.Errorf("%s: %d forced tokens", name, len(events))
			}
			return append(events, e.say(r, c.rest, engine.FinishStop)...), nil
		}
		response := post(t, s, chatPath, chatBody(c.extra+`,"enable_thinking":false`))
		content, _, finish := answer(t, response)
		if got := calls(t, response); got != c.want || (content == "") != (c.want != "") ||
			(finish == "tool_calls") != (c.want != "") {
			t.Errorf("%s: calls %q, content %q, %s; want %q", name, got, content, finish, c.want)
		}
	}
}

// A call is forced behind the reasoning, if the prompt has opened it.
func TestForcedCallAfterReasoning(t *testing.T) {
	s, e := newServer(t, "hm</think>hello")
	post(t, s, chatPath, chatBody(`"enable_thinking":true,"tool_choice":"required",`+oneTool))
	force := e.last(t).Force
	if len(force) != 1 || force[0].After != idClose || !slices.Contains(force[0].Tokens, idCall) {
		t.Errorf("forced %+v", force)
	}
}

func TestHarmonyForcedCall(t *testing.T) {
	s, e := harmonyServer(t)
	e.sayAll("<|channel|>final<|message|>no<|return|>")
	post(t, s, chatPath, chatBody(`"tool_choice":"required",`+oneTool))
	force := e.last(t).Force
	text := s.cfg.Tokenizer.Decode(force[0].Tokens, false)
	if len(force) != 1 || text != "<|channel|>analysis<|message|>" || force[0].Then == nil {
		t.Fatalf("forced %+v, %q", force, text)
	}
	for _, id := range s.cfg.Tokenizer.Encode("hm<|end|><|start|>assistant<|channel|>commentary" +
		" to=functions.f <|constrain|>json<|message|>{}<|call|>") {
		if !force[0].Then.Accept(id) {
			t.Fatalf("token %d is not allowed", id)
		}
	}
	if !force[0].Then.MustEnd() {
		t.Error("the answer may go on behind the call")
	}
}

func TestNoDialectNoTools(t *testing.T) {
	s, _ := harmonyServer(t)
	plain, err := chat.DialectNamed("plain")
	if err != nil {
		t.Fatal(err)
	}
	s.dialect = plain
	for _, extra := range []string{``, `,"tool_choice":"required"`} {
		w := do(s, "POST", chatPath, chatBody(oneTool+extra))
		if got := decodeError(t, w); w.Code != 400 || got.Param != "tools" ||
			got.Code != "unsupported_parameter" {
			t.Errorf("%d %+v", w.Code, got)
		}
	}
}

// Kimi numbers its calls, and its template wants the numbers back.
func TestNativeCallIDs(t *testing.T) {
	s, _ := newServer(t, "")
	for native, want := range map[string]string{"functions.f:3": "functions.f:3", "": "call_0123"} {
		if got := s.callID(&chat.CallPart{Name: "f", Native: native}); got != want {
			t.Errorf("the id of a call that the model calls %q is %q", native, got)
		}
	}
}
