package wire

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Every value of each format, at every place of a message, against the definition.
func TestFinite(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	for _, f := range []Format{F32, BF16} {
		x := make([]float32, 37)
		for trial := range 4000 {
			x := x[:1+rng.IntN(len(x))]
			want := true
			for i := range x {
				x[i] = math.Float32frombits(rng.Uint32() & 0xbfff_ffff) // no large exponents
			}
			if trial%2 == 0 {
				odd := []float32{
					float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
					math.Float32frombits(0x7f80_0001), math.Float32frombits(0xffff_ffff),
					math.MaxFloat32, -math.MaxFloat32,
				}
				x[rng.IntN(len(x))] = odd[rng.IntN(len(odd))]
			}
			raw := make([]byte, len(x)*f.Size())
			f.Encode(raw, x)
			f.Decode(x, raw) // the largest float32 is infinite as a bfloat16
			for _, v := range x {
				want = want && !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0)
			}
			if f.Finite(raw) != want {
				t.Fatalf("%v: Finite is %v for %v", f, !want, x)
			}
		}
	}
}

func BenchmarkFinite(b *testing.B) {
	body := make([]byte, 8*7168*4) // one token of eight experts
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if !F32.Finite(body) {
			b.Fatal("zero is finite")
		}
	}
}
