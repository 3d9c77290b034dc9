package openai

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/conclave-serve/conclave/internal/chat"
)

const (
	// maxMetadata, maxMetadataKey and maxMetadataValue are OpenAI's limits.
	maxMetadata      = 16
	maxMetadataKey   = 64
	maxMetadataValue = 512
)

// responseRequest is a parsed body of /v1/responses.
type responseRequest struct {
	params
	conversation
	response response          // what the answer repeats of the request
	items    []json.RawMessage // of the conversation so far, this request's included
	store    bool
}

// response is the object that /v1/responses answers with.
type response struct {
	ID           string            `json:"id"`
	Object       string            `json:"object"`
	Created      int64             `json:"created_at"`
	Completed    *int64            `json:"completed_at"`
	Status       string            `json:"status"`
	Background   bool              `json:"background"`
	Error        *responseError    `json:"error"`
	Incomplete   *incomplete       `json:"incomplete_details"`
	Instructions *string           `json:"instructions"`
	MaxTokens    *int              `json:"max_output_tokens"`
	MaxCalls     *int              `json:"max_tool_calls"` // always null
	Model        string            `json:"model"`
	Output       []outputItem      `json:"output"`
	Parallel     bool              `json:"parallel_tool_calls"`
	Previous     *string           `json:"previous_response_id"`
	Reasoning    reasoningEcho     `json:"reasoning"`
	ServiceTier  string            `json:"service_tier"`
	Store        bool              `json:"store"`
	Temperature  float32           `json:"temperature"`
	Text         json.RawMessage   `json:"text"`
	ToolChoice   json.RawMessage   `json:"tool_choice"`
	Tools        json.RawMessage   `json:"tools"`
	TopLogprobs  int               `json:"top_logprobs"`
	TopP         float32           `json:"top_p"`
	Truncation   string            `json:"truncation"`
	Usage        *responseUsage    `json:"usage"`
	User         *string           `json:"user"`
	Metadata     map[string]string `json:"metadata"`
}

type responseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type reasoningEcho struct {
	Effort  *string `json:"effort"`
	Summary *string `json:"summary"` // always null: reasoning is shown as it is
}

type responseUsage struct {
	Input        int `json:"input_tokens"`
	InputDetails struct {
		Cached  int `json:"cached_tokens"`
		Written int `json:"cache_write_tokens"` // always 0
	} `json:"input_tokens_details"`
	Output        int `json:"output_tokens"`
	OutputDetails struct {
		Reasoning int `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
	Total int `json:"total_tokens"`
}

// createResponse answers POST /v1/responses.
func (s *Server) createResponse(w http.ResponseWriter, r *http.Request, x *exchange) *apiError {
	f, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	req, err := s.readResponse(f)
	if err != nil {
		return err
	}
	g, err := s.converse(r.Context(), x, req.params, &req.conversation)
	if err != nil {
		return err
	}
	a := &responseAnswer{
		server: s, x: x, req: req, response: req.response, begun: make(map[string]bool),
	}
	if req.stream {
		return a.stream(w, r, g)
	}
	return a.whole(w, r, g)
}

// getResponse answers GET /v1/responses/{id}.
func (s *Server) getResponse(w http.ResponseWriter, r *http.Request, _ *exchange) *apiError {
	if r.URL.Query().Get("stream") == "true" {
		return unsupported("stream",
			"Unsupported parameter: 'stream': a response that has ended is not streamed again.")
	}
	stored, ok := s.responses.get(r.PathValue("id"))
	if !ok {
		return noResponse(r.PathValue("id"))
	}
	writeJSON(w, http.StatusOK, stored.response)
	return nil
}

// deleteResponse answers DELETE /v1/responses/{id}.
func (s *Server) deleteResponse(w http.ResponseWriter, r *http.Request, _ *exchange) *apiError {
	id := r.PathValue("id")
	if !s.responses.delete(id) {
		return noResponse(id)
	}
	writeJSON(w, http.StatusOK, struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Deleted bool   `json:"deleted"`
	}{id, "response", true})
	return nil
}

func noResponse(id string) *apiError {
	return &apiError{
		status: http.StatusNotFound, kind: typeInvalid, param: "response_id",
		code:    "response_not_found",
		message: fmt.Sprintf("Response with id '%s' not found.", clip([]byte(id))),
	}
}

// readResponse parses a body of /v1/responses.
func (s *Server) readResponse(f *fields) (*responseRequest, *apiError) {
	req := &responseRequest{params: s.readParams(f), store: true}
	readMaxTokens(f, &req.params, 1, "max_output_tokens")
	if req.choices != 1 {
		f.fail(unsupported("n", "Unsupported parameter: 'n' other than 1 is not supported."))
	}
	if _, ok := f.get("store"); ok {
		req.store = f.flag("store")
	}
	refusePromptOptions(f)
	refuseResponse(f, &req.structure)
	if f.err == nil {
		f.err = s.needTemplate("input")
	}
	if f.err != nil {
		return nil, f.err
	}
	before := s.readPrevious(f)
	input := readInput(f)
	if f.err != nil {
		return nil, f.err
	}
	// Of its own length, so that two requests may go on from the same response.
	req.items = append(before[:len(before):len(before)], input...)
	req.conversation = conversation{
		field: "input", messages: readItems(f, len(before), req.items),
		tools: s.readTools(f, true), thinking: s.readThinking(f), opening: opening{generate: true},
	}
	req.response = s.echo(f, req)
	return req, f.err
}

// refuseResponse refuses what OpenAI's API has and Conclave has not, and reads the
// form of the answer's text.
func refuseResponse(f *fields, to *structure) {
	f.refuse("background", "is not supported", "false")
	f.refuse("conversation", "is not supported; use 'previous_response_id'")
	f.refuse("prompt", "is not supported; use 'instructions' and 'input'")
	f.refuse("context_management", "is not supported", "[]")
	f.refuse("moderation", "is not supported")
	f.refuse("top_logprobs", "is not supported", "0")
	f.refuse("truncation", "other than \"disabled\" is not supported", `"disabled"`)
	// Reasoning is sent in clear text; a client that wants to send it back may.
	f.refuse("include", "other than [\"reasoning.encrypted_content\"] is not supported", "[]",
		`["reasoning.encrypted_content"]`)
	var text map[string]json.RawMessage
	if f.decode("text", &text, "an object") {
		inner := f.inside("text", text)
		readFormat(inner, to, "format", true)
		inner.refuse("verbosity", "other than \"medium\" is not supported", `"medium"`)
	}
}

// readPrevious returns the items of the response that the request goes on from.
func (s *Server) readPrevious(f *fields) []json.RawMessage {
	id := f.text("previous_response_id")
	if id == "" {
		return nil
	}
	stored, ok := s.responses.get(id)
	if !ok {
		f.fail(&apiError{
			status: http.StatusNotFound, kind: typeInvalid, param: "previous_response_id",
			code: "previous_response_not_found",
			message: fmt.Sprintf("Previous response with id '%s' not found: it was not stored, "+
				"was deleted, or made room for newer ones.", clip([]byte(id))),
		})
	}
	return stored.items
}

// echo returns a response that repeats what was asked for.
func (s *Server) echo(f *fields, req *responseRequest) response {
	optional := func(name string) *string {
		if _, ok := f.get(name); !ok {
			return nil
		}
		text := f.text(name)
		return &text
	}
	raw := func(name, otherwise string) json.RawMessage {
		if value, ok := f.get(name); ok {
			return value
		}
		return json.RawMessage(otherwise)
	}
	r := response{
		ID: "resp_" + s.newID(), Object: "response", Created: s.now().Unix(),
		Status: statusInProgress, Instructions: optional("instructions"), Model: s.cfg.ModelName,
		Output: []outputItem{}, Parallel: req.tools.parallel,
		Previous: optional("previous_response_id"), ServiceTier: "default", Store: req.store,
		Temperature: req.sampling.Temperature, TopP: req.sampling.TopP,
		Text:       raw("text", `{"format":{"type":"text"},"verbosity":"medium"}`),
		ToolChoice: raw("tool_choice", `"auto"`), Tools: raw("tools", "[]"),
		Truncation: "disabled", User: optional("user"), Metadata: readMetadata(f),
	}
	if req.thinking.effort != "" {
		r.Reasoning.Effort = &req.thinking.effort
	}
	if req.maxTokens >= 0 {
		r.MaxTokens = &req.maxTokens
	}
	return r
}

// readMetadata reads metadata, which is sent back.
func readMetadata(f *fields) map[string]string {
	metadata := map[string]string{}
	f.decode("metadata", &metadata, "an object of strings")
	if len(metadata) > maxMetadata {
		f.fail(invalid("metadata", "Invalid 'metadata': at most %d pairs are allowed, got %d.",
			maxMetadata, len(metadata)))
	}
	for key, value := range metadata {
		if len(key) > maxMetadataKey || len(value) > maxMetadataValue {
			f.fail(invalid("metadata", "Invalid 'metadata': keys have at most %d bytes and values "+
				"at most %d.", maxMetadataKey, maxMetadataValue))
		}
	}
	return metadata
}

// readInput reads input, and returns its items.
func readInput(f *fields) []json.RawMessage {
	raw, ok := f.get("input")
	if !ok {
		f.fail(invalid("input", "Missing required parameter: 'input'."))
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []json.RawMessage{marshal(chatTurn{Role: "user", Content: &text})}
	}
	var items []json.RawMessage
	f.decode("input", &items, "a string or an array of items")
	return items
}

// readItems returns the messages that instructions and items amount to. The
// first of the items, so many, were accepted before.
func readItems(f *fields, before int, items []json.RawMessage) []chat.Value {
	t := &turns{fields: f}
	if instructions := f.text("instructions"); instructions != "" {
		t.add(chatTurn{Role: "system", Content: &instructions})
	}
	for i, raw := range items {
		t.item(fmt.Sprintf("input[%d]", i-before), raw)
	}
	if f.err != nil {
		return nil
	}
	turns := t.messages()
	if len(turns) == 0 {
		f.fail(invalid("input", "Invalid 'input': it says nothing."))
		return nil
	}
	messages, err := chat.ParseMessages(marshal(turns))
	if err != nil {
		f.fail(invalid("input", "Invalid 'input': %s.", err))
	}
	return messages
}
