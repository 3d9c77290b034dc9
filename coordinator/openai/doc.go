// Package openai is the coordinator's HTTP front: the OpenAI API over an
// engine that completes token sequences.
//
// It owns the request and response formats, server-sent events, stop strings,
// what is forced on the model (calls, the end of reasoning), the responses that
// are kept for later requests, health endpoints and the metrics of requests. It
// must not know how a token is computed, batched or placed, nor how a family of
// models writes reasoning and calls: an [Engine] and a dialect of package chat
// are all it sees of them.
//
// The way of a request: cors.go → access.go (id, log, metrics) → keys.go →
// deadline.go → completions.go, conversation.go for chats, or responses.go (JSON
// to a job; params.go, options.go, length.go and structure.go for what they share,
// history.go, tools.go, thinking.go and opening.go for conversations) →
// prompt.go (text to ids) → hold.go (what the answer is held to) →
// generation.go (run every choice, in order of arrival) → choice.go (token →
// text → stop string → the dialect's parser: reasoning, content, calls) →
// chat.go or responses_answer.go, and stream.go or one JSON object.
//
// Invariants:
//   - Every response that is not a success has the shape
//     {"error": {"message", "type", "param", "code"}}; errors.go is the only
//     place that turns errors into status codes.
//   - A known field with a wrong type or value, or one that asks for something
//     Conclave cannot do, is refused by name. Fields nobody knows are ignored,
//     as OpenAI's clients expect.
//   - Text that a user sent never becomes a control token of a chat prompt, nor
//     of what is forced.
//   - Text at and after a stop string never leaves the server, nor does any
//     prefix of one before it is known not to be a stop string; but for the stop
//     string itself, if the request wants that.
//   - An answer that is held to a schema, pattern or grammar keeps to it, whatever
//     ends it, if its shortest form fits in the tokens it may have.
//   - A request's goroutines and its work in the engine end with its handler.
//   - Where there are keys, nothing but health and metrics is answered without
//     one. Keys are kept and compared as hashes, and never logged.
//   - What is stored is bounded in number and in bytes.
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
