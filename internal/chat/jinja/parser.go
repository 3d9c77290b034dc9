package jinja

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// maxSource bounds a template in bytes; the largest published ones have 30 KB.
	maxSource = 4 << 20
	// maxNesting bounds the nesting of blocks and expressions in a template. Long chains of
	// operators count as nesting, since evaluation descends into them.
	maxNesting = 500
)

// parser builds the tree. Its grammar is that of jinja2/parser.py.
type parser struct {
	name   string
	tokens []token
	pos    int
	depth  int
	loops  int         // loops around this place inside the current macro
	macros []*macroDef // macros around this place
}

// Parse reads the template src; name is used in errors.
func Parse(src, name string) (t *Template, err error) {
	defer recoverFault(&err, name)
	if len(src) > maxSource {
		message := fmt.Sprintf("template is larger than %d bytes", maxSource)
		return nil, &Error{Template: name, Line: 1, Message: message, Err: ErrLimit}
	}
	p := &parser{name: name, tokens: lex(src, name)}
	body := p.statements()
	return &Template{name: name, body: body}, nil
}

func (p *parser) cur() token { return p.tokens[p.pos] }

func (p *parser) look() token { return p.tokens[min(p.pos+1, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.cur()
	if t.kind != tokEOF {
		p.pos++
	}
	return t
}

func (p *parser) fail(line int, format string, a ...any) {
	panic(fault{&Error{Template: p.name, Line: line, Message: fmt.Sprintf(format, a...)}})
}

// enter guards a recursion; use as defer p.enter()().
func (p *parser) enter() func() {
	p.deepen()
	return func() { p.depth-- }
}

func (p *parser) deepen() {
	p.depth++
	if p.depth > maxNesting {
		panic(fault{&Error{
			Template: p.name, Line: p.cur().line, Message: "template is nested too deeply", Err: ErrLimit,
		}})
	}
}

func (p *parser) isOp(op string) bool { return p.cur().is(tokOperator, op) }

func (p *parser) isWord(word string) bool { return p.cur().is(tokName, word) }

func (p *parser) skipOp(op string) bool {
	if p.isOp(op) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) skipWord(word string) bool {
	if p.isWord(word) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) expectOp(op string) {
	if !p.skipOp(op) {
		p.fail(p.cur().line, "expected '%s', got %s", op, p.cur().describe())
	}
}

func (p *parser) expectWord(word string) {
	if !p.skipWord(word) {
		p.fail(p.cur().line, "expected '%s', got %s", word, p.cur().describe())
	}
}

func (p *parser) expectName() string {
	if t := p.cur(); t.kind != tokName {
		p.fail(t.line, "expected a name, got %s", t.describe())
	}
	return p.next().text
}

func (p *parser) expect(kind tokenKind) {
	if t := p.cur(); t.kind != kind {
		p.fail(t.line, "expected %s, got %s", token{kind: kind}.describe(), t.describe())
	}
	p.pos++
}

// statements parses up to one of the end tags, which is left as the current token, or to the end of
// the template if there are none.
func (p *parser) statements(ends ...string) []stmt {
	defer p.enter()()
	first := p.cur().line
	var body []stmt
	for {
		t := p.next()
		switch t.kind {
		case tokEOF:
			if len(ends) > 0 {
				p.fail(t.line, "unexpected end of template: %s missing for the block of line %d",
					strings.Join(ends, " or "), first)
			}
			return body
		case tokData:
			body = append(body, &dataStmt{literal(t.text)})
		case tokOutputBegin:
			body = append(body, &outputStmt{x: p.tuple(true), line: t.line})
			p.expect(tokOutputEnd)
		case tokBlockBegin:
			if p.cur().kind == tokName && slices.Contains(ends, p.cur().text) {
				return body
			}
			body = append(body, p.statement())
			p.expect(tokBlockEnd)
		default:
			p.fail(t.line, "unexpected %s", t.describe())
		}
	}
}

// block parses the end of an opening tag and the body up to an end tag, and moves past its name.
func (p *parser) block(ends ...string) (body []stmt, end string) {
	p.skipOp(":")
	p.expect(tokBlockEnd)
	body = p.statements(ends...)
	return body, p.next().text
}

func (p *parser) statement() stmt {
	t := p.cur()
	if t.kind != tokName {
		p.fail(t.line, "tag name expected, got %s", t.describe())
	}
	p.pos++
	switch t.text {
	case "if":
		return p.ifBlock(t.line)
	case "for":
		return p.forBlock(t.line)
	case "set":
		return p.set(t.line)
	case "macro":
		return p.macro(t.line)
	case "call":
		return p.call(t.line)
	case "filter":
		return p.filterBlock(t.line)
	case "with":
		return p.with(t.line)
	case "generation":
		return &scopeStmt{p.isolated("endgeneration")}
	case "break", "continue":
		if p.loops == 0 {
			p.fail(t.line, "'%s' outside a loop", t.text)
		}
		if t.text == "break" {
			return &breakStmt{}
		}
		return &continueStmt{}
	case "block", "extends", "include", "import", "from", "autoescape", "print":
		p.fail(t.line, "unsupported tag '%s'", t.text)
	}
	p.fail(t.line, "unknown tag '%s'", t.text)
	return nil
}

// isolated parses a block that break and continue cannot leave.
func (p *parser) isolated(end string) []stmt {
	loops := p.loops
	p.loops = 0
	body, _ := p.block(end)
	p.loops = loops
	return body
}

func (p *parser) ifBlock(line int) stmt {
	s := &ifStmt{}
	for {
		test := p.tuple(false)
		body, end := p.block("elif", "else", "endif")
		s.branches = append(s.branches, branch{test: test, body: body, line: line})
		line = p.cur().line
		switch end {
		case "else":
			s.other, _ = p.block("endif")
			return s
		case "endif":
			return s
		}
	}
}

func (p *parser) forBlock(line int) stmt {
	s := &forStmt{line: line}
	s.target = p.target("in")
	p.expectWord("in")
	s.iter = p.tuple(false, "recursive")
	if p.skipWord("if") {
		s.where = p.expression()
	}
	s.recursive = p.skipWord("recursive")
	p.loops++
	body, end := p.block("endfor", "else")
	p.loops--
	s.body = body
	if end == "else" {
		s.other, _ = p.block("endfor")
	}
	return s
}

func (p *parser) set(line int) stmt {
	target := p.target("")
	if p.skipOp("=") {
		return &setStmt{target: target, value: p.tuple(true), line: line}
	}
	var filter expr
	if p.isOp("|") {
		filter = p.filters(nil)
	}
	body, _ := p.block("endset")
	return &setBlockStmt{target: target, filter: filter, body: body, line: line}
}

func (p *parser) macro(line int) stmt {
	m := &macroDef{name: p.expectName(), line: line}
	p.signature(m)
	m.body = p.macroBody(m, "endmacro")
	return &macroStmt{m}
}

func (p *parser) macroBody(m *macroDef, end string) []stmt {
	p.macros = append(p.macros, m)
	body := p.isolated(end)
	p.macros = p.macros[:len(p.macros)-1]
	return body
}

func (p *parser) signature(m *macroDef) {
	p.expectOp("(")
	for !p.isOp(")") {
		if len(m.params) > 0 {
			p.expectOp(",")
		}
		m.params = append(m.params, p.expectName())
		if p.skipOp("=") {
			m.defaults = append(m.defaults, p.expression())
		} else if len(m.defaults) > 0 {
			p.fail(p.cur().line, "parameter without default follows one with a default")
		}
	}
	p.expectOp(")")
}

func (p *parser) call(line int) stmt {
	m := &macroDef{name: "caller", line: line}
	if p.isOp("(") {
		p.signature(m)
	}
	call, ok := p.expression().(*callExpr)
	if !ok {
		p.fail(line, "call block without a call")
	}
	m.body = p.macroBody(m, "endcall")
	return &callStmt{call: call, caller: m}
}

func (p *parser) filterBlock(line int) stmt {
	filter := p.filters(p.filter(nil))
	body, _ := p.block("endfilter")
	return &filterStmt{filter: filter, body: body, line: line}
}

func (p *parser) with(line int) stmt {
	s := &withStmt{line: line}
	for p.cur().kind != tokBlockEnd && !p.isOp(":") {
		if len(s.targets) > 0 {
			p.expectOp(",")
		}
		s.targets = append(s.targets, p.target(""))
		p.expectOp("=")
		s.values = append(s.values, p.expression())
	}
	s.body, _ = p.block("endwith")
	return s
}

// target parses the left side of an assignment: names, and tuples of them, up to the word end.
func (p *parser) target(end string) expr {
	line := p.cur().line
	var items []expr
	isTuple := false
	for !p.tupleEnd(end) && !p.isOp("=") {
		items = append(items, p.targetItem())
		if !p.skipOp(",") {
			break
		}
		isTuple = true
	}
	switch {
	case len(items) == 0:
		p.fail(line, "expected an assignment target, got %s", p.cur().describe())
	case !isTuple:
		return items[0]
	}
	return &tupleExpr{items}
}

func (p *parser) targetItem() expr {
	defer p.enter()()
	if p.skipOp("(") {
		t := p.target("")
		p.expectOp(")")
		return t
	}
	line := p.cur().line
	name := p.expectName()
	switch name {
	case "true", "false", "none", "True", "False", "None", "loop":
		p.fail(line, "cannot assign to '%s'", name)
	}
	if p.isOp(".") && p.look().kind == tokName {
		p.pos++
		return &nsTarget{name: name, attr: p.expectName()}
	}
	return &nameExpr{name}
}
