package main

import (
	"fmt"
	"slices"
)

// dotFields are those of the type dotOperands of package kernels, in order. The last four say what
// to prefetch, which is left to the hardware here.
var dotFields = []string{"scores", "scoreStride", "q", "qStride", "keys", "keyStride", "blocks",
	"queries", "n", "keyBytes", "values", "valueStride", "valueBytes"}

// dotTile writes the dot products of some queries and some keys, which it leaves in the first lanes
// of the first register of each sum.
func dotTile(f *function, label string, keys stored, t *tile, field func(string) reg, q, k []reg) {
	t.clear()
	f.scope(func() {
		blocks := field("blocks")
		f.label(label)
		for h := range 2 {
			t.step(h, q, 2*registerBytes*h, func(to [2]vec, row int) {
				keys.load(f, to, k[row], h*keys.halfBytes(), row)
			})
		}
		f.advance(q, 4*registerBytes)
		f.advance(k, 2*keys.halfBytes())
		f.op("SUBS $1, %s", blocks)
		f.op("BNE %s", label)
	})
	for token := range t.sums {
		for row := range t.sums[token] {
			t.reduce(token, row)
		}
	}
}

// rowsFrom returns pointers to rows that begin at a pointer.
func rowsFrom(f *function, base, stride reg, rows int) []reg {
	p := []reg{f.general()}
	f.copyTo(p[0], base)
	for range rows - 1 {
		p = append(p, f.general())
	}
	f.spread(p, stride)
	return p
}

// dots writes the dot products of several queries with keys, two keys at a time: these are read
// from memory once, and stay in the first-level cache while the queries go by in threes and twos.
func dots(p *program, keys stored) {
	name := "dots" + keys.name()
	f := p.function(name, "operands *byte", "",
		name+" computes the dot products of queries and at least two keys, of at least one block:",
		"see type dotOperands.")
	field := fieldsAt(f, dotFields, f.load("operands"))
	n, stride, key := field("n"), field("keyStride"), field("keys")
	scores, scoreStride, qStride := field("scores"), field("scoreStride"), field("qStride")

	f.label("pair")
	f.scope(func() {
		q, to, left := field("q"), f.general(), field("queries")
		f.copyTo(to, scores)
		tileOf := func(label string, queries int) {
			f.scope(func() {
				t := newTile(f, queries, 2)
				dotTile(f, label, keys, t, field, rowsFrom(f, q, qStride, queries),
					rowsFrom(f, key, stride, 2))
				for token := range queries {
					f.storeAt(t.sums[token][0][0], to, 0, 4)
					f.storeAt(t.sums[token][1][0], to, 4, 4)
					f.addRegister(q, qStride)
					f.addRegister(to, scoreStride)
				}
				f.op("SUB $%d, %s", queries, left)
			})
		}
		f.label("threes")
		f.op("CMP $3, %s", left)
		f.op("BLT twos")
		f.op("CMP $4, %s", left) // two twos are better than three and one
		f.op("BEQ twos")
		tileOf("three", 3)
		f.op("B threes")
		f.label("twos")
		f.op("CMP $2, %s", left)
		f.op("BLT ones")
		tileOf("two", 2)
		f.op("B twos")
		f.label("ones")
		f.op("CBZ %s, next", left)
		tileOf("one", 1)
	})
	f.label("next")
	f.add(scores, 8)
	f.addRegister(key, stride)
	f.addRegister(key, stride)
	f.op("SUBS $2, %s", n)
	f.op("BEQ done")
	f.op("CMP $1, %s", n)
	f.op("BNE pair")
	// One key is left: do it with the one before, again.
	f.op("SUB $4, %s", scores)
	f.op("SUB %s, %s", stride, key)
	f.add(n, 1)
	f.op("B pair")
	f.label("done")
	f.ret()
}

// dots1 writes the dot products of one query with keys, four keys at a time.
func dots1(p *program, keys stored) {
	const together = 4
	name := "dots1" + keys.name()
	f := p.function(name, "operands *byte", "",
		name+" computes the dot products of one query and at least four keys, of at least one block:",
		"see type dotOperands.")
	field := fieldsAt(f, dotFields, f.load("operands"))
	n, stride, key, scores := field("n"), field("keyStride"), field("keys"), field("scores")
	t := newTile(f, 1, together)

	f.label("four")
	f.scope(func() {
		dotTile(f, "loop", keys, t, field, []reg{field("q")}, rowsFrom(f, key, stride, together))
	})
	for row := range together {
		f.storeAt(t.sums[0][row][0], scores, 4*row, 4)
	}
	f.add(scores, 4*together)
	f.op("ADD %s<<2, %s", stride, key)
	f.op("SUBS $%d, %s", together, n)
	f.op("BEQ done")
	f.label("back") // fewer are left: do them with the ones before, again
	f.op("CMP $%d, %s", together, n)
	f.op("BGE four")
	f.op("SUB $4, %s", scores)
	f.op("SUB %s, %s", stride, key)
	f.add(n, 1)
	f.op("B back")
	f.label("done")
	f.ret()
}

// values writes the weighted sums of values for some queries: as many columns as the first of the
// widths, in eights, stay in registers while the positions go by; then fewer.
func values(p *program, from stored, queries int, widths ...int) {
	name := fmt.Sprintf("values%d%s", queries, from.name())
	f := p.function(name, "acc *float32, accStride int, columns int, "+
		"weights *float32, weightStride int, values *byte, stride int, n int", "",
		fmt.Sprintf("%s adds n > 0 weighted values, in ascending order, to the sums of %d", name,
			queries), "queries, in columns that are a multiple of 8. Strides are in bytes.")
	rows := func(base, stride string) (p []reg) {
		f.scope(func() { p = rowsFrom(f, f.load(base), f.load(stride), queries) })
		for _, r := range p {
			f.scalars[r] = true
		}
		return p
	}
	acc, weights := rows("acc", "accStride"), rows("weights", "weightStride")
	value, stride, columns := f.load("values"), f.load("stride"), f.load("columns")

	for _, width := range widths {
		label := fmt.Sprintf("columns%d", width)
		f.label(label)
		f.op("CMP $%d, %s", half*width, columns)
		f.op("BLT %sDone", label)
		f.scope(func() {
			var sums [][]vec
			each := func(do func(v vec, r reg, disp, bytes int)) {
				for t := range sums {
					for n, v := range sums[t] {
						do(v, acc[t], registerBytes*n, registerBytes)
					}
				}
			}
			for range queries {
				sums = append(sums, f.takeAll(2*width))
			}
			each(f.loadAt)
			v, j := f.general(), f.load("n")
			f.copyTo(v, value)
			f.label(label + "Rows")
			valuesStep(f, from, sums, v, weights)
			f.addRegister(v, stride)
			f.op("SUBS $1, %s", j)
			f.op("BNE %sRows", label)
			each(f.storeAt)
			for _, w := range weights { // back to the first position
				f.scope(func() {
					n := f.load("n")
					f.op("SUB %s<<2, %s", n, w)
				})
			}
		})
		f.advance(acc, width*2*registerBytes)
		f.add(value, width*from.halfBytes())
		f.op("SUB $%d, %s", half*width, columns)
		f.op("B %s", label)
		f.label(label + "Done")
	}
	f.ret()
}

// valuesStep adds one position, and moves the weights to the next.
func valuesStep(f *function, from stored, sums [][]vec, at reg, weights []reg) {
	f.scope(func() {
		add := func(t, n int, weight vec, value [2]vec) {
			for q, v := range value {
				f.fmlaLane(sums[t][2*n+q], v, weight, 0)
			}
		}
		width, weight := len(sums[0])/2, f.take()
		if len(sums) == 1 {
			f.op("FMOVS.P 4(%s), %s", weights[0], weight.scalar())
			value := [2]vec(f.takeAll(2))
			for n := range width {
				from.load(f, value, at, n*from.halfBytes(), 0)
				add(0, n, weight, value)
			}
			return
		}
		var row [][2]vec // decoded once for all queries
		for n := range width {
			row = append(row, [2]vec(f.takeAll(2)))
			from.load(f, row[n], at, n*from.halfBytes(), 0)
		}
		for t, w := range weights {
			f.op("FMOVS.P 4(%s), %s", w, weight.scalar())
			for n, value := range slices.All(row) {
				add(t, n, weight, value)
			}
		}
	})
}

// widen writes the conversion of rows to float32.
func widen(p *program, from stored) {
	name := "widen" + from.name()
	f := p.function(name, "dst *float32, src *byte, stride int, rows int, columns int", "",
		name+" writes rows > 0 of columns, a positive multiple of 8, as float32, without scales,",
		"to dst [rows, columns]. The stride is src's, in bytes.")
	dst, src, stride, rows := f.load("dst"), f.load("src"), f.load("stride"), f.load("rows")
	at, left, to := f.general(), f.general(), [2]vec(f.takeAll(2))
	f.label("row")
	f.copyTo(at, src)
	f.reload("columns", left)
	f.label("columns")
	from.load(f, to, at, 0, 0)
	for q, v := range to {
		f.storeAt(v, dst, registerBytes*q, registerBytes)
	}
	f.add(at, from.halfBytes())
	f.add(dst, 2*registerBytes)
	f.op("SUBS $%d, %s", half, left)
	f.op("BNE columns")
	f.addRegister(src, stride)
	f.op("SUBS $1, %s", rows)
	f.op("BNE row")
	f.ret()
}
