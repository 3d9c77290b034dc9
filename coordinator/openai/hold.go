package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/tokenizer"
)

// held is what answers are held to: tokens that are forced, and behind the last
// of them a grammar.
type held struct {
	force   []engine.Forced
	grammar *grammar.Grammar // nil: none
}

// newGrammars returns the cache of the grammars of a tokenizer's texts. Control
// tokens are no text: they come where a grammar names them.
func newGrammars(t *tokenizer.Tokenizer, c *controls) *grammar.Cache {
	texts := make([][]byte, t.Size())
	for id := range int32(t.Size()) {
		if _, control := c.text[id]; !control {
			texts[id] = t.Bytes(id)
		}
	}
	return grammar.NewCache(grammar.NewVocabulary(t.Size(), func(id int32) []byte {
		return texts[id]
	}))
}

// grammar returns a compiled grammar; field is what asks for it, and t has the
// functions that it lets the answer call.
func (s *Server) grammar(ctx context.Context, field string, t *toolset, key string,
	build func() (*grammar.Expr, error),
) (*grammar.Grammar, *apiError) {
	g, err := s.grammars().Get(ctx, key, build)
	switch {
	case err == nil:
		return g, nil
	case ctx.Err() != nil:
		return nil, fromEngine(ctx.Err(), field)
	}
	var tool *chat.ToolError
	if errors.As(err, &tool) && t != nil {
		field, err = fmt.Sprintf(t.schemas, t.place(tool.Tool)), tool.Err
	}
	return nil, refuseGrammar(field, err)
}

// holdText returns what a text completion is held to.
func (s *Server) holdText(ctx context.Context, t *structure) (held, *apiError) {
	if t.field == "" {
		return held{}, nil
	}
	g, err := s.grammar(ctx, t.field, nil, t.key, t.build)
	return held{[]engine.Forced{{After: -1}}, g}, err
}

// hold returns what the answer of a conversation is held to, behind its reasoning.
func (s *Server) hold(ctx context.Context, p *params, c *conversation, ids []int32) (
	held, *apiError,
) {
	switch {
	case c.tools.required:
		return s.holdCalls(ctx, &c.tools, ids)
	case p.structure.field == "":
		return s.holdStrict(ctx, c, ids)
	case c.opening.resume || !c.opening.generate:
		return s.holdText(ctx, &p.structure)
	}
	return s.holdContent(ctx, &p.structure, &c.tools, ids)
}

// holdContent makes the answer what t asks for, or calls of functions.
func (s *Server) holdContent(ctx context.Context, t *structure, tools *toolset, ids []int32) (
	held, *apiError,
) {
	entries := s.dialect.ForceContent(ids, s.controls)
	field, key, build := t.field, t.key, t.build
	if len(tools.known) > 0 && s.dialect.Tools() {
		entries = s.dialect.ForceAnswer(ids, s.controls)
		rules := tools.rules(s.controls, ids, false)
		key += "\x00" + s.callsKey(rules)
		build = func() (*grammar.Expr, error) {
			content, err := t.build()
			if err != nil {
				return nil, err
			}
			return s.dialect.ContentOrCalls(content, rules)
		}
	}
	return s.held(ctx, field, tools, key, entries, build)
}

// held returns what an answer is held to: entries of its dialect, and what build
// returns behind them.
func (s *Server) held(ctx context.Context, field string, tools *toolset, key string,
	entries []chat.Forced, build func() (*grammar.Expr, error),
) (held, *apiError) {
	entries, wrap := s.dialect.Through(s.controls, entries)
	force, refused := s.forced(field, entries)
	if refused != nil {
		return held{}, refused
	}
	g, refused := s.grammar(ctx, field, tools, "behind reasoning\x00"+key,
		func() (*grammar.Expr, error) {
			x, err := build()
			if err != nil {
				return nil, err
			}
			return wrap(x), nil
		})
	return held{force, g}, refused
}

// holdCalls makes the answer a call, or several, that keep to their functions'
// schemas.
func (s *Server) holdCalls(ctx context.Context, t *toolset, ids []int32) (held, *apiError) {
	rules := t.rules(s.controls, ids, true)
	name := ""
	if len(rules.Tools) == 1 {
		name = rules.Tools[0].Name
		rules.Named = true
	}
	entries := s.dialect.ForceCall(ids, s.controls, name)
	if len(entries) == 0 {
		return held{}, unsupported("tool_choice", "The model '%s' cannot be made to call a function; "+
			"use \"auto\".", s.cfg.ModelName)
	}
	return s.held(ctx, "tool_choice", t, "calls\x00"+s.callsKey(rules), entries,
		func() (*grammar.Expr, error) { return s.dialect.RestOfCalls(rules) })
}

// holdStrict holds calls to their schemas where functions ask for it, but lets
// the model say what it likes before and instead.
func (s *Server) holdStrict(ctx context.Context, c *conversation, ids []int32) (held, *apiError) {
	if !slices.Contains(c.tools.strict, true) || !c.opening.generate || s.dialect == nil {
		return held{}, nil
	}
	rules := c.tools.rules(s.controls, ids, false)
	if !s.dialect.Holds(rules) {
		return held{}, nil // where a call begins cannot be told from text
	}
	return s.held(ctx, "tools", &c.tools, "strict\x00"+s.callsKey(rules),
		s.dialect.ForceAnswer(ids, s.controls),
		func() (*grammar.Expr, error) { return s.dialect.TextAndCalls(rules) })
}

// rules returns which calls an answer may make. Those that it need not make are
// held to their schemas only if these are strict.
func (t *toolset) rules(v chat.Vocabulary, ids []int32, required bool) chat.CallRules {
	r := chat.CallRules{Vocabulary: v, Prompt: ids, Parallel: t.parallel && t.name == ""}
	for i, tool := range t.known {
		if t.name != "" && tool.Name != t.name {
			continue
		}
		tool.Loose = !required && !t.strict[i]
		r.Tools = append(r.Tools, tool)
	}
	return r
}

// place returns where among all tools the one is that is at i among those that
// may be called.
func (t *toolset) place(i int) int {
	if t.name == "" {
		return i
	}
	return slices.IndexFunc(t.known, func(known chat.Tool) bool { return known.Name == t.name })
}

// callsKey says all that the grammar of calls depends on.
func (s *Server) callsKey(r chat.CallRules) string {
	type tool struct {
		Name       string
		Parameters json.RawMessage
		Loose      bool
	}
	tools := make([]tool, len(r.Tools))
	for i, t := range r.Tools {
		tools[i] = tool{t.Name, t.Parameters, t.Loose}
	}
	return fmt.Sprintf("%s %t %t %d %s", s.dialect.Name(), r.Parallel, r.Named,
		s.dialect.FirstCall(r), marshal(tools))
}

// entries returns what one completion of so many tokens is held to. What comes
// before the grammar leaves it the tokens that its shortest text takes.
func (h *held) entries(room int) []engine.Forced {
	if h.grammar == nil {
		return h.force
	}
	force := slices.Clone(h.force)
	last := &force[len(force)-1]
	last.Then = h.grammar.NewMatcher()
	spare := room - h.grammar.Shortest() - 1
	for _, entry := range force {
		spare -= len(entry.Tokens)
	}
	if last.After >= 0 && spare > 0 && (last.Limit == 0 || last.Limit > spare) {
		last.Limit = spare
	}
	return force
}
