package main

// gates writes the activations of MLPs and σ alone, operation by operation as the twins.
func gates(p *program) {
	sigmoid(p)
	swiGLU(p)
	swiGLUClamped(p)
}

// logistic holds the constants of σ.
type logistic struct {
	exp *exponential
	one vec // four of it
}

func newLogistic(f *function) *logistic {
	return &logistic{exp: newExponential(f), one: floats(f, "one", 1)}
}

// divisor replaces four float32 by 1 + Exp(-x).
func (l *logistic) divisor(x vec) {
	f := l.exp.f
	f.fneg(x, x)
	l.exp.of(x)
	f.fadd(x, x, l.one)
}

func sigmoid(p *program) {
	f := p.function("sigmoidNEON", "x *float32, n int", "",
		"sigmoidNEON computes x[i] = 1 / (1 + Exp(-x[i])) for i < n.")
	x, n, l := f.load("x"), f.load("n"), newLogistic(f)
	fours(f, n, func(bytes int) {
		v := f.take()
		f.loadAt(v, x, 0, bytes)
		l.divisor(v)
		f.fdiv(v, l.one, v)
		f.storeAt(v, x, 0, bytes)
	}, x)
	f.ret()
}

func swiGLU(p *program) {
	f := p.function("swiGLUNEON", "dst *float32, gate *float32, up *float32, n int", "",
		"swiGLUNEON computes dst[i] = gate[i] / (1 + Exp(-gate[i])) * up[i] for i < n.")
	dst, gate, up, n := f.load("dst"), f.load("gate"), f.load("up"), f.load("n")
	l := newLogistic(f)
	fours(f, n, func(bytes int) {
		g, u, d := f.take(), f.take(), f.take()
		f.loadAt(g, gate, 0, bytes)
		f.loadAt(u, up, 0, bytes)
		f.move(d, g)
		l.divisor(d)
		f.fdiv(g, g, d)
		f.fmul(g, g, u)
		f.storeAt(g, dst, 0, bytes)
	}, dst, gate, up)
	f.ret()
}

func swiGLUClamped(p *program) {
	f := p.function("swiGLUClampedNEON",
		"dst *float32, gate *float32, up *float32, n int, alpha float32, limit float32", "",
		"swiGLUClampedNEON computes, with g = min(gate[i], limit) and",
		"u = min(max(up[i], -limit), limit), dst[i] = g / (1 + Exp(-(alpha*g))) * (u + 1) for",
		"i < n. The limit is above 0.")
	dst, gate, up, n := f.load("dst"), f.load("gate"), f.load("up"), f.load("n")
	alpha, limit, l := f.loadFloat("alpha"), f.loadFloat("limit"), newLogistic(f)
	fours(f, n, func(bytes int) {
		g, u, d := f.take(), f.take(), f.take()
		f.loadAt(g, gate, 0, bytes)
		f.loadAt(u, up, 0, bytes)
		// Minimum and maximum of a NaN and a limit are the NaN.
		f.fmin(g, g, limit)
		f.fneg(d, limit)
		f.fmax(u, u, d)
		f.fmin(u, u, limit)
		f.fmul(d, g, alpha)
		l.divisor(d)
		f.fdiv(g, g, d)
		f.fadd(u, u, l.one)
		f.fmul(g, g, u)
		f.storeAt(g, dst, 0, bytes)
	}, dst, gate, up)
	f.ret()
}
