package kernels

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// ulps returns the distance of got from want in units of want's last place.
func ulps(got float32, want float64) float64 {
	w := float32(want)
	exponent := max(math.Ilogb(float64(w)), -126)
	return math.Abs(float64(got)-want) / math.Ldexp(1, exponent-23)
}

func TestExpWithinOneUlp(t *testing.T) {
	worst, at := 0.0, float32(0)
	check := func(x float32) {
		want := math.Exp(float64(x))
		got := Exp(x)
		if want >= math.MaxFloat32+0x1p103 {
			if !math.IsInf(float64(got), 1) {
				t.Fatalf("Exp(%x) = %v, want +Inf", x, got)
			}
			return
		}
		if e := ulps(got, want); e > worst {
			worst, at = e, x
		}
	}
	r := rand.New(rand.NewPCG(13, 14))
	for range 2_000_000 {
		check(float32(r.Float64()*210 - 110))
	}
	// Every 911th float32 of either sign: small arguments, and beyond both ends.
	for b := uint32(0); b < 0x7f800000; b += 911 {
		check(math.Float32frombits(b))
		check(-math.Float32frombits(b))
	}
	for _, edge := range []float32{88.722839, 88.8, -87.33655, -103.97208, -103.9721, -104, 0} {
		for b, i := math.Float32bits(edge)-50, 0; i < 100; i++ {
			check(math.Float32frombits(b + uint32(i)))
		}
	}
	t.Logf("worst error %.4f ulp at %x", worst, at)
	if worst > 0.51 {
		t.Errorf("error %.4f ulp at %x", worst, at)
	}
}

func TestExpSpecials(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range [][2]float32{{inf, inf}, {-inf, 0}, {0, 1}, {nan, nan}, {math.MaxFloat32, inf}, {-math.MaxFloat32, 0}, {0x1p-149, 1}} {
		if got := Exp(c[0]); !sameBits(got, c[1]) {
			t.Errorf("Exp(%v) = %v, want %v", c[0], got, c[1])
		}
	}
}

// TestExpAgainstSeries checks math.Exp, the oracle above, by the series in math/big.
func TestExpAgainstSeries(t *testing.T) {
	for _, x := range []float64{-100.5, -20, -1, -0.3, 1e-3, 0.6931, 5, 33.3, 88.7} {
		sum, term := big.NewFloat(1).SetPrec(400), big.NewFloat(1).SetPrec(400)
		for n := 1; n < 500; n++ {
			term.Mul(term, big.NewFloat(x))
			term.Quo(term, big.NewFloat(float64(n)))
			sum.Add(sum, term)
		}
		exact, _ := sum.Float64()
		if e := ulps(Exp(float32(x)), exact); float64(float32(x)) == x && e > 0.51 {
			t.Errorf("Exp(%v) is off by %v ulp", x, e)
		}
		if math.Abs(math.Exp(x)/exact-1) > 1e-15 {
			t.Errorf("math.Exp(%v) = %v, series %v", x, math.Exp(x), exact)
		}
	}
}

// TestExpSumsHasBitsOfExp runs four rows side by side, and one, over float32 of every kind.
func TestExpSumsHasBitsOfExp(t *testing.T) {
	step := uint64(97)
	if testing.Short() {
		step = 9973
	}
	const n = 1003 // not all by fours
	xs := make([]float32, 0, 5*n)
	onPaths(func(path string) {
		check := func() {
			states, got := make([]Attn, 5), append([]float32(nil), xs...)
			expSums(states, got, n)
			for row, st := range states {
				sum := float32(0)
				for j, x := range xs[row*n : (row+1)*n] {
					want := Exp(x)
					if sum += want; !sameBits(got[row*n+j], want) {
						t.Fatalf("%s: Exp(%x) = %x in row %d, want %x", path, x, got[row*n+j], row, want)
					}
				}
				if !sameBits(st.Sum, sum) {
					t.Fatalf("%s: the sum of row %d is %x, want %x", path, row, st.Sum, sum)
				}
			}
		}
		add := func(x float32) {
			if xs = append(xs, x); len(xs) == cap(xs) {
				check()
				xs = xs[:0]
			}
		}
		for b := uint64(0); b < 1<<32; b += step {
			add(math.Float32frombits(uint32(b)))
		}
		for _, edge := range []float32{88.722839, 88.8, -87.33655, -103.97208, -103.9721, -104, 0} {
			for b, i := math.Float32bits(edge)-500, 0; i < 1000; i++ {
				add(math.Float32frombits(b + uint32(i)))
			}
		}
		for range cap(xs) {
			add(-1)
		}
		xs = xs[:0]
	})
}
