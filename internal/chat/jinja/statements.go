package jinja

import "strings"

// control is how a statement ended.
type control uint8

const (
	ctlNone control = iota
	ctlBreak
	ctlContinue
)

func (it *interp) run(body []stmt) control {
	for _, s := range body {
		if c := it.exec(s); c != ctlNone {
			return c
		}
	}
	return ctlNone
}

func (it *interp) exec(s stmt) control {
	it.step(1)
	switch s := s.(type) {
	case *dataStmt:
		it.write(s.text)
	case *outputStmt:
		it.line = s.line
		it.write(it.str(it.eval(s.x)))
	case *ifStmt:
		return it.execIf(s)
	case *forStmt:
		it.line = s.line
		return it.loop(s, it.eval(s.iter), 0)
	case *setStmt:
		it.line = s.line
		it.assign(s.target, it.eval(s.value))
	case *setBlockStmt:
		return it.setBlock(s)
	case *filterStmt:
		body, ctl := it.inner(s.body)
		it.line = s.line
		it.write(it.str(it.filterBody(s.filter, str(body))))
		return ctl
	case *withStmt:
		return it.with(s)
	case *scopeStmt:
		defer it.push()()
		it.run(s.body)
	case *macroStmt:
		it.scope.set(s.macro.name, Value{kind: kindMacro, ref: &macro{def: s.macro, scope: it.scope}})
	case *callStmt:
		it.line = s.caller.line
		caller := Value{kind: kindMacro, ref: &macro{def: s.caller, scope: it.scope}}
		it.write(it.str(it.callWith(s.call, caller)))
	case *breakStmt:
		return ctlBreak
	case *continueStmt:
		return ctlContinue
	}
	return ctlNone
}

func (it *interp) execIf(s *ifStmt) control {
	for i := range s.branches {
		b := &s.branches[i]
		it.line = b.line
		if it.eval(b.test).truth() {
			return it.run(b.body)
		}
	}
	return it.run(s.other)
}

// inner runs a body in its own scope and returns its output.
func (it *interp) inner(body []stmt) (t text, c control) {
	defer it.push()()
	t = it.capture(func() { c = it.run(body) })
	return t, c
}

func (it *interp) setBlock(s *setBlockStmt) control {
	body, ctl := it.inner(s.body)
	if ctl != ctlNone {
		return ctl
	}
	it.line = s.line
	v := str(body)
	if s.filter != nil {
		v = it.filterBody(s.filter, v)
	}
	it.assign(s.target, v)
	return ctlNone
}

func (it *interp) with(s *withStmt) control {
	it.line = s.line
	values := it.evalAll(s.values)
	defer it.push()()
	for i, t := range s.targets {
		it.assign(t, values[i])
	}
	return it.run(s.body)
}

// assign binds a name, unpacks into a tuple of targets or sets an attribute of a namespace.
func (it *interp) assign(target expr, v Value) {
	switch t := target.(type) {
	case *nameExpr:
		it.scope.set(t.name, v)
	case *nsTarget:
		ns := it.lookup(t.name)
		if ns.kind != kindNamespace {
			it.fail("cannot assign attribute '%s' on '%s', which is not a namespace", t.attr, t.name)
		}
		it.setAttr(ns, t.attr, v)
	case *tupleExpr:
		items := it.iterate(v)
		if len(items) != len(t.items) {
			it.fail("cannot unpack %d values into %d names", len(items), len(t.items))
		}
		for i, item := range items {
			it.assign(t.items[i], item)
		}
	}
}

func (it *interp) setAttr(ns Value, name string, v Value) {
	if strings.HasPrefix(name, "_") {
		it.fail("namespace attribute '%s' must not start with an underscore", name)
	}
	it.step(1)
	key := literal(name)
	ns.ref.(*namespace).attrs.put(hashKey{kind: kindString, s: name}, str(key), v)
}

// loopState is the variable loop. Items are drawn from the source only when needed, as a filter of
// the loop may depend on what its body does.
type loopState struct {
	source       func() (Value, bool)
	ahead        []Value // drawn but not yet visited
	length       int     // -1: not known yet
	index0       int
	depth0       int
	recurse      func(items Value) text // renders the loop for other items; nil unless recursive
	before, item Value
	changed      Value // last arguments of loop.changed
}

func (l *loopState) draw() (Value, bool) {
	if len(l.ahead) > 0 {
		v := l.ahead[0]
		l.ahead = l.ahead[1:]
		return v, true
	}
	return l.source()
}

func (l *loopState) peek() (Value, bool) {
	if len(l.ahead) == 0 {
		v, ok := l.source()
		if !ok {
			return Value{}, false
		}
		l.ahead = append(l.ahead, v)
	}
	return l.ahead[0], true
}

func (l *loopState) len() int {
	if l.length < 0 {
		for {
			v, ok := l.source()
			if !ok {
				break
			}
			l.ahead = append(l.ahead, v)
		}
		l.length = l.index0 + 1 + len(l.ahead)
	}
	return l.length
}

func (it *interp) loop(s *forStmt, over Value, depth0 int) control {
	items := it.iterate(over)
	l := &loopState{length: len(items), index0: -1, depth0: depth0, changed: Value{kind: kindMissing}}
	l.source = func() (Value, bool) {
		if len(items) == 0 {
			return Value{}, false
		}
		v := items[0]
		items = items[1:]
		return v, true
	}
	if s.where != nil {
		l.length = -1
		l.source = it.where(s, l.source)
	}
	outer := it.scope
	defer func() { it.scope = outer }()
	if s.recursive {
		l.recurse = func(items Value) text { return it.recurse(s, items, outer, depth0+1) }
	}
	loop := Value{kind: kindLoop, ref: l}
	completed := false
	for {
		it.step(1)
		v, ok := l.draw()
		if !ok {
			break
		}
		l.index0++
		l.before, l.item = l.item, v
		it.scope = &scope{parent: outer, vars: append(make([]binding, 0, 4), binding{"loop", loop})}
		it.assign(s.target, v)
		ctl := it.run(s.body)
		if ctl == ctlBreak {
			break
		}
		completed = completed || ctl == ctlNone
	}
	if completed { // as compiled by Jinja2, else also follows a loop that only broke or continued
		return ctlNone
	}
	it.scope = &scope{parent: outer}
	return it.run(s.other)
}

// recurse renders a loop for the items that its body passed to loop(…).
func (it *interp) recurse(s *forStmt, items Value, outer *scope, depth0 int) text {
	if it.calls++; it.calls > maxCalls {
		it.exceeded("loops recurse too deeply")
	}
	inside := it.scope
	it.scope = outer
	t := it.capture(func() { it.loop(s, items, depth0) })
	it.scope = inside
	it.calls--
	return t
}

// where filters the items of a loop by its condition, evaluated in the scope around the loop.
func (it *interp) where(s *forStmt, source func() (Value, bool)) func() (Value, bool) {
	outer := it.scope
	return func() (Value, bool) {
		inside := it.scope
		defer func() { it.scope = inside }()
		for {
			v, ok := source()
			if !ok {
				return v, false
			}
			it.step(1)
			it.scope = &scope{parent: outer}
			it.assign(s.target, v)
			if it.eval(s.where).truth() {
				return v, true
			}
		}
	}
}
