package main

import (
	"fmt"
	"strings"
)

// program is a file of assembly.
type program struct {
	functions []*function
	constants []string // DATA and GLOBL lines
	known     map[string]bool
}

// parameter is a parameter of a function: its name, and its Go type: *float32, *byte, int or
// float32.
type parameter struct{ name, kind string }

// function is a function of assembly that is being written.
type function struct {
	program    *program
	name       string
	doc        []string
	parameters []parameter
	result     string // a Go type, or nothing
	lines      []string
	vectors    [32]bool // which are taken
	scalars    [32]bool
}

// vec is a vector register, reg a general one.
type (
	vec int
	reg int
)

func (v vec) String() string { return fmt.Sprintf("V%d", int(v)) }
func (r reg) String() string { return fmt.Sprintf("R%d", int(r)) }

// scalar is the name of a vector register in Go's scalar and whole-register instructions.
func (v vec) scalar() string { return fmt.Sprintf("F%d", int(v)) }

// generalRegisters are those a leaf function may use: not the linker's scratch (16, 17, 27), the
// platform's (18), the closure's context (26), the goroutine (28), frame and link (29, 30).
var generalRegisters = []reg{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21, 22,
	23, 24, 25}

// function begins a function, whose parameters are pairs of names and types.
func (p *program) function(name string, parameters string, result string, doc ...string) *function {
	f := &function{program: p, name: name, doc: doc, result: result}
	for _, one := range strings.Split(parameters, ", ") {
		n, kind, _ := strings.Cut(one, " ")
		f.parameters = append(f.parameters, parameter{n, kind})
	}
	p.functions = append(p.functions, f)
	return f
}

// size is the bytes of a parameter.
func (p parameter) size() int {
	if p.kind == "float32" {
		return 4
	}
	return 8
}

// offset returns where a parameter lies, or, of "ret", the result; and the bytes of all.
func (f *function) offset(name string) (at, all int) {
	at = -1
	for _, p := range f.parameters {
		all = (all + p.size() - 1) / p.size() * p.size()
		if p.name == name {
			at = all
		}
		all += p.size()
	}
	if f.result != "" {
		all = (all + 7) / 8 * 8
		if name == "ret" {
			at = all
		}
		all += parameter{kind: f.result}.size()
	}
	return at, all
}

// op writes an instruction of Go's assembler.
func (f *function) op(format string, args ...any) {
	f.lines = append(f.lines, "\t"+fmt.Sprintf(format, args...))
}

// comment writes a comment.
func (f *function) comment(text string) { f.lines = append(f.lines, "\t// "+text) }

func (f *function) label(name string) { f.lines = append(f.lines, name+":") }

// word writes an instruction that Go's assembler lacks, in ARM's syntax and as its word.
func (f *function) word(word uint32, format string, args ...any) {
	f.op("WORD $0x%08x // %s", word, fmt.Sprintf(format, args...))
}

// take returns a vector register that nothing uses, until the scope ends.
func (f *function) take() vec {
	for v := range f.vectors {
		if !f.vectors[v] {
			f.vectors[v] = true
			return vec(v)
		}
	}
	panic("no vector register is left in " + f.name)
}

func (f *function) takeAll(n int) (all []vec) {
	for range n {
		all = append(all, f.take())
	}
	return all
}

// general returns a general register that nothing uses, until the scope ends.
func (f *function) general() reg {
	for _, r := range generalRegisters {
		if !f.scalars[r] {
			f.scalars[r] = true
			return r
		}
	}
	panic("no general register is left in " + f.name)
}

// scope gives back at its end what registers were taken in it.
func (f *function) scope(body func()) {
	vectors, scalars := f.vectors, f.scalars
	body()
	f.vectors, f.scalars = vectors, scalars
}

// load returns a parameter in a general register.
func (f *function) load(name string) reg {
	r := f.general()
	f.reload(name, r)
	return r
}

func (f *function) reload(name string, to reg) {
	at, _ := f.offset(name)
	f.op("MOVD %s+%d(FP), %s", name, at, to)
}

// loadFloat returns a float32 parameter in all lanes of a register.
func (f *function) loadFloat(name string) vec {
	v := f.take()
	at, _ := f.offset(name)
	f.op("FMOVS %s+%d(FP), %s", name, at, v.scalar())
	f.op("VDUP %s.S[0], %s.S4", v, v)
	return v
}

// storeFloat returns a register's first lane from the function.
func (f *function) storeFloat(v vec) {
	at, _ := f.offset("ret")
	f.op("FMOVS %s, ret+%d(FP)", v.scalar(), at)
}

func (f *function) ret() { f.op("RET") }

// constant returns a register that holds 16 bytes, low word first.
func (f *function) constant(name string, low, high uint64) vec {
	p := f.program
	if p.known == nil {
		p.known = map[string]bool{}
	}
	if !p.known[name] {
		p.known[name] = true
		p.constants = append(p.constants,
			fmt.Sprintf("DATA %s<>+0(SB)/8, $0x%016x", name, low),
			fmt.Sprintf("DATA %s<>+8(SB)/8, $0x%016x", name, high),
			fmt.Sprintf("GLOBL %s<>(SB), RODATA|NOPTR, $16", name))
	}
	v := f.take()
	f.scope(func() {
		at := f.general()
		f.op("MOVD $%s<>(SB), %s", name, at)
		f.op("FMOVQ (%s), %s", at, v.scalar())
	})
	return v
}

// spread makes pointers that lie stride bytes apart of the first one.
func (f *function) spread(pointers []reg, stride reg) {
	for i, p := range pointers[1:] {
		f.op("ADD %s, %s, %s", stride, pointers[i], p)
	}
}

// header is the first line of a file.
func header(command string) string {
	return "// Code generated by command: " + command + ". DO NOT EDIT.\n\n"
}

// assembly is the text of the program.
func (p *program) assembly(command string) string {
	var b strings.Builder
	b.WriteString(header(command) + "#include \"textflag.h\"\n")
	for i, line := range p.constants {
		if i%3 == 0 {
			b.WriteString("\n")
		}
		b.WriteString(line + "\n")
	}
	for _, f := range p.functions {
		_, bytes := f.offset("")
		fmt.Fprintf(&b, "\n// %s\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", f.signature(), f.name, bytes)
		b.WriteString(strings.Join(f.lines, "\n") + "\n")
	}
	return b.String()
}

// declarations is the Go text of the program.
func (p *program) declarations(command, pkg string) string {
	var b strings.Builder
	b.WriteString(header(command) + "package " + pkg + "\n")
	for _, f := range p.functions {
		fmt.Fprintf(&b, "\n// %s\n//\n//go:noescape\n%s\n", strings.Join(f.doc, "\n// "),
			f.signature())
	}
	return b.String()
}

func (f *function) signature() string {
	var list []string
	for _, p := range f.parameters {
		list = append(list, p.name+" "+p.kind)
	}
	return strings.TrimSpace("func " + f.name + "(" + strings.Join(list, ", ") + ") " + f.result)
}
