package kernels

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// exactFMA computes a*b + c with rational arithmetic and rounds once.
func exactFMA(a, b, c float32) float32 {
	if s := float64(a)*float64(b) + float64(c); math.IsInf(s, 0) || s != s {
		return float32(s)
	}
	x := new(big.Float).SetPrec(1000).SetFloat64(float64(a))
	x.Mul(x, new(big.Float).SetFloat64(float64(b)))
	x.Add(x, new(big.Float).SetFloat64(float64(c)))
	if x.Sign() == 0 { // the sign of a zero: that of the float64 sum, which is exact here
		return float32(float64(float64(a)*float64(b)) + float64(c))
	}
	f, _ := x.Float32()
	return f
}

func TestFMA(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	inf, nan, least := float32(math.Inf(1)), float32(math.NaN()), float32(0x1p-149)
	cases := [][3]float32{
		{1, 1, 0x1p-24}, {1, 1, 0x1.8p-24}, {1 + 0x1p-23, 1, 0x1p-24}, // ties, to even
		{1 + 0x1p-12, 1 + 0x1p-12, 1},                         // a tie in the product
		{0x1p-12, 0x1p-12, 1}, {1 + 0x1p-23, 1 + 0x1p-23, -1}, // below a tie; cancellation
		{0x1.000002p-60, 0x1p-10, 1 + 0x1p-23},        // far apart
		{0x1p-80, 0x1p-80, 1}, {0x1p-80, -0x1p-80, 1}, // sticky bits only
		{least, 0.5, 0}, {least, 0.5, least}, {-least, 0.5, 0}, {least, 0.75, 0}, // subnormal ties
		{0x1p-100, 0x1p-50, -0x1p-149}, {0x1.fffffep-127, 1, least}, // to the edge of normal
		{0x1.fffffep-64, 0x1.fffffep-64, 0x1p-130},
		{math.MaxFloat32, 1, 0x1p103}, {math.MaxFloat32, 1, 0x1.fffffep102}, // the overflow tie
		{math.MaxFloat32, 1 + 0x1p-23, 0}, {math.MaxFloat32, 2, -math.MaxFloat32},
		{inf, 0, 1}, {inf, 1, -inf}, {inf, 1, 1}, {nan, 1, 1}, {1, 1, nan},
		{0, 1, 0}, {-1, 0, 0}, {1, 1, -1}, {float32(math.Copysign(0, -1)), 1, float32(math.Copysign(0, -1))},
	}
	// c is a float32 and a*b lies near half of its ulp, above and below: the double rounding hazard.
	for range 100000 {
		c := math.Float32frombits(r.Uint32N(1<<30) + 1<<29)
		ulp := math.Float32frombits(math.Float32bits(c)+1) - c
		a := float32(1+r.IntN(1<<12)) / (1 << 12)
		b := float32(float64(ulp) * 0.5 / float64(a))
		cases = append(cases, [3]float32{a, b, c}, [3]float32{-a, b, c})
	}
	// The same for a subnormal result: a*b is half of the least subnormal, less 2^-46 of it.
	for range 10000 {
		c := math.Float32frombits(r.Uint32() & 0x807fffff)
		cases = append(cases, [3]float32{0x1.fffffcp-76, 0x1.000002p-75, c},
			[3]float32{-0x1.fffffcp-76, 0x1.000002p-75, c})
	}
	for range 200000 {
		cases = append(cases, [3]float32{wild(r), wild(r), wild(r)})
		cases = append(cases, [3]float32{
			math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32()), wild(r)})
	}
	hard := 0
	var acc, x, w, want [lanes]float32
	for i, c := range cases {
		l := i % lanes
		x[l], w[l], acc[l] = c[0], c[1], c[2]
		want[l] = exactFMA(c[0], c[1], c[2])
		if got := fma32(c[0], c[1], c[2]); !sameBits(got, want[l]) {
			t.Fatalf("fma(%x, %x, %x) = %x, exactly %x", c[0], c[1], c[2], got, want[l])
		}
		if s := float64(c[0])*float64(c[1]) + float64(c[2]); !sameBits(float32(s), want[l]) {
			hard++
		}
		if l == lanes-1 {
			addLanes(&acc, &x, &w)
			for l := range acc {
				if !sameBits(acc[l], want[l]) {
					t.Fatalf("addLanes(%x, %x) = %x, exactly %x", x[l], w[l], acc[l], want[l])
				}
			}
		}
	}
	if hard < 1000 {
		t.Errorf("only %d cases that rounding twice gets wrong", hard)
	}
}

// TestDotIsCanonical compares Dot with the definition, computed with rational arithmetic.
func TestDotIsCanonical(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 140 {
		n, kind := round/2, kinds[round%2]
		a, b := draw(r, n, kind), draw(r, n, kind)
		var lane [16]float32
		for i := range a {
			lane[i%16] = exactFMA(a[i], b[i], lane[i%16])
		}
		for _, width := range []int{8, 4, 2, 1} {
			for l := range width {
				lane[l] += lane[l+width]
			}
		}
		onPaths(func(path string) {
			if got := Dot(a, b); !sameBits(got, lane[0]) {
				t.Errorf("%s: Dot of %d = %x, by definition %x", path, n, got, lane[0])
			}
		})
	}
}
