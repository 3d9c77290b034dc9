package main

import (
	"fmt"

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
		{"AVX512", func() VecVirtual { return ZMM() }, 64, 4},
	}
}

// panelTiles writes the tiles that multiply decoded weights. Twelve sums, three activations and a
// weight take the sixteen registers of AVX2. Formats without scales have their own decoders here:
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

// add writes a product that begins with the lanes it finds and leaves lanes, of weights that were
// decoded beforehand. Lanes are independent: a tile of registers that are half as wide as the lanes
// goes over the columns twice, first for the lower half of the lanes and then for the upper.
func add(v vectors, tokens int) {
	name := fmt.Sprintf("add%dx%d%s", tokens, tileRows, v.name)
	TEXT(name, NOSPLIT, "func(lanes, x *float32, xStride int, w *float32, blocks int, "+
		"ahead *byte, aheadStride, aheadStep int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s adds the products of %d tokens and the %d rows of a panel at w to lanes", name,
		tokens, tileRows), fmt.Sprintf("[%d,%d,16]; blocks > 0. For each two it prefetches from two rows ahead.",
		tokens, tileRows), "Strides and steps are in bytes.")

	lanes := Load(Param("lanes"), GP64())
	xStride := Load(Param("xStride"), GP64())
	xStride3 := GP64()
	LEAQ(Mem{Base: xStride, Index: xStride, Scale: 2}, xStride3)
	ahead := pointers{rows: 2, base: Load(Param("ahead"), GP64()),
		stride: Load(Param("aheadStride"), GP64())}
	aheadStep := Load(Param("aheadStep"), GP64())
	for from := 0; from < 4*block; from += v.bytes {
		x := pointers{rows: tokens, base: Load(Param("x"), GP64()), stride: xStride, stride3: xStride3}
		w, blocks := Load(Param("w"), GP64()), Load(Param("blocks"), GP64())
		sums := make([]VecVirtual, tileRows*tokens)
		for i := range sums {
			sums[i] = v.register()
			VMOVUPS(Mem{Base: lanes, Disp: i*4*block + from}, sums[i])
		}
		step := func(n int) {
			at := 4*block*n + from
			activations := make([]VecVirtual, tokens)
			for t := range activations {
				activations[t] = v.register()
				VMOVUPS(x.at(t, at), activations[t])
			}
			for r := range tileRows {
				weight := v.register()
				VMOVUPS(Mem{Base: w, Disp: r*panelBytes + at}, weight)
				for t, activation := range activations {
					VFMADD231PS(weight, activation, sums[t*tileRows+r])
				}
			}
		}
		prefetch := func() {
			for r := range ahead.rows {
				PREFETCHT1(ahead.at(r, 0))
			}
			ADDQ(aheadStep, ahead.base)
		}
		inPairs(fmt.Sprintf("from%d", from), blocks, step, prefetch, func(blocks int) {
			x.move(4 * block * blocks)
			ADDQ(I32(4*block*blocks), w)
		})
		for i, sum := range sums {
			VMOVUPS(sum, Mem{Base: lanes, Disp: i*4*block + from})
		}
	}
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
