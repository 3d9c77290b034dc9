package main

import (
	"fmt"
	"math"
	"slices"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The interleaved formats: see Interleave of package kernels.
const (
	bandRows   = 16
	bandScales = bandRows * quantScale
	bandBlock  = 4 * bandRows // bytes of a block
	bandStep   = 4            // columns that are multiplied at once
	bandSteps  = quantGroup / bandStep
)

// bandFormat is one of them.
type bandFormat struct {
	name  string
	bytes int // of a group of a band
	// bias is the power of two that quants are greater by, as registers of 512 bits read them.
	bias uint8
	// shortSteps is how many products of two columns 16 bits have room for, all such sums being
	// integers without a sign times those of 8 bits; 1 says that the weights have a sign.
	shortSteps int
	nibbles    bool
	table      bool // nibbles are codes
}

// bandFormats lists them. Twice the numbers of E2M1 are made positive by adding 16.
var bandFormats = []bandFormat{
	{name: "Q8", bytes: bandScales + 8*bandBlock, bias: 7, shortSteps: 1},
	{name: "Q4", bytes: bandScales + 4*bandBlock, bias: 3, shortSteps: 8, nibbles: true},
	{name: "MXFP4", bytes: bandScales + 4*bandBlock, bias: 4, shortSteps: 4, nibbles: true, table: true},
}

// roundedFields are those of the type roundedOperands of package kernels, in order.
var roundedFields = []string{"dst", "x", "xStride", "scales", "sums", "stride", "w", "groups",
	"end", "then"}

// rounded writes products of rounded activations, and their rounding.
func rounded() {
	c := newBandConstants()
	for _, f := range bandFormats {
		for _, tokens := range []int{1, 2, 4, 8} {
			bandWide(f, tokens, c)
		}
		for _, tokens := range []int{1, 2, 4} {
			band(f, tokens, c)
		}
	}
	roundGroups(c)
}

// bandConstants are in memory.
type bandConstants struct {
	ones, nibbles, codes, flips Mem
	magnitude, most, least      Mem
	order                       Mem
}

func newBandConstants() bandConstants {
	return bandConstants{
		ones:    words("onesRounded", 16, func(int) uint32 { return 1<<16 | 1 }),
		nibbles: words("nibblesRounded", 16, func(int) uint32 { return 0x0f0f_0f0f }),
		codes: words("codesRounded", 16, func(n int) uint32 {
			return []uint32{0x13121110, 0x1c181614, 0x0d0e0f10, 0x04080a0c}[n%4]
		}),
		flips:     words("flipsRounded", 16, func(int) uint32 { return 0x8080_8080 }),
		magnitude: words("magnitudeRounded", 8, func(int) uint32 { return 1<<31 - 1 }),
		most:      words("mostRounded", 4, func(int) uint32 { return math.Float32bits(127) }),
		least:     words("leastRounded", 4, func(int) uint32 { return math.Float32bits(0x1p-100) }),
		order:     words("orderRounded", 8, func(n int) uint32 { return uint32(n%2*4 + n/2) }),
	}
}

// words returns a constant of some words.
func words(name string, n int, word func(n int) uint32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := range n {
		DATA(4*i, U32(word(i)))
	}
	return m
}

// bandWalk is a way over the groups of a band, and of some tokens.
type bandWalk struct {
	o               Register
	w, groups       Register
	far, end, then  Register   // see aim; nil where nothing is asked for
	x, scales, sums []pointers // by fours of tokens
}

func (k *bandWalk) field(name string) Register {
	r := GP64()
	MOVQ(Mem{Base: k.o, Disp: 8 * slices.Index(roundedFields, name)}, r)
	return r
}

func newBandWalk(tokens int) *bandWalk {
	k := &bandWalk{o: Load(Param("operands"), GP64())}
	k.w, k.groups = k.field("w"), k.field("groups")
	var xStride, stride pointers
	if tokens > 1 {
		xStride.stride, stride.stride = k.field("xStride"), k.field("stride")
	}
	for _, p := range []*pointers{&xStride, &stride} {
		if tokens > 3 {
			p.stride3 = GP64()
			LEAQ(Mem{Base: p.stride, Index: p.stride, Scale: 2}, p.stride3)
		}
	}
	fours := func(name string, p pointers) (all []pointers) {
		p.base, p.rows = k.field(name), min(tokens, 4)
		all = append(all, p)
		if tokens > 4 {
			p.base = GP64()
			LEAQ(Mem{Base: all[0].base, Index: p.stride, Scale: 4}, p.base)
			all = append(all, p)
		}
		return all
	}
	k.x, k.scales, k.sums = fours("x", xStride), fours("scales", stride), fours("sums", stride)
	return k
}

// move goes on to the next group.
func (k *bandWalk) move(f bandFormat) {
	ADDQ(I32(f.bytes), k.w)
	for i := range k.x {
		k.x[i].move(quantGroup)
		k.scales[i].move(4)
		k.sums[i].move(4)
	}
}

// vpdpbusd adds, to every word of acc, the products of four bytes of u, which have no sign, and the
// four at x.
func vpdpbusd(x Mem, u, acc VecVirtual) {
	Instruction(&ir.Instruction{
		Opcode: "VPDPBUSD", Suffixes: []string{"BCST"}, Operands: []Op{x, u, acc},
		Inputs: []Op{x, u, acc}, Outputs: []Op{acc}, ISA: []string{"AVX512VNNI"},
	})
}

// zero clears a register of 512 bits. For avo's own VPXORD, what was there before would matter.
func zero(v VecVirtual) {
	Instruction(&ir.Instruction{
		Opcode: "VPXORD", Operands: []Op{v, v, v}, Outputs: []Op{v}, ISA: []string{"AVX512F"},
	})
}

// How far ahead to ask for weights: the second level of cache, which can wait for more lines at once,
// then the first. The hardware alone would stop at the page. Package kernels has bandFar, too.
const (
	bandFar  = 16384
	bandNear = 4096
)

// asks says that the walk asks for weights.
func (k *bandWalk) asks() {
	k.far, k.end, k.then = GP64(), k.field("end"), k.field("then")
}

// aim points far ahead of the group: see type ahead of package kernels.
func (k *bandWalk) aim() {
	if k.far == nil {
		return
	}
	beyond := GP64()
	LEAQ(Mem{Base: k.w, Disp: bandFar}, k.far)
	LEAQ(Mem{Base: k.far, Index: k.then, Scale: 1}, beyond)
	CMPQ(k.far, k.end)
	CMOVQCC(beyond, k.far)
}

// ask prefetches weights that lie ahead of some that are read, at a place in a group.
func (k *bandWalk) ask(at Mem) {
	if k.far == nil {
		return
	}
	PREFETCHT1(Mem{Base: k.far, Disp: at.Disp})
	PREFETCHT0(at.Offset(bandNear))
}

func bandText(name string, tokens int) {
	TEXT(name, NOSPLIT, "func(operands *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is the product of %d × a band of rows: see type roundedOperands.", name, tokens))
}

// bandWide writes the product of some tokens and a band, whose rows are a register of 512 bits.
func bandWide(f bandFormat, tokens int, c bandConstants) {
	bandText(fmt.Sprintf("band%dx16%sVNNI", tokens, f.name), tokens)
	k := newBandWalk(tokens)
	if tokens < 4 { // which wait for them
		k.asks()
	}
	var mask, codes VecVirtual
	if f.nibbles {
		mask = ZMM()
		VMOVDQU32(c.nibbles, mask)
	}
	if f.table {
		codes = ZMM()
		VMOVDQU32(c.codes, codes)
	}
	acc, sums := make([]VecVirtual, tokens), make([]VecVirtual, tokens)
	for t := range acc {
		acc[t], sums[t] = ZMM(), ZMM()
		zero(acc[t])
	}
	step := func(n int, quants VecVirtual) {
		for t, sum := range sums {
			vpdpbusd(k.x[t/4].at(t%4, n*bandStep), quants, sum)
		}
	}
	Label("group")
	k.aim()
	for t, sum := range sums {
		VPBROADCASTD(k.sums[t/4].at(t%4, 0), sum)
		VPSLLD(U8(f.bias), sum, sum)
	}
	for n := 0; n < bandSteps; n++ {
		low := ZMM()
		at := Mem{Base: k.w, Disp: bandScales + n*bandBlock}
		if !f.nibbles {
			VMOVDQU32(at, low)
			k.ask(at)
			step(n, low)
			continue
		}
		at.Disp = bandScales + n/2*bandBlock
		high := ZMM()
		VMOVDQU32(at, low)
		k.ask(at)
		VPSRLW(U8(4), low, high)
		for i, part := range []VecVirtual{low, high} {
			VPANDD(mask, part, part)
			if f.table {
				VPSHUFB(part, codes, part)
			}
			step(n+i, part)
		}
		n++
	}
	scales := ZMM()
	VPMOVZXWD(Mem{Base: k.w}, scales)
	VPSLLD(U8(16), scales, scales)
	for t, sum := range sums {
		scale := ZMM()
		VMULPS_BCST(k.scales[t/4].at(t%4, 0), scales, scale)
		VCVTDQ2PS(sum, sum)
		VFMADD231PS(sum, scale, acc[t])
	}
	k.move(f)
	DECQ(k.groups)
	JNZ(LabelRef("group"))
	dst := k.field("dst")
	for t, sum := range acc {
		VMOVUPS(sum, Mem{Base: dst, Disp: bandBlock * t})
	}
	VZEROUPPER()
	RET()
}

// band writes the product of some tokens and a band in registers of 256 bits, of which a band's rows
// take two. Where there are not enough registers for both, it goes over the band for one half and then
// for the other, so that four tokens share what is done to weights.
func band(f bandFormat, tokens int, c bandConstants) {
	bandText(fmt.Sprintf("band%dx16%sAVX2", tokens, f.name), tokens)
	if tokens == 1 || tokens == 2 && !f.table {
		bandPass(f, tokens, c, 0, 1)
	} else {
		bandPass(f, tokens, c, 0)
		bandPass(f, tokens, c, 1)
	}
	VZEROUPPER()
	RET()
}

// bandPass goes over the groups of a band for some halves of its rows.
func bandPass(f bandFormat, tokens int, c bandConstants, halves ...int) {
	k := newBandWalk(tokens)
	b := &bandRegisters{f: f, k: k, constants: c, tokens: tokens, halves: halves}
	b.begin()
	if halves[0] == 0 {
		k.asks()
	}
	group := fmt.Sprintf("group%d", halves[0])
	Label(group)
	k.aim()
	for n := 0; n < bandSteps; n++ {
		at := Mem{Base: k.w, Disp: bandScales + n*bandBlock}
		if f.nibbles {
			at.Disp = bandScales + n/2*bandBlock
		}
		k.ask(at)
		if !f.nibbles {
			b.signed(n, at)
			continue
		}
		b.pair(n, at)
		n++
	}
	b.end()
	k.move(f)
	DECQ(k.groups)
	JNZ(LabelRef(group))
	dst := k.field("dst")
	for t := range tokens {
		for _, h := range halves {
			VMOVUPS(b.acc[t][h], Mem{Base: dst, Disp: bandBlock*t + registerBytes*h})
		}
	}
}

// bandRegisters are the registers of a product in halves of a band, or in one of them.
type bandRegisters struct {
	f          bandFormat
	k          *bandWalk
	constants  bandConstants
	tokens     int
	halves     []int
	acc        [][2]VecVirtual
	words      [][2]VecVirtual // sums of 32 bits
	shorts     [][2]VecVirtual // sums of 16 bits
	codes      VecVirtual
	mask, ones Op
}

func (b *bandRegisters) begin() {
	for range b.tokens {
		var sums [2]VecVirtual
		for _, h := range b.halves {
			sums[h] = YMM()
			VPXOR(sums[h], sums[h], sums[h])
		}
		b.acc = append(b.acc, sums)
	}
	b.words, b.shorts = make([][2]VecVirtual, b.tokens), make([][2]VecVirtual, b.tokens)
	b.mask, b.ones = b.constants.nibbles, b.constants.ones
	switch {
	case !b.f.nibbles:
		ones := YMM()
		VMOVDQU(b.ones, ones)
		b.ones = ones
	case !b.f.table: // which takes the registers
		mask := YMM()
		VMOVDQU(b.mask, mask)
		b.mask = mask
	}
	if b.f.table {
		b.codes = YMM()
		VMOVDQU(b.constants.codes, b.codes)
	}
}

// broadcast returns four activations in all words.
func (b *bandRegisters) broadcast(t, n int) VecVirtual {
	x := YMM()
	VPBROADCASTD(b.k.x[0].at(t, n*bandStep), x)
	return x
}

// signed adds the products of a step of Q8: magnitudes of weights, which have no sign, times
// activations that took it over, so that nothing saturates.
func (b *bandRegisters) signed(n int, at Mem) {
	for _, h := range b.halves {
		quants, magnitudes := YMM(), YMM()
		VMOVDQU(at.Offset(registerBytes*h), quants)
		VPXOR(b.constants.flips, quants, quants)
		VPABSB(quants, magnitudes)
		for t := range b.tokens {
			x := b.broadcast(t, n)
			VPSIGNB(quants, x, x)
			VPMADDUBSW(x, magnitudes, x)
			VPMADDWD(b.ones, x, x)
			if n == 0 {
				b.words[t][h] = x
			} else {
				VPADDD(x, b.words[t][h], b.words[t][h])
			}
		}
	}
}

// pair adds the products of two steps of nibbles.
func (b *bandRegisters) pair(n int, at Mem) {
	for _, h := range b.halves {
		low, high := YMM(), YMM()
		VMOVDQU(at.Offset(registerBytes*h), low)
		VPSRLW(U8(4), low, high)
		for i, part := range []VecVirtual{low, high} {
			VPAND(b.mask, part, part)
			if b.f.table {
				VPSHUFB(part, b.codes, part)
			}
			for t := range b.tokens {
				b.short(n+i, t, h, part)
			}
		}
	}
}

// short adds the products of a step, and moves to 32 bits what 16 have no more room for.
func (b *bandRegisters) short(n, t, h int, quants VecVirtual) {
	x := b.broadcast(t, n)
	VPMADDUBSW(x, quants, x)
	if n%b.f.shortSteps == 0 {
		b.shorts[t][h] = x
	} else {
		VPADDW(x, b.shorts[t][h], b.shorts[t][h])
	}
	if n%b.f.shortSteps != b.f.shortSteps-1 {
		return
	}
	sum := b.shorts[t][h]
	VPMADDWD(b.ones, sum, sum)
	if n < b.f.shortSteps {
		b.words[t][h] = sum
	} else {
		VPADDD(sum, b.words[t][h], b.words[t][h])
	}
}

// end multiplies a group's sums by their scales.
func (b *bandRegisters) end() {
	for _, h := range b.halves {
		scales := YMM()
		VPMOVZXWD(Mem{Base: b.k.w, Disp: bandScales / 2 * h}, scales)
		VPSLLD(U8(16), scales, scales)
		for t := range b.tokens {
			sum, scale := b.words[t][h], YMM()
			if b.f.nibbles {
				VPBROADCASTD(b.k.sums[0].at(t, 0), scale)
				VPSLLD(U8(b.f.bias), scale, scale)
				VPADDD(scale, sum, sum)
			}
			VBROADCASTSS(b.k.scales[0].at(t, 0), scale)
			VMULPS(scales, scale, scale)
			VCVTDQ2PS(sum, sum)
			VFMADD231PS(sum, scale, b.acc[t][h])
		}
	}
}

// roundGroups writes the rounding of a row's activations, four groups at a time.
func roundGroups(c bandConstants) {
	const groups = 4
	TEXT("roundAVX2", NOSPLIT, "func(quants *int8, scales *float32, sums *int32, x *float32, fours int)")
	Pragma("noescape")
	Doc("roundAVX2 rounds fours > 0 of four groups of x: see type Rounded.")
	quants, scales, sums := Load(Param("quants"), GP64()), Load(Param("scales"), GP64()),
		Load(Param("sums"), GP64())
	x, left := Load(Param("x"), GP64()), Load(Param("fours"), GP64())
	mask, order := YMM(), YMM()
	VMOVDQU(c.magnitude, mask)
	VMOVDQU(c.order, order)
	at := func(g, n int) Mem { return Mem{Base: x, Disp: 4*quantGroup*g + registerBytes*n} }
	Label("four")
	var highest [groups]VecVirtual
	for g := range groups {
		highest[g] = greatest(mask, func(n int) Mem { return at(g, n) })
	}
	VPUNPCKLDQ(highest[1], highest[0], highest[0])
	VPUNPCKLDQ(highest[3], highest[2], highest[2])
	all := highest[0]
	VPUNPCKLQDQ(highest[2], all, all)
	scale, inverse, enough := XMM(), XMM(), XMM()
	VCMPPS(U8(0x0d), c.least, all, enough) // at least, and no NaN
	VDIVPS(c.most, all, scale)
	VMOVUPS(c.most, inverse)
	VDIVPS(all, inverse, inverse)
	VANDPS(enough, scale, scale)
	VANDPS(enough, inverse, inverse)
	VSUBPS(all, all, all) // NaN, if it is not finite
	VADDPS(all, scale, scale)
	VMOVUPS(scale, Mem{Base: scales})
	var sum [groups]VecVirtual
	for g := range groups {
		one, factor := XMM(), YMM()
		VPSHUFD(U8(uint8(g*0x55)), inverse, one)
		VBROADCASTSS(one, factor)
		var packed VecVirtual
		packed, sum[g] = roundGroup(factor, order, func(n int) Mem { return at(g, n) })
		VMOVDQU(packed, Mem{Base: quants, Disp: quantGroup * g})
	}
	for g := 0; g < groups; g += 2 {
		VPHADDD(sum[g+1], sum[g], sum[g])
	}
	VPHADDD(sum[2], sum[0], sum[0])
	high, negative := XMM(), XMM()
	VEXTRACTI128(U8(1), sum[0], high)
	VPADDD(high, sum[0].AsX(), high)
	VPXOR(negative, negative, negative)
	VPSUBD(high, negative, negative)
	VMOVDQU(negative, Mem{Base: sums})
	ADDQ(I32(groups*quantGroup), quants)
	ADDQ(Imm(4*groups), scales)
	ADDQ(Imm(4*groups), sums)
	ADDQ(I32(groups*quantGroup*4), x)
	DECQ(left)
	JNZ(LabelRef("four"))
	VZEROUPPER()
	RET()
}

// greatest returns the greatest magnitude of 32 numbers, by its bits, in all words.
func greatest(mask VecVirtual, at func(n int) Mem) VecVirtual {
	var m VecVirtual
	for n := range quantGroup / half {
		v := YMM()
		VPAND(at(n), mask, v)
		if m == nil {
			m = v
			continue
		}
		VPMAXUD(v, m, m)
	}
	low, other := m.AsX().(VecVirtual), XMM()
	VEXTRACTI128(U8(1), m, other)
	VPMAXUD(other, low, low)
	VPSHUFD(U8(0x4e), low, other)
	VPMAXUD(other, low, low)
	VPSHUFD(U8(0xb1), low, other)
	VPMAXUD(other, low, low)
	return low
}

// roundGroup returns a group times a factor as bytes, and its sums, in eight parts.
func roundGroup(factor, order VecVirtual, at func(n int) Mem) (packed, sum VecVirtual) {
	var v [quantGroup / half]VecVirtual
	for n := range v {
		v[n] = YMM()
		VMULPS(at(n), factor, v[n])
		VCVTPS2DQ(v[n], v[n])
	}
	sum = YMM()
	more := YMM()
	VPADDD(v[1], v[0], sum)
	VPADDD(v[3], v[2], more)
	VPADDD(more, sum, sum)
	VPACKSSDW(v[1], v[0], v[0])
	VPACKSSDW(v[3], v[2], v[2])
	packed = v[0]
	VPACKSSWB(v[2], packed, packed)
	VPERMD(packed, order, packed)
	return packed, sum
}
