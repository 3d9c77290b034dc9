// Package openai is the coordinator's HTTP front: the OpenAI API over an
// engine that completes token sequences.
//
// It owns the request and response formats, server-sent events, stop strings,
// the split of reasoning from content, health endpoints and the metrics of
// requests. It must not know how a token is computed, batched or placed: an
// [Engine] is all it sees of the rest of the coordinator.
//
// The way of a request: access.go (id, log, metrics) → chat.go or
// completions.go (JSON to job, params.go for what they share) → prompt.go
// (text to ids) → generation.go (run every choice, in order of arrival) →
// choice.go (token → text → stop string → reasoning and content) → stream.go
// or one JSON object.
//
// Invariants:
//   - Every response that is not a success has the shape
//     {"error": {"message", "type", "param", "code"}}; errors.go is the only
//     place that turns errors into status codes.
//   - A known field with a wrong type or value, or one that asks for something
//     Conclave cannot do, is refused by name. Fields nobody knows are ignored,
//     as OpenAI's clients expect.
//   - Text that a user sent never becomes a control token of a chat prompt.
//   - Text at and after a stop string never leaves the server, nor does any
//     prefix of one before it is known not to be a stop string.
//   - A request's goroutines and its work in the engine end with its handler.
//
// Example:
//
//	api, err := openai.New(openai.Config{ModelName: name, Spec: spec, Tokenizer: tok,
//		Template: template, Engine: eng, Registry: registry, Log: log})
//	if err != nil {
//		return err
//	}
//	server := http.Server{Handler: api.Handler()}
package openai
