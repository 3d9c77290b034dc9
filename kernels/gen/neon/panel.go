package main

import "fmt"

const (
	panelTokens = 6         // of the largest register tile: twenty-four sums
	panelRows   = 4         // of each
	panelStride = 4 * 512   // bytes from row to row of a panel
	lanesBytes  = 4 * block // of the sums of one dot product
)

// addPanel writes a register tile of products with decoded weights, whose sums are in memory: so
// one register of the four of a sum at a time can go over the blocks, and more sums fit.
func addPanel(p *program, tokens int) {
	name := fmt.Sprintf("add%dx%dNEON", tokens, panelRows)
	f := p.function(name,
		"lanes *float32, x *float32, xStride int, xStep int, w *float32, blocks int", "",
		fmt.Sprintf("%s adds blocks > 0 of the products of %d tokens and %d rows, which are 2 KiB", name,
			tokens, panelRows), "apart, to lanes [tokens, rows, 16]. Strides and steps, from block to",
		"block of a token, are in bytes.")
	lanes, first, w, stride := f.load("lanes"), f.load("x"), f.load("w"), f.load("xStride")
	step, quarters := f.load("xStep"), f.general()
	f.op("MOVD $4, %s", quarters)
	var sums []vec
	each := func(do func(v vec, r reg, disp, bytes int)) {
		for i, v := range sums {
			do(v, lanes, lanesBytes*i, registerBytes)
		}
	}
	sums = f.takeAll(tokens * panelRows)
	weights, activation := f.takeAll(panelRows), f.take()

	f.label("quarter")
	each(f.loadAt)
	f.scope(func() {
		x, from, blocks := rowsFrom(f, first, stride, tokens), f.general(), f.load("blocks")
		f.copyTo(from, w)
		f.label("loop")
		for row, v := range weights {
			f.loadAt(v, from, panelStride*row, registerBytes)
		}
		for t, at := range x {
			f.loadAt(activation, at, 0, registerBytes)
			for row, v := range weights {
				f.fmla(sums[panelRows*t+row], v, activation)
			}
		}
		f.add(from, lanesBytes)
		for _, at := range x {
			f.addRegister(at, step)
		}
		f.op("SUBS $1, %s", blocks)
		f.op("BNE loop")
	})
	each(f.storeAt)
	f.advance([]reg{lanes, first, w}, registerBytes)
	f.op("SUBS $1, %s", quarters)
	f.op("BNE quarter")
	f.ret()
}

// reduceTile writes the reduction of the sums of a tile.
func reduceTile(p *program) {
	f := p.function("reduceTileNEON", "dst *float32, dstStride int, lanes *float32, tokens int", "",
		"reduceTileNEON reduces lanes [tokens, 4, 16] to dst, for tokens > 0. The stride is in bytes.")
	dst, stride, lanes, tokens := f.load("dst"), f.load("dstStride"), f.load("lanes"), f.load("tokens")
	f.label("token")
	for row := range panelRows {
		f.scope(func() {
			sum := [4]vec(f.takeAll(4))
			for q, v := range sum {
				f.loadAt(v, lanes, lanesBytes*row+registerBytes*q, registerBytes)
			}
			reduce(f, sum)
			f.storeAt(sum[0], dst, 4*row, 4)
		})
	}
	f.add(lanes, panelRows*lanesBytes)
	f.addRegister(dst, stride)
	f.op("SUBS $1, %s", tokens)
	f.op("BNE token")
	f.ret()
}
