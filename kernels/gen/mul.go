package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// prefetchRows is how many rows ahead to ask for memory: a register tile or two, so that the first
// bytes of a row, which the hardware cannot foresee, are asked for as well.
const prefetchRows = 4

// tailWeights is where the weights begin in package kernels' type tailBlocks.
const tailWeights = 3 * 4 * block

// mul writes a register tile of a matrix product: tokens × rows canonical dot products at once.
func mul(f format, tokens, rows int) {
	name := fmt.Sprintf("mul%dx%d%s", tokens, rows, f.name())
	TEXT(name, NOSPLIT, "func(operands, tail *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is the product of %d × %d rows: see type operands. If tail is not nil, it", name,
		tokens, rows), "has one more block of each: see tailBlocks.")

	acc := sums(tokens, rows)
	for t := range acc {
		for _, a := range acc[t] {
			VXORPS(a[0], a[0], a[0])
			VXORPS(a[1], a[1], a[1])
		}
	}
	x, w := rowsAt("x", "xStride", tokens), rowsAt("w", "wStride", rows)
	walk := walk{sums: 2 * tokens * rows, weights: w, blocks: field("blocks")}
	if rows > 1 {
		walk.ahead = w.after(prefetchRows)
	}
	walk.step = func(h int) {
		step(acc, h%2, func(t int) Mem { return x.at(t, h*registerBytes) },
			func(r int) Op { return f.load(w.at(r, h*f.halfBytes()), r) })
	}
	walk.move = func(halves int) {
		x.move(halves * registerBytes)
		w.move(halves * f.halfBytes())
		if walk.ahead.rows > 0 {
			walk.ahead.move(halves * f.halfBytes())
		}
	}
	TESTQ(walk.blocks, walk.blocks)
	JZ(LabelRef("tail"))
	f.loop(&walk)

	Label("tail") // one padded block of float32, if there is one
	tail := Load(Param("tail"), GP64())
	TESTQ(tail, tail)
	JZ(LabelRef("done"))
	xTail := field("xTail")
	ADDQ(tail, xTail)
	ADDQ(U32(tailWeights), tail)
	for h := range 2 {
		dense := func(base Register) func(int) Mem {
			return func(n int) Mem { return Mem{Base: base, Disp: 4*block*n + h*registerBytes} }
		}
		step(acc, h, dense(xTail), func(r int) Op { return dense(tail)(r) })
	}
	Label("done")
	store(acc)
	VZEROUPPER()
	RET()
}

// decode writes the conversion of a row.
func decode(f format) {
	name := "decode" + f.name() + "AVX2"
	TEXT(name, NOSPLIT, "func(operands *byte)")
	Pragma("noescape")
	Doc(name + " writes a row of weights to dst, and prefetches what lies wStride ahead; blocks > 0.")
	dst, w := rowsAt("dst", "", 1), rowsAt("w", "", 1)
	ahead := pointers{rows: 1, base: field("wStride")}
	ADDQ(w.base, ahead.base)
	f.loop(&walk{
		weights: w,
		ahead:   ahead,
		blocks:  field("blocks"),
		step: func(h int) {
			VMOVUPS(inRegister(f.load(w.at(0, h*f.halfBytes()), 0)), dst.at(0, h*registerBytes))
		},
		move: func(halves int) {
			dst.move(halves * registerBytes)
			w.move(halves * f.halfBytes())
			ahead.move(halves * f.halfBytes())
		},
	})
	VZEROUPPER()
	RET()
}

// sums returns accumulators, [tokens][rows], two registers for sixteen lanes.
func sums(tokens, rows int) [][][2]VecVirtual {
	acc := make([][][2]VecVirtual, tokens)
	for t := range acc {
		for range rows {
			acc[t] = append(acc[t], [2]VecVirtual{YMM(), YMM()})
		}
	}
	return acc
}

// step adds half a block, eight elements, to every sum.
func step(acc [][][2]VecVirtual, half int, x func(t int) Mem, load func(r int) Op) {
	var weights []Op
	rows := len(acc[0])
	if len(acc) > 1 { // decode each row once for all tokens
		for r := range rows {
			weights = append(weights, inRegister(load(r)))
		}
	}
	for t := range acc {
		activation := YMM()
		VMOVUPS(x(t), activation)
		for r := range rows {
			if len(acc) == 1 {
				weights = append(weights, load(r))
			}
			VFMADD231PS(weights[r], activation, acc[t][r][half])
		}
	}
}

// inRegister loads weights that are in memory.
func inRegister(w Op) Op {
	if m, ok := w.(Mem); ok {
		w = YMM()
		VMOVUPS(m, w)
	}
	return w
}

// store reduces every sum and stores the results.
func store(acc [][][2]VecVirtual) {
	dst := field("dst")
	stride := field("dstStride")
	for t := range acc {
		for r, a := range acc[t] {
			VMOVSS(reduced(a), Mem{Base: dst, Disp: 4 * r})
		}
		if t+1 < len(acc) {
			ADDQ(stride, dst)
		}
	}
}

// reduced adds sixteen lanes by the fixed tree. The sum is lost.
func reduced(sum [2]VecVirtual) VecVirtual {
	VADDPS(sum[1], sum[0], sum[0]) // lane l + lane l+8
	low, high := sum[0].AsX(), sum[1].AsX()
	VEXTRACTF128(U8(1), sum[0], high)
	VADDPS(high, low, low) // ... + lane l+4
	VMOVHLPS(low, low, high)
	VADDPS(high, low, low) // ... + lane l+2
	VMOVSHDUP(low, high)
	VADDSS(high, low, low) // ... + lane l+1
	return low.(VecVirtual)
}
