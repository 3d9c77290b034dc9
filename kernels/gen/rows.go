package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// rows writes what is done to whole rows. None of these has an end: package kernels leaves what
// is no whole register to the plain twins.
func rows() {
	addRow()
	addBF16()
	encodeBF16()
	normRow()
	ropeHalf()
	ropeInterleaved()
	highest()
	w := newWeighing()
	w.weigh()
	w.weighWide()
}

// eight is a constant in each of eight 32-bit words.
func eight(name string, value uint32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for n := range half {
		DATA(4*n, U32(value))
	}
	return m
}

// broadcast returns a parameter in all lanes of a register.
func broadcast(name string, spread func(...Op)) VecVirtual {
	v := YMM()
	number, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	spread(number.Addr, v)
	return v
}

// whole writes a loop that goes over n elements by so many, and then returns.
func whole(n Register, by int, body func()) {
	Label("next")
	SUBQ(Imm(uint64(by)), n)
	JL(LabelRef("done"))
	body()
	JMP(LabelRef("next"))
	Label("done")
}

// row begins a kernel.
func row(name, signature string, doc ...string) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(doc...)
}

func addRow() {
	row("addRowAVX2", "func(dst, x *float32, n int)",
		"addRowAVX2 computes dst[i] += x[i] for i < n, a multiple of 8.")
	dst, x, n := Load(Param("dst"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	whole(n, half, func() {
		v := YMM()
		VMOVUPS(Mem{Base: dst}, v)
		VADDPS(Mem{Base: x}, v, v)
		VMOVUPS(v, Mem{Base: dst})
		ADDQ(Imm(registerBytes), dst)
		ADDQ(Imm(registerBytes), x)
	})
	VZEROUPPER()
	RET()
}

func addBF16() {
	row("addBF16AVX2", "func(dst *float32, x *byte, n int)",
		"addBF16AVX2 computes dst[i] += x[i], which are BF16, for i < n, a multiple of 8.")
	dst, x, n := Load(Param("dst"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	whole(n, half, func() {
		v := YMM()
		VPMOVZXWD(Mem{Base: x}, v)
		VPSLLD(Imm(16), v, v)
		VADDPS(Mem{Base: dst}, v, v)
		VMOVUPS(v, Mem{Base: dst})
		ADDQ(Imm(registerBytes), dst)
		ADDQ(Imm(registerBytes/2), x)
	})
	VZEROUPPER()
	RET()
}

// encodeBF16 rounds as the twin does: half a unit less one is added, and one more where the unit
// is odd. What is not a number keeps its upper half and gets the quiet bit.
func encodeBF16() {
	below, one := eight("halfUnit", 0x7fff), eight("unit", 1)
	quiet := eight("quiet", 1<<6)
	row("encodeBF16AVX2", "func(dst *byte, x *float32, n int)",
		"encodeBF16AVX2 rounds x[i] to BF16 for i < n, a multiple of 16.")
	dst, x, n := Load(Param("dst"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	round := func(disp int) VecVirtual {
		v, upper, bits, nan := YMM(), YMM(), YMM(), YMM()
		VMOVUPS(Mem{Base: x, Disp: disp}, v)
		VPSRLD(Imm(16), v, upper)
		VPAND(one, upper, bits)
		VPADDD(below, bits, bits)
		VPADDD(bits, v, bits)
		VPSRLD(Imm(16), bits, bits)
		VCMPPS(Imm(3), v, v, nan) // unordered
		VPOR(quiet, upper, upper)
		VPBLENDVB(nan, upper, bits, bits)
		return bits
	}
	whole(n, block, func() {
		low, high := round(0), round(registerBytes)
		VPACKUSDW(high, low, low) // by halves of registers
		VPERMQ(Imm(0xd8), low, low)
		VMOVDQU(low, Mem{Base: dst})
		ADDQ(Imm(registerBytes), dst)
		ADDQ(Imm(2*registerBytes), x)
	})
	VZEROUPPER()
	RET()
}

func normRow() {
	row("normRowAVX2", "func(dst, x, w *float32, n int, scale float32)",
		"normRowAVX2 computes dst[i] = x[i]*scale * w[i] for i < n, a multiple of 8.")
	dst, x := Load(Param("dst"), GP64()), Load(Param("x"), GP64())
	w, n := Load(Param("w"), GP64()), Load(Param("n"), GP64())
	scale := broadcast("scale", VBROADCASTSS)
	whole(n, half, func() {
		v := YMM()
		VMULPS(Mem{Base: x}, scale, v)
		VMULPS(Mem{Base: w}, v, v)
		VMOVUPS(v, Mem{Base: dst})
		for _, p := range []Register{dst, x, w} {
			ADDQ(Imm(registerBytes), p)
		}
	})
	VZEROUPPER()
	RET()
}

func ropeHalf() {
	row("ropeHalfAVX2", "func(low, high, cos, sin *float32, n int)",
		"ropeHalfAVX2 turns the pairs (low[i], high[i]) for i < n, a multiple of 8.")
	low, high := Load(Param("low"), GP64()), Load(Param("high"), GP64())
	cos, sin := Load(Param("cos"), GP64()), Load(Param("sin"), GP64())
	n := Load(Param("n"), GP64())
	whole(n, half, func() {
		a, b, c, s := YMM(), YMM(), YMM(), YMM()
		VMOVUPS(Mem{Base: low}, a)
		VMOVUPS(Mem{Base: high}, b)
		VMOVUPS(Mem{Base: cos}, c)
		VMOVUPS(Mem{Base: sin}, s)
		ac, bs := YMM(), YMM()
		VMULPS(c, a, ac)
		VMULPS(s, b, bs)
		VSUBPS(bs, ac, ac)
		VMOVUPS(ac, Mem{Base: low})
		VMULPS(c, b, b)
		VMULPS(s, a, a)
		VADDPS(a, b, b)
		VMOVUPS(b, Mem{Base: high})
		for _, p := range []Register{low, high, cos, sin} {
			ADDQ(Imm(registerBytes), p)
		}
	})
	VZEROUPPER()
	RET()
}

func ropeInterleaved() {
	row("ropeInterleavedAVX2", "func(x, cos, sin *float32, n int)",
		"ropeInterleavedAVX2 turns the pairs (x[2i], x[2i+1]) for i < n, a multiple of 4.")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	cos, sin := Load(Param("cos"), GP64()), Load(Param("sin"), GP64())
	twice := func(p Register) VecVirtual { // each of four numbers two times
		v, upper := YMM(), XMM()
		VMOVUPS(Mem{Base: p}, v.AsX())
		VUNPCKHPS(v.AsX(), v.AsX(), upper)
		VUNPCKLPS(v.AsX(), v.AsX(), v.AsX())
		VINSERTF128(Imm(1), upper, v, v)
		return v
	}
	whole(n, half/2, func() {
		v, other := YMM(), YMM()
		VMOVUPS(Mem{Base: x}, v)
		VPERMILPS(Imm(0xb1), v, other) // the other one of each pair
		VMULPS(twice(cos), v, v)
		VMULPS(twice(sin), other, other)
		VADDSUBPS(other, v, v)
		VMOVUPS(v, Mem{Base: x})
		ADDQ(Imm(registerBytes), x)
		ADDQ(Imm(registerBytes/2), cos)
		ADDQ(Imm(registerBytes/2), sin)
	})
	VZEROUPPER()
	RET()
}

// highest writes the search for a maximum. VMAXPS returns its second operand, which is what was
// found before, if either is not a number.
func highest() {
	lowest := eight("minusInfinity", math.Float32bits(float32(math.Inf(-1))))
	row("highestAVX2", "func(x *float32, n int) (highest float32, nans uint32)",
		"highestAVX2 returns the maximum of x[i] for i < n, a multiple of 16, NaNs excepted, and",
		"whether there are such: not 0. The sign of a zero is any.")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	var most, nans [2]VecVirtual
	for i := range most {
		most[i], nans[i] = YMM(), YMM()
		VMOVUPS(lowest, most[i])
		VXORPS(nans[i], nans[i], nans[i])
	}
	whole(n, block, func() {
		for i := range most {
			v, unordered := YMM(), YMM()
			VMOVUPS(Mem{Base: x, Disp: i * registerBytes}, v)
			VCMPPS(Imm(3), v, v, unordered)
			VORPS(unordered, nans[i], nans[i])
			VMAXPS(most[i], v, most[i])
		}
		ADDQ(Imm(2*registerBytes), x)
	})
	m, t, mask := most[0], XMM(), GP32()
	VMAXPS(most[1], m, m)
	VORPS(nans[1], nans[0], nans[0])
	VMOVMSKPS(nans[0], mask)
	VEXTRACTF128(Imm(1), m, t)
	VMAXPS(t, m.AsX(), t)
	other := XMM()
	VMOVHLPS(t, t, other)
	VMAXPS(other, t, t)
	VMOVSHDUP(t, other)
	VMAXSS(other, t, t)
	Store(t, ReturnIndex(0))
	Store(mask, ReturnIndex(1))
	VZEROUPPER()
	RET()
}
