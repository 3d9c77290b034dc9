package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// valuesWide writes values for four queries in registers of sixteen columns: sums of 64 columns
// stay in sixteen of them while the positions go by. load returns sixteen stored numbers.
func valuesWide(f string, element int, load func(Mem) VecVirtual) {
	const queries = 4
	name := "values4" + f + "AVX512"
	TEXT(name, NOSPLIT, "func(acc *float32, accStride, columns int, "+
		"weights *float32, weightStride int, values *byte, stride, n int)")
	Pragma("noescape")
	Doc(name+" adds n > 0 weighted values, in ascending order, to the sums of 4",
		"queries, in columns that are a multiple of 16. Strides are in bytes.")
	acc := paramRows("acc", "accStride", queries)
	weights := paramRows("weights", "weightStride", queries)
	value, stride := Load(Param("values"), GP64()), Load(Param("stride"), GP64())
	columns := Load(Param("columns"), GP64())
	for _, width := range []int{4, 1} {
		label := map[int]string{4: "wide", 1: "narrow"}[width]
		Label(label)
		CMPQ(columns, Imm(uint64(block*width)))
		JL(LabelRef(label + "Done"))
		sums := make([][]VecVirtual, queries)
		for t := range sums {
			for n := range width {
				sum := ZMM()
				VMOVUPS(acc.at(t, wideBytes*n), sum)
				sums[t] = append(sums[t], sum)
			}
		}
		v, p := GP64(), weights
		p.base = GP64()
		MOVQ(value, v)
		MOVQ(weights.base, p.base)
		j := Load(Param("n"), GP64())
		Label(label + "Rows")
		row := make([]VecVirtual, width)
		for n := range row {
			row[n] = load(Mem{Base: v, Disp: n * block * element})
		}
		for t := range sums {
			weight := ZMM()
			VBROADCASTSS(p.at(t, 0), weight)
			for n, sum := range sums[t] {
				VFMADD231PS(row[n], weight, sum)
			}
		}
		ADDQ(stride, v)
		p.move(4)
		DECQ(j)
		JNZ(LabelRef(label + "Rows"))
		for t := range sums {
			for n, sum := range sums[t] {
				VMOVUPS(sum, acc.at(t, wideBytes*n))
			}
		}
		acc.move(width * wideBytes)
		ADDQ(I32(width*block*element), value)
		SUBQ(Imm(uint64(block*width)), columns)
		JMP(LabelRef(label))
		Label(label + "Done")
	}
	VZEROUPPER()
	RET()
}

// loadF32Wide and loadBF16Wide return sixteen stored numbers as float32.
func loadF32Wide(m Mem) VecVirtual {
	v := ZMM()
	VMOVUPS(m, v)
	return v
}

func loadBF16Wide(m Mem) VecVirtual {
	v := ZMM()
	VPMOVZXWD(m, v)
	VPSLLD(Imm(16), v, v)
	return v
}
