// Command neon writes the NEON kernels of package kernels and their Go declarations: with -part
// mul mul_arm64.s, the matrix products, with -part attend attend_arm64.s, the inner loops of
// attention, with -part gate gate_arm64.s, the activations, with -part rows rows_arm64.s, what is
// done to whole rows, with -part rounded rounded_arm64.s, the products of activations of 8 bits,
// with -part read read_arm64.s, the measures of a processor's limits. Run it by `go generate` in
// that package.
//
// It is the counterpart of the generator above it, whose library knows amd64 only: a function of
// assembly is written by calling methods of a function, one for each instruction, with registers
// that are taken and given back by scopes. Where Go's assembler lacks an instruction, its word is
// written, with the instruction in ARM's own syntax beside it; a test of this package has an
// independent assembler encode those.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	part := flag.String("part", "mul", "what to write: mul, attend, gate, rows, rounded or read")
	out := flag.String("out", "", "the file of the assembly")
	stubs := flag.String("stubs", "", "the file of the declarations")
	pkg := flag.String("pkg", "kernels", "the package of the declarations")
	flag.Parse()
	p, err := write(*part)
	if err == nil {
		command := "go run ./neon " + strings.Join(os.Args[1:], " ")
		err = os.WriteFile(*out, []byte(p.assembly(command)), 0o644)
		if err == nil {
			err = os.WriteFile(*stubs, []byte(p.declarations(command, *pkg)), 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "neon:", err)
		os.Exit(1)
	}
}

// write returns the program of a part.
func write(part string) (*program, error) {
	p := &program{}
	switch part {
	case "mul":
		products(p)
	case "attend":
		attend(p)
	case "gate":
		gates(p)
	case "rows":
		rows(p)
	case "rounded":
		rounded(p)
	case "read":
		limits(p)
	default:
		return nil, fmt.Errorf("there is no part %q", part)
	}
	return p, nil
}

// products writes the matrix products.
func products(p *program) {
	for _, f := range []format{f32{}, bf16{}, f16{}, &e4m3{}, newMXFP4(), &q8{}, newQ4()} {
		mul(p, f, 1, 1) // what the others leave over
		mul(p, f, 1, 4) // one token: four rows hide the latency of the additions
		mul(p, f, 2, 2)
		mul(p, f, 3, 2) // many tokens: twenty-four sums, four of weights, one of activations
		decode(p, f)
	}
	errorQ4(p)
	for tokens := range panelTokens {
		addPanel(p, tokens+1)
	}
	reduceTile(p)
}

// attend writes attention over cached keys and values.
func attend(p *program) {
	for _, f := range []stored{f32{}, bf16{}, i8{}} {
		dots(p, f)
		dots1(p, f)
		values(p, f, 4, 3, 1) // twenty-four sums, six of values, one of weights
		values(p, f, 2, 4, 1)
		values(p, f, 1, 8, 1)
	}
	widen(p, i8{})
	scaleMax(p)
	expSum(p)
	rowOf(p, "scaleNEON", "computes x[i] *= c for i < n.", (*function).fmul)
	rowOf(p, "divideNEON", "computes x[i] /= c for i < n.", (*function).fdiv)
	mulRow(p)
}
