package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// exponential holds the constants of Exp, four of each; package kernels' exp.go explains them.
type exponential struct {
	low, high, log2e, shifter, ln2Hi, ln2Lo, bias Mem
	coefficients                                  [9]Mem // 1/n!
}

// four is a constant, four times.
func four(name string, value Constant) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for n := range 4 {
		DATA(n*value.Bytes(), value)
	}
	return m
}

func newExponential() *exponential {
	float := func(name string, value float64) Mem { return four(name, U64(math.Float64bits(value))) }
	e := &exponential{
		low:     float("expLow", -104),
		high:    float("expHigh", float64(float32(88.8))),
		log2e:   float("expLog2e", 1/math.Ln2),
		shifter: float("expShifter", 0x1.8p52),
		ln2Hi:   float("expLn2Hi", 6.93147180369123816490e-01),
		ln2Lo:   float("expLn2Lo", 1.90821492927058770002e-10),
		bias:    four("expBias", U64(1023)),
	}
	factorial := 1.0
	for n := range e.coefficients {
		e.coefficients[n] = float(fmt.Sprintf("expC%d", n), 1/factorial)
		factorial *= float64(n + 1)
	}
	return e
}

// of returns Exp of four float32, operation by operation as the twin. Beyond the ends, whose
// results are 0 and infinity, arguments are replaced by the ends; NaNs stay.
func (e *exponential) of(x Register) VecVirtual {
	v, limit := YMM(), YMM()
	VCVTPS2PD(x, v)
	VMOVUPD(e.low, limit)
	VMAXPD(v, limit, v) // returns v if it is NaN
	VMOVUPD(e.high, limit)
	VMINPD(v, limit, v)
	shifted, k := YMM(), YMM()
	VMOVUPD(e.log2e, shifted)
	VFMADD213PD(e.shifter, v, shifted)
	VSUBPD(e.shifter, shifted, k)
	r := v
	VFNMADD231PD(e.ln2Hi, k, r)
	VFNMADD231PD(e.ln2Lo, k, r)

	c := e.coefficients
	pair := func(a, b int) VecVirtual { // c[a] + r*c[b]
		sum := YMM()
		VMOVUPD(c[b], sum)
		VFMADD213PD(c[a], r, sum)
		return sum
	}
	r2, r4, low := YMM(), YMM(), YMM()
	VMULPD(r, r, r2)
	VMULPD(r2, r2, r4)
	VADDPD(c[0], r, low)
	VFMADD231PD(pair(2, 3), r2, low)
	high := pair(4, 5)
	VFMADD231PD(pair(6, 7), r2, high)
	VFMADD231PD(c[8], r4, high)
	VFMADD231PD(high, r4, low)

	VPADDQ(e.bias, shifted, shifted) // k is in the lowest bits
	VPSLLQ(U8(52), shifted, shifted)
	VMULPD(shifted, low, low)
	result := XMM()
	VCVTPD2PSY(low, result)
	return result
}

// expSums writes the exponentials of rows, and their sums in ascending order.
func expSums() {
	e := newExponential()
	expSum4(e)
	expSum1(e)
}

// expSum4 does four rows: sums of four columns at a time are added side by side.
func expSum4(e *exponential) {
	const rows = 4
	TEXT("expSum4AVX2", NOSPLIT, "func(states, x *float32, stride, n int)")
	Pragma("noescape")
	Doc("expSum4AVX2 replaces x[t][j] by Exp(x[t][j] - Max), for j < n and the maximum of state",
		"t < 4, and adds them to its sum, in ascending order. The stride is in bytes.")
	states := Load(Param("states"), GP64())
	x, n := paramRows("x", "stride", rows), Load(Param("n"), GP64())
	highest, sums, second := XMM(), XMM(), XMM()
	VMOVUPS(Mem{Base: states}, sums) // maximum, sum, maximum, sum
	VMOVUPS(Mem{Base: states, Disp: 16}, second)
	VSHUFPS(U8(0x88), second, sums, highest)
	VSHUFPS(U8(0xdd), second, sums, sums)

	Label("wide")
	SUBQ(Imm(rows), n)
	JL(LabelRef("rest"))
	var p [rows]VecVirtual
	for t := range p {
		v, m := XMM(), XMM()
		VMOVUPS(x.at(t, 0), v)
		VBROADCASTSS(Mem{Base: states, Disp: 8 * t}, m)
		VSUBPS(m, v, v)
		p[t] = e.of(v)
		VMOVUPS(p[t], x.at(t, 0))
	}
	a, b, column := XMM(), XMM(), XMM()
	for _, unpack := range []func(...Op){VUNPCKLPS, VUNPCKHPS} { // columns 0 and 1, then 2 and 3
		unpack(p[1], p[0], a)
		unpack(p[3], p[2], b)
		VMOVLHPS(b, a, column)
		VADDPS(column, sums, sums)
		VMOVHLPS(a, b, column)
		VADDPS(column, sums, sums)
	}
	x.move(4 * rows)
	JMP(LabelRef("wide"))
	Label("rest")
	ADDQ(Imm(rows), n)

	Label("single")
	SUBQ(Imm(1), n)
	JL(LabelRef("done"))
	v := XMM()
	VMOVSS(x.at(0, 0), v)
	for t := 1; t < rows; t++ {
		VINSERTPS(U8(uint8(t<<4)), x.at(t, 0), v, v)
	}
	VSUBPS(highest, v, v)
	all := e.of(v)
	VADDPS(all, sums, sums)
	for t := range rows {
		VEXTRACTPS(U8(uint8(t)), all, x.at(t, 0))
	}
	x.move(4)
	JMP(LabelRef("single"))
	Label("done")
	for t := range rows {
		VEXTRACTPS(U8(uint8(t)), sums, Mem{Base: states, Disp: 8*t + 4})
	}
	VZEROUPPER()
	RET()
}

// expSum1 does one row.
func expSum1(e *exponential) {
	TEXT("expSumAVX2", NOSPLIT, "func(x *float32, n int, highest, sum float32) float32")
	Pragma("noescape")
	Doc("expSumAVX2 replaces x[i] by Exp(x[i] - highest) for i < n and returns sum + x[0] + x[1] …")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	highest := XMM()
	number, _ := Param("highest").Resolve()
	VBROADCASTSS(number.Addr, highest)
	sum := Load(Param("sum"), XMM())
	at := Mem{Base: x}
	const width = 4
	Label("wide")
	SUBQ(Imm(width), n)
	JL(LabelRef("rest"))
	v := XMM()
	VMOVUPS(at, v)
	VSUBPS(highest, v, v)
	p := e.of(v)
	VMOVUPS(p, at)
	VADDSS(p, sum, sum)
	for l := 1; l < width; l++ {
		lane := XMM()
		VPERMILPS(U8(uint8(l)), p, lane)
		VADDSS(lane, sum, sum)
	}
	ADDQ(Imm(4*width), x)
	JMP(LabelRef("wide"))
	Label("rest")
	ADDQ(Imm(width), n)
	Label("single")
	SUBQ(Imm(1), n)
	JL(LabelRef("done"))
	v = XMM()
	VMOVSS(at, v)
	VSUBSS(highest, v, v)
	p = e.of(v)
	VMOVSS(p, at)
	VADDSS(p, sum, sum)
	ADDQ(Imm(4), x)
	JMP(LabelRef("single"))
	Label("done")
	Store(sum, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
