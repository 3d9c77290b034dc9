// Package chat turns conversations into prompts and the model's text into answers.
//
// It owns the checkpoint's chat template (found, parsed and rendered exactly as transformers
// renders it), the conversion of request JSON to template values, and the dialects: how a family of
// models writes reasoning and tool calls, how its answers are taken apart, how a call is forced and
// which texts are calls that keep to their functions' schemas.
// It knows token ids only as names of control tokens, and nothing of HTTP or the engine. The
// template language itself is in the subpackage jinja.
//
// Invariants:
//   - For the same values the concatenated spans of a rendering are byte for byte what
//     apply_chat_template of transformers gives. Before that a conversation in OpenAI's form gets
//     the form that the template expects; adapt lists what changes.
//   - A span that holds user text has Input set; a span without Input holds only text of the
//     template, special tokens of the checkpoint and the well-known role names. A caller that
//     encodes Input spans as plain text therefore never lets a user write a control token.
//   - However an answer is cut into pieces, a Parser's parts add up to the same reasoning, content
//     and calls. A control token that the vocabulary has is recognised by its id only.
//   - What looks like a call and is none is content: a malformed call never vanishes. Once a call's
//     name is out, the rest of it goes to its arguments, whatever it is.
//   - What Calls and its like describe, the Parser of the dialect reads as just that: calls of the
//     functions that are offered, with arguments that their schemas admit.
//   - Remote input never panics and cannot hang rendering or parsing.
//
// Example:
//
//	t, err := chat.Load(dir)
//	messages, err := chat.ParseMessages(request.Messages)
//	spans, err := t.Render(chat.Input{Messages: messages, AddGenerationPrompt: true})
//	p := t.Dialect().NewParser(chat.ParserConfig{Vocabulary: v, Prompt: ids, Tools: tools})
//	parts := p.Text("<think>hm</think>Hi") // {Reasoning: "hm"}, {Content: "Hi"}
package chat
