package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// logistic holds the constants of σ.
type logistic struct {
	exp       *exponential
	one, sign Mem // four of each
}

func newLogistic() *logistic {
	return &logistic{
		exp: newExponential(), one: four("one", U32(math.Float32bits(1))), sign: four("sign", U32(1<<31)),
	}
}

// divisor returns 1 + Exp(-x) of four float32.
func (l *logistic) divisor(x Register) VecVirtual {
	v := XMM()
	VXORPS(l.sign, x, v)
	d := l.exp.of(v)
	VADDPS(l.one, d, d)
	return d
}

// gates writes the activations of MLPs and σ alone, operation by operation as the twins.
func gates() {
	l := newLogistic()
	l.sigmoid()
	l.swiGLU()
	l.swiGLUClamped()
}

// fours writes a loop over n elements, four at a time, and then one by one, which leaves lanes idle.
// Body is given what moves elements between memory and a register.
func fours(n Register, body func(move func(...Op)), pointers ...Register) {
	advance := func(bytes int) {
		for _, p := range pointers {
			ADDQ(Imm(uint64(bytes)), p)
		}
	}
	const width = 4
	Label("wide")
	SUBQ(Imm(width), n)
	JL(LabelRef("rest"))
	body(VMOVUPS)
	advance(4 * width)
	JMP(LabelRef("wide"))
	Label("rest")
	ADDQ(Imm(width), n)
	Label("single")
	SUBQ(Imm(1), n)
	JL(LabelRef("done"))
	body(func(ops ...Op) { VMOVSS(ops...) })
	advance(4)
	JMP(LabelRef("single"))
	Label("done")
	VZEROUPPER()
	RET()
}

func (l *logistic) sigmoid() {
	TEXT("sigmoidAVX2", NOSPLIT, "func(x *float32, n int)")
	Pragma("noescape")
	Doc("sigmoidAVX2 computes x[i] = 1 / (1 + Exp(-x[i])) for i < n.")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	fours(n, func(move func(...Op)) {
		v, one := XMM(), XMM()
		move(Mem{Base: x}, v)
		d := l.divisor(v)
		VMOVUPS(l.one, one)
		VDIVPS(d, one, v)
		move(v, Mem{Base: x})
	}, x)
}

func (l *logistic) swiGLU() {
	TEXT("swiGLUAVX2", NOSPLIT, "func(dst, gate, up *float32, n int)")
	Pragma("noescape")
	Doc("swiGLUAVX2 computes dst[i] = gate[i] / (1 + Exp(-gate[i])) * up[i] for i < n.")
	dst, gate := Load(Param("dst"), GP64()), Load(Param("gate"), GP64())
	up, n := Load(Param("up"), GP64()), Load(Param("n"), GP64())
	fours(n, func(move func(...Op)) {
		g, u := XMM(), XMM()
		move(Mem{Base: gate}, g)
		move(Mem{Base: up}, u)
		VDIVPS(l.divisor(g), g, g)
		VMULPS(u, g, g)
		move(g, Mem{Base: dst})
	}, dst, gate, up)
}

func (l *logistic) swiGLUClamped() {
	TEXT("swiGLUClampedAVX2", NOSPLIT,
		"func(dst, gate, up *float32, n int, alpha, limit float32)")
	Pragma("noescape")
	Doc("swiGLUClampedAVX2 computes, with g = min(gate[i], limit) and",
		"u = min(max(up[i], -limit), limit), dst[i] = g / (1 + Exp(-(alpha*g))) * (u + 1) for",
		"i < n. The limit is above 0.")
	dst, gate := Load(Param("dst"), GP64()), Load(Param("gate"), GP64())
	up, n := Load(Param("up"), GP64()), Load(Param("n"), GP64())
	alpha, limit, lowest := XMM(), XMM(), XMM()
	number, _ := Param("alpha").Resolve()
	VBROADCASTSS(number.Addr, alpha)
	number, _ = Param("limit").Resolve()
	VBROADCASTSS(number.Addr, limit)
	VXORPS(l.sign, limit, lowest)
	fours(n, func(move func(...Op)) {
		g, u, scaled := XMM(), XMM(), XMM()
		move(Mem{Base: gate}, g)
		move(Mem{Base: up}, u)
		// Of a NaN and a limit these return the operand that is named first, which is the NaN.
		VMINPS(g, limit, g)
		VMAXPS(u, lowest, u)
		VMINPS(u, limit, u)
		VMULPS(alpha, g, scaled)
		VDIVPS(l.divisor(scaled), g, g)
		VADDPS(l.one, u, u)
		VMULPS(u, g, g)
		move(g, Mem{Base: dst})
	}, dst, gate, up)
}
