package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// addWeighted writes the weighted sum of attention's values: 64 elements of the sum stay in
// registers while the rows go by; then 8 at a time; then what is left, by masked loads and stores.
func addWeighted() {
	// Eight set words and eight clear ones: read from word 8-n on, n lanes are set.
	mask := GLOBL("tailMask", RODATA|NOPTR)
	for n := range 8 {
		DATA(4*n, U32(0xffffffff))
	}
	for n := 8; n < 16; n++ {
		DATA(4*n, U32(0))
	}

	TEXT("addWeightedAVX2", NOSPLIT,
		"func(acc *float32, elements int, weights *float32, n int, values *float32, stride int)")
	Pragma("noescape")
	Doc("addWeightedAVX2 computes acc[i] = fma(weights[j], values[j*stride+i], acc[i]) for i < elements,",
		"in ascending j < n; n > 0, and stride is in bytes.")
	s := sum{
		acc:     Load(Param("acc"), GP64()),
		weights: Load(Param("weights"), GP64()),
		n:       Load(Param("n"), GP64()),
		values:  Load(Param("values"), GP64()),
		stride:  Load(Param("stride"), GP64()),
	}
	elements := Load(Param("elements"), GP64())

	for _, width := range []int{64, 8} {
		name := map[int]string{64: "wide", 8: "narrow"}[width]
		Label(name)
		CMPQ(elements, Imm(uint64(width)))
		JL(LabelRef(name + "Done"))
		s.columns(name, width/8, nil)
		ADDQ(I32(width*4), s.acc)
		ADDQ(I32(width*4), s.values)
		SUBQ(Imm(uint64(width)), elements)
		JMP(LabelRef(name))
		Label(name + "Done")
	}
	TESTQ(elements, elements)
	JZ(LabelRef("done"))
	table, m := GP64(), YMM()
	LEAQ(mask, table)
	NEGQ(elements)
	VMOVDQU(Mem{Base: table, Index: elements, Scale: 4, Disp: 32}, m)
	s.columns("masked", 1, m)

	Label("done")
	VZEROUPPER()
	RET()
}

type sum struct{ acc, weights, n, values, stride Register }

// columns sums some registers' worth of columns over all rows. With a mask it is one register.
func (s sum) columns(name string, registers int, mask VecVirtual) {
	move := func(from, to Op) {
		if mask != nil {
			VMASKMOVPS(from, mask, to)
		} else {
			VMOVUPS(from, to)
		}
	}
	acc := make([]VecVirtual, registers)
	for n := range acc {
		acc[n] = YMM()
		move(Mem{Base: s.acc, Disp: 32 * n}, acc[n])
	}
	value, j := GP64(), GP64()
	MOVQ(s.values, value)
	XORQ(j, j)
	Label(name + "Rows")
	p := YMM()
	VBROADCASTSS(Mem{Base: s.weights, Index: j, Scale: 4}, p)
	for n := range acc {
		v := Op(Mem{Base: value, Disp: 32 * n})
		if mask != nil {
			masked := YMM()
			move(v, masked)
			v = masked
		}
		VFMADD231PS(v, p, acc[n])
	}
	ADDQ(s.stride, value)
	INCQ(j)
	CMPQ(j, s.n)
	JL(LabelRef(name + "Rows"))
	for n := range acc {
		if mask != nil {
			VMASKMOVPS(acc[n], mask, Mem{Base: s.acc})
		} else {
			VMOVUPS(acc[n], Mem{Base: s.acc, Disp: 32 * n})
		}
	}
}
