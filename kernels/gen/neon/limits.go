package main

// limits writes what measures a processor's limits.
func limits(p *program) {
	const sums = 24 // more than the latency of a multiply-add times those begun in a cycle
	f := p.function("peakNEON", "n int", "",
		"peakNEON does n > 0 rounds of 24 multiply-adds, of four numbers each, and nothing else.")
	n, x := f.load("n"), floats(f, "peakX", 0.5)
	var all []vec
	for range sums {
		v := f.take()
		f.zero(v)
		all = append(all, v)
	}
	f.label("loop")
	for _, v := range all {
		f.fmla(v, x, x)
	}
	f.op("SUBS $1, %s", n)
	f.op("BNE loop")
	f.ret()

	f = p.function("readNEON", "p *byte, stride int, lines int", "",
		"readNEON loads 64*lines > 0 bytes from each of four streams that begin stride bytes after",
		"each other, and does nothing with them.")
	streams := []reg{f.load("p"), f.general(), f.general(), f.general()}
	f.scope(func() { f.spread(streams, f.load("stride")) })
	lines := f.load("lines")
	f.label("loop")
	for _, r := range streams {
		f.op("VLD1.P 64(%s), [V0.B16, V1.B16, V2.B16, V3.B16]", r)
	}
	f.op("SUBS $1, %s", lines)
	f.op("BNE loop")
	f.ret()
}
