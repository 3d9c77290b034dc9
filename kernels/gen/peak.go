package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// peak writes a loop of nothing but multiply-adds, as many as hide each other's latency: what
// products are measured against.
func peak(v vectors) {
	const sums = 12
	TEXT("peak"+v.name, NOSPLIT, "func(n int)")
	Pragma("noescape")
	Doc("peak" + v.name + " does n > 0 times twelve multiply-adds in registers.")
	n := Load(Param("n"), GP64())
	one := v.register()
	VXORPS(one, one, one)
	acc := v.zeros(sums)
	Label("loop")
	for _, sum := range acc {
		VFMADD231PS(one, one, sum)
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
