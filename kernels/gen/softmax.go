package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// eights writes a loop over n elements at x, eight at a time, and one over what is left.
func eights(x, n Register, wide, single func(), more ...Register) {
	advance := func(bytes int) {
		for _, p := range append([]Register{x}, more...) {
			ADDQ(I32(bytes), p)
		}
	}
	Label("wide")
	SUBQ(Imm(half), n)
	JL(LabelRef("rest"))
	wide()
	advance(registerBytes)
	JMP(LabelRef("wide"))
	Label("rest")
	ADDQ(Imm(half), n)
	Label("single")
	SUBQ(Imm(1), n)
	JL(LabelRef("done"))
	single()
	advance(4)
	JMP(LabelRef("single"))
	Label("done")
}

// rowOf writes an operation of every element of a row with one number.
func rowOf(name, doc string, packed, scalar func(...Op)) {
	TEXT(name, NOSPLIT, "func(x *float32, n int, c float32)")
	Pragma("noescape")
	Doc(name + " " + doc)
	x, n, c := Load(Param("x"), GP64()), Load(Param("n"), GP64()), YMM()
	number, _ := Param("c").Resolve()
	VBROADCASTSS(number.Addr, c)
	at := Mem{Base: x}
	eights(x, n, func() {
		v := YMM()
		VMOVUPS(at, v)
		packed(c, v, v)
		VMOVUPS(v, at)
	}, func() {
		v := XMM()
		VMOVSS(at, v)
		scalar(c.AsX(), v, v)
		VMOVSS(v, at)
	})
	VZEROUPPER()
	RET()
}

// mulRow writes the product of two rows.
func mulRow() {
	TEXT("mulRowAVX2", NOSPLIT, "func(x, y *float32, n int)")
	Pragma("noescape")
	Doc("mulRowAVX2 computes x[i] *= y[i] for i < n.")
	x, y, n := Load(Param("x"), GP64()), Load(Param("y"), GP64()), Load(Param("n"), GP64())
	at, by := Mem{Base: x}, Mem{Base: y}
	eights(x, n, func() {
		v := YMM()
		VMOVUPS(at, v)
		VMULPS(by, v, v)
		VMOVUPS(v, at)
	}, func() {
		v := XMM()
		VMOVSS(at, v)
		VMULSS(by, v, v)
		VMOVSS(v, at)
	}, y)
	VZEROUPPER()
	RET()
}

// scaleMax writes the scaling of scores and the search for their maximum. In both uses of the
// maximum the second operand, which it returns if either is NaN, is what was found before.
func scaleMax() {
	TEXT("scaleMaxAVX2", NOSPLIT, "func(x *float32, n int, scale, highest float32) float32")
	Pragma("noescape")
	Doc("scaleMaxAVX2 computes x[i] *= scale for i < n and returns the maximum of x and highest,",
		"NaNs excepted; the sign of a zero is any.")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	scale, highest := YMM(), YMM()
	number, _ := Param("scale").Resolve()
	VBROADCASTSS(number.Addr, scale)
	number, _ = Param("highest").Resolve()
	VBROADCASTSS(number.Addr, highest)
	at := Mem{Base: x}
	eights(x, n, func() {
		v := YMM()
		VMULPS(at, scale, v)
		VMOVUPS(v, at)
		VMAXPS(highest, v, highest)
	}, func() {
		v, scaled := XMM(), YMM()
		VMOVSS(at, v)
		VMULSS(scale.AsX(), v, v)
		VMOVSS(v, at)
		VBROADCASTSS(v, scaled)
		VMAXPS(highest, scaled, highest)
	})
	t := XMM()
	VEXTRACTF128(U8(1), highest, t)
	VMAXPS(t, highest.AsX(), t)
	other := XMM()
	VMOVHLPS(t, t, other)
	VMAXPS(other, t, t)
	VMOVSHDUP(t, other)
	VMAXSS(other, t, t)
	Store(t, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
