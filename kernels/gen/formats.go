package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// stored knows how to read stored numbers.
type stored interface {
	name() string
	// halfBytes is the bytes of eight numbers.
	halfBytes() int
	// load returns eight numbers of a row as float32: in register, or in memory if they are
	// float32 there.
	load(m Mem, row int) Op
}

// format knows how to read stored weights.
type format interface {
	stored
	// loop writes the code that goes over all blocks of the walk, of which there is at least one.
	loop(w *walk)
}

// cached knows how to read stored keys and values.
type cached interface {
	stored
	// begin writes what load needs to have been done once. Constants go to a register if there is
	// one to spare.
	begin(spare bool)
}

// walk is a way over the columns of a tile.
type walk struct {
	sums    int      // registers that hold sums
	weights pointers // stored weights
	ahead   pointers // rows to prefetch
	blocks  Register
	// step does what there is to do for eight columns, half·8 from where the pointers are.
	step func(half int)
	// move advances all pointers by some halves.
	move func(halves int)
}

// dense is the loop of formats without scales.
func (w *walk) dense() {
	Label("loop")
	w.step(0)
	w.step(1)
	w.prefetch(0)
	w.move(2)
	DECQ(w.blocks)
	JNZ(LabelRef("loop"))
}

// prefetch asks for the rows ahead, to the second level of cache: a tile of long rows would push
// itself out of the first.
func (w *walk) prefetch(disp int) {
	for r := range w.ahead.rows {
		PREFETCHT1(w.ahead.at(r, disp))
	}
}

type f32 struct{}

func (f32) name() string         { return "F32" }
func (f32) halfBytes() int       { return 32 }
func (f32) loop(w *walk)         { w.dense() }
func (f32) load(m Mem, _ int) Op { return m }
func (f32) begin(bool)           {}

// bf16 is widened by one byte shuffle of eight weights that the load copied to both halves of the
// register: VPMOVZXWD and a shift would take three operations.
type bf16 struct {
	table   Mem // bytes 0-7 into the upper halves of lanes 0-3, bytes 8-15 of lanes 4-7
	shuffle Op  // the table, or a register that holds it
}

func newBF16() *bf16 {
	f := &bf16{table: GLOBL("widenBF16", RODATA|NOPTR)}
	for n := range 8 {
		DATA(4*n, U32(uint32(2*n+1)<<24|uint32(2*n)<<16|0x8080)) // 0x80 clears a byte
	}
	return f
}

func (*bf16) name() string   { return "BF16" }
func (*bf16) halfBytes() int { return 16 }
func (f *bf16) loop(w *walk) {
	f.begin(true)
	w.dense()
}
func (f *bf16) begin(spare bool) {
	f.shuffle = f.table
	if spare {
		register := YMM()
		VMOVDQU(f.table, register)
		f.shuffle = register
	}
}
func (f *bf16) load(m Mem, _ int) Op {
	w := YMM()
	VBROADCASTI128(m, w)
	VPSHUFB(f.shuffle, w, w)
	return w
}

// i8 is a KV cache's. Its scale is that of a whole row, and is applied elsewhere.
type i8 struct{}

func (i8) name() string   { return "I8" }
func (i8) halfBytes() int { return half }
func (i8) begin(bool)     {}
func (i8) load(m Mem, _ int) Op {
	w := YMM()
	VPMOVSXBD(m, w)
	VCVTDQ2PS(w, w)
	return w
}

type f16 struct{}

func (f16) name() string   { return "F16" }
func (f16) halfBytes() int { return 16 }
func (f16) loop(w *walk)   { w.dense() }
func (f16) load(m Mem, _ int) Op {
	w := YMM()
	VCVTPH2PS(m, w)
	return w
}

// e4m3 is moved to a float16's place, where it reads as 1/256 of its value, subnormals included;
// the scale makes up for it. All rows of a tile have the same scales.
type e4m3 struct {
	mask, factor Mem
	scale        VecVirtual
}

const scaleBlock = 128

func newE4M3() *e4m3 {
	f := &e4m3{mask: GLOBL("maskE4M3", RODATA|NOPTR)}
	for n := range 4 {
		DATA(4*n, U32(0xbf80_bf80))
	}
	f.factor = GLOBL("factorE4M3", RODATA|NOPTR)
	DATA(0, U32(math.Float32bits(256)))
	return f
}

func (*e4m3) name() string   { return "E4M3" }
func (*e4m3) halfBytes() int { return half }
func (f *e4m3) loop(w *walk) {
	scales, inGroup := field("scales"), GP64()
	Label("groups")
	f.scale = YMM()
	factor := XMM()
	VMOVSS(Mem{Base: scales}, factor)
	VMULSS(f.factor, factor, factor)
	VBROADCASTSS(factor, f.scale)
	ADDQ(Imm(4), scales)
	for line := 0; line < scaleBlock; line += 64 {
		w.prefetch(line)
	}
	MOVQ(U32(scaleBlock/block), inGroup)
	CMPQ(w.blocks, inGroup)
	CMOVQLT(w.blocks, inGroup)
	SUBQ(inGroup, w.blocks)
	Label("blocks")
	w.step(0)
	w.step(1)
	w.move(2)
	DECQ(inGroup)
	JNZ(LabelRef("blocks"))
	TESTQ(w.blocks, w.blocks)
	JNZ(LabelRef("groups"))
}
func (f *e4m3) load(m Mem, _ int) Op {
	h, w := XMM(), YMM()
	VPMOVSXBW(m, h)     // seeeemmm to ssssssss seeeemmm
	VPSLLW(U8(7), h, h) // to sseeeemm m0000000
	VPAND(f.mask, h, h)
	VCVTPH2PS(h, w)
	VMULPS(f.scale, w, w)
	return w
}

// mxfp4 is looked up: eight scaled magnitudes of a row lie in a register, which a weight's low
// three bits choose from. The weight shifted to the top of a float32 brings the sign, and the low
// three bits, which the table has flipped beforehand.
//
// With 512 bits all sixteen numbers of an exponent lie in a register.
type mxfp4 struct {
	magnitudes, flips, shifts Mem
	tables                    []Op
	numbers, wideShifts       Mem
	halves                    [2]Mem // which four bytes of a group a lane of a block is in
}

const exponentGroup = 32

var magnitudesMXFP4 = [8]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6}

func newMXFP4() *mxfp4 {
	f := &mxfp4{magnitudes: GLOBL("magnitudesMXFP4", RODATA|NOPTR)}
	for n, v := range magnitudesMXFP4 {
		DATA(4*n, U32(math.Float32bits(v)))
	}
	f.flips = GLOBL("flipsMXFP4", RODATA|NOPTR)
	for n := range 8 {
		DATA(4*n, U32(uint32(n)<<28))
	}
	f.shifts = GLOBL("shiftsMXFP4", RODATA|NOPTR)
	for n := range 8 {
		DATA(4*n, U32(uint32(4*n)))
	}
	f.wide()
	return f
}

// wide sets the constants of 512 bits.
func (f *mxfp4) wide() {
	f.numbers = GLOBL("numbersMXFP4", RODATA|NOPTR)
	for n := range 16 {
		DATA(4*n, U32(math.Float32bits(magnitudesMXFP4[n%8])|uint32(n/8)<<31))
	}
	f.wideShifts = GLOBL("wideShiftsMXFP4", RODATA|NOPTR)
	for n := range 16 {
		DATA(4*n, U32(uint32(4*(n%8))))
	}
	for h, name := range []string{"firstMXFP4", "lastMXFP4"} {
		f.halves[h] = GLOBL(name, RODATA|NOPTR)
		for n := range 16 {
			DATA(4*n, U32(uint32(2*h+n/8)))
		}
	}
}

func (*mxfp4) name() string    { return "MXFP4" }
func (*mxfp4) halfBytes() int  { return half / 2 }
func (*mxfp4) groupBytes() int { return exponentGroup / 2 }

// exponents are the scales of MXFP4.
type exponents struct {
	rows  pointers
	least Register // 2^-127
}

func exponentsAt(rows int) exponents {
	e := exponents{rowsAt("exponents", "exponentStride", rows), GP32()}
	MOVL(U32(1<<22), e.least)
	return e
}

// bits returns a row's scale.
func (e exponents) bits(row int) Register {
	bits := GP32()
	MOVBLZX(e.rows.at(row, 0), bits)
	SHLL(U8(23), bits)
	CMOVLEQ(e.least, bits)
	return bits
}

func (e exponents) read(row int, to VecVirtual) { VPBROADCASTD(e.bits(row), to) }
func (e exponents) next()                       { e.rows.move(1) }

func (*mxfp4) scalesAt(rows int) groupScales { return exponentsAt(rows) }

// widen looks weights up: a group's bytes go to the lanes by fours, which are shifted.
func (f *mxfp4) widen(scale VecVirtual) func(Mem, bool) Op {
	table := ZMM()
	VMULPS(f.numbers, scale, table)
	var group VecVirtual
	return func(m Mem, last bool) Op {
		half, w := f.halves[0], ZMM()
		if last {
			half = f.halves[1]
		} else {
			group = ZMM()
			VMOVDQU32(m, group.AsX())
		}
		VMOVDQU32(half, w)
		VPERMD(group, w, w)
		VPSRLVD(f.wideShifts, w, w)
		VPERMPS(table, w, w) // it looks at four bits
		return w
	}
}

func (f *mxfp4) loop(w *walk) {
	exponents := exponentsAt(w.weights.rows)
	f.tables = nil
	for range w.weights.rows {
		if w.sums > 8 { // no register is left
			f.tables = append(f.tables, AllocLocal(registerBytes))
		} else {
			f.tables = append(f.tables, YMM())
		}
	}
	Label("groups")
	for r, table := range f.tables {
		scale := XMM()
		VMOVD(exponents.bits(r), scale)
		scaled := YMM()
		VPBROADCASTD(scale, scaled)
		VMULPS(f.magnitudes, scaled, scaled)
		if _, ok := table.(Mem); ok {
			VPXOR(f.flips, scaled, scaled)
			VMOVDQU(scaled, table)
		} else {
			VPXOR(f.flips, scaled, table)
		}
	}
	w.prefetch(0)
	for h := range exponentGroup / half {
		w.step(h)
	}
	exponents.next()
	w.move(exponentGroup / half)
	SUBQ(Imm(exponentGroup/block), w.blocks)
	JNZ(LabelRef("groups"))
}
func (f *mxfp4) load(m Mem, row int) Op {
	q, w := YMM(), YMM()
	VPBROADCASTD(m, q)
	VPSRLVD(f.shifts, q, q)
	VPERMPS(f.tables[row], q, w)
	VPSLLD(U8(28), q, q)
	VPXOR(q, w, w)
	return w
}
