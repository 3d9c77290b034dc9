package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// wideBytes is a register of 512 bits: a block of sixteen lanes.
const wideBytes = 4 * block

// wideWalk is a way over the groups of some rows in registers of 512 bits.
type wideWalk struct {
	f       wideFormat
	weights pointers
	ahead   pointers // rows to prefetch
	scales  groupScales
	blocks  Register
}

func newWideWalk(f wideFormat, rows int) *wideWalk {
	return &wideWalk{f: f, weights: rowsAt("w", "wStride", rows), scales: f.scalesAt(rows),
		blocks: field("blocks")}
}

// loop goes over all blocks, of which there is at least one. block does what there is to do for the
// first or the last block of a group; move advances the caller's pointers by a group.
func (w *wideWalk) loop(block func(last bool, load func(row int) Op), move func()) {
	Label("groups")
	rows := make([]func(Mem, bool) Op, w.weights.rows)
	for r := range rows {
		scale := ZMM()
		w.scales.read(r, scale)
		rows[r] = w.f.widen(scale)
	}
	for r := range w.ahead.rows {
		PREFETCHT1(w.ahead.at(r, 0))
	}
	block(false, func(r int) Op { return rows[r](w.weights.at(r, 0), false) })
	DECQ(w.blocks)
	JZ(LabelRef("looped"))
	block(true, func(r int) Op { return rows[r](w.weights.at(r, 0), true) })
	w.weights.move(w.f.groupBytes())
	if w.ahead.rows > 0 {
		w.ahead.move(w.f.groupBytes())
	}
	w.scales.next()
	move()
	DECQ(w.blocks)
	JNZ(LabelRef("groups"))
	Label("looped")
}

// mulWide writes the product of one token and some rows.
func mulWide(f wideFormat, rows int) {
	name := fmt.Sprintf("mul1x%d%sAVX512", rows, f.name())
	TEXT(name, NOSPLIT, "func(operands, tail *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is the product of 1 × %d rows: see type operands. If tail is not nil, it", name,
		rows), "has one more block of each: see tailBlocks.")
	acc := make([]VecVirtual, rows)
	for r := range acc {
		acc[r] = ZMM()
		VPXORD(acc[r], acc[r], acc[r])
	}
	x := field("x")
	step := func(at Mem, load func(row int) Op) {
		activation := ZMM()
		VMOVUPS(at, activation)
		for r, sum := range acc {
			VFMADD231PS(load(r), activation, sum)
		}
	}
	w := newWideWalk(f, rows)
	w.ahead = w.weights.after(prefetchRows)
	TESTQ(w.blocks, w.blocks)
	JZ(LabelRef("looped"))
	w.loop(func(last bool, load func(row int) Op) {
		at := Mem{Base: x}
		if last {
			at.Disp = wideBytes
		}
		step(at, load)
	}, func() { ADDQ(Imm(2*wideBytes), x) })

	tail := Load(Param("tail"), GP64())
	TESTQ(tail, tail)
	JZ(LabelRef("done"))
	xTail := field("xTail")
	ADDQ(tail, xTail)
	ADDQ(U32(tailWeights), tail)
	step(Mem{Base: xTail}, func(r int) Op { return Mem{Base: tail, Disp: wideBytes * r} })
	Label("done")
	dst := field("dst")
	for r, sum := range acc {
		high := YMM()
		VEXTRACTF64X4(U8(1), sum, high)
		low := sum.AsY().(VecVirtual)
		VMOVSS(reduced([2]VecVirtual{low, high}), Mem{Base: dst, Disp: 4 * r})
	}
	VZEROUPPER()
	RET()
}

// decodeWide writes the conversion of a row.
func decodeWide(f wideFormat) {
	name := "decode" + f.name() + "AVX512"
	TEXT(name, NOSPLIT, "func(operands *byte)")
	Pragma("noescape")
	Doc(name + " writes a row of weights to dst, and prefetches what lies wStride ahead; blocks > 0.")
	dst := field("dst")
	w := newWideWalk(f, 1)
	w.ahead = pointers{rows: 1, base: field("wStride")}
	ADDQ(w.weights.base, w.ahead.base)
	w.loop(func(last bool, load func(row int) Op) {
		at := Mem{Base: dst}
		if last {
			at.Disp = wideBytes
		}
		VMOVUPS(load(0), at)
	}, func() { ADDQ(Imm(2*wideBytes), dst) })
	VZEROUPPER()
	RET()
}
