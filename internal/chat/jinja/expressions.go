package jinja

import (
	"math/big"
	"slices"
	"strconv"
)

// tupleEnd reports whether an open list of expressions ends here.
func (p *parser) tupleEnd(end string) bool {
	k := p.cur().kind
	return k == tokOutputEnd || k == tokBlockEnd || p.isOp(")") || end != "" && p.isWord(end)
}

// tuple parses one expression, or several with commas into a tuple, up to the word end (optional).
func (p *parser) tuple(conditional bool, end ...string) expr {
	word := ""
	if len(end) > 0 {
		word = end[0]
	}
	items, isTuple := p.tupleItems(conditional, word)
	switch {
	case isTuple:
		return &tupleExpr{items}
	case len(items) == 0:
		p.fail(p.cur().line, "expected an expression, got %s", p.cur().describe())
	}
	return items[0]
}

func (p *parser) tupleItems(conditional bool, end string) (items []expr, isTuple bool) {
	for !p.tupleEnd(end) {
		if conditional {
			items = append(items, p.expression())
		} else {
			items = append(items, p.or())
		}
		if !p.skipOp(",") {
			break
		}
		isTuple = true
	}
	return items, isTuple
}

// expression parses a full expression; precedence rises with each function below.
func (p *parser) expression() expr {
	defer p.enter()()
	x := p.or()
	for p.skipWord("if") {
		p.deepen()
		c := &condExpr{then: x, test: p.or()}
		if p.skipWord("else") {
			c.other = p.expression()
		}
		x = c
	}
	return x
}

func (p *parser) or() expr {
	return p.chain(p.and, func() (string, bool) { return "or", p.skipWord("or") },
		func(_ string, l, r expr) expr { return &logicExpr{and: false, l: l, r: r} })
}

func (p *parser) and() expr {
	return p.chain(p.not, func() (string, bool) { return "and", p.skipWord("and") },
		func(_ string, l, r expr) expr { return &logicExpr{and: true, l: l, r: r} })
}

// chain parses operands joined by left-associative operators.
func (p *parser) chain(
	operand func() expr, operator func() (string, bool), join func(op string, l, r expr) expr,
) expr {
	depth := p.depth
	defer func() { p.depth = depth }()
	x := operand()
	for {
		op, ok := operator()
		if !ok {
			return x
		}
		p.deepen()
		x = join(op, x, operand())
	}
}

func (p *parser) not() expr {
	if p.skipWord("not") {
		defer p.enter()()
		return &notExpr{p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	x := p.sum()
	var ops []compareOp
	for {
		t := p.cur()
		op := ""
		switch {
		case t.kind == tokOperator && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.text):
			p.pos++
			op = t.text
		case p.skipWord("in"):
			op = "in"
		case p.isWord("not") && p.look().is(tokName, "in"):
			p.pos += 2
			op = "notin"
		case len(ops) == 0:
			return x
		default:
			return &compareExpr{first: x, ops: ops}
		}
		ops = append(ops, compareOp{op: op, x: p.sum()})
	}
}

func (p *parser) anyOp(ops ...string) func() (string, bool) {
	return func() (string, bool) {
		t := p.cur()
		if t.kind == tokOperator && slices.Contains(ops, t.text) {
			p.pos++
			return t.text, true
		}
		return "", false
	}
}

func binary(op string, l, r expr) expr { return &binaryExpr{op: op, l: l, r: r} }

func (p *parser) sum() expr { return p.chain(p.concat, p.anyOp("+", "-"), binary) }

func (p *parser) concat() expr {
	parts := []expr{p.product()}
	for p.skipOp("~") {
		parts = append(parts, p.product())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return &concatExpr{parts}
}

func (p *parser) product() expr { return p.chain(p.power, p.anyOp("*", "/", "//", "%"), binary) }

func (p *parser) power() expr {
	return p.chain(func() expr { return p.unary(true) }, p.anyOp("**"), binary)
}

func (p *parser) unary(filters bool) expr {
	defer p.enter()()
	var x expr
	if op, ok := p.anyOp("-", "+")(); ok {
		x = &unaryExpr{op: op, x: p.unary(false)}
	} else {
		x = p.primary()
	}
	x = p.postfix(x)
	if filters {
		x = p.filters(x)
	}
	return x
}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case tokName:
		return p.nameOrConst(t.text)
	case tokString:
		s := t.text
		for p.cur().kind == tokString {
			s += p.next().text
		}
		return &constExpr{LiteralString(s)}
	case tokInt:
		i, ok := new(big.Int).SetString(t.text, 0)
		if !ok || i.BitLen() > maxIntBits {
			p.fail(t.line, "invalid integer %s", t.text)
		}
		return &constExpr{BigInt(i)}
	case tokFloat:
		f, _ := strconv.ParseFloat(t.text, 64) // out of range is inf, as in Python
		return &constExpr{Float(f)}
	case tokOperator:
		switch t.text {
		case "(":
			return p.parenthesis()
		case "[":
			return &listExpr{p.list("]")}
		case "{":
			return p.dict()
		}
	}
	p.fail(t.line, "unexpected %s", t.describe())
	return nil
}

func (p *parser) nameOrConst(name string) expr {
	switch name {
	case "true", "True":
		return &constExpr{Bool(true)}
	case "false", "False":
		return &constExpr{Bool(false)}
	case "none", "None":
		return &constExpr{Value{}}
	}
	for _, m := range p.macros {
		m.usesCaller = m.usesCaller || name == "caller"
		m.usesVarargs = m.usesVarargs || name == "varargs"
		m.usesKwargs = m.usesKwargs || name == "kwargs"
	}
	return &nameExpr{name}
}

func (p *parser) parenthesis() expr {
	items, isTuple := p.tupleItems(true, "")
	p.expectOp(")")
	if isTuple || len(items) == 0 {
		return &tupleExpr{items}
	}
	return items[0]
}

func (p *parser) list(closing string) []expr {
	var items []expr
	for !p.isOp(closing) {
		items = append(items, p.expression())
		if !p.skipOp(",") {
			break
		}
	}
	p.expectOp(closing)
	return items
}

func (p *parser) dict() expr {
	d := &dictExpr{}
	for !p.isOp("}") {
		d.keys = append(d.keys, p.expression())
		p.expectOp(":")
		d.values = append(d.values, p.expression())
		if !p.skipOp(",") {
			break
		}
	}
	p.expectOp("}")
	return d
}

// postfix parses .name, [index] and (arguments) after x.
func (p *parser) postfix(x expr) expr {
	depth := p.depth
	defer func() { p.depth = depth }()
	for {
		line := p.cur().line
		switch {
		case p.skipOp("."):
			x = p.attribute(x)
		case p.skipOp("["):
			x = p.subscript(x)
		case p.isOp("("):
			x = &callExpr{fn: x, args: p.arguments(), line: line}
		default:
			return x
		}
		p.deepen()
	}
}

func (p *parser) attribute(x expr) expr {
	t := p.next()
	switch t.kind {
	case tokName:
		return &getattrExpr{obj: x, name: t.text}
	case tokInt:
		i, err := strconv.ParseInt(t.text, 0, 64)
		if err == nil {
			return &getitemExpr{obj: x, index: &constExpr{Int(i)}}
		}
	}
	p.fail(t.line, "expected a name or number after '.', got %s", t.describe())
	return nil
}

func (p *parser) subscript(x expr) expr {
	line := p.cur().line
	var bounds [3]expr
	n := 0
	for n < 3 && !p.isOp("]") {
		if !p.isOp(":") {
			bounds[n] = p.expression()
		}
		if p.isOp("]") {
			break
		}
		if !p.isOp(":") {
			p.fail(line, "unsupported subscript: %s", p.cur().describe())
		}
		if n == 2 {
			break
		}
		p.pos++
		n++
	}
	if !p.isOp("]") || n == 0 && bounds[0] == nil {
		p.fail(line, "expected an index, got %s", p.cur().describe())
	}
	p.pos++
	if n == 0 {
		return &getitemExpr{obj: x, index: bounds[0]}
	}
	return &sliceExpr{obj: x, from: bounds[0], to: bounds[1], step: bounds[2]}
}

// filters parses | filters, tests and calls after x.
func (p *parser) filters(x expr) expr {
	depth := p.depth
	defer func() { p.depth = depth }()
	for {
		line := p.cur().line
		switch {
		case p.skipOp("|"):
			x = p.filter(x)
		case x != nil && p.skipWord("is"):
			x = p.test(x, line)
		case x != nil && p.isOp("("):
			x = &callExpr{fn: x, args: p.arguments(), line: line}
		default:
			return x
		}
		p.deepen()
	}
}

// dotted parses a name that may contain dots.
func (p *parser) dotted() string {
	name := p.expectName()
	for p.skipOp(".") {
		name += "." + p.expectName()
	}
	return name
}

func (p *parser) filter(x expr) expr {
	line := p.cur().line
	name := p.dotted()
	f := &filterExpr{in: x, name: name, fn: lookupFilter(name), line: line}
	if f.fn == nil {
		p.fail(line, "unsupported filter '%s'", name)
	}
	if p.isOp("(") {
		f.args = p.arguments()
	}
	return f
}

func (p *parser) test(x expr, line int) expr {
	negated := p.skipWord("not")
	name := p.dotted()
	t := &testExpr{in: x, name: name, fn: lookupTest(name), line: line}
	if t.fn == nil {
		p.fail(line, "unsupported test '%s'", name)
	}
	switch c := p.cur(); {
	case p.isOp("("):
		t.args = p.arguments()
	case p.isWord("else") || p.isWord("or") || p.isWord("and"):
	case p.isWord("is"):
		p.fail(line, "tests cannot be chained with 'is'")
	case c.kind == tokName || c.kind == tokString || c.kind == tokInt || c.kind == tokFloat ||
		p.isOp("[") || p.isOp("{"):
		t.args.pos = []expr{p.postfix(p.primary())}
	}
	if negated {
		return &notExpr{t}
	}
	return t
}

// arguments parses (a, b, name=c, *d, **e).
func (p *parser) arguments() callArgs {
	line := p.cur().line
	p.expectOp("(")
	var a callArgs
	for !p.isOp(")") {
		var ok bool
		switch {
		case p.skipOp("*"):
			ok = a.star == nil && a.kw == nil
			a.star = p.expression()
		case p.skipOp("**"):
			ok = a.kw == nil
			a.kw = p.expression()
		case p.cur().kind == tokName && p.look().is(tokOperator, "="):
			ok = a.kw == nil && !slices.Contains(a.names, p.cur().text)
			a.names = append(a.names, p.next().text)
			p.pos++
			a.values = append(a.values, p.expression())
		default:
			ok = a.star == nil && a.kw == nil && len(a.names) == 0
			a.pos = append(a.pos, p.expression())
		}
		if !ok {
			p.fail(line, "invalid arguments of a call")
		}
		if !p.skipOp(",") {
			break
		}
	}
	p.expectOp(")")
	return a
}
