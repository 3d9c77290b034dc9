package main

import "math"

// rows writes what is done to whole rows. None of these has an end: package kernels leaves what is
// no whole register to the plain twins, and the weights of logits, most of which have none, too.
func rows(p *program) {
	addRow(p)
	addBF16(p)
	encodeBF16(p)
	normRow(p)
	ropeHalf(p)
	ropeInterleaved(p)
	highest(p)
}

// whole writes a loop that goes over n numbers by so many, and then returns.
func whole(f *function, n reg, by int, body func()) {
	f.label("next")
	f.op("SUBS $%d, %s", by, n)
	f.op("BLT done")
	f.scope(body)
	f.op("B next")
	f.label("done")
	f.ret()
}

// loadNext and storeNext move a register between it and memory, and the pointer behind that.
func (f *function) loadNext(r reg) vec {
	v := f.take()
	f.op("FMOVQ.P %d(%s), %s", registerBytes, r, v.scalar())
	return v
}

func (f *function) storeNext(v vec, r reg) {
	f.op("FMOVQ.P %s, %d(%s)", v.scalar(), registerBytes, r)
}

func addRow(p *program) {
	f := p.function("addRowNEON", "dst *float32, x *float32, n int", "",
		"addRowNEON computes dst[i] += x[i] for i < n, a multiple of 4.")
	dst, x, n := f.load("dst"), f.load("x"), f.load("n")
	whole(f, n, 4, func() {
		v, sum := f.loadNext(x), f.take()
		f.loadAt(sum, dst, 0, registerBytes)
		f.fadd(sum, sum, v)
		f.storeNext(sum, dst)
	})
}

func addBF16(p *program) {
	f := p.function("addBF16NEON", "dst *float32, x *byte, n int", "",
		"addBF16NEON computes dst[i] += x[i], which are BF16, for i < n, a multiple of 8.")
	dst, x, n := f.load("dst"), f.load("x"), f.load("n")
	whole(f, n, half, func() {
		v, sum := [2]vec(f.takeAll(2)), f.take()
		bf16{}.load(f, v, x, 0, 0)
		f.add(x, bf16{}.halfBytes())
		for _, q := range v {
			f.loadAt(sum, dst, 0, registerBytes)
			f.fadd(sum, sum, q)
			f.storeNext(sum, dst)
		}
	})
}

// encodeBF16 rounds as the twin does: half a unit less one is added, and one more where the unit is
// odd. What is not a number gets the quiet bit.
func encodeBF16(p *program) {
	f := p.function("encodeBF16NEON", "dst *byte, x *float32, n int", "",
		"encodeBF16NEON rounds x[i] to BF16 for i < n, a multiple of 8.")
	dst, x, n := f.load("dst"), f.load("x"), f.load("n")
	below := f.constant("halfUnit", 0x7fff_0000_7fff, 0x7fff_0000_7fff)
	one := f.constant("unit", 1<<32|1, 1<<32|1)
	quiet := f.constant("quiet", 1<<54|1<<22, 1<<54|1<<22)
	whole(f, n, half, func() {
		var upper [2]vec
		for i := range upper {
			v, rounded, number := f.loadNext(x), f.take(), f.take()
			f.op("VUSHR $16, %s.S4, %s.S4", v, rounded)
			f.and(rounded, rounded, one)
			f.op("VADD %s.S4, %s.S4, %s.S4", below, rounded, rounded)
			f.op("VADD %s.S4, %s.S4, %s.S4", v, rounded, rounded)
			f.fcmeq(number, v, v)
			f.op("VORR %s.B16, %s.B16, %s.B16", quiet, v, v)
			f.op("VBIT %s.B16, %s.B16, %s.B16", number, rounded, v)
			upper[i] = v
		}
		f.op("VUZP2 %s.H8, %s.H8, %s.H8", upper[1], upper[0], upper[0])
		f.storeNext(upper[0], dst)
	})
}

func normRow(p *program) {
	f := p.function("normRowNEON", "dst *float32, x *float32, w *float32, n int, scale float32", "",
		"normRowNEON computes dst[i] = x[i]*scale * w[i] for i < n, a multiple of 4.")
	dst, x, w, n, scale := f.load("dst"), f.load("x"), f.load("w"), f.load("n"), f.loadFloat("scale")
	whole(f, n, 4, func() {
		v, by := f.loadNext(x), f.loadNext(w)
		f.fmul(v, v, scale)
		f.fmul(v, v, by)
		f.storeNext(v, dst)
	})
}

// turn rotates four pairs: each product is rounded.
func (f *function) turn(a, b, c, s vec) {
	as, bs := f.take(), f.take()
	f.fmul(as, a, s)
	f.fmul(bs, b, s)
	f.fmul(a, a, c)
	f.fmul(b, b, c)
	f.fsub(a, a, bs)
	f.fadd(b, b, as)
}

func ropeHalf(p *program) {
	f := p.function("ropeHalfNEON",
		"low *float32, high *float32, cos *float32, sin *float32, n int", "",
		"ropeHalfNEON turns the pairs (low[i], high[i]) for i < n, a multiple of 4.")
	low, high, cos, sin, n := f.load("low"), f.load("high"), f.load("cos"), f.load("sin"), f.load("n")
	whole(f, n, 4, func() {
		a, b := f.take(), f.take()
		f.loadAt(a, low, 0, registerBytes)
		f.loadAt(b, high, 0, registerBytes)
		f.turn(a, b, f.loadNext(cos), f.loadNext(sin))
		f.storeNext(a, low)
		f.storeNext(b, high)
	})
}

func ropeInterleaved(p *program) {
	f := p.function("ropeInterleavedNEON", "x *float32, cos *float32, sin *float32, n int", "",
		"ropeInterleavedNEON turns the pairs (x[2i], x[2i+1]) for i < n, a multiple of 4.")
	x, cos, sin, n := f.load("x"), f.load("cos"), f.load("sin"), f.load("n")
	whole(f, n, 4, func() {
		a, b := f.take(), f.take() // one behind the other, as the load of pairs wants them
		f.op("VLD2 (%s), [%s.S4, %s.S4]", x, a, b)
		f.turn(a, b, f.loadNext(cos), f.loadNext(sin))
		f.op("VST2.P [%s.S4, %s.S4], %d(%s)", a, b, 2*registerBytes, x)
	})
}

// highest writes the search for a maximum. A comparison is false of what is no number; a maximum of
// the other kind stays what is no number.
func highest(p *program) {
	f := p.function("highestNEON", "x *float32, n int, most *float32", "",
		"highestNEON sets most[l], l < 4, to the maximum of -Inf and of x[i], i%4 = l, NaNs excepted,",
		"for i < n, a multiple of 4; and most[4+l] likewise, or to NaN if there is any. The sign of a",
		"zero is any.")
	x, n, most := f.load("x"), f.load("n"), f.load("most")
	lowest := float32(math.Inf(-1))
	highest, all := floats(f, "minusInfinity", lowest), floats(f, "minusInfinity", lowest)
	greater := f.take()
	f.label("next")
	f.op("SUBS $4, %s", n)
	f.op("BLT done")
	f.scope(func() {
		v := f.loadNext(x)
		f.fcmgt(greater, v, highest)
		f.op("VBIT %s.B16, %s.B16, %s.B16", greater, v, highest)
		f.fmax(all, all, v)
	})
	f.op("B next")
	f.label("done")
	f.storeAt(highest, most, 0, registerBytes)
	f.storeAt(all, most, registerBytes, registerBytes)
	f.ret()
}
