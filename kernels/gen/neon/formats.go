package main

import "math"

// half is the numbers of a step: two of the four registers of the sixteen lanes.
const (
	block         = 16
	half          = 8
	registerBytes = 16
)

// stored knows how to read stored numbers.
type stored interface {
	name() string
	// halfBytes is the bytes of eight numbers.
	halfBytes() int
	// load reads eight numbers of a row, disp bytes from where r points, as float32.
	load(f *function, to [2]vec, r reg, disp, row int)
}

// format knows how to read stored weights.
type format interface {
	stored
	// loop writes the code that goes over all blocks of the walk, of which there is at least one.
	loop(f *function, w *walk)
}

// walk is a way over the columns of a tile.
type walk struct {
	rows   int // of weights
	blocks reg
	// step does what there is to do for eight columns, half·8 from where the pointers are.
	step func(half int)
	// move advances all pointers by some halves.
	move func(halves int)
	// group, if not nil, does what steps 0 to 3 do, a whole group of a format at once.
	group func(decode groupDecoder)
	// field returns a field of the operands.
	field func(name string) reg
}

// dense is the loop of formats without scales.
func (w *walk) dense(f *function) {
	f.label("loop")
	w.step(0)
	w.step(1)
	w.move(2)
	f.op("SUBS $1, %s", w.blocks)
	f.op("BNE loop")
}

// rowsOf returns a pointer to each of some rows.
func (w *walk) rowsOf(f *function, base, stride string, rows int) []reg {
	p := []reg{w.field(base)}
	for range rows - 1 {
		p = append(p, f.general())
	}
	if rows > 1 {
		f.scope(func() { f.spread(p, w.field(stride)) })
	}
	return p
}

type f32 struct{}

func (f32) name() string              { return "F32" }
func (f32) halfBytes() int            { return 4 * half }
func (f32) loop(f *function, w *walk) { w.dense(f) }
func (f32) load(f *function, to [2]vec, r reg, disp, _ int) {
	f.loadAt(to[0], r, disp, registerBytes)
	f.loadAt(to[1], r, disp+registerBytes, registerBytes)
}

type bf16 struct{}

func (bf16) name() string              { return "BF16" }
func (bf16) halfBytes() int            { return 2 * half }
func (bf16) loop(f *function, w *walk) { w.dense(f) }
func (bf16) load(f *function, to [2]vec, r reg, disp, _ int) {
	f.loadAt(to[1], r, disp, registerBytes)
	f.shllHalves(to[0], to[1], false)
	f.shllHalves(to[1], to[1], true)
}

type f16 struct{}

func (f16) name() string              { return "F16" }
func (f16) halfBytes() int            { return 2 * half }
func (f16) loop(f *function, w *walk) { w.dense(f) }
func (f16) load(f *function, to [2]vec, r reg, disp, _ int) {
	f.loadAt(to[1], r, disp, registerBytes)
	widenHalves(f, to)
}

// widenHalves widens the eight float16 of the second register.
func widenHalves(f *function, to [2]vec) {
	f.fromHalf(to[0], to[1], false)
	f.fromHalf(to[1], to[1], true)
}

// i8 is a KV cache's. Its scale is that of a whole row, and is applied elsewhere.
type i8 struct{}

func (i8) name() string   { return "I8" }
func (i8) halfBytes() int { return half }
func (i8) load(f *function, to [2]vec, r reg, disp, _ int) {
	f.loadAt(to[1], r, disp, half)
	f.sshllBytes(to[1], to[1], 0, false)
	f.sxtlHalves(to[0], to[1], false)
	f.sxtlHalves(to[1], to[1], true)
	f.scvtf(to[0], to[0])
	f.scvtf(to[1], to[1])
}

// e4m3 is moved to a float16's place, where it reads as 1/256 of its value, subnormals included;
// the scale makes up for it. All rows of a tile have the same scales.
type e4m3 struct{ mask, scale vec }

const scaleBlock = 128

func (*e4m3) name() string   { return "E4M3" }
func (*e4m3) halfBytes() int { return half }

func (e *e4m3) loop(f *function, w *walk) {
	e.mask = f.constant("maskE4M3", 0xbf80bf80bf80bf80, 0xbf80bf80bf80bf80)
	e.scale = f.take()
	scales, inGroup := w.field("scales"), f.general()
	f.label("groups")
	f.scope(func() {
		factor, bits := f.take(), f.general()
		f.op("MOVD $0x%08x, %s", math.Float32bits(256), bits)
		f.op("VDUP %s, %s.S4", bits, factor)
		f.op("FMOVS.P 4(%s), %s", scales, e.scale.scalar())
		f.broadcast(e.scale, e.scale)
		f.fmul(e.scale, e.scale, factor)
	})
	f.op("MOVD $%d, %s", scaleBlock/block, inGroup)
	f.op("CMP %s, %s", inGroup, w.blocks)
	f.op("CSEL LT, %s, %s, %s", w.blocks, inGroup, inGroup)
	f.op("SUB %s, %s", inGroup, w.blocks)
	f.label("blocks")
	w.step(0)
	w.step(1)
	w.move(2)
	f.op("SUBS $1, %s", inGroup)
	f.op("BNE blocks")
	f.op("CBNZ %s, groups", w.blocks)
}

func (e *e4m3) load(f *function, to [2]vec, r reg, disp, _ int) {
	f.loadAt(to[1], r, disp, half)
	f.sshllBytes(to[1], to[1], 7, false) // seeeemmm to sseeeemm m0000000
	f.and(to[1], to[1], e.mask)
	widenHalves(f, to)
	f.fmul(to[0], to[0], e.scale)
	f.fmul(to[1], to[1], e.scale)
}
