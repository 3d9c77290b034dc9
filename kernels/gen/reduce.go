package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The functions below reduce several sums of sixteen lanes at once, each by the fixed tree of
// reduced, with one shuffle where that would take two. They use up their arguments.

// fold4 adds lane l+8, then lane l+4, of two sums: four lanes of the first, four of the second.
func fold4(a, b [2]VecVirtual) VecVirtual {
	VADDPS(a[1], a[0], a[0])
	VADDPS(b[1], b[0], b[0])
	VPERM2F128(U8(0x21), b[0], a[0], a[1]) // high of a, low of b
	VBLENDPS(U8(0xf0), b[0], a[0], a[0])   // low of a, high of b
	VADDPS(a[1], a[0], a[0])
	return a[0]
}

// fold2 adds lane l+2 of what fold4 returns: in each half two lanes of a, two of b.
func fold2(a, b VecVirtual) VecVirtual {
	t := YMM()
	VSHUFPS(U8(0x4e), b, a, t)
	if a != b {
		VBLENDPS(U8(0xcc), b, a, a)
	}
	VADDPS(t, a, a)
	return a
}

// reduceTile reduces up to three queries' sums with two keys: in the lower half of the result are
// the sums with the first key, by query, in the upper half those with the second.
func reduceTile(acc [][][2]VecVirtual) VecVirtual {
	fours := make([]VecVirtual, len(acc))
	for t := range acc {
		fours[t] = fold4(acc[t][0], acc[t][1])
	}
	first := fold2(fours[0], fours[min(1, len(acc)-1)])
	last := first
	if len(acc) > 2 {
		last = fold2(fours[2], fours[2])
	}
	VHADDPS(last, first, first) // ... + lane l+1
	return first
}

// storePairs stores what reduceTile returns, both sums of a query side by side.
func storePairs(sums VecVirtual, at pointers) {
	high, pairs := XMM(), XMM()
	VEXTRACTF128(U8(1), sums, high)
	VUNPCKLPS(high, sums.AsX(), pairs)
	VMOVLPS(pairs, at.at(0, 0))
	if at.rows > 1 {
		VMOVHPS(pairs, at.at(1, 0))
	}
	if at.rows > 2 {
		VUNPCKHPS(high, sums.AsX(), pairs)
		VMOVLPS(pairs, at.at(2, 0))
	}
}

// reduceKeys reduces one query's sums with four keys.
func reduceKeys(acc [][2]VecVirtual) Op {
	sums := fold2(fold4(acc[0], acc[1]), fold4(acc[2], acc[3]))
	VHADDPS(sums, sums, sums)
	high := XMM()
	VEXTRACTF128(U8(1), sums, high)
	VUNPCKLPS(high, sums.AsX(), high)
	return high
}

// reduceWide reduces up to two queries' sums with two keys, in registers of sixteen lanes, and stores
// both sums of a query side by side. None of its instructions is confined to the first registers.
func reduceWide(acc [][2]VecVirtual, at pointers) {
	var fours [2]VecVirtual
	for t := range acc {
		fours[t] = fold4Wide(acc[t][0], acc[t][1])
	}
	if len(acc) == 1 {
		fours[1] = fours[0]
	}
	low, high, sums := YMM(), YMM(), YMM()
	VSHUFPS(U8(0x4e), fours[1], fours[0], high)
	VSHUFPS(U8(0xe4), fours[1], fours[0], low)
	VADDPS(high, low, sums) // ... + lane l+2
	VSHUFPS(U8(0x88), sums, sums, low)
	VSHUFPS(U8(0xdd), sums, sums, high)
	VADDPS(high, low, sums) // ... + lane l+1
	second, pairs := XMM(), XMM()
	VEXTRACTF32X4(U8(1), sums, second)
	VUNPCKLPS(second, sums.AsX(), pairs)
	VMOVLPS(pairs, at.at(0, 0))
	if len(acc) > 1 {
		VMOVHPS(pairs, at.at(1, 0))
	}
}

// fold4Wide is fold4 of sums in registers of sixteen lanes.
func fold4Wide(a, b VecVirtual) VecVirtual {
	low, high, sums := ZMM(), ZMM(), ZMM()
	VSHUFF32X4(U8(0x44), b, a, low)
	VSHUFF32X4(U8(0xee), b, a, high)
	VADDPS(high, low, sums) // lane l+8: eight lanes of the first, eight of the second
	VSHUFF32X4(U8(0x88), sums, sums, low)
	VSHUFF32X4(U8(0xdd), sums, sums, high)
	four := YMM()
	VADDPS(high.AsY(), low.AsY(), four)
	return four
}

// reduceTiles writes the reduction of a panel's lanes.
func reduceTiles() {
	TEXT("reduceTileAVX2", NOSPLIT, "func(dst *float32, dstStride int, lanes *float32, tokens int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("reduceTileAVX2 reduces lanes [tokens,%d,16] to %d columns of dst, whose rows are dstStride",
		tileRows, tileRows), "bytes apart; tokens > 0.")
	dst, stride := Load(Param("dst"), GP64()), Load(Param("dstStride"), GP64())
	lanes, tokens := Load(Param("lanes"), GP64()), Load(Param("tokens"), GP64())
	next := tokensAhead(dst, stride, tokens)
	Label("token")
	PREFETCHT0(Mem{Base: next})
	ADDQ(stride, next)
	acc := sums(1, tileRows)
	for r, sum := range acc[0] {
		for h := range sum {
			VMOVUPS(Mem{Base: lanes, Disp: r*4*block + h*registerBytes}, sum[h])
		}
	}
	VMOVUPS(reduceKeys(acc[0]), Mem{Base: dst})
	ADDQ(I32(tileRows*4*block), lanes)
	ADDQ(stride, dst)
	DECQ(tokens)
	JNZ(LabelRef("token"))
	VZEROUPPER()
	RET()
}

// tokensAhead points so many tokens ahead, where the next tile's results go.
func tokensAhead(dst, stride, tokens Register) Register {
	next := GP64()
	MOVQ(tokens, next)
	IMULQ(stride, next)
	ADDQ(dst, next)
	return next
}

// reduceTilesWide writes it for registers of 512 bits: the lanes of four rows for two tokens at a
// time, of which the second may be the first again.
func reduceTilesWide() {
	TEXT("reduceTileAVX512", NOSPLIT, "func(dst *float32, dstStride int, lanes *float32, tokens int)")
	Pragma("noescape")
	Doc("reduceTileAVX512 is reduceTileAVX2 for registers of 512 bits.")
	dst, stride := Load(Param("dst"), GP64()), Load(Param("dstStride"), GP64())
	lanes, tokens := Load(Param("lanes"), GP64()), Load(Param("tokens"), GP64())
	second, secondDst := GP64(), GP64()
	next := tokensAhead(dst, stride, tokens)
	order := ZMM()
	VMOVUPS(rowsTogether(), order)
	Label("tokens")
	MOVQ(lanes, second)
	MOVQ(dst, secondDst)
	CMPQ(tokens, Imm(1))
	JE(LabelRef("one"))
	ADDQ(I32(tileRows*4*block), second)
	ADDQ(stride, secondDst)
	Label("one")
	PREFETCHT0(Mem{Base: next})
	PREFETCHT0(Mem{Base: next, Index: stride, Scale: 1})
	LEAQ(Mem{Base: next, Index: stride, Scale: 2}, next)
	a, b := foldRows(lanes), foldRows(second)
	t := ZMM()
	VSHUFPS(U8(0x44), b, a, t)
	VSHUFPS(U8(0xee), b, a, a)
	VADDPS(t, a, a) // ... + lane l+2: of each row two lanes of either token
	VPERMILPS(U8(0xb1), a, t)
	VADDPS(t, a, a) // ... + lane l+1
	VPERMPS(a, order, a)
	VEXTRACTF32X4(U8(1), a, Mem{Base: secondDst})
	VMOVUPS(a.AsX(), Mem{Base: dst})
	ADDQ(I32(2*tileRows*4*block), lanes)
	LEAQ(Mem{Base: dst, Index: stride, Scale: 2}, dst)
	SUBQ(Imm(2), tokens)
	JG(LabelRef("tokens"))
	VZEROUPPER()
	RET()
}

// foldRows adds lane l+8, then lane l+4, of a token's sums with four rows: four lanes of each.
func foldRows(lanes Register) VecVirtual {
	pair := func(r int) VecVirtual {
		low, high := ZMM(), ZMM()
		at := func(row, half int) Mem {
			return Mem{Base: lanes, Disp: row*4*block + half*registerBytes}
		}
		VMOVUPS(at(r, 0), low.AsY())
		VMOVUPS(at(r, 1), high.AsY())
		VINSERTF64X4(U8(1), at(r+1, 0), low, low)
		VINSERTF64X4(U8(1), at(r+1, 1), high, high)
		VADDPS(high, low, low)
		return low
	}
	first, last, t := pair(0), pair(2), ZMM()
	VSHUFF64X2(U8(0x88), last, first, t)
	VSHUFF64X2(U8(0xdd), last, first, first)
	VADDPS(first, t, t)
	return t
}

// rowsTogether is the order in which the first lanes of four rows, then the third, lie together.
func rowsTogether() Mem {
	table := GLOBL("rowsTogether", RODATA|NOPTR)
	for i := range block {
		DATA(4*i, U32(i%tileRows*tileRows+i/tileRows%2*2))
	}
	return table
}
