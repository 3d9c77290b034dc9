package openai

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	pointSchema = `{"type":"object","properties":{"x":{"type":"integer","minimum":0,"maximum":9},` +
		`"label":{"enum":["a","b"]}},"required":["x","label"],"additionalProperties":false}`
	pointFormat = `"response_format":{"type":"json_schema","json_schema":{"name":"p","schema":` + pointSchema + `}}`
	pointTools  = `"tools":[{"type":"function","function":{"name":"point","parameters":` + pointSchema + `}},` +
		`{"type":"function","function":{"name":"stop"}}]`
)

// isPoint reports whether text is what pointSchema describes.
func isPoint(text string) bool {
	var p struct {
		X     *int
		Label string
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(&p) == nil && p.X != nil && 0 <= *p.X && *p.X <= 9 && (p.Label == "a" || p.Label == "b")
}

// TestStructures asks an engine over a model of chance for everything that an answer can be held to.
func TestStructures(t *testing.T) {
	s, _ := newToyServer(t)
	matches := func(pattern string) func(string) bool {
		return regexp.MustCompile(`\A(?:` + pattern + `)\z`).MatchString
	}
	for _, c := range []struct {
		path, extra string
		ok          func(string) bool
	}{
		{chatPath, pointFormat, isPoint},
		{chatPath, pointFormat + `,"enable_thinking":true`, isPoint},
		{chatPath, pointFormat + `,"stream":true`, isPoint},
		{chatPath, pointFormat + `,"enable_thinking":true,"thinking_budget":5`, isPoint},
		{chatPath, `"response_format":{"type":"json_object"}`, func(text string) bool {
			var object map[string]any
			return json.Unmarshal([]byte(text), &object) == nil
		}},
		{chatPath, `"guided_json":` + pointSchema, isPoint},
		{chatPath, `"guided_json":` + string(marshal(pointSchema)), isPoint},
		{chatPath, `"structured_outputs":{"json":` + pointSchema + `}`, isPoint},
		{chatPath, `"guided_regex":"[a-f]{3,5}-[0-9]+x"`, matches(`[a-f]{3,5}-[0-9]+x`)},
		{chatPath, `"structured_outputs":{"regex":"(ab|c)*"}`, matches(`(ab|c)*`)},
		{chatPath, `"guided_choice":["hello","help","no \"way\""]`, func(text string) bool {
			return slices.Contains([]string{"hello", "help", `no "way"`}, text)
		}},
		{chatPath, `"guided_grammar":"root ::= item (\", \" item){1,3}\nitem ::= \"hell\" [a-z] | \"ü\""`,
			matches(`(hell[a-z]|ü)(, (hell[a-z]|ü)){1,3}`)},
		{textPath, `"guided_regex":"[a-f]{3,5}"`, matches(`[a-f]{3,5}`)},
		{textPath, pointFormat + `,"max_tokens":40`, isPoint},
		{textPath, `"structured_outputs":{"choice":["yes","no"]}`, matches(`yes|no`)},
		{itemPath, `"text":{"format":{"type":"json_schema","name":"p","schema":` + pointSchema + `}}`, isPoint},
		{itemPath, `"guided_choice":["yes","no"]`, matches(`yes|no`)},
	} {
		for seed := range 12 {
			room := ""
			if seed%2 == 0 && !strings.Contains(c.extra, "max_tokens") {
				room = fmt.Sprintf(`,"%s":%d`, map[string]string{chatPath: "max_tokens", textPath: "max_tokens",
					itemPath: "max_output_tokens"}[c.path], 36+seed)
			}
			body := fmt.Sprintf(`{%s,"seed":%d,"temperature":1%s,%s}`, map[string]string{
				chatPath: `"messages":[{"role":"user","content":"hello"}]`, textPath: `"prompt":"hello"`,
				itemPath: `"input":"hello"`,
			}[c.path], seed, room, c.extra)
			response := post(t, s, c.path, body)
			text := ""
			if c.path == itemPath {
				text = outputText(t, response)
			} else {
				text, _, _ = answer(t, response)
			}
			if !c.ok(text) {
				t.Errorf("%s: %q", body, text)
			}
		}
	}
}

// outputText returns what the messages of a response say.
func outputText(t *testing.T, response string) (text string) {
	t.Helper()
	var r struct {
		Output []struct {
			Type    string
			Content []struct{ Text string }
		}
	}
	if err := json.Unmarshal([]byte(response), &r); err != nil {
		t.Fatalf("%v in %s", err, response)
	}
	for _, item := range r.Output {
		for _, part := range item.Content {
			if item.Type == "message" {
				text += part.Text
			}
		}
	}
	return text
}

// checkPoints fails if a response has calls of other functions, or with other arguments, than
// pointTools describe.
func checkPoints(t *testing.T, body, response string) int {
	t.Helper()
	var r struct {
		Choices []struct {
			Message struct {
				Content string
				Calls   []chatCall `json:"tool_calls"`
			}
		}
	}
	if err := json.Unmarshal([]byte(response), &r); err != nil {
		t.Fatalf("%v in %s", err, response)
	}
	message := r.Choices[0].Message
	for _, call := range message.Calls {
		ok := call.Function.Name == "stop" && strings.Trim(call.Function.Arguments, "{} \n") == "" ||
			call.Function.Name == "point" && isPoint(call.Function.Arguments)
		if !ok {
			t.Errorf("%s: %s", body, response)
		}
	}
	if len(message.Calls) > 0 && strings.Contains(body, "tool_choice") && message.Content != "" {
		t.Errorf("%s: content %q", body, message.Content)
	}
	return len(message.Calls)
}

// TestStructureKeys says that no content makes the key of another with something behind it.
func TestStructureKeys(t *testing.T) {
	var short, long structure
	f := &fields{}
	short.set(f, "guided_regex", "regex", "a", nil)
	long.set(f, "guided_regex", "regex", "a\x00hermes", nil)
	if strings.HasPrefix(long.key, short.key+"\x00") {
		t.Errorf("the key %q begins with %q", long.key, short.key)
	}
}

// TestHeldCalls asks for calls in the dialects of Qwen3 and gpt-oss.
func TestHeldCalls(t *testing.T) {
	toy, _ := newToyServerOf(t, 600)
	gptOSS, _ := harmonyServer(t)
	gptOSS.cfg.Engine, gptOSS.cfg.MaxBody = toy.cfg.Engine, toy.cfg.MaxBody
	named := `"tool_choice":{"type":"function","function":{"name":"point"}},`
	for _, s := range []*Server{toy, gptOSS} {
		for _, extra := range []string{
			`"tool_choice":"required",`, `"tool_choice":"required","parallel_tool_calls":false,`, named,
			`"tool_choice":"required","enable_thinking":true,`, `"tool_choice":"required","max_tokens":90,`,
		} {
			for seed := range 10 {
				body := chatBody(fmt.Sprintf(`%s"seed":%d,"temperature":1,%s`, extra, seed, pointTools))
				n := checkPoints(t, body, post(t, s, chatPath, body))
				if n == 0 || n > 1 && !strings.HasPrefix(extra, `"tool_choice":"required"`) ||
					n > 1 && strings.Contains(extra, "parallel") {
					t.Errorf("%s: %d calls", body, n)
				}
			}
		}
	}
}

// TestFormatOrCalls: with tools that may be called, the answer is what was asked for, or calls.
func TestFormatOrCalls(t *testing.T) {
	toy, _ := newToyServerOf(t, 600)
	gptOSS, _ := harmonyServer(t)
	gptOSS.cfg.Engine, gptOSS.cfg.MaxBody = toy.cfg.Engine, toy.cfg.MaxBody
	strict := strings.ReplaceAll(pointTools, `"name":"`, `"strict":true,"name":"`)
	for _, s := range []*Server{toy, gptOSS} {
		kinds := map[bool]int{}
		for seed := range 30 {
			body := chatBody(fmt.Sprintf(`"seed":%d,"temperature":1,%s,%s`, seed, strict, pointFormat))
			response := post(t, s, chatPath, body)
			content, _, _ := answer(t, response)
			n := checkPoints(t, body, response)
			if (n == 0) == (content == "") || content != "" && !isPoint(content) {
				t.Errorf("%s: %s", body, response)
			}
			kinds[n > 0]++
		}
		if len(kinds) != 2 {
			t.Errorf("calls and contents: %v, want both", kinds)
		}
	}
}

// TestStrictCalls: the model says what it likes, but where it calls a strict function it keeps to the
// schema.
func TestStrictCalls(t *testing.T) {
	toy, _ := newToyServerOf(t, 600)
	gptOSS, _ := harmonyServer(t)
	gptOSS.cfg.Engine, gptOSS.cfg.MaxBody = toy.cfg.Engine, toy.cfg.MaxBody
	strict := strings.ReplaceAll(pointTools, `"name":"`, `"strict":true,"name":"`)
	for name, s := range map[string]*Server{"<tool_call>": toy, "commentary to=": gptOSS} {
		called := 0
		for seed := range 40 {
			// The bias makes calls likely enough to be seen.
			bias := ""
			if name == "<tool_call>" {
				bias = fmt.Sprintf(`"logit_bias":{"%d":5},`, idCall)
			}
			body := chatBody(fmt.Sprintf(`%s"seed":%d,"temperature":1,%s`, bias, seed, strict))
			called += checkPoints(t, body, post(t, s, chatPath, body))
		}
		if called == 0 {
			t.Errorf("no answer with %s calls anything", name)
		}
	}
}
