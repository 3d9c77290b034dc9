package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// values writes the weighted sums of values for some queries: as many columns as the first of the
// widths, in registers of eight, stay in registers while the positions go by; then fewer.
func values(f cached, queries int, widths ...int) {
	name := fmt.Sprintf("values%d%s", queries, f.name())
	TEXT(name, NOSPLIT, "func(acc *float32, accStride, columns int, "+
		"weights *float32, weightStride int, values *byte, stride, n int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s adds n > 0 weighted values, in ascending order, to the sums of %d", name,
		queries), "queries, in columns that are a multiple of 8. Strides are in bytes.")
	f.begin(queries == 1)
	acc := paramRows("acc", "accStride", queries)
	weights := paramRows("weights", "weightStride", queries)
	value, stride := Load(Param("values"), GP64()), Load(Param("stride"), GP64())
	columns := Load(Param("columns"), GP64())

	for _, width := range widths {
		label := fmt.Sprintf("columns%d", width)
		Label(label)
		CMPQ(columns, Imm(uint64(half*width)))
		JL(LabelRef(label + "Done"))
		sums := make([][]VecVirtual, queries)
		for t := range sums {
			for n := range width {
				sum := YMM()
				VMOVUPS(acc.at(t, registerBytes*n), sum)
				sums[t] = append(sums[t], sum)
			}
		}
		v, p := GP64(), weights
		p.base = GP64()
		MOVQ(value, v)
		MOVQ(weights.base, p.base)
		j := Load(Param("n"), GP64())
		Label(label + "Rows")
		valuesStep(f, sums, Mem{Base: v}, p)
		ADDQ(stride, v)
		p.move(4)
		DECQ(j)
		JNZ(LabelRef(label + "Rows"))
		for t := range sums {
			for n, sum := range sums[t] {
				VMOVUPS(sum, acc.at(t, registerBytes*n))
			}
		}
		acc.move(width * registerBytes)
		ADDQ(I32(width*f.halfBytes()), value)
		SUBQ(Imm(uint64(half*width)), columns)
		JMP(LabelRef(label))
		Label(label + "Done")
	}
	VZEROUPPER()
	RET()
}

// valuesStep adds one position.
func valuesStep(f cached, sums [][]VecVirtual, at Mem, p pointers) {
	load := func(n int) Op { return f.load(at.Offset(n*f.halfBytes()), 0) }
	var row []Op
	if len(sums) > 1 { // decode each value once for all queries
		for n := range sums[0] {
			row = append(row, inRegister(load(n)))
		}
	}
	for t := range sums {
		weight := YMM()
		VBROADCASTSS(p.at(t, 0), weight)
		for n, sum := range sums[t] {
			if len(sums) == 1 {
				row = append(row, load(n))
			}
			VFMADD231PS(row[n], weight, sum)
		}
	}
}

// paramRows returns pointers from parameters.
func paramRows(base, stride string, rows int) pointers {
	p := pointers{rows: rows, base: Load(Param(base), GP64()), stride: Load(Param(stride), GP64())}
	if rows > 3 {
		p.stride3 = GP64()
		LEAQ(Mem{Base: p.stride, Index: p.stride, Scale: 2}, p.stride3)
	}
	return p
}

// widen writes the conversion of rows to float32.
func widen(f cached) {
	name := "widen" + f.name()
	TEXT(name, NOSPLIT, "func(dst *float32, src *byte, stride, rows, columns int)")
	Pragma("noescape")
	Doc(name+" writes rows > 0 of columns, a positive multiple of 8, as float32, without scales,",
		"to dst [rows, columns]. The stride is src's, in bytes.")
	f.begin(true)
	dst, src := Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	stride, rows := Load(Param("stride"), GP64()), Load(Param("rows"), GP64())
	Label("row")
	from, left := GP64(), Load(Param("columns"), GP64())
	MOVQ(src, from)
	Label("columns")
	VMOVUPS(inRegister(f.load(Mem{Base: from}, 0)), Mem{Base: dst})
	ADDQ(I32(f.halfBytes()), from)
	ADDQ(I32(registerBytes), dst)
	SUBQ(Imm(half), left)
	JNZ(LabelRef("columns"))
	ADDQ(stride, src)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
