package main

// The vector instructions. Destinations come first, as in ARM's syntax. Encodings are those of the
// Arm Architecture Reference Manual for A-profile, section C7.2.

// three writes an instruction of three registers of one shape.
func (f *function) three(word uint32, name, shape string, d, n, m vec) {
	f.word(word|uint32(m)<<16|uint32(n)<<5|uint32(d), "%s v%d.%s, v%d.%s, v%d.%s", name, int(d),
		shape, int(n), shape, int(m), shape)
}

// two writes an instruction of two registers.
func (f *function) two(word uint32, name, to, from string, d, n vec) {
	f.word(word|uint32(n)<<5|uint32(d), "%s v%d.%s, v%d.%s", name, int(d), to, int(n), from)
}

// Four float32.

func (f *function) fadd(d, n, m vec) { f.three(0x4e20d400, "fadd", "4s", d, n, m) }
func (f *function) fsub(d, n, m vec) { f.three(0x4ea0d400, "fsub", "4s", d, n, m) }
func (f *function) fmul(d, n, m vec) { f.three(0x6e20dc00, "fmul", "4s", d, n, m) }
func (f *function) fdiv(d, n, m vec) { f.three(0x6e20fc00, "fdiv", "4s", d, n, m) }
func (f *function) fmax(d, n, m vec) { f.three(0x4e20f400, "fmax", "4s", d, n, m) }
func (f *function) fmin(d, n, m vec) { f.three(0x4ea0f400, "fmin", "4s", d, n, m) }
func (f *function) fneg(d, n vec)    { f.two(0x6ea0f800, "fneg", "4s", "4s", d, n) }

// fcmgt sets all bits of the lanes in which n > m.
func (f *function) fcmgt(d, n, m vec) { f.three(0x6ea0e400, "fcmgt", "4s", d, n, m) }

// fcmeq sets all bits of the lanes in which n = m.
func (f *function) fcmeq(d, n, m vec) { f.three(0x4e20e400, "fcmeq", "4s", d, n, m) }

// frintn rounds to an integer, ties to even.
func (f *function) frintn(d, n vec) { f.two(0x4e218800, "frintn", "4s", "4s", d, n) }

// fmla computes d = fma(n, m, d).
func (f *function) fmla(d, n, m vec) { f.op("VFMLA %s.S4, %s.S4, %s.S4", m, n, d) }

// element is the part of an instruction's word that names a lane of m.
func element(m vec, lane int) uint32 {
	return uint32(lane&1)<<21 | uint32(lane>>1)<<11 | uint32(m)<<16
}

// fmulLane computes d = n * m[lane], fmlaLane d = fma(n, m[lane], d).
func (f *function) fmulLane(d, n, m vec, lane int) {
	f.word(0x4f809000|element(m, lane)|uint32(n)<<5|uint32(d), "fmul v%d.4s, v%d.4s, v%d.s[%d]",
		int(d), int(n), int(m), lane)
}

func (f *function) fmlaLane(d, n, m vec, lane int) {
	f.word(0x4f801000|element(m, lane)|uint32(n)<<5|uint32(d), "fmla v%d.4s, v%d.4s, v%d.s[%d]",
		int(d), int(n), int(m), lane)
}

// faddHalf adds the first two lanes of n and m.
func (f *function) faddHalf(d, n, m vec) { f.three(0x0e20d400, "fadd", "2s", d, n, m) }

// faddp adds the first two lanes of n to each other.
func (f *function) faddp(d, n vec) {
	f.word(0x7e30d800|uint32(n)<<5|uint32(d), "faddp s%d, v%d.2s", int(d), int(n))
}

// Two float64.

func (f *function) faddDouble(d, n, m vec) { f.three(0x4e60d400, "fadd", "2d", d, n, m) }
func (f *function) fsubDouble(d, n, m vec) { f.three(0x4ee0d400, "fsub", "2d", d, n, m) }
func (f *function) fmulDouble(d, n, m vec) { f.three(0x6e60dc00, "fmul", "2d", d, n, m) }
func (f *function) fmaxDouble(d, n, m vec) { f.three(0x4e60f400, "fmax", "2d", d, n, m) }
func (f *function) fminDouble(d, n, m vec) { f.three(0x4ee0f400, "fmin", "2d", d, n, m) }

func (f *function) fmlaDouble(d, n, m vec) { f.op("VFMLA %s.D2, %s.D2, %s.D2", m, n, d) }

// fmlsDouble computes d = fma(-n, m, d).
func (f *function) fmlsDouble(d, n, m vec) { f.op("VFMLS %s.D2, %s.D2, %s.D2", m, n, d) }

// Conversions. Those that widen read the first half of a register's numbers or, if high, the last.

// pick returns one of two words, and its name.
func pick(high bool, word uint32, name string) (uint32, string) {
	if high {
		return word | 1<<30, name + "2"
	}
	return word, name
}

// fromHalf widens four float16.
func (f *function) fromHalf(d, n vec, high bool) {
	word, name := pick(high, 0x0e217800, "fcvtl")
	f.two(word, name, "4s", map[bool]string{false: "4h", true: "8h"}[high], d, n)
}

// toDouble widens two float32, fromDouble narrows two float64 to the first or the last two float32.
func (f *function) toDouble(d, n vec, high bool) {
	word, name := pick(high, 0x0e617800, "fcvtl")
	f.two(word, name, "2d", map[bool]string{false: "2s", true: "4s"}[high], d, n)
}

func (f *function) fromDouble(d, n vec, high bool) {
	word, name := pick(high, 0x0e616800, "fcvtn")
	f.two(word, name, map[bool]string{false: "2s", true: "4s"}[high], "2d", d, n)
}

// scvtf converts four int32.
func (f *function) scvtf(d, n vec) { f.two(0x4e21d800, "scvtf", "4s", "4s", d, n) }

// Integers.

// sshllBytes widens eight int8 and shifts them to the left by up to 7 bits.
func (f *function) sshllBytes(d, n vec, shift int, high bool) {
	word, name := pick(high, 0x0f00a400, "sshll")
	f.word(word|uint32(8+shift)<<16|uint32(n)<<5|uint32(d), "%s v%d.8h, v%d.%s, #%d", name, int(d),
		int(n), map[bool]string{false: "8b", true: "16b"}[high], shift)
}

// sxtlHalves widens four int16.
func (f *function) sxtlHalves(d, n vec, high bool) {
	word, name := pick(high, 0x0f10a400, "sshll")
	f.word(word|uint32(n)<<5|uint32(d), "%s v%d.4s, v%d.%s, #0", name, int(d), int(n),
		map[bool]string{false: "4h", true: "8h"}[high])
}

// shllBytes moves eight bytes to the upper halves of 16 bits.
func (f *function) shllBytes(d, n vec, high bool) {
	word, name := pick(high, 0x2e213800, "shll")
	f.word(word|uint32(n)<<5|uint32(d), "%s v%d.8h, v%d.%s, #8", name, int(d), int(n),
		map[bool]string{false: "8b", true: "16b"}[high])
}

// shllHalves moves four 16 bits to the upper halves of 32.
func (f *function) shllHalves(d, n vec, high bool) {
	word, name := pick(high, 0x2e613800, "shll")
	f.word(word|uint32(n)<<5|uint32(d), "%s v%d.4s, v%d.%s, #16", name, int(d), int(n),
		map[bool]string{false: "4h", true: "8h"}[high])
}

// moviByte2 sets the third byte of all 32-bit lanes, and clears the others.
func (f *function) moviByte2(d vec, b byte) {
	f.word(0x4f004400|uint32(b>>5)<<16|uint32(b&31)<<5|uint32(d), "movi v%d.4s, #%d, lsl #16",
		int(d), b)
}

func (f *function) zero(d vec)         { f.op("VEOR %s.B16, %s.B16, %s.B16", d, d, d) }
func (f *function) move(d, n vec)      { f.op("VMOV %s.B16, %s.B16", n, d) }
func (f *function) and(d, n, m vec)    { f.op("VAND %s.B16, %s.B16, %s.B16", m, n, d) }
func (f *function) broadcast(d, n vec) { f.op("VDUP %s.S[0], %s.S4", n, d) }

// lane moves a lane to the first one.
func (f *function) lane(d, n vec, lane int) { f.op("VMOV %s.S[%d], %s.S[0]", n, lane, d) }
func (f *function) add(r reg, n int)        { f.op("ADD $%d, %s", n, r) }
func (f *function) addRegister(r, by reg)   { f.op("ADD %s, %s", by, r) }
func (f *function) copyTo(to, from reg)     { f.op("MOVD %s, %s", from, to) }

// loadAt and storeAt move bytes, 4, 8 or 16, between a register and memory, disp bytes from where r
// points. A load of fewer than 16 clears the rest of the register.
func (f *function) loadAt(v vec, r reg, disp, bytes int) {
	f.op("%s %d(%s), %s", moves[bytes], disp, r, v.scalar())
}

func (f *function) storeAt(v vec, r reg, disp, bytes int) {
	f.op("%s %s, %d(%s)", moves[bytes], v.scalar(), disp, r)
}

var moves = map[int]string{4: "FMOVS", 8: "FMOVD", 16: "FMOVQ"}

// sdotLane adds to each word of d the dot product of its four int8 in n with those of a word of m.
func (f *function) sdotLane(d, n, m vec, lane int) {
	f.word(0x4f80e000|element(m, lane)|uint32(n)<<5|uint32(d), "sdot v%d.4s, v%d.16b, v%d.4b[%d]",
		int(d), int(n), int(m), lane)
}
