package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestEncodeCachedF32(t *testing.T) {
	x := draw(rand.New(rand.NewPCG(51, 52)), 33, wild)
	dst, back := make([]byte, 4*len(x)), make([]float32, len(x))
	if scale := EncodeCached(dst, x, F32); scale != 1 {
		t.Errorf("scale %v", scale)
	}
	Cached{Data: dst}.Decode(back, 0)
	for i := range x {
		if !sameBits(x[i], back[i]) {
			t.Errorf("%x became %x", x[i], back[i])
		}
	}
}

// TestEncodeCachedBF16 compares with the neighbours of a number: none is nearer, and of two that
// are as near the even one is taken.
func TestEncodeCachedBF16(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 54))
	var dst [2]byte
	var got [1]float32
	for range 200_000 {
		v := wild(r)
		EncodeCached(dst[:], []float32{v}, BF16)
		Cached{Format: BF16, Data: dst[:]}.Decode(got[:], 0)
		if v != v || math.IsInf(float64(v), 0) {
			if !sameBits(v, got[0]) {
				t.Fatalf("%v became %v", v, got[0])
			}
			continue
		}
		code := uint32(dst[1])<<8 | uint32(dst[0])
		distance := func(code uint32) float64 {
			x := float64(math.Float32frombits(code << 16))
			if code&0x7fff == 0x7f80 { // infinity is where the next number would be
				x = math.Copysign(0x1p128, x)
			}
			return math.Abs(x - float64(v))
		}
		own := distance(code)
		for _, other := range []uint32{code - 1, code + 1} {
			if other&0x7fff > 0x7f80 || (other^code)&0x8000 != 0 {
				continue // NaN, or across zero
			}
			if d := distance(other); d < own || d == own && code&1 == 1 {
				t.Fatalf("%x became %x, but %x is the one", v, code, other)
			}
		}
	}
}

// TestEncodeCachedI8 checks every number against the definition in float64 and the error against
// half a step.
func TestEncodeCachedI8(t *testing.T) {
	r := rand.New(rand.NewPCG(55, 56))
	for i := range 3000 {
		x := draw(r, 1+r.IntN(200), tame)
		if i%3 == 0 { // exact ties
			for i := range x {
				x[i] = float32(r.IntN(509)-254) / 2
			}
			x[0] = 127
		}
		dst, back := make([]byte, len(x)), make([]float32, len(x))
		c := Cached{Format: I8, Data: dst, Scales: []float32{EncodeCached(dst, x, I8)}}
		c.Decode(back, 0)
		highest := 0.0
		for _, v := range x {
			highest = max(highest, math.Abs(float64(v)))
		}
		if want := float32(highest) / 127; c.Scales[0] != want {
			t.Fatalf("scale %v, want %v", c.Scales[0], want)
		}
		for i, v := range x {
			if want := math.RoundToEven(float64(v / c.Scales[0])); float64(int8(dst[i])) != want {
				t.Fatalf("%v of scale %v became %d, want %v", v, c.Scales[0], int8(dst[i]), want)
			}
			if e := math.Abs(float64(back[i] - v)); e > 0.501*float64(c.Scales[0]) {
				t.Fatalf("%v became %v, of scale %v", v, back[i], c.Scales[0])
			}
		}
	}
}

func TestEncodeCachedI8Specials(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, x := range [][]float32{{1, inf}, {-inf, 0}, {2, float32(math.NaN()), inf}} {
		dst := make([]byte, len(x))
		if scale := EncodeCached(dst, x, I8); scale == scale {
			t.Errorf("the scale of %v is %v", x, scale)
		}
	}
	for _, x := range [][]float32{{}, {0, float32(math.Copysign(0, -1))}} {
		dst := []byte{1, 2}[:len(x)]
		if scale := EncodeCached(dst, x, I8); scale != 0 || len(x) > 0 && dst[0]|dst[1] != 0 {
			t.Errorf("%v became %v of scale %v", x, dst, scale)
		}
	}
	// The scale of subnormals is coarse, and of the least it is 0.
	for _, v := range []float32{0x1p-149, 63 * 0x1p-149, 190 * 0x1p-149, 0x1p-126, 1e38} {
		dst, back := make([]byte, 2), make([]float32, 2)
		c := Cached{Format: I8, Data: dst, Scales: []float32{EncodeCached(dst, []float32{v, -v}, I8)}}
		c.Decode(back, 0)
		if e := math.Abs(float64(back[0] - v)); e > max(64*0x1p-149, 1e-6*float64(v)) || back[1] != -back[0] {
			t.Errorf("%x became %x", v, back)
		}
	}
}

func TestCachedFrom(t *testing.T) {
	r := rand.New(rand.NewPCG(57, 58))
	for _, f := range cachedFormats {
		c := drawCached(r, f, 5, 7, 3, tame)
		a, b := make([]float32, 7), make([]float32, 7)
		c.Decode(a, 4)
		c.From(3).Decode(b, 1)
		for i := range a {
			if !sameBits(a[i], b[i]) {
				t.Errorf("%v: %v and %v", f, a, b)
			}
		}
	}
}
