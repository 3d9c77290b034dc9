// Package chat turns conversations into prompts and output text into answers.
//
// It owns the checkpoint's chat template (found, parsed and rendered exactly as transformers
// renders it), the conversion of request JSON to template values, and the split of output into
// reasoning and content. It knows nothing of tokens, HTTP or the engine. The template language
// itself is in the subpackage jinja.
//
// Invariants:
//   - The concatenated spans of a rendering are byte for byte what apply_chat_template of
//     transformers gives for the same values.
//   - A span that holds user text has Input set; a span without Input holds only text of the
//     template, special tokens of the checkpoint and the well-known role names. A caller that
//     encodes Input spans as plain text therefore never lets a user write a control token.
//   - Remote input never panics and cannot hang rendering.
//
// Example:
//
//	t, err := chat.Load(dir)
//	messages, err := chat.ParseMessages(request.Messages)
//	spans, err := t.Render(chat.Input{Messages: messages, AddGenerationPrompt: true})
package chat
