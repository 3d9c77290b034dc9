package jinja

import (
	"errors"
	"fmt"
	"time"
)

// Limits bounds one rendering. A zero field means its default.
type Limits struct {
	// Steps is the number of nodes evaluated and items visited. Default 5 million: a conversation of
	// 100 turns takes under 10,000, and a hostile template ends within two seconds.
	Steps int
	// Bytes is the amount of text and lists made on the way. Default 512 MiB: templates may copy a
	// long system prompt several times.
	Bytes int
	// Output is the size of the result in bytes. Default 64 MiB, several times the longest context.
	Output int
}

const (
	// maxCalls bounds the depth of macro calls; gpt-oss recurses once per level of a JSON schema.
	maxCalls = 200
	// maxValueDepth bounds the nesting of values that are printed, compared or hashed.
	maxValueDepth = 1000
	// maxIntBits bounds ints, so that ** cannot eat the machine.
	maxIntBits = 1 << 14
	// maxRange is the sandbox's bound for range().
	maxRange = 100000
)

// Context is what a template sees.
type Context struct {
	Vars   map[string]Value
	Now    func() time.Time // clock of strftime_now; nil refuses it
	Limits Limits
}

// Template is a parsed template. It is immutable.
type Template struct {
	name string
	body []stmt
}

// Render evaluates the template. Adjacent spans differ in Input. Errors are of type *Error.
func (t *Template) Render(c Context) (spans []Span, err error) {
	defer recoverFault(&err, t.name)
	it := &interp{name: t.name, vars: c.Vars, now: c.Now, limits: c.Limits.withDefaults(), line: 1}
	it.scope = &scope{}
	it.out = &builder{}
	it.run(t.body)
	return it.out.done().spans(), nil
}

func (l Limits) withDefaults() Limits {
	if l.Steps == 0 {
		l.Steps = 5e6
	}
	if l.Bytes == 0 {
		l.Bytes = 512 << 20
	}
	if l.Output == 0 {
		l.Output = 64 << 20
	}
	return l
}

// recoverFault turns a panic into an error: faults are ours, anything else is a defect of this
// package that must not take the process down with it.
func recoverFault(err *error, name string) {
	switch r := recover().(type) {
	case nil:
	case fault:
		*err = r.err
	default:
		*err = &Error{Template: name, Line: 1, Message: fmt.Sprintf("internal error: %v", r),
			Err: errors.ErrUnsupported}
	}
}

// interp is the state of one rendering.
type interp struct {
	name   string
	vars   map[string]Value
	now    func() time.Time
	limits Limits
	line   int
	calls  int // depth of macro calls
	scope  *scope
	out    *builder
}

// scope holds the variables assigned in a block; parent is the block around it.
type scope struct {
	vars   []binding
	parent *scope
}

type binding struct {
	name  string
	value Value
}

func (s *scope) set(name string, v Value) {
	for i := range s.vars {
		if s.vars[i].name == name {
			s.vars[i].value = v
			return
		}
	}
	s.vars = append(s.vars, binding{name, v})
}

func (s *scope) get(name string) (Value, bool) {
	for ; s != nil; s = s.parent {
		for i := range s.vars {
			if s.vars[i].name == name {
				return s.vars[i].value, true
			}
		}
	}
	return Value{}, false
}

func (it *interp) fail(format string, a ...any) {
	panic(fault{&Error{Template: it.name, Line: it.line, Message: fmt.Sprintf(format, a...)}})
}

func (it *interp) exceeded(what string) {
	panic(fault{&Error{Template: it.name, Line: it.line, Message: what, Err: ErrLimit}})
}

// step pays for n evaluations.
func (it *interp) step(n int) {
	if it.limits.Steps -= n; it.limits.Steps < 0 {
		it.exceeded("too many evaluation steps")
	}
}

// grow pays for n bytes before they are made.
func (it *interp) grow(n int) {
	if n < 0 || n > it.limits.Bytes {
		it.exceeded("too much text or data produced")
	}
	it.limits.Bytes -= n
	it.step(n >> 7) // copying costs time as well
}

// valueBytes is what a list is charged per item.
const valueBytes = 32

func (it *interp) push() (pop func()) {
	outer := it.scope
	it.scope = &scope{parent: outer}
	return func() { it.scope = outer }
}

// capture runs f with an output of its own and returns what it wrote.
func (it *interp) capture(f func()) text {
	outer := it.out
	it.out = &builder{}
	f()
	t := it.out.done()
	it.out = outer
	it.grow(len(t.s))
	return t
}

func (it *interp) write(t text) {
	if len(it.out.buf)+len(t.s) > it.limits.Output {
		it.exceeded(fmt.Sprintf("output exceeds %d bytes", it.limits.Output))
	}
	it.grow(len(t.s))
	it.out.text(t)
}
