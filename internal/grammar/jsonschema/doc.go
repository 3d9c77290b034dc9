// Package jsonschema turns JSON schemas, draft 2020-12, into grammars of the JSON texts that they
// admit.
//
// It owns the meaning of keywords and the form of the JSON that is written. It knows nothing of
// tokens, models or requests.
//
// A set of schemas applies to one place: what a schema says itself, and what its $ref, allOf and
// the chosen branches of its anyOf and oneOf say. The set is what is compiled, and each set becomes
// one rule; so siblings combine and recursion is a rule that refers to itself.
//
// The texts: properties come in the order in which the schema names them, first those in
// properties, then those in required alone, then others; names of a short list, as patterns may be,
// are listed like those in properties. No name comes twice: others are no listed name, are written
// without needless escapes, and the matcher leaves out those that the object has. White space is
// one blank, or a line feed and up to 24 blanks, behind a bracket, comma or colon, or nothing.
// Numbers fit 64 bits if no bound asks for more; those with bounds have no exponent.
//
// Invariants:
//   - Every text of a compiled schema parses and validates. Of what validates some texts are left
//     out: numbers and constants have one spelling, formats leave out rare forms.
//   - A keyword of the standard that cannot be held to is an [Error] that names it and the schema
//     that has it. Unknown keywords and formats are annotations, as the standard says.
//   - oneOf is taken only where its branches certainly exclude each other.
//   - The work is bounded, whatever the schema. No input panics.
//
// Example:
//
//	x, err := jsonschema.Compile([]byte(`{"properties": {"n": {"type": "integer"}}}`))
//	g, err := grammar.Compile(x, vocabulary)
package jsonschema
