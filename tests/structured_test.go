package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	oracle "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/dlclark/regexp2"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/coordinator/openai"
	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/internal/demo"
	"github.com/conclave-serve/conclave/internal/tokenizer"
)

// serveDemo serves the demo model over HTTP, its experts on a worker behind
// gRPC.
func serveDemo(t *testing.T) *httptest.Server {
	t.Helper()
	dir, err := demo.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, dir, 1)
	tok, err := tokenizer.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	template, err := chat.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Config{
		Model: c.model, Cache: c.cache, Session: c.dispatcher, Vocab: c.spec.Vocab, Tokens: tok.Size(),
		Context: c.spec.MaxPositions, MaxRows: testMaxRows, MaxLogits: 64, MaxRunning: 32, MaxWaiting: 256,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	s, err := openai.New(openai.Config{
		ModelName: demo.Name, Spec: c.spec, Tokenizer: tok, Template: template, Engine: readyEngine{e},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return server
}

// schemas returns 320 random schemas, one a line of a file.
func schemas(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../internal/grammar/jsonschema/testdata/schemas.txt")
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(list) < 300 {
		t.Fatalf("%d schemas", len(list))
	}
	return list
}

type ecmaPattern regexp2.Regexp

func (p *ecmaPattern) MatchString(s string) bool {
	ok, err := (*regexp2.Regexp)(p).MatchString(s)
	return ok && err == nil
}

func (p *ecmaPattern) String() string { return (*regexp2.Regexp)(p).String() }

// checkSchema validates a text by another implementation of JSON Schema.
func checkSchema(schema, text string) error {
	c := oracle.NewCompiler()
	c.DefaultDraft(oracle.Draft2020)
	c.AssertFormat()
	c.UseRegexpEngine(func(s string) (oracle.Regexp, error) {
		re, err := regexp2.Compile(s, regexp2.ECMAScript)
		return (*ecmaPattern)(re), err
	})
	doc, err := oracle.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		return err
	}
	if err := c.AddResource("schema.json", doc); err != nil {
		return err
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		return err
	}
	if !json.Valid([]byte(text)) {
		return fmt.Errorf("%q is no JSON", text)
	}
	value, err := oracle.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(value)
}

// said is what a chat completion says.
type said struct {
	content, arguments, finish string
}

// ask posts a chat completion.
func askChat(ctx context.Context, server *httptest.Server, body string) (said, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/v1/chat/completions",
		strings.NewReader(body))
	if err != nil {
		return said{}, err
	}
	response, err := server.Client().Do(request)
	if err != nil {
		return said{}, err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return said{}, err
	}
	if response.StatusCode != http.StatusOK {
		return said{}, fmt.Errorf("status %d: %s", response.StatusCode, raw)
	}
	var answer struct {
		Choices []struct {
			Message struct {
				Content string
				Calls   []struct {
					Function struct{ Arguments string }
				} `json:"tool_calls"`
			}
			Finish string `json:"finish_reason"`
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return said{}, fmt.Errorf("%w in %s", err, raw)
	}
	if len(answer.Choices) != 1 {
		return said{}, fmt.Errorf("%d choices in %s", len(answer.Choices), raw)
	}
	c := answer.Choices[0]
	out := said{content: c.Message.Content, finish: c.Finish}
	if len(c.Message.Calls) > 0 {
		out.arguments = c.Message.Calls[0].Function.Arguments
	}
	return out, nil
}

// each calls f for all of list, several at a time.
func each(list []string, f func(i int, item string)) {
	const atOnce = 24
	var group sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for i, item := range list {
		places <- struct{}{}
		group.Go(func() {
			f(i, item)
			<-places
		})
	}
	group.Wait()
}

// TestStructuredOutput asks the demo model for 320 schemas at temperature 1: every answer parses and
// validates, also where the tokens run out.
func TestStructuredOutput(t *testing.T) {
	server := serveDemo(t)
	var cut atomic.Int32
	each(schemas(t), func(i int, schema string) {
		body := fmt.Sprintf(`{"messages":[{"role":"user","content":"Answer in JSON."}],"temperature":1,"seed":%d,`+
			`"max_tokens":%d,"response_format":{"type":"json_schema","json_schema":{"name":"s","strict":true,"schema":%s}}}`,
			i, 150, schema)
		answer, err := askChat(t.Context(), server, body)
		if err == nil {
			err = checkSchema(schema, answer.content)
		}
		if err != nil {
			t.Errorf("%s: %q: %v", schema, answer.content, err)
		}
		if answer.finish == "length" {
			cut.Add(1)
		}
	})
	t.Logf("%d of %d answers ended with their last token", cut.Load(), len(schemas(t)))
}

// TestStructuredCalls asks the demo model for calls of functions with these schemas.
func TestStructuredCalls(t *testing.T) {
	server := serveDemo(t)
	const functions = 16 // their schemas are prompts of a thousand tokens
	var objects []string
	for _, schema := range schemas(t) {
		if len(objects) < functions && strings.HasPrefix(schema, `{"type":"object"`) {
			objects = append(objects, schema)
		}
	}
	each(objects, func(i int, schema string) {
		body := fmt.Sprintf(`{"messages":[{"role":"user","content":"Call it."}],"temperature":1,"seed":%d,"max_tokens":150,`+
			`"tool_choice":"required","parallel_tool_calls":false,"tools":[{"type":"function","function":{"name":"f",`+
			`"parameters":%s}}]}`, i, schema)
		answer, err := askChat(t.Context(), server, body)
		if err == nil {
			err = checkSchema(schema, answer.arguments)
		}
		if err != nil {
			t.Errorf("%s: %q: %v", schema, answer.arguments, err)
		}
	})
}
