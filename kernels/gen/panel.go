package main

import (
	"fmt"
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A panel's register tile has four rows, which lie panelBytes apart: see type panel of package
// kernels.
const (
	tileRows   = 4
	panelBytes = 4 * 512
)

// vectors is an instruction set's registers.
type vectors struct {
	name     string
	register func() VecVirtual
	bytes    int // of a register
	tokens   int // of the largest tile that registers have room for
}

// zeros returns n registers of zeros.
func (v vectors) zeros(n int) []VecVirtual {
	acc := make([]VecVirtual, n)
	for i := range acc {
		acc[i] = v.register()
		VXORPS(acc[i], acc[i], acc[i])
	}
	return acc
}

// bothVectors lists the kinds of registers.
func bothVectors() []vectors {
	return []vectors{
		{"AVX2", func() VecVirtual { return YMM() }, 32, 3},
		{"AVX512", func() VecVirtual { return ZMM() }, 64, 6},
	}
}

// panelTiles writes the tiles that multiply decoded weights: as many sums, and the activations and the
// weight of a step, as there are registers for. Formats without scales have their own decoders here:
// a panel's are short.
func panelTiles(unscaled ...format) {
	for _, v := range bothVectors() {
		for tokens := range v.tokens {
			add(v, 1+tokens)
		}
		for _, f := range unscaled {
			widenPanel(v, f)
		}
		peak(v)
	}
}

// tileFields are those of the type tileOperands of package kernels, in order; each takes eight bytes.
var tileFields = []string{"lanes", "x", "xStride", "xStep", "w", "blocks", "tiles", "first",
	"ahead", "aheadStride", "aheadStep", "near", "nearStep", "nearLanes"}

// add writes a product that begins with the lanes it finds, or with zeros, and leaves lanes, of
// weights that were decoded beforehand. Lanes are independent: a tile of registers that are half as
// wide as the lanes goes over the columns twice, first for the lower half of the lanes and then for
// the upper.
func add(v vectors, tokens int) {
	name := fmt.Sprintf("add%dx%d%s", tokens, tileRows, v.name)
	TEXT(name, NOSPLIT, "func(operands *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s adds products of %d tokens and %d rows of a panel to lanes: see type tileOperands.",
		name, tokens, tileRows))

	operands := Load(Param("operands"), GP64())
	at := func(name string) Mem {
		return Mem{Base: operands, Disp: 8 * slices.Index(tileFields, name)}
	}
	from := func(name string) Register {
		r := GP64()
		MOVQ(at(name), r)
		return r
	}
	tile := addTile{vectors: v, tokens: tokens, at: at, lanes: from("lanes"), row: from("w"),
		w: GP64(), x: GP64(), x3: GP64(), xStride: from("xStride"), near: from("near"),
		nearLanes: from("nearLanes"), blocks: GP64(),
		ahead: pointers{rows: 2, base: GP64(), stride: from("aheadStride")}}
	Label("tile")
	MOVQ(at("ahead"), tile.ahead.base)
	for half := 0; half < 4*block; half += v.bytes {
		tile.write(half)
	}
	ADDQ(I32(tokens*tileRows*4*block), tile.lanes)
	ADDQ(I32(tileRows*panelBytes), tile.row)
	for range tile.ahead.rows {
		ADDQ(tile.ahead.stride, at("ahead"))
	}
	DECQ(at("tiles"))
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// addTile is the registers of a tile.
type addTile struct {
	vectors
	tokens                              int
	at                                  func(field string) Mem
	lanes, row, w, x, x3, xStride, near Register
	nearLanes, blocks                   Register
	ahead                               pointers
}

// write writes the tile for the lanes that begin half bytes into a block.
func (t *addTile) write(half int) {
	label := fmt.Sprintf("half%d", half)
	sums := make([]VecVirtual, tileRows*t.tokens)
	CMPQ(t.at("first"), Imm(0))
	JNE(LabelRef(label + "First"))
	for i := range sums {
		sums[i] = t.register()
		VMOVUPS(Mem{Base: t.lanes, Disp: i*4*block + half}, sums[i])
	}
	JMP(LabelRef(label + "Begin"))
	Label(label + "First")
	for _, sum := range sums {
		VXORPS(sum, sum, sum)
	}
	Label(label + "Begin")
	MOVQ(t.row, t.w)
	MOVQ(t.at("blocks"), t.blocks)
	MOVQ(t.at("x"), t.x)
	if t.tokens > 3 {
		LEAQ(Mem{Base: t.x, Index: t.xStride, Scale: 2}, t.x3)
		ADDQ(t.xStride, t.x3)
	}
	inPairs(label, t.blocks, func(n int) { t.step(sums, n, half) }, t.prefetch, func(blocks int) {
		ADDQ(I32(4*block*blocks), t.w)
	})
	for i, sum := range sums {
		VMOVUPS(sum, Mem{Base: t.lanes, Disp: i*4*block + half})
	}
}

// step adds a block's products and goes on to the activations of the next.
func (t *addTile) step(sums []VecVirtual, n, half int) {
	first := pointers{rows: 3, base: t.x, stride: t.xStride}
	second := pointers{rows: 3, base: t.x3, stride: t.xStride}
	activations := make([]VecVirtual, t.tokens)
	for i := range activations {
		activations[i] = t.register()
		if i < 3 {
			VMOVUPS(first.at(i, half), activations[i])
		} else {
			VMOVUPS(second.at(i-3, half), activations[i])
		}
	}
	ADDQ(t.at("xStep"), t.x)
	if t.tokens > 3 {
		ADDQ(t.at("xStep"), t.x3)
	}
	for r := range tileRows {
		weight := t.register()
		VMOVUPS(Mem{Base: t.w, Disp: r*panelBytes + 4*block*n + half}, weight)
		for i, activation := range activations {
			VFMADD231PS(weight, activation, sums[i*tileRows+r])
		}
	}
}

// prefetch asks, once for two blocks, for weights of the next panel, for as much of the next
// tile's activations as the tiles of a panel's eight rows together need, and for its lanes.
func (t *addTile) prefetch() {
	for r := range t.ahead.rows {
		PREFETCHT1(t.ahead.at(r, 0))
	}
	ADDQ(t.at("aheadStep"), t.ahead.base)
	lines := (t.tokens*t.bytes + 4*block - 1) / (4 * block)
	for i := range lines {
		PREFETCHT0(Mem{Base: t.near, Disp: i * 4 * block})
	}
	ADDQ(t.at("nearStep"), t.near)
	lines = (t.tokens*t.bytes + 4*block*4 - 1) / (4 * block * 4)
	for i := range lines {
		PREFETCHT0(Mem{Base: t.nearLanes, Disp: i * 4 * block})
	}
	ADDQ(I32(lines*4*block), t.nearLanes)
}

// copyBlocks writes what packs activations.
func copyBlocks() {
	TEXT("copyBlocksAVX2", NOSPLIT, "func(dst *float32, step int, x *float32, blocks int)")
	Pragma("noescape")
	Doc("copyBlocksAVX2 copies blocks > 0 of 16 float32 to where they are step bytes apart.")
	dst, step := Load(Param("dst"), GP64()), Load(Param("step"), GP64())
	x, blocks := Load(Param("x"), GP64()), Load(Param("blocks"), GP64())
	low, high := YMM(), YMM()
	Label("block")
	VMOVUPS(Mem{Base: x}, low)
	VMOVUPS(Mem{Base: x, Disp: registerBytes}, high)
	VMOVUPS(low, Mem{Base: dst})
	VMOVUPS(high, Mem{Base: dst, Disp: registerBytes})
	ADDQ(I32(4*block), x)
	ADDQ(step, dst)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// widenPanel writes the conversion of rows of a format without scales.
func widenPanel(v vectors, f format) {
	name := "widen" + f.name() + v.name
	TEXT(name, NOSPLIT, "func(panel *float32, w *byte, wStride, rows, blocks int)")
	Pragma("noescape")
	Doc(name + " decodes rows > 0 of weights, wStride bytes apart, to a panel; blocks > 0.")
	if f, ok := f.(*bf16); ok {
		f.begin(true)
	}
	panel, w := Load(Param("panel"), GP64()), Load(Param("w"), GP64())
	stride, rows := Load(Param("wStride"), GP64()), Load(Param("rows"), GP64())
	dst, src := GP64(), GP64()
	step := func(n int) {
		for from := 4 * block * n; from < 4*block*(n+1); from += v.bytes {
			at := Mem{Base: src, Disp: from / registerBytes * f.halfBytes()}
			VMOVUPS(v.load(f, at), Mem{Base: dst, Disp: from})
		}
	}
	Label("row")
	MOVQ(panel, dst)
	MOVQ(w, src)
	inPairs("block", Load(Param("blocks"), GP64()), step, func() {}, func(blocks int) {
		ADDQ(I32(4*block*blocks), dst)
		ADDQ(I32(2*f.halfBytes()*blocks), src)
	})
	ADDQ(I32(panelBytes), panel)
	ADDQ(stride, w)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// load returns a register of weights as float32.
func (v vectors) load(f format, m Mem) Op {
	if v.bytes == registerBytes {
		return inRegister(f.load(m, 0))
	}
	w := v.register()
	switch f.(type) {
	case *bf16:
		VPMOVZXWD(m, w)
		VPSLLD(U8(16), w, w)
	case f16:
		VCVTPH2PS(m, w)
	default:
		VMOVUPS(m, w)
	}
	return w
}

// inPairs writes a loop over blocks, of which there is at least one: step is called with 0, and in
// a pair also with 1.
func inPairs(label string, blocks Register, step func(n int), pair func(), move func(blocks int)) {
	SHRQ(Imm(1), blocks)
	JNC(LabelRef(label + "Pair"))
	step(0)
	move(1)
	TESTQ(blocks, blocks)
	JZ(LabelRef(label + "Done"))
	Label(label + "Pair")
	step(0)
	step(1)
	pair()
	move(2)
	DECQ(blocks)
	JNZ(LabelRef(label + "Pair"))
	Label(label + "Done")
}
