package main

// The formats whose rows have a scale for every 32 columns. The scales of a tile's rows are lanes
// of one register.

const (
	scaleGroup = 32 // columns under one scale
	quantScale = 2  // bytes of a scale of Q8 or Q4, the upper half of a float32
)

// groupDecoder decodes the 32 weights of a group, in the order of the columns: use is told which
// four of the eight registers it is given.
type groupDecoder func(from reg, row int, use func(q int, weights vec))

// grouped is the loop of these formats. The last group may be half a one. begin is called at each
// group, and before at each step.
func (w *walk) grouped(f *function, begin func(), before func(h int), decode groupDecoder) {
	halves := func(from, to int) {
		for h := from; h < to; h++ {
			before(h)
			w.step(h)
		}
	}
	const whole, partly = scaleGroup / half, block / half
	f.label("groups")
	begin()
	f.op("SUBS $2, %s", w.blocks)
	f.op("BLT half")
	if w.group != nil {
		w.group(decode)
	} else {
		halves(0, whole)
	}
	w.move(whole)
	f.op("CBNZ %s, groups", w.blocks)
	f.op("B looped")
	f.label("half")
	halves(0, partly)
	f.label("looped")
}

// scalesAt returns pointers to the scales of Q8 or Q4 of some rows. Package kernels points two
// bytes before them, for the sake of other processors.
func scalesAt(f *function, w *walk) []reg {
	p := w.rowsOf(f, "exponents", "exponentStride", w.rows)
	for _, r := range p {
		f.add(r, quantScale)
	}
	return p
}

// readScales reads the next scales of Q8 or Q4.
func readScales(f *function, to vec, at []reg) {
	f.zero(to)
	for row, r := range at {
		f.op("VLD1.P %d(%s), %s.H[%d]", quantScale, r, to, 2*row+1)
	}
}

// q8 is widened, converted and scaled.
type q8 struct{ scales vec }

func (*q8) name() string   { return "Q8" }
func (*q8) halfBytes() int { return half }

func (q *q8) loop(f *function, w *walk) {
	q.scales = f.take()
	at := scalesAt(f, w)
	w.grouped(f, func() { readScales(f, q.scales, at) }, func(int) {},
		func(from reg, row int, use func(int, vec)) {
			bytes, halves, weights := f.take(), f.take(), f.take()
			for n := range scaleGroup / half {
				if n%2 == 0 {
					f.loadAt(bytes, from, half*n, registerBytes)
				}
				f.sshllBytes(halves, bytes, 0, n%2 == 1)
				for i := range 2 {
					f.sxtlHalves(weights, halves, i == 1)
					f.scvtf(weights, weights)
					f.fmulLane(weights, weights, q.scales, row)
					use(2*n+i, weights)
				}
			}
		})
}

func (q *q8) load(f *function, to [2]vec, r reg, disp, row int) {
	i8{}.load(f, to, r, disp, row)
	f.fmulLane(to[0], to[0], q.scales, row)
	f.fmulLane(to[1], to[1], q.scales, row)
}

// table is the upper bytes of sixteen float16, whose lower bytes are 0: all numbers of four bits.
type table struct{ low, high uint64 }

// newTable returns the table of numbers that have few enough bits.
func newTable(number func(n int) float32) table {
	var t [2]uint64
	for n := range 16 {
		t[n/8] |= uint64(upperByte(number(n))) << (n % 8 * 8)
	}
	return table{t[0], t[1]}
}

// split looks up the lower and the upper halves of sixteen bytes.
func split(f *function, from reg, low, high, table vec) {
	f.loadAt(low, from, 0, registerBytes)
	f.op("VUSHR $4, %s.B16, %s.B16", low, high)
	f.op("VSHL $4, %s.B16, %s.B16", low, low)
	f.op("VUSHR $4, %s.B16, %s.B16", low, low)
	for _, v := range []vec{low, high} {
		f.op("VTBL %s.B16, [%s.B16], %s.B16", v, table, v)
	}
}

// eachWidened widens the float16 whose upper bytes are those of two registers, four at a time.
func eachWidened(f *function, bytes [2]vec, halves vec, use func(n int, numbers vec)) {
	numbers := f.take()
	for n := range scaleGroup / half {
		f.shllBytes(halves, bytes[n/2], n%2 == 1)
		for i := range 2 {
			f.fromHalf(numbers, halves, i == 1)
			use(2*n+i, numbers)
		}
	}
}

// upperByte is the upper byte of a float16.
func upperByte(v float32) byte {
	for b := range 256 {
		if upperByteValue(byte(b)) == v && (b < 128 || v != 0) {
			return byte(b)
		}
	}
	panic("no upper byte of a float16 has this value")
}

func upperByteValue(b byte) float32 {
	v := float32(4+b&3) / 4 // 1, 1.25, 1.5, 1.75
	for range int(b >> 2 & 31) {
		v *= 2
	}
	v /= 1 << 15
	if b&0x7f == 0 {
		v = 0
	}
	if b >= 128 {
		return -v
	}
	return v
}

// mxfp4 is looked up and scaled.
type mxfp4 struct {
	numbers       table
	table, scales vec
}

func newMXFP4() *mxfp4 {
	magnitudes := [8]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6}
	return &mxfp4{numbers: newTable(func(n int) float32 {
		return magnitudes[n%8] * float32(1-n/8*2)
	}).signed()}
}

// signed makes number 8 a negative zero.
func (t table) signed() table {
	t.high |= 0x80
	return t
}

func (*mxfp4) name() string   { return "MXFP4" }
func (*mxfp4) halfBytes() int { return half / 2 }

func (m *mxfp4) loop(f *function, w *walk) {
	m.table = f.constant("numbersMXFP4", m.numbers.low, m.numbers.high)
	m.scales = f.take()
	at := w.rowsOf(f, "exponents", "exponentStride", w.rows)
	w.grouped(f, func() {
		f.scope(func() {
			least := f.take()
			f.zero(m.scales)
			for row, r := range at {
				f.op("VLD1.P 1(%s), %s.B[%d]", r, m.scales, 4*row)
			}
			f.op("VSHL $23, %s.S4, %s.S4", m.scales, m.scales)
			f.moviByte2(least, 0x40) // 2^-127
			f.op("VUMAX %s.S4, %s.S4, %s.S4", least, m.scales, m.scales)
		})
	}, func(int) {}, func(from reg, row int, use func(int, vec)) {
		low, high, first := f.take(), f.take(), f.take()
		split(f, from, low, high, m.table)
		f.op("VZIP1 %s.B16, %s.B16, %s.B16", high, low, first)
		f.op("VZIP2 %s.B16, %s.B16, %s.B16", high, low, high)
		halves := low
		eachWidened(f, [2]vec{first, high}, halves, func(n int, weights vec) {
			f.fmulLane(weights, weights, m.scales, row)
			use(n, weights)
		})
	})
}

func (m *mxfp4) load(f *function, to [2]vec, r reg, disp, row int) {
	f.loadAt(to[1], r, disp, half/2)
	f.op("VSHL $4, %s.B16, %s.B16", to[1], to[0])
	f.op("VZIP1 %s.B16, %s.B16, %s.B16", to[1], to[0], to[1]) // the low half of a byte comes first
	f.op("VUSHR $4, %s.B16, %s.B16", to[1], to[1])
	f.op("VTBL %s.B16, [%s.B16], %s.B16", to[1], m.table, to[1])
	f.shllBytes(to[1], to[1], false)
	widenHalves(f, to)
	f.fmulLane(to[0], to[0], m.scales, row)
	f.fmulLane(to[1], to[1], m.scales, row)
}

// q4 is looked up, as a number from -8 to 7, and scaled by a multiply-add with s-s, which is +0:
// so no zero is negative and no weight of an infinite scale is a number, as with the twin, which
// adds -8·s instead. The low halves of a group's bytes are the first sixteen columns.
type q4 struct {
	numbers              table
	table, scales, zeros vec
	half                 int // of a group, that is being loaded
}

func newQ4() *q4 {
	return &q4{numbers: newTable(func(n int) float32 { return float32(n - 8) })}
}

func (*q4) name() string   { return "Q4" }
func (*q4) halfBytes() int { return half / 2 }

func (q *q4) loop(f *function, w *walk) {
	q.table = f.constant("numbersQ4", q.numbers.low, q.numbers.high)
	q.scales, q.zeros = f.take(), f.take()
	at := scalesAt(f, w)
	w.grouped(f, func() {
		readScales(f, q.scales, at)
		f.fsub(q.zeros, q.scales, q.scales)
	}, func(h int) { q.half = h }, func(from reg, row int, use func(int, vec)) {
		low, high, halves, weights := f.take(), f.take(), f.take(), f.take()
		split(f, from, low, high, q.table)
		eachWidened(f, [2]vec{low, high}, halves, func(n int, number vec) {
			f.op("VDUP %s.S[%d], %s.S4", q.zeros, row, weights)
			f.fmlaLane(weights, number, q.scales, row)
			use(n, weights)
		})
	})
}

// load is asked for the bytes at halfBytes times the half; those of half 2 are those of 0 again.
func (q *q4) load(f *function, to [2]vec, r reg, disp, row int) {
	f.loadAt(to[1], r, disp+half*(q.half%2)-q.half*q.halfBytes(), half)
	if q.half < 2 {
		f.op("VSHL $4, %s.B16, %s.B16", to[1], to[1])
	}
	f.op("VUSHR $4, %s.B16, %s.B16", to[1], to[1])
	f.op("VTBL %s.B16, [%s.B16], %s.B16", to[1], q.table, to[1])
	f.shllBytes(to[1], to[1], false)
	f.scope(func() {
		number := f.take()
		scaled := func(to, quants vec, high bool) {
			f.fromHalf(number, quants, high)
			f.op("VDUP %s.S[%d], %s.S4", q.zeros, row, to)
			f.fmlaLane(to, number, q.scales, row)
		}
		scaled(to[0], to[1], false)
		scaled(to[1], to[1], true)
	})
}
