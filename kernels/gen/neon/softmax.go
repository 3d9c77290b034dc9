package main

import (
	"fmt"
	"math"
)

// floats returns a register with a number in four lanes, doubles one in two.
func floats(f *function, name string, v float32) vec {
	bits := uint64(math.Float32bits(v))
	return f.constant(name, bits<<32|bits, bits<<32|bits)
}

func doubles(f *function, name string, v float64) vec {
	bits := math.Float64bits(v)
	return f.constant(name, bits, bits)
}

// fours writes a loop over n numbers, four at a time, and then one by one, which leaves lanes idle.
// Body is told the bytes to move between memory and registers.
func fours(f *function, n reg, body func(bytes int), pointers ...reg) {
	const width = 4
	f.label("wide")
	f.op("SUBS $%d, %s", width, n)
	f.op("BLT rest")
	f.scope(func() { body(registerBytes) })
	f.advance(pointers, registerBytes)
	f.op("B wide")
	f.label("rest")
	f.add(n, width)
	f.label("single")
	f.op("SUBS $1, %s", n)
	f.op("BLT done")
	f.scope(func() { body(4) })
	f.advance(pointers, 4)
	f.op("B single")
	f.label("done")
}

// rowOf writes an operation of every element of a row with one number.
func rowOf(p *program, name, doc string, operation func(f *function, d, n, m vec)) {
	f := p.function(name, "x *float32, n int, c float32", "", name+" "+doc)
	x, n, c := f.load("x"), f.load("n"), f.loadFloat("c")
	fours(f, n, func(bytes int) {
		v := f.take()
		f.loadAt(v, x, 0, bytes)
		operation(f, v, v, c)
		f.storeAt(v, x, 0, bytes)
	}, x)
	f.ret()
}

// mulRow writes the product of two rows.
func mulRow(p *program) {
	f := p.function("mulRowNEON", "x *float32, y *float32, n int", "",
		"mulRowNEON computes x[i] *= y[i] for i < n.")
	x, y, n := f.load("x"), f.load("y"), f.load("n")
	fours(f, n, func(bytes int) {
		v, by := f.take(), f.take()
		f.loadAt(v, x, 0, bytes)
		f.loadAt(by, y, 0, bytes)
		f.fmul(v, v, by)
		f.storeAt(v, x, 0, bytes)
	}, x, y)
	f.ret()
}

// scaleMax writes the scaling of scores and the search for their maximum. A comparison, unlike a
// maximum, is false of a NaN, which so takes no part.
func scaleMax(p *program) {
	f := p.function("scaleMaxNEON", "x *float32, n int, scale float32, highest float32", "float32",
		"scaleMaxNEON computes x[i] *= scale for i < n and returns the maximum of x and highest,",
		"NaNs excepted; the sign of a zero is any.")
	x, n := f.load("x"), f.load("n")
	scale, highest, greater := f.loadFloat("scale"), f.loadFloat("highest"), f.take()
	raise := func(v vec) {
		f.fcmgt(greater, v, highest)
		f.op("VBIT %s.B16, %s.B16, %s.B16", greater, v, highest)
	}
	fours(f, n, func(bytes int) {
		v := f.take()
		f.loadAt(v, x, 0, bytes)
		f.fmul(v, v, scale)
		f.storeAt(v, x, 0, bytes)
		if bytes == 4 {
			f.broadcast(v, v) // lest the idle lanes take part
		}
		raise(v)
	}, x)
	other := f.take()
	for _, bytes := range []int{8, 4} {
		f.op("VEXT $%d, %s.B16, %s.B16, %s.B16", bytes, highest, highest, other)
		raise(other)
	}
	f.storeFloat(highest)
	f.ret()
}

// expSum writes the exponentials of a row, and their sum in ascending order.
func expSum(p *program) {
	f := p.function("expSumNEON", "x *float32, n int, highest float32, sum float32", "float32",
		"expSumNEON replaces x[i] by Exp(x[i] - highest) for i < n and returns sum + x[0] + x[1] …")
	x, n := f.load("x"), f.load("n")
	highest, sum := f.loadFloat("highest"), f.loadFloat("sum")
	e := newExponential(f)
	fours(f, n, func(bytes int) {
		v, lane := f.take(), f.take()
		f.loadAt(v, x, 0, bytes)
		f.fsub(v, v, highest)
		e.of(v)
		f.storeAt(v, x, 0, bytes)
		f.op("FADDS %s, %s, %s", v.scalar(), sum.scalar(), sum.scalar())
		for l := 1; l < bytes/4; l++ {
			f.lane(lane, v, l)
			f.op("FADDS %s, %s, %s", lane.scalar(), sum.scalar(), sum.scalar())
		}
	}, x)
	f.storeFloat(sum)
	f.ret()
}

// exponential holds the constants of Exp; package kernels' exp.go explains them.
type exponential struct {
	f                                       *function
	low, high, log2e, shifter, ln2Hi, ln2Lo vec
	bias                                    vec
	coefficients                            [9]vec // 1/n!
}

func newExponential(f *function) *exponential {
	e := &exponential{
		f:       f,
		low:     doubles(f, "expLow", -104),
		high:    doubles(f, "expHigh", float64(float32(88.8))),
		log2e:   doubles(f, "expLog2e", 1/math.Ln2),
		shifter: doubles(f, "expShifter", 0x1.8p52),
		ln2Hi:   doubles(f, "expLn2Hi", 6.93147180369123816490e-01),
		ln2Lo:   doubles(f, "expLn2Lo", 1.90821492927058770002e-10),
		bias:    f.constant("expBias", 1023, 1023),
	}
	factorial := 1.0
	for n := range e.coefficients {
		if n != 1 { // which is that of 0
			e.coefficients[n] = doubles(f, fmt.Sprintf("expC%d", n), 1/factorial)
		}
		factorial *= float64(n + 1)
	}
	return e
}

// of replaces four float32 by their Exp, operation by operation as the twin. Beyond the ends, whose
// results are 0 and infinity, arguments are replaced by the ends; NaNs stay.
func (e *exponential) of(x vec) {
	f := e.f
	f.scope(func() {
		v := [2]vec(f.takeAll(2))
		f.toDouble(v[0], x, false)
		f.toDouble(v[1], x, true)
		for _, half := range v {
			e.ofDouble(half)
		}
		f.fromDouble(x, v[0], false)
		f.fromDouble(x, v[1], true)
	})
}

// ofDouble is of for two float64.
func (e *exponential) ofDouble(v vec) {
	f, c := e.f, e.coefficients
	f.scope(func() {
		shifted, k := f.take(), f.take()
		f.fmaxDouble(v, v, e.low)
		f.fminDouble(v, v, e.high)
		f.move(shifted, e.shifter)
		f.fmlaDouble(shifted, v, e.log2e)
		f.fsubDouble(k, shifted, e.shifter)
		r := v
		f.fmlsDouble(r, k, e.ln2Hi)
		f.fmlsDouble(r, k, e.ln2Lo)

		// pair computes c[a] + r*c[b].
		pair := func(sum vec, a, b int) {
			f.move(sum, c[a])
			f.fmlaDouble(sum, r, c[b])
		}
		r2, low, high, sum := k, f.take(), f.take(), f.take()
		f.fmulDouble(r2, r, r)
		f.faddDouble(low, r, c[0])
		pair(sum, 2, 3)
		f.fmlaDouble(low, r2, sum)
		pair(high, 4, 5)
		pair(sum, 6, 7)
		f.fmlaDouble(high, r2, sum)
		r4 := r2
		f.fmulDouble(r4, r2, r2)
		f.fmlaDouble(high, r4, c[8])
		f.fmlaDouble(low, r4, high)

		f.op("VADD %s.D2, %s.D2, %s.D2", e.bias, shifted, shifted) // k is in the lowest bits
		f.op("VSHL $52, %s.D2, %s.D2", shifted, shifted)
		f.fmulDouble(v, low, shifted)
	})
}
