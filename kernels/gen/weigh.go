package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// weighing holds the constants of ExpDown, four of each; package kernels' weigh.go explains them.
type weighing struct {
	least, steps, shift, hi, lo, half, whole, bias, below, index, upper Mem
	coefficients                                                        []Mem // of r^6 first
	powers                                                              Mem
}

func newWeighing() *weighing {
	float := func(name string, value float64) Mem { return four(name, U64(math.Float64bits(value))) }
	w := &weighing{
		least: float("weighLeast", -32),
		steps: float("weighSteps", 46.16624130844682903551758979206054839765267),
		shift: float("weighShift", 0x1.8p52),
		hi:    float("weighHi", 6.93147180369123816490e-01/32),
		lo:    float("weighLo", 1.90821492927058770002e-10/32),
		half:  float("weighHalf", 0.5),
		whole: float("weighWhole", 0x1p52),
		bias:  four("weighBias", U64(1023<<52)),
		index: four("weighIndex", U64(31)),
		upper: four("weighUpper", U64(16)),
		below: four("weighBelow", U64(^uint64(31))),
	}
	for i, c := range []float64{1. / 720, 1. / 120, 1. / 24, 1. / 6, 0.5, 1} {
		w.coefficients = append(w.coefficients, float(fmt.Sprintf("weighC%d", 6-i), c))
	}
	w.powers = GLOBL("weighPowers", RODATA|NOPTR)
	for j := range 32 {
		DATA(8*j, U64(math.Float64bits(powersOfTwo[j])))
	}
	return w
}

// exp returns ExpDown of four float64, operation by operation as the twin: nothing is fused.
func (w *weighing) exp(d VecVirtual) VecVirtual {
	shifted, k, r, p, t := YMM(), YMM(), YMM(), YMM(), YMM()
	VMULPD(w.steps, d, shifted)
	VADDPD(w.shift, shifted, shifted)
	VSUBPD(w.shift, shifted, k)
	VMULPD(w.hi, k, t)
	VSUBPD(t, d, r)
	VMULPD(w.lo, k, t)
	VSUBPD(t, r, r)
	VMULPD(w.coefficients[0], r, p)
	for _, c := range w.coefficients[1:] {
		VADDPD(c, p, p)
		VMULPD(r, p, p)
	}
	VADDPD(w.coefficients[len(w.coefficients)-1], p, p)

	i, at, power, all := YMM(), YMM(), YMM(), YMM()
	VPSUBQ(w.shift, shifted, i) // k is in the lowest bits
	VPAND(w.index, i, at)
	table := GP64()
	LEAQ(w.powers, table)
	VPCMPEQD(all, all, all)
	VXORPD(power, power, power)
	VGATHERQPD(all, Mem{Base: table, Index: at, Scale: 8}, power)
	VMULPD(power, p, p)
	VPAND(w.below, i, i)
	VPSLLQ(Imm(52-5), i, i)
	VPADDQ(w.bias, i, i)
	VMULPD(i, p, p)
	return p
}

// weigh writes the weights of logits. Where none of four is to have one nothing is computed.
func (w *weighing) weigh() {
	row("weighAVX2", "func(dst *uint64, logits *float32, n int, p *byte) uint64",
		"weighAVX2 is Weigh for n logits, a multiple of 4; p are the fields of a Weighing.")
	dst, logits := Load(Param("dst"), GP64()), Load(Param("logits"), GP64())
	n, params := Load(Param("n"), GP64()), Load(Param("p"), GP64())
	sum, low := YMM(), XMM()
	VPXOR(sum, sum, sum)
	VBROADCASTSS(Mem{Base: params}, low)
	at := func(field int) Mem { return Mem{Base: params, Disp: 8 * field} }
	Label("next")
	SUBQ(Imm(4), n)
	JL(LabelRef("done"))
	l, kept, any := XMM(), XMM(), GP32()
	VMOVUPS(Mem{Base: logits}, l)
	VCMPPS(Imm(0x1d), low, l, kept) // l >= low
	VMOVMSKPS(kept, any)
	v := YMM()
	VPXOR(v, v, v)
	TESTL(any, any)
	JZ(LabelRef("store"))
	d, c, near, keep := YMM(), YMM(), YMM(), YMM()
	VCVTPS2PD(l, d)
	VBROADCASTSD(at(1), c) // top
	VSUBPD(c, d, d)
	VBROADCASTSD(at(2), c) // inverse
	VMULPD(c, d, d)
	VCMPPD(Imm(0x1d), w.least, d, near) // d >= -32
	VMAXPD(w.least, d, d)
	e := w.exp(d)
	VBROADCASTSD(at(3), c) // scale, a power of two: the product is exact
	VMULPD(c, e, e)
	VADDPD(w.half, e, e)
	VROUNDPD(Imm(3), e, e)
	VADDPD(w.whole, e, e)
	VPXOR(w.whole, e, v) // the integer is in the lowest bits
	VPMOVSXDQ(kept, keep)
	VPAND(near, v, v)
	VPAND(keep, v, v)
	VPBROADCASTQ(at(4), c) // least
	VPCMPGTQ(v, c, c)
	VPANDN(v, c, v)
	VPADDQ(v, sum, sum)
	Label("store")
	VMOVDQU(v, Mem{Base: dst})
	ADDQ(Imm(registerBytes), dst)
	ADDQ(Imm(registerBytes/2), logits)
	JMP(LabelRef("next"))
	Label("done")
	storeSum(sum)
}

// expWide is exp of eight float64. The table is in registers, two of which a permutation looks up.
func (w *weighing) expWide(d VecVirtual, table [4]VecVirtual) VecVirtual {
	shifted, k, r, p, t := ZMM(), ZMM(), ZMM(), ZMM(), ZMM()
	VMULPD_BCST(w.steps, d, shifted)
	VADDPD_BCST(w.shift, shifted, shifted)
	VSUBPD_BCST(w.shift, shifted, k)
	VMULPD_BCST(w.hi, k, t)
	VSUBPD(t, d, r)
	VMULPD_BCST(w.lo, k, t)
	VSUBPD(t, r, r)
	VMULPD_BCST(w.coefficients[0], r, p)
	for _, c := range w.coefficients[1:] {
		VADDPD_BCST(c, p, p)
		VMULPD(r, p, p)
	}
	VADDPD_BCST(w.coefficients[len(w.coefficients)-1], p, p)

	i, low, high, upper := ZMM(), ZMM(), ZMM(), K()
	VPSUBQ_BCST(w.shift, shifted, i) // k is in the lowest bits
	VMOVDQA64(i, low)
	VMOVDQA64(i, high)
	VPERMI2PD(table[1], table[0], low) // by the lowest four bits of k
	VPERMI2PD(table[3], table[2], high)
	VPTESTMQ_BCST(w.upper, i, upper)
	VBLENDMPD(high, low, upper, low)
	VMULPD(low, p, p)
	VPANDQ_BCST(w.below, i, i)
	VPSLLQ(Imm(52-5), i, i)
	VPADDQ_BCST(w.bias, i, i)
	VMULPD(i, p, p)
	return p
}

func (w *weighing) weighWide() {
	row("weighAVX512", "func(dst *uint64, logits *float32, n int, p *byte) uint64",
		"weighAVX512 is Weigh for n logits, a multiple of 8; p are the fields of a Weighing.")
	dst, logits := Load(Param("dst"), GP64()), Load(Param("logits"), GP64())
	n, params := Load(Param("n"), GP64()), Load(Param("p"), GP64())
	var table [4]VecVirtual
	for i := range table {
		table[i] = ZMM()
		VMOVUPD(w.powers.Offset(wideBytes*i), table[i])
	}
	sum, low, zero := ZMM(), YMM(), ZMM()
	VPXORQ(sum, sum, sum)
	VPXORQ(zero, zero, zero)
	VBROADCASTSS(Mem{Base: params}, low)
	at := func(field int) Mem { return Mem{Base: params, Disp: 8 * field} }
	Label("next")
	SUBQ(Imm(half), n)
	JL(LabelRef("done"))
	l, kept, any := YMM(), K(), GP32()
	VMOVUPS(Mem{Base: logits}, l)
	VCMPPS(Imm(0x1d), low, l, kept) // l >= low
	VMOVDQU64(zero, Mem{Base: dst})
	KMOVB(kept, any)
	TESTL(any, any)
	JZ(LabelRef("after"))
	d, near, enough := ZMM(), K(), K()
	VCVTPS2PD(l, d)
	VSUBPD_BCST(at(1), d, d)                 // top
	VMULPD_BCST(at(2), d, d)                 // inverse
	VCMPPD_BCST(Imm(0x1d), w.least, d, near) // d >= -32
	VMAXPD_BCST(w.least, d, d)
	e, v := w.expWide(d, table), ZMM()
	VMULPD_BCST(at(3), e, e) // scale, a power of two: the product is exact
	VADDPD_BCST(w.half, e, e)
	VCVTTPD2QQ(e, v)
	VPCMPUQ_BCST(Imm(5), at(4), v, enough) // not less than least
	KANDB(kept, near, near)
	KANDB(enough, near, near)
	VMOVDQA64_Z(v, near, v)
	VPADDQ(v, sum, sum)
	VMOVDQU64(v, Mem{Base: dst})
	Label("after")
	ADDQ(Imm(wideBytes), dst)
	ADDQ(Imm(registerBytes), logits)
	JMP(LabelRef("next"))
	Label("done")
	upper := YMM()
	VEXTRACTI64X4(Imm(1), sum, upper)
	VPADDQ(upper, sum.AsY(), upper)
	storeSum(upper)
}

// storeSum returns the sum of four 64-bit integers.
func storeSum(four VecVirtual) {
	upper, other, total := XMM(), XMM(), GP64()
	VEXTRACTI128(Imm(1), four, upper)
	VPADDQ(upper, four.AsX(), upper)
	VPSHUFD(Imm(0xee), upper, other)
	VPADDQ(other, upper, upper)
	VMOVQ(upper, total)
	Store(total, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// powersOfTwo holds 2^(j/32), as package kernels has them.
var powersOfTwo = [32]float64{
	1, 0x1.059b0d3158574p+0, 0x1.0b5586cf9890fp+0, 0x1.11301d0125b51p+0,
	0x1.172b83c7d517bp+0, 0x1.1d4873168b9aap+0, 0x1.2387a6e756238p+0, 0x1.29e9df51fdee1p+0,
	0x1.306fe0a31b715p+0, 0x1.371a7373aa9cbp+0, 0x1.3dea64c123422p+0, 0x1.44e086061892dp+0,
	0x1.4bfdad5362a27p+0, 0x1.5342b569d4f82p+0, 0x1.5ab07dd485429p+0, 0x1.6247eb03a5585p+0,
	0x1.6a09e667f3bcdp+0, 0x1.71f75e8ec5f74p+0, 0x1.7a11473eb0187p+0, 0x1.82589994cce13p+0,
	0x1.8ace5422aa0dbp+0, 0x1.93737b0cdc5e5p+0, 0x1.9c49182a3f090p+0, 0x1.a5503b23e255dp+0,
	0x1.ae89f995ad3adp+0, 0x1.b7f76f2fb5e47p+0, 0x1.c199bdd85529cp+0, 0x1.cb720dcef9069p+0,
	0x1.d5818dcfba487p+0, 0x1.dfc97337b9b5fp+0, 0x1.ea4afa2a490dap+0, 0x1.f50765b6e4540p+0,
}
