package jinja

func (it *interp) evalAll(xs []expr) []Value {
	out := make([]Value, len(xs))
	for i, x := range xs {
		out[i] = it.eval(x)
	}
	return out
}

func (it *interp) eval(x expr) Value {
	it.step(1)
	switch x := x.(type) {
	case *constExpr:
		return x.value
	case *nameExpr:
		return it.lookup(x.name)
	case *getattrExpr:
		return it.getattr(it.eval(x.obj), x.name)
	case *getitemExpr:
		obj := it.eval(x.obj)
		return it.getitem(obj, it.eval(x.index))
	case *sliceExpr:
		return it.slice(x)
	case *callExpr:
		return it.callWith(x, Value{kind: kindMissing})
	case *filterExpr:
		in := it.eval(x.in)
		return it.applyFilter(x, in)
	case *testExpr:
		in := it.eval(x.in)
		a := it.arguments(x.args)
		it.line = x.line
		return Bool(x.fn(it, in, a))
	case *notExpr:
		return Bool(!it.eval(x.x).truth())
	case *unaryExpr:
		return it.unary(x.op, it.eval(x.x))
	case *binaryExpr:
		l := it.eval(x.l)
		return it.binary(x.op, l, it.eval(x.r))
	case *logicExpr:
		l := it.eval(x.l)
		if l.truth() != x.and {
			return l
		}
		return it.eval(x.r)
	case *condExpr:
		return it.cond(x)
	case *concatExpr:
		return it.concat(x)
	case *compareExpr:
		return it.compareChain(x)
	case *tupleExpr:
		return tuple(it.evalItems(x.items)...)
	case *listExpr:
		return List(it.evalItems(x.items))
	case *dictExpr:
		return it.dictLiteral(x)
	}
	it.fail("internal error: unknown expression")
	return Value{}
}

func (it *interp) evalItems(xs []expr) []Value {
	it.grow(len(xs) * valueBytes)
	return it.evalAll(xs)
}

func (it *interp) cond(x *condExpr) Value {
	switch {
	case it.eval(x.test).truth():
		return it.eval(x.then)
	case x.other != nil:
		return it.eval(x.other)
	}
	return undef("the inline if-expression evaluated to false and no else section was defined")
}

func (it *interp) concat(x *concatExpr) Value {
	var b builder
	for _, part := range x.parts {
		t := it.str(it.eval(part))
		it.grow(len(t.s))
		b.text(t)
	}
	return str(b.done())
}

func (it *interp) dictLiteral(x *dictExpr) Value {
	it.grow(2 * len(x.keys) * valueBytes)
	d := NewObject()
	for i, k := range x.keys {
		key := it.eval(k)
		d.put(it.hash(key), key, it.eval(x.values[i]))
	}
	return Dict(d)
}

func (it *interp) hash(v Value) hashKey {
	h, ok := hash(v, 0)
	if !ok {
		it.fail("unhashable type '%s' as dict key", v.typeName())
	}
	return h
}

// lookup finds a variable: assigned in the template, given by the caller, or a global function.
func (it *interp) lookup(name string) Value {
	if v, ok := it.scope.get(name); ok {
		return v
	}
	if v, ok := it.vars[name]; ok {
		return v
	}
	if v, ok := it.global(name); ok {
		return v
	}
	return undef("'" + name + "' is undefined")
}

func (it *interp) applyFilter(f *filterExpr, in Value) Value {
	a := it.arguments(f.args)
	it.line = f.line
	a.name = f.name
	return f.fn(it, in, a)
}

// filterBody applies a chain of filters whose innermost input is the body of a block.
func (it *interp) filterBody(x expr, body Value) Value {
	f := x.(*filterExpr)
	if f.in != nil {
		body = it.filterBody(f.in, body)
	}
	return it.applyFilter(f, body)
}

func (it *interp) arguments(c callArgs) args {
	var a args
	a.pos = it.evalAll(c.pos)
	for i, x := range c.values {
		a.names = append(a.names, c.names[i])
		a.named = append(a.named, it.eval(x))
	}
	if c.star != nil {
		a.pos = append(a.pos, it.iterate(it.eval(c.star))...)
		it.grow(len(a.pos) * valueBytes)
	}
	if c.kw == nil {
		return a
	}
	kw := it.eval(c.kw)
	if kw.kind != kindDict {
		it.fail("argument after ** must be a mapping, not %s", kw.typeName())
	}
	for i := range kw.dict().Len() {
		k, v := kw.dict().At(i)
		name, ok := k.Text()
		if !ok || a.has(name) {
			it.fail("keywords must be strings, each given once")
		}
		a.names, a.named = append(a.names, name), append(a.named, v)
		it.step(len(a.names))
	}
	return a
}

// callWith calls x; caller is the body of a call block, or missing.
func (it *interp) callWith(x *callExpr, caller Value) Value {
	fn := it.eval(x.fn)
	a := it.arguments(x.args)
	it.line = x.line
	if caller.given() {
		a.names, a.named = append(a.names, "caller"), append(a.named, caller)
	}
	return it.call(fn, a)
}

func (it *interp) call(fn Value, a args) Value {
	switch fn.kind {
	case kindFunc:
		f := fn.ref.(*function)
		a.name = f.name
		return f.call(it, a)
	case kindMacro:
		return it.callMacro(fn.ref.(*macro), a)
	case kindLoop:
		l := fn.ref.(*loopState)
		if l.recurse == nil {
			it.fail("the loop must have the 'recursive' marker to be called")
		}
		return str(l.recurse(a.bind(it, "iterable")[0]))
	case kindUndefined:
		it.undefined(fn)
	}
	it.fail("'%s' object is not callable", fn.typeName())
	return Value{}
}

// undefined fails with the reason why v is undefined.
func (it *interp) undefined(v Value) {
	it.fail("%s", v.ref.(undefined).hint)
}

type macro struct {
	def   *macroDef
	scope *scope
}

func (it *interp) callMacro(m *macro, a args) Value {
	if it.calls++; it.calls > maxCalls {
		it.exceeded("macros are nested too deeply")
	}
	scopeBefore, line := it.scope, it.line
	it.scope = &scope{parent: m.scope}
	it.bind(m.def, a)
	out := it.capture(func() { it.run(m.def.body) })
	it.scope, it.line = scopeBefore, line
	it.calls--
	return str(out)
}

// bind sets the parameters of a macro, defaults being evaluated in its scope.
func (it *interp) bind(d *macroDef, a args) {
	firstDefault := len(d.params) - len(d.defaults)
	explicitCaller := false
	for i, name := range d.params {
		explicitCaller = explicitCaller || name == "caller"
		switch v, ok := a.take(name); {
		case i < len(a.pos):
			if ok {
				a.names, a.named = append(a.names, name), append(a.named, v)
			}
			it.scope.set(name, a.pos[i])
		case ok:
			it.scope.set(name, v)
		case i >= firstDefault:
			it.scope.set(name, it.eval(d.defaults[i-firstDefault]))
		default:
			it.scope.set(name, undef("parameter '"+name+"' was not provided"))
		}
	}
	if d.usesCaller && !explicitCaller {
		v, ok := a.take("caller")
		if !ok {
			v = undef("no caller defined")
		}
		it.scope.set("caller", v)
	}
	if d.usesKwargs {
		kw := NewObject()
		for i, name := range a.names {
			kw.Set(LiteralString(name), a.named[i])
		}
		it.scope.set("kwargs", Dict(kw))
	} else if len(a.names) > 0 {
		it.fail("macro '%s' takes no keyword argument '%s'", d.name, a.names[0])
	}
	extra := a.pos[min(len(d.params), len(a.pos)):]
	if d.usesVarargs {
		it.scope.set("varargs", tuple(extra...))
	} else if len(extra) > 0 {
		it.fail("macro '%s' takes not more than %d argument(s)", d.name, len(d.params))
	}
}
