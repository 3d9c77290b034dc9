// Command gen writes the AVX2 kernels of package kernels: mul_amd64.s and its Go declarations.
// Run it by `go generate` in that package.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// block is the elements of one step: both halves of the sixteen lanes.
const block = 16

// prefetchRows is how many rows ahead to ask for memory: a register tile or two, so that the first
// bytes of a row, which the hardware cannot foresee, are asked for as well. They go to the second
// level of cache; a tile of long rows would push itself out of the first.
const prefetchRows = 4

func main() {
	for _, f := range []format{f32{}, newBF16(), f16{}} {
		mul(f, 1, 1) // what the others leave over
		mul(f, 1, 4) // one token: four rows hide the latency of the additions
		mul(f, 2, 2)
		mul(f, 3, 2) // many tokens: twelve sums, two decoded weights, one activation
	}
	addWeighted()
	Generate()
}

// format knows how to read eight stored weights.
type format interface {
	name() string
	size() int
	// setup loads what load needs in registers, once per call.
	setup()
	// load returns eight weights as float32: in register, or in memory if they are float32 there.
	load(m Mem) Op
}

type f32 struct{}

func (f32) name() string  { return "F32" }
func (f32) size() int     { return 4 }
func (f32) setup()        {}
func (f32) load(m Mem) Op { return m }

// bf16 is widened by one byte shuffle of eight weights that the load copied to both halves of the
// register: VPMOVZXWD and a shift would take three operations.
type bf16 struct {
	table   Mem // bytes 0-7 into the upper halves of lanes 0-3, bytes 8-15 of lanes 4-7
	shuffle VecVirtual
}

func newBF16() *bf16 {
	f := &bf16{table: GLOBL("widenBF16", RODATA|NOPTR)}
	for n := range 8 {
		DATA(4*n, U32(uint32(2*n+1)<<24|uint32(2*n)<<16|0x8080)) // 0x80 clears a byte
	}
	return f
}

func (*bf16) name() string { return "BF16" }
func (*bf16) size() int    { return 2 }
func (f *bf16) setup() {
	f.shuffle = YMM()
	VMOVDQU(f.table, f.shuffle)
}
func (f *bf16) load(m Mem) Op {
	w := YMM()
	VBROADCASTI128(m, w)
	VPSHUFB(f.shuffle, w, w)
	return w
}

type f16 struct{}

func (f16) name() string { return "F16" }
func (f16) size() int    { return 2 }
func (f16) setup()       {}
func (f16) load(m Mem) Op {
	w := YMM()
	VCVTPH2PS(m, w)
	return w
}

// mul writes a register tile of a matrix product: tokens × rows canonical dot products at once.
func mul(f format, tokens, rows int) {
	name := fmt.Sprintf("mul%dx%d%s", tokens, rows, f.name())
	TEXT(name, NOSPLIT, "func(dst *float32, dstStride int, x *float32, xStride int, "+
		"w *byte, wStride int, blocks int, xTail *float32, wTail *byte)")
	Pragma("noescape")
	Doc(name+" computes dst[t*dstStride+r] = dot(x[t*xStride:], w[r*wStride:]) for a tile of tokens ×",
		"rows over blocks of 16 elements, strides in bytes. If xTail is not nil one more block follows,",
		"dense in xTail [tokens,16] and wTail [rows,16].")

	acc := zeroSums(tokens, rows)
	f.setup()
	xs := pointers("x", "xStride", tokens)
	ws := pointers("w", "wStride", rows)
	var ahead []Register
	if rows > 1 {
		ahead = rowsAhead(ws)
	}
	blocks := Load(Param("blocks"), GP64())
	i := GP64()
	XORQ(i, i)
	TESTQ(blocks, blocks)
	JZ(LabelRef("tail"))

	Label("loop")
	for half := range 2 {
		step(f, acc, xs, ws, i, half)
	}
	for _, p := range ahead {
		PREFETCHT1(Mem{Base: p, Index: i, Scale: uint8(f.size())})
	}
	ADDQ(Imm(block), i)
	DECQ(blocks)
	JNZ(LabelRef("loop"))

	Label("tail") // point at the padded block, if there is one, and go round once more
	xTail := Load(Param("xTail"), xs[0])
	TESTQ(xTail, xTail)
	JZ(LabelRef("done"))
	dense(xs, block*4)
	Load(Param("wTail"), ws[0])
	dense(ws, block*f.size())
	XORQ(i, i)
	MOVQ(I32(1), blocks)
	zero := GP64()
	XORQ(zero, zero)
	Store(zero, Param("xTail"))
	JMP(LabelRef("loop"))

	Label("done")
	store(acc)
	VZEROUPPER()
	RET()
}

// zeroSums clears the accumulators, [tokens][rows], two registers for sixteen lanes.
func zeroSums(tokens, rows int) [][][2]VecVirtual {
	acc := make([][][2]VecVirtual, tokens)
	for t := range acc {
		acc[t] = make([][2]VecVirtual, rows)
		for r := range acc[t] {
			acc[t][r] = [2]VecVirtual{YMM(), YMM()}
			for _, y := range acc[t][r] {
				VXORPS(y, y, y)
			}
		}
	}
	return acc
}

// rowsAhead points at the rows to prefetch while those at ws are read.
func rowsAhead(ws []Register) (ahead []Register) {
	distance := Load(Param("wStride"), GP64())
	IMUL3Q(U8(prefetchRows), distance, distance)
	for _, w := range ws {
		p := GP64()
		MOVQ(w, p)
		ADDQ(distance, p)
		ahead = append(ahead, p)
	}
	return ahead
}

// pointers loads a pointer parameter and adds its stride n-1 times.
func pointers(base, stride string, n int) []Register {
	p := []Register{Load(Param(base), GP64())}
	step := Load(Param(stride), GP64())
	for len(p) < n {
		next := GP64()
		MOVQ(p[len(p)-1], next)
		ADDQ(step, next)
		p = append(p, next)
	}
	return p
}

// dense points p[1:] at the vectors that follow p[0].
func dense(p []Register, stride int) {
	for n := 1; n < len(p); n++ {
		LEAQ(Mem{Base: p[0], Disp: n * stride}, p[n])
	}
}

// step adds half a block, eight elements, to every sum.
func step(f format, acc [][][2]VecVirtual, xs, ws []Register, i Register, half int) {
	var weights []Op
	load := func(r int) Op {
		return f.load(Mem{Base: ws[r], Index: i, Scale: uint8(f.size()), Disp: half * 8 * f.size()})
	}
	if len(xs) > 1 { // decode each row once for all tokens
		for r := range ws {
			w := load(r)
			if m, ok := w.(Mem); ok {
				w = YMM()
				VMOVUPS(m, w)
			}
			weights = append(weights, w)
		}
	}
	for t := range xs {
		x := YMM()
		VMOVUPS(Mem{Base: xs[t], Index: i, Scale: 4, Disp: half * 32}, x)
		for r := range ws {
			if len(xs) == 1 {
				weights = append(weights, load(r))
			}
			VFMADD231PS(weights[r], x, acc[t][r][half])
		}
	}
}

// store reduces the sixteen lanes of every sum by the fixed tree and stores the results.
func store(acc [][][2]VecVirtual) {
	dst := Load(Param("dst"), GP64())
	stride := Load(Param("dstStride"), GP64())
	for t := range acc {
		for r, a := range acc[t] {
			VADDPS(a[1], a[0], a[0]) // lane l + lane l+8
			low, high := a[0].AsX(), a[1].AsX()
			VEXTRACTF128(U8(1), a[0], high)
			VADDPS(high, low, low) // ... + lane l+4
			VMOVHLPS(low, low, high)
			VADDPS(high, low, low) // ... + lane l+2
			VMOVSHDUP(low, high)
			VADDSS(high, low, low) // ... + lane l+1
			VMOVSS(low, Mem{Base: dst, Disp: 4 * r})
		}
		if t+1 < len(acc) {
			ADDQ(stride, dst)
		}
	}
}
