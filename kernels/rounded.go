package kernels

import (
	"math"
	"runtime"
	"unsafe"
)

// Rounded is activations [tokens, cols] as integers of 8 bits, by groups of 32 columns as the
// weights of the interleaved formats are:
//
//	s = max|x| / 127                 q = x * (127 / max|x|), rounded to nearest, ties to even
//
// A group whose max|x| is less than 2^-100 counts as zeros; one that holds a NaN or an infinity
// makes its token's products NaN. All is float32's arithmetic, and rounds once at each sign.
//
// The zero value is ready for Reserve. The memory is used again.
type Rounded struct {
	cols, groups int       // of a token
	quants       []int8    // [tokens, groups, 32], padded with zeros
	scales       []float32 // [tokens, groups]
	sums         []int32   // [tokens, groups], of a group's quants, and negative
}

// leastRounded is the least number of which 127 is a finite multiple, and more.
const leastRounded = 0x1p-100

// Reserve makes room for some tokens, which then are to be filled in by Round.
func (x *Rounded) Reserve(tokens, cols int) {
	x.cols, x.groups = cols, quantGroups(cols)
	n := tokens * x.groups
	if cap(x.scales) < n {
		x.quants, x.scales, x.sums = make([]int8, n*quantGroup), make([]float32, n), make([]int32, n)
	}
	x.quants, x.scales, x.sums = x.quants[:n*quantGroup], x.scales[:n], x.sums[:n]
}

// Round fills in token t from row [cols]. Several threads may do so for several tokens.
func (x *Rounded) Round(t int, row []float32) {
	if len(row) != x.cols {
		panic("kernels: Round needs as many columns as there is room for")
	}
	from, whole := t*x.groups, 0
	if fastPath {
		whole = roundFast(x, from, row)
	}
	for g := whole; g < x.groups; g++ {
		var group [quantGroup]float32 // the last one is padded
		copy(group[:], row[g*quantGroup:])
		x.roundGroup(from+g, &group)
	}
}

// roundGroup fills in a group.
func (x *Rounded) roundGroup(at int, group *[quantGroup]float32) {
	var most uint32 // a magnitude's bits: they order as magnitudes do, and NaNs are the greatest
	for _, v := range group {
		most = max(most, math.Float32bits(v)&^(1<<31))
	}
	highest := math.Float32frombits(most)
	var scale, inverse float32
	if highest >= leastRounded {
		scale, inverse = highest/127, 127/highest
	}
	scale += highest - highest // NaN, if it is not finite
	sum := int32(0)
	quants := x.quants[at*quantGroup:][:quantGroup]
	for i, v := range group {
		quants[i] = 0
		if scale == scale {
			quants[i] = int8(math.Float32bits(float32(v*inverse) + shifter))
		}
		sum -= int32(quants[i])
	}
	x.scales[at], x.sums[at] = scale, sum
}

// MulRounded computes dst [n, w.Rows] = x · wᵀ for n tokens of x from token t on and an
// interleaved w, on the calling thread. dst[i][r] is, for groups g in ascending order,
//
//	sum = fma(Σ q[c] * w[c], s[g] * scale of w, sum)          with integers in Σ, which is exact
//
// from +0 on, plus r's bias, whatever the tiles. There are no lanes: rows are side by side, where
// the canonical dot product has columns.
//
// next, if not nil, is what the caller multiplies with next: its beginning is asked for meanwhile.
func MulRounded(dst []float32, x *Rounded, t, n int, w Matrix, next *Matrix) {
	checkMulRounded(dst, x, t, n, w)
	mulBands(dst, x, t, n, &w, 0, w.Rows, next)
	if w.Bias != nil {
		addBias(dst, n, w.Bias, 0, w.Rows)
	}
	runtime.KeepAlive(w.Owner)
}

func checkMulRounded(dst []float32, x *Rounded, t, n int, w Matrix) {
	w.check()
	if !w.Format.Interleaved() || w.Cols != x.cols {
		panic("kernels: a product of rounded activations needs an interleaved matrix of their columns")
	}
	if t < 0 || n < 0 || len(x.scales) < (t+n)*x.groups || len(dst) < n*w.Rows {
		panic("kernels: MulRounded dst or x is too short")
	}
}

// mulBand computes dst[i*w.Rows+r] for the band that begins with row r and n tokens from t on.
func mulBand(dst []float32, x *Rounded, t, n int, w *Matrix, r int, a ahead) {
	if fastPath && x.groups > 0 {
		mulBandFast(dst, x, t, n, w, r, a)
		return
	}
	mulBandGeneric(dst, x, t, n, w, r)
}

func mulBandGeneric(dst []float32, x *Rounded, t, n int, w *Matrix, r int) {
	for i := range n {
		for row := r; row < min(r+bandRows, w.Rows); row++ {
			dst[i*w.Rows+row] = x.dot(t+i, w, row)
		}
	}
}

// dot is the plain twin of one number of a product.
func (x *Rounded) dot(t int, w *Matrix, r int) float32 {
	acc := float32(0)
	for g := range x.groups {
		at, sum := t*x.groups+g, int32(0)
		for c, q := range x.quants[at*quantGroup:][:quantGroup] {
			sum += int32(q) * w.quant(r, g, c)
		}
		acc = fma32(float32(sum), float32(w.bandScale(r, g)*x.scales[at]), acc)
	}
	return acc
}

// round rounds x [n, cols] into memory of the pool.
func (p *Pool) round(x []float32, n, cols int) *Rounded {
	m := &p.rounding
	m.x, m.n = x, n
	m.to.Reserve(n, cols)
	p.Run(m.items(), m)
	m.x = nil
	return &m.to
}

// rounding rounds tokens as a Job: items are some of them.
type rounding struct {
	to Rounded
	x  []float32
	n  int
}

// roundTokens is how many tokens are an item: at most some 10 µs.
const roundTokens = 8

func (m *rounding) items() int { return (m.n + roundTokens - 1) / roundTokens }

func (m *rounding) Do(item, _ int) {
	for t := item * roundTokens; t < min((item+1)*roundTokens, m.n); t++ {
		m.to.Round(t, m.x[t*m.to.cols:(t+1)*m.to.cols])
	}
}

// roundedTile is tileSize for a product of rounded activations, whose arithmetic takes less time.
// The rows of tiles are whole bands.
func roundedTile(n, cols int) (tokens, rows int) {
	tokens, _ = tileSize(n, cols, Packs(n))
	cols = max(cols, 1)
	rows = min(4*tileWeights/cols, 3*tileMACs/(cols*tokens))
	return tokens, max(rows/bandRows, 1) * bandRows
}

// mulBands is mulRows for rounded activations from token t on; lo is the first row of a band.
func mulBands(dst []float32, x *Rounded, t, n int, w *Matrix, lo, hi int, next *Matrix) {
	a := w.ahead(hi, next)
	for r := lo; r < hi; r += bandRows {
		mulBand(dst, x, t, n, w, r, a)
	}
}

// ahead is where weights are asked for that would lie beyond the end of a tile: as far behind those
// that are multiplied next. What follows the tile in memory is most often another thread's.
type ahead struct {
	end  uintptr // of the tile
	then int     // from there to what is next, in bytes
}

// bandFar is how far ahead weights are asked for, in bytes. kernels/gen has it, too.
const bandFar = 16384

// ahead returns it for rows up to hi, and next, if not nil.
func (m *Matrix) ahead(hi int, next *Matrix) ahead {
	a := ahead{then: -bandFar} // back to what has just been read
	if len(m.Data) == 0 {
		return a
	}
	a.end = uintptr(unsafe.Pointer(&m.Data[0])) + uintptr(m.Format.MatrixBytes(hi, m.Cols))
	if next != nil && len(next.Data) > 0 {
		a.then = int(uintptr(unsafe.Pointer(&next.Data[0])) - a.end)
	}
	return a
}
