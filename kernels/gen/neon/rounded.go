package main

import (
	"fmt"
)

// roundedFields are those of the type roundedOperands of package kernels, in order.
var roundedFields = []string{"dst", "x", "xStride", "scales", "stride", "w", "groups"}

const (
	bandRows   = 16
	bandScales = 2 * bandRows // bytes of a group's scales
)

// interleaved is a format of weights by bands: its numbers, in signed bytes, by the code of four
// bits, or no table if codes are bytes, 128 above the number.
type interleaved struct {
	name    string
	numbers []int8
}

// rounded writes the products of activations of 8 bits, with the instruction for dot products of
// four bytes, which not every processor has.
func rounded(p *program) {
	q4 := []int8{-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7}
	mxfp4 := []int8{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12} // twice E2M1
	for _, w := range []interleaved{{"Q8", nil}, {"Q4", q4}, {"MXFP4", mxfp4}} {
		for _, tokens := range []int{1, 2, 4} {
			band(p, w, tokens)
		}
	}
}

// constant is the table of numbers, or the bit in which codes and numbers differ.
func (w interleaved) constant(f *function) vec {
	if w.numbers == nil {
		return f.constant("signs", 0x8080808080808080, 0x8080808080808080)
	}
	var t [2]uint64
	for n, v := range w.numbers {
		t[n/8] |= uint64(uint8(v)) << (n % 8 * 8)
	}
	return f.constant("integers"+w.name, t[0], t[1])
}

// blocks writes, for each four columns of a half of a group, what loads those of some rows, four of
// a band's sixteen, and gives them to use: the fours of rows from the first on.
func (w interleaved) blocks(f *function, from reg, constant vec, half, first, fours int,
	use func(columns, rows int, v vec)) {
	low, high := f.take(), f.take()
	for at := 8 * half; at < 8*half+8; at++ {
		if w.numbers == nil {
			for n := range 2 {
				if rows := (2*at + n) % 4; rows < first || rows >= first+fours {
					continue
				}
				f.loadAt(low, from, bandScales+registerBytes*(2*at+n), registerBytes)
				f.op("VEOR %s.B16, %s.B16, %s.B16", constant, low, low)
				use((2*at+n)/4, (2*at+n)%4, low)
			}
			continue
		}
		if at%4 < first || at%4 >= first+fours {
			continue
		}
		f.loadAt(low, from, bandScales+registerBytes*at, registerBytes)
		f.op("VUSHR $4, %s.B16, %s.B16", low, high)
		f.op("VSHL $4, %s.B16, %s.B16", low, low)
		f.op("VUSHR $4, %s.B16, %s.B16", low, low)
		for n, v := range []vec{low, high} {
			f.op("VTBL %s.B16, [%s.B16], %s.B16", v, constant, v)
			use(at/4*2+n, at%4, v)
		}
	}
}

// band writes the products of some tokens with a band of rows.
func band(p *program, w interleaved, tokens int) {
	name := fmt.Sprintf("band%dx16%sDot", tokens, w.name)
	f := p.function(name, "operands *byte", "",
		fmt.Sprintf("%s is the product of %d tokens and a band: see type roundedOperands.", name, tokens))
	field := fieldsAt(f, roundedFields, f.load("operands"))
	x, scales := []reg{field("x")}, []reg{field("scales")}
	for _, rows := range []struct {
		of     *[]reg
		stride string
	}{{&x, "xStride"}, {&scales, "stride"}} {
		for range tokens - 1 {
			*rows.of = append(*rows.of, f.general())
		}
		f.scope(func() { f.spread(*rows.of, field(rows.stride)) })
	}
	from, groups, constant := field("w"), field("groups"), w.constant(f)
	b := bandTile{w, f, tokens, x, scales, from, constant, f.takeAll(4 * tokens)}
	for _, v := range b.sums {
		f.zero(v)
	}
	f.label("groups")
	fours := 4 // of rows at a time; four tokens leave registers for the integers of two
	if tokens == 4 {
		fours = 2
	}
	for first := 0; first < 4; first += fours {
		f.scope(func() { b.group(first, fours) })
	}
	for _, r := range x {
		f.add(r, scaleGroup)
	}
	for _, r := range scales {
		f.add(r, 4)
	}
	bytes := bandScales + scaleGroup*bandRows
	if w.numbers != nil {
		bytes = bandScales + scaleGroup*bandRows/2
	}
	f.add(from, bytes)
	f.op("SUBS $1, %s", groups)
	f.op("BNE groups")
	dst := field("dst")
	for n, v := range b.sums {
		f.storeAt(v, dst, registerBytes*n, registerBytes)
	}
	f.ret()
}

// bandTile is the registers of a product of some tokens with a band.
type bandTile struct {
	interleaved
	f         *function
	tokens    int
	x, scales []reg
	from      reg
	constant  vec
	sums      []vec // [tokens, 4 of 4 rows]
}

// group adds the products of a group with some fours of rows.
func (b *bandTile) group(first, fours int) {
	f := b.f
	integers := f.takeAll(fours * b.tokens)
	for _, v := range integers {
		f.zero(v)
	}
	f.scope(func() {
		quants := f.takeAll(b.tokens)
		for half := range 2 {
			for t, r := range b.x {
				f.loadAt(quants[t], r, registerBytes*half, registerBytes)
			}
			f.scope(func() {
				b.blocks(f, b.from, b.constant, half, first, fours, func(columns, rows int, v vec) {
					for t, q := range quants {
						f.sdotLane(integers[fours*t+rows-first], v, q, columns%4)
					}
				})
			})
		}
	})
	of, product, scale := [2]vec(f.takeAll(2)), f.take(), f.takeAll(b.tokens)
	for t, r := range b.scales {
		f.op("FMOVS (%s), %s", r, scale[t].scalar())
	}
	for rows := first; rows < first+fours; rows += 2 {
		bf16{}.load(f, of, b.from, registerBytes*rows/2, 0)
		for t := range b.tokens {
			for n, s := range of {
				integer := integers[fours*t+rows-first+n]
				f.fmulLane(product, s, scale[t], 0)
				f.scvtf(integer, integer)
				f.fmla(b.sums[4*t+rows+n], integer, product)
			}
		}
	}
}
