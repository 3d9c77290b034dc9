package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// quantGroup is the weights of a row under one scale, which is the upper half of a float32.
const quantGroup = 32

// quantScale is the bytes of a scale.
const quantScale = 2

// wideFormat is a format of groups that has a decoder for registers of 512 bits as well.
type wideFormat interface {
	format
	// groupBytes is the bytes of a group's quants.
	groupBytes() int
	// scalesAt returns the scales of some rows.
	scalesAt(rows int) groupScales
	// widen begins a group in registers of 512 bits, from its scale in all lanes, and load returns
	// sixteen of its weights, the first or the last.
	widen(scale VecVirtual) (load func(m Mem, last bool) Op)
}

// groupScales reads the scales of rows, and moves to the next group.
type groupScales interface {
	read(row int, to VecVirtual)
	next()
}

// scales are those of Q8 and Q4. The pointers are those of exponents, two bytes before the first
// scale: a load of four bytes has the scale in the upper half, and the mask clears the lower.
type scales struct {
	rows pointers
	mask Mem
}

func maskScales(name string) Mem {
	m := GLOBL("maskScale"+name, RODATA|NOPTR)
	for n := range 16 {
		DATA(4*n, U32(0xffff_0000))
	}
	return m
}

func scalesAt(rows int, mask Mem) scales {
	return scales{rowsAt("exponents", "exponentStride", rows), mask}
}

// read sets all lanes to a row's scale.
func (s scales) read(row int, to VecVirtual) {
	VPBROADCASTD(s.rows.at(row, 0), to)
	if to.Size() == registerBytes {
		VPAND(s.mask, to, to)
	} else {
		VPANDD(s.mask, to, to)
	}
}

func (s scales) next() { s.rows.move(quantScale) }

// grouped is the loop of these formats. The last group may be half a one. begin is called at each
// group, and before at each step.
func (w *walk) grouped(s scales, begin func(), before func(h int)) {
	Label("groups")
	begin()
	w.prefetch(0)
	for h := range quantGroup / half {
		if h == block/half {
			DECQ(w.blocks)
			JZ(LabelRef("looped"))
		}
		before(h)
		w.step(h)
	}
	s.next()
	w.move(quantGroup / half)
	DECQ(w.blocks)
	JNZ(LabelRef("groups"))
	Label("looped")
}

// q8 is widened, converted and scaled.
type q8 struct {
	mask   Mem
	scales []Op
}

func newQ8() *q8 { return &q8{mask: maskScales("Q8")} }

func (*q8) name() string    { return "Q8" }
func (*q8) halfBytes() int  { return half }
func (*q8) groupBytes() int { return quantGroup }

func (f *q8) scalesAt(rows int) groupScales { return scalesAt(rows, f.mask) }

func (f *q8) loop(w *walk) {
	s := scalesAt(w.weights.rows, f.mask)
	f.scales = constants(w, 1)
	w.grouped(s, func() {
		for r := range w.weights.rows {
			scale := YMM()
			s.read(r, scale)
			VMOVDQU(scale, f.scales[r])
		}
	}, func(int) {})
}

func (f *q8) load(m Mem, row int) Op {
	w := YMM()
	VPMOVSXBD(m, w)
	VCVTDQ2PS(w, w)
	VMULPS(f.scales[row], w, w)
	return w
}

func (f *q8) widen(scale VecVirtual) func(Mem, bool) Op {
	return func(m Mem, last bool) Op {
		if last {
			m = m.Offset(block)
		}
		w := ZMM()
		VPMOVSXBD(m, w)
		VCVTDQ2PS(w, w)
		VMULPS(scale, w, w)
		return w
	}
}

// constants returns places for something of each row: registers, or memory where none is left.
func constants(w *walk, each int) (at []Op) {
	for range w.weights.rows * each {
		if w.sums > 8 || len(at) >= 4 {
			at = append(at, AllocLocal(registerBytes))
		} else {
			at = append(at, YMM())
		}
	}
	return at
}

// errorQ4 writes what a group of weights loses under a scale of Q4.
func errorQ4() {
	TEXT("errorQ4AVX2", NOSPLIT, "func(group *float32, scale float32) float32")
	Pragma("noescape")
	Doc("errorQ4AVX2 is errorQ4 of 32 weights.")
	group, scale := Load(Param("group"), GP64()), YMM()
	one := XMM()
	Load(Param("scale"), one)
	VBROADCASTSS(one, scale)
	least, most := YMM(), YMM()
	VBROADCASTSS(floatConstant("leastQ4", -8), least)
	VBROADCASTSS(floatConstant("mostQ4", 7), most)
	sum := [2]VecVirtual{YMM(), YMM()}
	VXORPS(sum[0], sum[0], sum[0])
	VXORPS(sum[1], sum[1], sum[1])
	for h := range quantGroup / half {
		w, d := YMM(), YMM()
		VMOVUPS(Mem{Base: group, Disp: h * registerBytes}, w)
		VDIVPS(scale, w, d)
		VMINPS(most, d, d)
		VMAXPS(least, d, d)
		VROUNDPS(U8(0), d, d) // to nearest, ties to even
		VMULPS(scale, d, d)
		VSUBPS(d, w, d)
		VMULPS(d, d, d)
		VADDPS(d, sum[h%2], sum[h%2])
	}
	Store(reduced(sum).AsX(), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func floatConstant(name string, v float32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	DATA(0, U32(math.Float32bits(v)))
	return m
}

// q4 is a multiply-add of the quant, from 0 to 15, and minus eight scales; or, of 512 bits, looked up
// in a register that holds the sixteen weights of a scale. The low halves of a group's bytes are the
// first sixteen columns.
type q4 struct {
	mask, low, eight, quants Mem
	scales                   []Op // of each row, then minus eight scales of each
	half                     int  // of a group, that is being loaded
}

func newQ4() *q4 {
	f := &q4{mask: maskScales("Q4"), low: GLOBL("lowQ4", RODATA|NOPTR)}
	for n := range half {
		DATA(4*n, U32(15))
	}
	f.eight = GLOBL("minusEightQ4", RODATA|NOPTR)
	for n := range 16 {
		DATA(4*n, U32(math.Float32bits(-8)))
	}
	f.quants = GLOBL("quantsQ4", RODATA|NOPTR)
	for n := range 16 {
		DATA(4*n, U32(math.Float32bits(float32(n))))
	}
	return f
}

func (*q4) name() string    { return "Q4" }
func (*q4) halfBytes() int  { return half / 2 }
func (*q4) groupBytes() int { return quantGroup / 2 }

func (f *q4) scalesAt(rows int) groupScales { return scalesAt(rows, f.mask) }

func (f *q4) loop(w *walk) {
	rows := w.weights.rows
	s := scalesAt(rows, f.mask)
	f.scales = constants(w, 2)
	w.grouped(s, func() {
		for r := range rows {
			scale := YMM()
			s.read(r, scale)
			VMOVDQU(scale, f.scales[r])
			VMULPS(f.eight, scale, scale)
			VMOVDQU(scale, f.scales[rows+r])
		}
	}, func(h int) { f.half = h })
}

// load is asked for the bytes at halfBytes times the half; those of half 2 are those of 0 again.
func (f *q4) load(m Mem, row int) Op {
	at := half * (f.half % 2)
	w := YMM()
	VPMOVZXBD(m.Offset(at-f.half*f.halfBytes()), w)
	if f.half < 2 {
		VPAND(f.low, w, w)
	} else {
		VPSRLD(U8(4), w, w)
	}
	VCVTDQ2PS(w, w)
	rows := len(f.scales) / 2
	scale := inRegister(f.scales[row])
	VFMADD213PS(f.scales[rows+row], scale, w)
	return w
}

func (f *q4) widen(scale VecVirtual) func(Mem, bool) Op {
	minusEight, table := ZMM(), ZMM()
	VMULPS(f.eight, scale, minusEight)
	VMOVUPS(f.quants, table)
	VFMADD213PS(minusEight, scale, table)
	var quants VecVirtual
	return func(m Mem, last bool) Op {
		w := ZMM()
		if !last {
			quants = ZMM()
			VPMOVZXBD(m, quants)
			VPERMPS(table, quants, w) // it looks at four bits
			return w
		}
		VPSRLD(U8(4), quants, w)
		VPERMPS(table, w, w)
		return w
	}
}
