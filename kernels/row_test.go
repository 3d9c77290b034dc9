package kernels

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// vectors are results of the reference formulas in float64 (see testdata/README.md).
type vectors struct {
	Activation []struct {
		Gate, Up float32
		GPTOSS   float64 `json:"gpt_oss"`
		SiLUMul  float64 `json:"silu_mul"`
	}
	Rope struct {
		X           []float32
		Position    int
		Theta       float64
		HalfSplit   []float64 `json:"half_split"`
		Interleaved []float64
	} `json:"rope_example"`
	Softmax struct {
		Logits  []float32
		IDs     []int
		Weights []float64 `json:"weights_norm_topk_prob_false"`
	} `json:"router"`
	Sink struct {
		Scores        []float32 `json:"scaled_scores"`
		Sink          float32
		Probabilities []float64 `json:"probabilities_of_keys"`
		Mass          float64   `json:"mass_on_sink"`
	} `json:"sink_softmax"`
	Yarn map[string]struct {
		Dim       int
		Theta     float64
		Factor    float64
		BetaFast  float64 `json:"beta_fast"`
		BetaSlow  float64 `json:"beta_slow"`
		Original  int
		Truncate  bool
		Inverse   []float64 `json:"inv_freq"`
		Magnitude float64   `json:"cos_sin_factor"`
	}
	E4M3  []any `json:"e4m3fn"` // numbers, and "NaN"
	E2M1  []float32
	Group struct {
		Bytes  []int
		Scale  int `json:"scale_byte"`
		Values []float32
	} `json:"mxfp4_group"`
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func near(got float32, want, relative float64) bool {
	return math.Abs(float64(got)-want) <= relative*math.Abs(want)+1e-30
}

func TestReferenceVectors(t *testing.T) {
	v := readVectors(t)
	if len(v.Activation) == 0 || len(v.Rope.X) == 0 || len(v.Softmax.IDs) == 0 {
		t.Fatal("vectors are missing")
	}
	for _, a := range v.Activation {
		var got [1]float32
		SwiGLU(got[:], []float32{a.Gate}, []float32{a.Up})
		if !near(got[0], a.SiLUMul, 3e-7) {
			t.Errorf("SwiGLU(%v, %v) = %v, want %v", a.Gate, a.Up, got[0], a.SiLUMul)
		}
		SwiGLUClamped(got[:], []float32{a.Gate}, []float32{a.Up}, 1.702, 7)
		if !near(got[0], a.GPTOSS, 1e-6) {
			t.Errorf("SwiGLUClamped(%v, %v) = %v, want %v", a.Gate, a.Up, got[0], a.GPTOSS)
		}
	}
	dims := len(v.Rope.X)
	cos, sin := make([]float32, dims/2), make([]float32, dims/2)
	NewRotary(v.Rope.Theta, dims).Table(v.Rope.Position, cos, sin)
	for name, c := range map[string]struct {
		rope func(x, cos, sin []float32)
		want []float64
	}{"RopeHalf": {RopeHalf, v.Rope.HalfSplit}, "RopeInterleaved": {RopeInterleaved, v.Rope.Interleaved}} {
		x := slices.Clone(v.Rope.X)
		c.rope(x, cos, sin)
		if len(c.want) != len(x) {
			t.Fatalf("%s: vectors are missing", name)
		}
		for i, want := range c.want {
			if math.Abs(float64(x[i])-want) > 1e-7 {
				t.Errorf("%s[%d] = %v, want %v", name, i, x[i], want)
			}
		}
	}
	Softmax(v.Softmax.Logits)
	for i, id := range v.Softmax.IDs {
		if !near(v.Softmax.Logits[id], v.Softmax.Weights[i], 3e-7) {
			t.Errorf("Softmax[%d] = %v, want %v", id, v.Softmax.Logits[id], v.Softmax.Weights[i])
		}
	}
}

// TestYarn compares the frequencies of every model that has them with the reference, and checks
// that cosines and sines are those of the angles times the magnitude.
func TestYarn(t *testing.T) {
	all := readVectors(t).Yarn
	if len(all) < 5 {
		t.Fatal("vectors are missing")
	}
	for name, v := range all {
		r := NewYarn(v.Theta, v.Dim, Yarn{Factor: v.Factor, BetaFast: v.BetaFast, BetaSlow: v.BetaSlow,
			Original: v.Original, Truncate: v.Truncate, Magnitude: v.Magnitude})
		if len(r.inverse) != len(v.Inverse) {
			t.Fatalf("%s: %d frequencies, want %d", name, len(r.inverse), len(v.Inverse))
		}
		for i, want := range v.Inverse {
			if r.inverse[i] != float32(want) {
				t.Errorf("%s: frequency %d = %v, want %v", name, i, r.inverse[i], want)
			}
		}
		cos, sin := make([]float32, v.Dim/2), make([]float32, v.Dim/2)
		for _, pos := range []int{0, 1, 131071} {
			r.Table(pos, cos, sin)
			for i, inverse := range v.Inverse {
				angle := float64(float32(pos) * float32(inverse))
				c, s := math.Cos(angle)*v.Magnitude, math.Sin(angle)*v.Magnitude
				if !near(cos[i], c, 2e-7) || !near(sin[i], s, 2e-7) {
					t.Errorf("%s: position %d pair %d: %v %v, want %v %v", name, pos, i, cos[i], sin[i], c, s)
				}
			}
		}
	}
}

// TestYarnWithoutMagnitude has a factor of 1, which changes nothing, and the magnitude left out.
func TestYarnWithoutMagnitude(t *testing.T) {
	plain, yarn := NewRotary(1e4, 64), NewYarn(1e4, 64, Yarn{Factor: 1, BetaFast: 32, BetaSlow: 1, Original: 4096})
	var cos, sin, cos2, sin2 [32]float32
	plain.Table(12345, cos[:], sin[:])
	yarn.Table(12345, cos2[:], sin2[:])
	for i := range cos {
		if !near(cos2[i], float64(cos[i]), 1e-3) || !near(sin2[i], float64(sin[i]), 1e-3) {
			t.Errorf("pair %d: %v %v, want %v %v", i, cos2[i], sin2[i], cos[i], sin[i])
		}
	}
}

func TestSwiGLUClamped(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct{ gate, up, alpha, limit, want float32 }{
		{inf, inf, 1.702, 7, 56}, // σ(11.9) = 0.99999
		{-inf, 0, 1, 7, float32(math.NaN())},
		{100, -inf, 1, 5, -19.9}, // the gate is clamped from above, the other on both sides
		{-100, 3, 1, 5, 0},       // ... and the gate from above only
		{0, 1, 1, 7, 0},
	} {
		x := []float32{c.gate}
		SwiGLUClamped(x, x, []float32{c.up}, c.alpha, c.limit)
		if !sameBits(x[0], c.want) && !(math.Abs(float64(x[0]-c.want)) < 0.1) {
			t.Errorf("SwiGLUClamped(%v, %v) = %v, want %v", c.gate, c.up, x[0], c.want)
		}
	}
}

func TestSigmoid(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	x := draw(r, 10000, func(r *rand.Rand) float32 { return 30 * tame(r) })
	got := slices.Clone(x)
	Sigmoid(got)
	for i, v := range x {
		if want := 1 / (1 + math.Exp(-float64(v))); math.Abs(float64(got[i])-want) > 2e-7*want+0x1p-126 {
			t.Fatalf("σ(%v) = %v, want %v", v, got[i], want)
		}
	}
	ends := []float32{float32(math.Inf(1)), float32(math.Inf(-1)), 0}
	if Sigmoid(ends); ends[0] != 1 || ends[1] != 0 || ends[2] != 0.5 {
		t.Errorf("σ(∞), σ(-∞), σ(0) = %v", ends)
	}
}

// TestActivationsOnAllPaths compares paths with the definitions, over float32 of every kind.
func TestActivationsOnAllPaths(t *testing.T) {
	r := rand.New(rand.NewPCG(27, 28))
	for n := range 300 {
		gate, up := draw(r, n, kinds[n%len(kinds)]), draw(r, n, kinds[n%len(kinds)])
		alpha, limit := 3*r.Float32(), math.Float32frombits(1+r.Uint32N(0x7f800000)) // to infinity
		if n%2 == 0 {
			limit = 1 + 9*r.Float32()
		}
		swiGLU, clamped, sigmoid := make([]float32, n), make([]float32, n), make([]float32, n)
		for i, g := range gate {
			swiGLU[i] = float32(g/(1+Exp(-g))) * up[i]
			sigmoid[i] = 1 / (1 + Exp(-g))
			g = min(g, limit)
			u := min(max(up[i], -limit), limit)
			clamped[i] = float32(g/(1+Exp(-float32(alpha*g)))) * (u + 1)
		}
		onPaths(func(path string) {
			for name, c := range map[string]struct {
				want []float32
				run  func(gate, up []float32) []float32
			}{
				"SwiGLU":         {swiGLU, func(g, u []float32) []float32 { SwiGLU(g, g, u); return g }},
				"SwiGLU into up": {swiGLU, func(g, u []float32) []float32 { SwiGLU(u, g, u); return u }},
				"SwiGLUClamped": {clamped, func(g, u []float32) []float32 {
					SwiGLUClamped(g, g, u, alpha, limit)
					return g
				}},
				"Sigmoid": {sigmoid, func(g, _ []float32) []float32 { Sigmoid(g); return g }},
			} {
				got := c.run(slices.Clone(gate), slices.Clone(up))
				for i, want := range c.want {
					if !sameBits(got[i], want) {
						t.Fatalf("%s: %s(%x, %x) = %x at %d of %d, want %x", path, name, gate[i], up[i],
							got[i], i, n, want)
					}
				}
			}
		})
	}
}

// TestRotaryFarOut checks the angles that the formula's float32 product gives, at positions
// where float64 angles would differ.
func TestRotaryFarOut(t *testing.T) {
	const dims = 128
	cos, sin := make([]float32, dims/2), make([]float32, dims/2)
	for _, pos := range []int{0, 1, 40959, 262143} {
		NewRotary(1e6, dims).Table(pos, cos, sin)
		for i := range cos {
			inverse := float32(1 / math.Pow(1e6, float64(2*i)/dims))
			angle := float64(float32(pos) * inverse)
			if !near(cos[i], math.Cos(angle), 1e-7) || !near(sin[i], math.Sin(angle), 1e-7) {
				t.Errorf("position %d pair %d: %v %v", pos, i, cos[i], sin[i])
			}
		}
	}
}

func TestRMSNorm(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	for _, n := range []int{1, 5, 128, 1000} {
		x, w := draw(r, n, tame), draw(r, n, tame)
		squares := 0.0
		for _, v := range x {
			squares += float64(v) * float64(v)
		}
		rms := math.Sqrt(squares/float64(n) + 1e-6)
		got := append([]float32(nil), x...)
		RMSNorm(got, got, w, 1e-6)
		for i := range got {
			if want := float64(x[i]) / rms * float64(w[i]); !near(got[i], want, 1e-6) {
				t.Fatalf("n=%d: RMSNorm[%d] = %v, want %v", n, i, got[i], want)
			}
		}
	}
}

func TestSoftmax(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	for _, n := range []int{1, 3, 151936} {
		x := draw(r, n, tame)
		for i := range x {
			x[i] = x[i]*8 + 1000 // exp(1000) alone would overflow
		}
		sum := 0.0
		for _, v := range x {
			sum += math.Exp(float64(v) - 1000)
		}
		p := append([]float32(nil), x...)
		Softmax(p)
		for i := range p {
			if want := math.Exp(float64(x[i])-1000) / sum; !near(p[i], want, 1e-6) {
				t.Fatalf("Softmax of %d at %d = %v, want %v", n, i, p[i], want)
			}
		}
	}
}

func TestSoftmaxSpecials(t *testing.T) {
	inf := float32(math.Inf(1))
	x := []float32{-inf, 3, -inf}
	if Softmax(x); x[0] != 0 || x[1] != 1 || x[2] != 0 {
		t.Errorf("Softmax of one finite score = %v", x)
	}
	Softmax(nil)
}

func TestFormats(t *testing.T) {
	// Every bf16 and f16, against the definition of the format.
	var data [2]byte
	var got [1]float32
	for b := range 1 << 16 {
		data = [2]byte{byte(b), byte(b >> 8)}
		Decode(got[:], data[:], F16)
		sign, exponent, fraction := 1-2*float64(b>>15), b>>10&31, float64(b&1023)
		want := sign * math.Ldexp(fraction/1024, -14)
		switch {
		case exponent == 31 && fraction != 0:
			want = math.NaN()
		case exponent == 31:
			want = sign * math.Inf(1)
		case exponent > 0:
			want = sign * math.Ldexp(1+fraction/1024, exponent-15)
		}
		if b == 0x8000 {
			want = math.Copysign(0, -1)
		}
		if !sameBits(got[0], float32(want)) {
			t.Fatalf("f16 %#04x = %v, want %v", b, got[0], want)
		}
		Decode(got[:], data[:], BF16)
		if math.Float32bits(got[0]) != uint32(b)<<16 {
			t.Fatalf("bf16 %#04x = %v", b, got[0])
		}
	}
}
