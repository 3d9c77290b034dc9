// Package jinja renders chat templates: the part of Jinja2 that published checkpoints use,
// with the results that Python's Jinja2 gives under the settings of transformers (immutable
// sandbox, trim_blocks, lstrip_blocks, loop controls, plain JSON tojson, autoescape off).
//
// It owns the template language: lexer, parser, evaluator and an ordered, Python-like value type.
// It knows nothing of models, tokens, requests or files; the clock comes in with the context.
//
// Invariants:
//   - A construct that is not supported is refused by Parse with the template's name and the line,
//     never skipped.
//   - Every string knows which of its bytes came from outside the template (Span.Input). Literal
//     text of the template is never Input, text made from an Input value always is: slices,
//     concatenations, replacements, JSON and printed containers keep the marks byte by byte, other
//     transformations mark the whole result when any part of the source was marked.
//   - Values are immutable, except the attributes of a namespace; a Template may be rendered by
//     many goroutines at once.
//   - A template cannot hang or exhaust the process: nesting, evaluation steps, bytes produced and
//     output size are bounded (Limits), and no panic leaves the package.
//
// Two corners differ from Jinja2 on purpose. It folds constant expressions when it compiles, by
// which an error in one may become undefined ({{ true[1:] }}); here it is an error. And a name that
// the caller gave, is read only inside a loop or macro, and is assigned further down is undefined
// in that loop there; here it is the caller's value.
//
// Example:
//
//	t, err := jinja.Parse("{{ '<|im_start|>' + name }}", "chat_template")
//	vars := map[string]jinja.Value{"name": jinja.InputString("x")}
//	spans, err := t.Render(jinja.Context{Vars: vars})
//	// spans: {"<|im_start|>", false}, {"x", true}
package jinja
