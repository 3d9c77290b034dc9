package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// wideE4M3 is a way over the blocks of some rows of E4M3 in registers of 512 bits. Two blocks of a row
// are widened to float16 at once and pass through memory: reading half a register from there, while
// it is converted, takes no shuffle, as taking it from a register would.
type wideE4M3 struct {
	f       *e4m3
	weights pointers
	ahead   pointers // rows to prefetch
	scales  Register
	blocks  Register
	halves  Register // memory for a register of each row
	mask    VecVirtual
}

// nearE4M3 is how far ahead in a row to ask the first level of cache for weights, which the second has
// by then.
const nearE4M3 = 256

func newWideE4M3(f *e4m3, rows int) *wideE4M3 {
	w := &wideE4M3{f: f, weights: rowsAt("w", "wStride", rows), scales: field("scales"),
		blocks: field("blocks"), halves: GP64(), mask: ZMM()}
	LEAQ(AllocLocal(wideBytes*(rows+1)), w.halves)
	ADDQ(Imm(wideBytes-1), w.halves)
	ANDQ(I32(-wideBytes), w.halves)
	VPBROADCASTD(f.mask, w.mask)
	return w
}

// loop goes over all blocks, of which there is at least one. step does what there is to do for the
// n-th of one block or two; move advances the caller's pointers by so many.
func (w *wideE4M3) loop(step func(n int, load func(row int) Op), move func(blocks int)) {
	inGroup, scale := GP64(), ZMM()
	scaled := func(v VecVirtual) Op {
		VMULPS(scale, v, v)
		return v
	}
	goOn := func(blocks int) {
		w.weights.move(block * blocks)
		w.ahead.move(block * blocks)
		move(blocks)
	}
	Label("groups")
	factor := XMM()
	VMOVSS(Mem{Base: w.scales}, factor)
	VMULSS(w.f.factor, factor, factor)
	VBROADCASTSS(factor, scale)
	ADDQ(Imm(4), w.scales)
	MOVQ(U32(scaleBlock/block), inGroup)
	CMPQ(w.blocks, inGroup)
	CMOVQLT(w.blocks, inGroup)
	SUBQ(inGroup, w.blocks)
	CMPQ(inGroup, Imm(2))
	JL(LabelRef("one"))
	Label("two")
	for r := range w.ahead.rows {
		PREFETCHT1(w.ahead.at(r, 0))
		PREFETCHT0(w.weights.at(r, nearE4M3))
	}
	for r := range w.weights.rows {
		h := ZMM()
		VPMOVSXBW(w.weights.at(r, 0), h) // seeeemmm to ssssssss seeeemmm
		VPSLLW(U8(7), h, h)              // to sseeeemm m0000000
		VPANDD(w.mask, h, h)
		VMOVDQU32(h, Mem{Base: w.halves, Disp: wideBytes * r})
	}
	for n := range 2 {
		step(n, func(r int) Op {
			v := ZMM()
			VCVTPH2PS(Mem{Base: w.halves, Disp: wideBytes*r + wideBytes/2*n}, v)
			return scaled(v)
		})
	}
	goOn(2)
	SUBQ(Imm(2), inGroup)
	CMPQ(inGroup, Imm(2))
	JGE(LabelRef("two"))
	TESTQ(inGroup, inGroup)
	JZ(LabelRef("more"))
	Label("one") // the last block of an odd number
	step(0, func(r int) Op {
		h, v := YMM(), ZMM()
		VPMOVSXBW(w.weights.at(r, 0), h)
		VPSLLW(U8(7), h, h)
		VPANDD(w.mask.AsY(), h, h)
		VCVTPH2PS(h, v)
		return scaled(v)
	})
	goOn(1)
	Label("more")
	TESTQ(w.blocks, w.blocks)
	JNZ(LabelRef("groups"))
}

// mulWideE4M3 writes the product of some tokens and four rows.
func mulWideE4M3(f *e4m3, tokens int) {
	t := newWideTile(f, tokens)
	w := newWideE4M3(f, tileRows)
	w.ahead = w.weights.after(prefetchRows)
	TESTQ(w.blocks, w.blocks)
	JZ(LabelRef("blocksDone"))
	w.loop(t.step, t.move)
	Label("blocksDone")
	t.end()
}

// decodeWideE4M3 writes the conversion of a row.
func decodeWideE4M3(f *e4m3) {
	dst := decodeWideText(f)
	w := newWideE4M3(f, 1)
	w.ahead = pointers{rows: 1, base: field("wStride")}
	ADDQ(w.weights.base, w.ahead.base)
	w.loop(func(n int, load func(row int) Op) {
		VMOVUPS(load(0), Mem{Base: dst, Disp: wideBytes * n})
	}, func(blocks int) { ADDQ(I32(wideBytes*blocks), dst) })
	VZEROUPPER()
	RET()
}
