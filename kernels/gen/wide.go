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
	for r := range w.ahead.rows { // to the first level: decoding waits for it more than it fills it
		PREFETCHT0(w.ahead.at(r, 0))
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

// wideTile is a register tile of some tokens and four rows, in registers of 512 bits.
type wideTile struct {
	x   pointers
	acc [][]VecVirtual // [tokens][tileRows]
}

// newWideTile begins the function.
func newWideTile(f format, tokens int) *wideTile {
	name := fmt.Sprintf("mul%dx%d%sAVX512", tokens, tileRows, f.name())
	TEXT(name, NOSPLIT, "func(operands, tail *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is the product of %d × %d rows: see type operands. If tail is not nil, it", name,
		tokens, tileRows), "has one more block of each: see tailBlocks.")
	t := &wideTile{x: rowsAt("x", "xStride", tokens)}
	for range tokens {
		sums := make([]VecVirtual, tileRows)
		for r := range sums {
			sums[r] = ZMM()
			VPXORD(sums[r], sums[r], sums[r])
		}
		t.acc = append(t.acc, sums)
	}
	return t
}

// step adds the n-th block from here.
func (t *wideTile) step(n int, load func(row int) Op) {
	t.add(func(token int) Mem { return t.x.at(token, wideBytes*n) }, load)
}

func (t *wideTile) add(x func(token int) Mem, load func(row int) Op) {
	activations := make([]VecVirtual, len(t.acc))
	for i := range activations {
		activations[i] = ZMM()
		VMOVUPS(x(i), activations[i])
	}
	for r := range tileRows {
		weight := load(r)
		for i, activation := range activations {
			VFMADD231PS(weight, activation, t.acc[i][r])
		}
	}
}

func (t *wideTile) move(blocks int) { t.x.move(wideBytes * blocks) }

// end adds the tail, stores the sums and ends the function.
func (t *wideTile) end() {
	tail := Load(Param("tail"), GP64())
	TESTQ(tail, tail)
	JZ(LabelRef("done"))
	xTail := field("xTail")
	ADDQ(tail, xTail)
	ADDQ(U32(tailWeights), tail)
	t.add(func(i int) Mem { return Mem{Base: xTail, Disp: wideBytes * i} }, func(r int) Op {
		w := ZMM()
		VMOVUPS(Mem{Base: tail, Disp: wideBytes * r}, w)
		return w
	})
	Label("done")
	dst, stride := field("dst"), field("dstStride")
	for i, sums := range t.acc {
		for r, sum := range sums {
			high := YMM()
			VEXTRACTF64X4(U8(1), sum, high)
			low := sum.AsY().(VecVirtual)
			VMOVSS(reduced([2]VecVirtual{low, high}), Mem{Base: dst, Disp: 4 * r})
		}
		if i+1 < len(t.acc) {
			ADDQ(stride, dst)
		}
	}
	VZEROUPPER()
	RET()
}

// mulWide writes the product of some tokens and four rows.
func mulWide(f wideFormat, tokens int) {
	t := newWideTile(f, tokens)
	w := newWideWalk(f, tileRows)
	w.ahead = w.weights.after(prefetchRows)
	TESTQ(w.blocks, w.blocks)
	JZ(LabelRef("looped"))
	w.loop(func(last bool, load func(row int) Op) {
		n := 0
		if last {
			n = 1
		}
		t.step(n, load)
	}, func() { t.move(2) })
	t.end()
}

// decodeWideText begins the conversion of a row, and returns where to.
func decodeWideText(f format) Register {
	name := "decode" + f.name() + "AVX512"
	TEXT(name, NOSPLIT, "func(operands *byte)")
	Pragma("noescape")
	Doc(name + " writes a row of weights to dst, and prefetches what lies wStride ahead; blocks > 0.")
	return field("dst")
}

// decodeWide writes the conversion of a row.
func decodeWide(f wideFormat) {
	dst := decodeWideText(f)
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
