package kernels

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// vectors are results of the reference formulas in float64 (see testdata/README.md).
type vectors struct {
	Activation []struct {
		Gate, Up float32
		SiLUMul  float64 `json:"silu_mul"`
	}
	Rope struct {
		X         []float32
		Position  int
		Theta     float64
		HalfSplit []float64 `json:"half_split"`
	} `json:"rope_example"`
	Softmax struct {
		Logits  []float32
		IDs     []int
		Weights []float64 `json:"weights_norm_topk_prob_false"`
	} `json:"router"`
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
	}
	dims := len(v.Rope.X)
	cos, sin := make([]float32, dims/2), make([]float32, dims/2)
	NewRotary(v.Rope.Theta, dims).Table(v.Rope.Position, cos, sin)
	RopeHalf(v.Rope.X, cos, sin)
	for i, want := range v.Rope.HalfSplit {
		if math.Abs(float64(v.Rope.X[i])-want) > 1e-7 {
			t.Errorf("RopeHalf[%d] = %v, want %v", i, v.Rope.X[i], want)
		}
	}
	Softmax(v.Softmax.Logits)
	for i, id := range v.Softmax.IDs {
		if !near(v.Softmax.Logits[id], v.Softmax.Weights[i], 3e-7) {
			t.Errorf("Softmax[%d] = %v, want %v", id, v.Softmax.Logits[id], v.Softmax.Weights[i])
		}
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
