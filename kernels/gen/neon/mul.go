package main

import (
	"fmt"
	"slices"
)

// fields are those of the type operands of package kernels, in order; each takes eight bytes.
var fields = []string{"dst", "dstStride", "x", "xStride", "w", "wStride", "blocks",
	"scales", "exponents", "exponentStride", "xTail"}

// fieldsAt returns what loads fields of the operands.
func fieldsAt(f *function, names []string, operands reg) func(name string) reg {
	return func(name string) reg {
		r := f.general()
		f.op("MOVD %d(%s), %s", 8*slices.Index(names, name), operands, r)
		return r
	}
}

// tailWeights is where the weights begin in package kernels' type tailBlocks.
const tailWeights = 3 * 4 * block

// mul writes a register tile of a matrix product: tokens × rows canonical dot products at once.
func mul(p *program, weights format, tokens, rows int) {
	name := fmt.Sprintf("mul%dx%d%s", tokens, rows, weights.name())
	f := p.function(name, "operands *byte, tail *byte", "",
		fmt.Sprintf("%s is the product of %d × %d rows: see type operands. If tail is not nil, it", name,
			tokens, rows), "has one more block of each: see tailBlocks.")
	t := newTile(f, tokens, rows)
	w := &walk{rows: rows, field: fieldsAt(f, fields, f.load("operands"))}
	f.scope(func() {
		x, from := w.rowsOf(f, "x", "xStride", tokens), w.rowsOf(f, "w", "wStride", rows)
		w.blocks = w.field("blocks")
		w.step = func(h int) {
			t.step(h%2, x, 2*registerBytes*h, func(to [2]vec, row int) {
				weights.load(f, to, from[row], h*weights.halfBytes(), row)
			})
		}
		w.move = func(halves int) {
			f.advance(x, 2*registerBytes*halves)
			f.advance(from, weights.halfBytes()*halves)
		}
		if tokens == 1 {
			w.group = func(decode groupDecoder) { t.group(x[0], from, decode) }
		}
		f.op("CBZ %s, tail", w.blocks)
		weights.loop(f, w)
	})

	f.label("tail") // one padded block of float32, if there is one
	f.scope(func() {
		tail := f.load("tail")
		f.op("CBZ %s, done", tail)
		x := []reg{w.field("xTail")}
		f.addRegister(x[0], tail)
		for range tokens - 1 {
			x = append(x, f.general())
			f.op("ADD $%d, %s, %s", 4*block, x[len(x)-2], x[len(x)-1])
		}
		for h := range 2 {
			t.step(h, x, 2*registerBytes*h, func(to [2]vec, row int) {
				f32{}.load(f, to, tail, tailWeights+4*block*row+2*registerBytes*h, row)
			})
		}
	})
	f.label("done")
	f.scope(func() {
		dst, stride := w.field("dst"), w.field("dstStride")
		for token := range tokens {
			for row := range rows {
				t.reduce(token, row)
				f.storeAt(t.sums[token][row][0], dst, 4*row, 4)
			}
			if token+1 < tokens {
				f.addRegister(dst, stride)
			}
		}
	})
	f.ret()
}

// advance advances pointers.
func (f *function) advance(pointers []reg, bytes int) {
	for _, p := range pointers {
		f.add(p, bytes)
	}
}

// tile is the sums of a register tile, [tokens][rows], four registers for sixteen lanes.
type tile struct {
	f    *function
	sums [][][4]vec
}

func newTile(f *function, tokens, rows int) *tile {
	t := &tile{f: f}
	for range tokens {
		var row [][4]vec
		for range rows {
			row = append(row, [4]vec(f.takeAll(4)))
		}
		t.sums = append(t.sums, row)
	}
	t.clear()
	return t
}

func (t *tile) clear() {
	for _, token := range t.sums {
		for _, sum := range token {
			for _, v := range sum {
				t.f.zero(v)
			}
		}
	}
}

// step adds half a block, eight numbers, to every sum: of activations disp bytes from the
// pointers x.
func (t *tile) step(half int, x []reg, disp int, load func(to [2]vec, row int)) {
	f, rows := t.f, len(t.sums[0])
	f.scope(func() {
		if len(t.sums) == 1 { // the activations stay, and the weights go by
			activations := [2]vec(f.takeAll(2))
			f32{}.load(f, activations, x[0], disp, 0)
			for row := range rows {
				f.scope(func() {
					weights := [2]vec(f.takeAll(2))
					load(weights, row)
					for q, a := range activations {
						f.fmla(t.sums[0][row][2*half+q], weights[q], a)
					}
				})
			}
			return
		}
		var weights [][2]vec // decoded once for all tokens
		for row := range rows {
			weights = append(weights, [2]vec(f.takeAll(2)))
			load(weights[row], row)
		}
		activation := f.take()
		for token := range t.sums {
			for q := range 2 {
				f.loadAt(activation, x[token], disp+registerBytes*q, registerBytes)
				for row := range rows {
					f.fmla(t.sums[token][row][2*half+q], weights[row][q], activation)
				}
			}
		}
	})
}

// group adds a whole group of weights to the sums of one token.
func (t *tile) group(x reg, from []reg, decode groupDecoder) {
	f := t.f
	f.scope(func() {
		activations := f.takeAll(scaleGroup / 4)
		for q, a := range activations {
			f.loadAt(a, x, registerBytes*q, registerBytes)
		}
		for row, r := range from {
			f.scope(func() {
				decode(r, row, func(q int, weights vec) {
					f.fmla(t.sums[0][row][q%4], weights, activations[q])
				})
			})
		}
	})
}

// reduce adds the sixteen lanes of a sum by the fixed tree. They are lost; the first is the result.
func (t *tile) reduce(token, row int) { reduce(t.f, t.sums[token][row]) }

func reduce(f *function, s [4]vec) {
	f.fadd(s[0], s[0], s[2]) // lane l + lane l+8
	f.fadd(s[1], s[1], s[3])
	f.fadd(s[0], s[0], s[1]) // ... + lane l+4
	f.op("VEXT $8, %s.B16, %s.B16, %s.B16", s[0], s[0], s[1])
	f.faddHalf(s[0], s[0], s[1]) // ... + lane l+2
	f.faddp(s[0], s[0])          // ... + lane l+1
}

// decode writes the conversion of a row.
func decode(p *program, weights format) {
	name := "decode" + weights.name() + "NEON"
	f := p.function(name, "operands *byte", "", name+" writes a row of weights to dst; blocks > 0.")
	w := &walk{rows: 1, field: fieldsAt(f, fields, f.load("operands"))}
	dst, from := w.field("dst"), w.field("w")
	w.blocks = w.field("blocks")
	to := [2]vec(f.takeAll(2))
	w.step = func(h int) {
		weights.load(f, to, from, h*weights.halfBytes(), 0)
		for q, v := range to {
			f.storeAt(v, dst, registerBytes*(2*h+q), registerBytes)
		}
	}
	w.group = func(decode groupDecoder) {
		f.scope(func() {
			decode(from, 0, func(q int, v vec) { f.storeAt(v, dst, registerBytes*q, registerBytes) })
		})
	}
	w.move = func(halves int) {
		f.add(dst, 2*registerBytes*halves)
		f.add(from, weights.halfBytes()*halves)
	}
	weights.loop(f, w)
	f.ret()
}

// errorQ4 writes what a group of weights loses under a scale of Q4.
func errorQ4(p *program) {
	f := p.function("errorQ4NEON", "group *float32, scale float32", "float32",
		"errorQ4NEON is errorQ4 of 32 weights.")
	group, scale := f.load("group"), f.loadFloat("scale")
	least, most := floats(f, "leastQ4", -8), floats(f, "mostQ4", 7)
	var sums [4]vec
	for i := range sums {
		sums[i] = f.take()
		f.zero(sums[i])
	}
	w, d := f.take(), f.take()
	for q := range 2 * len(sums) {
		f.loadAt(w, group, registerBytes*q, registerBytes)
		f.fdiv(d, w, scale)
		f.fmin(d, d, most)
		f.fmax(d, d, least)
		f.frintn(d, d)
		f.fmul(d, d, scale)
		f.fsub(d, w, d)
		f.fmul(d, d, d)
		f.fadd(sums[q%4], sums[q%4], d)
	}
	reduce(f, sums)
	f.storeFloat(sums[0])
	f.ret()
}
