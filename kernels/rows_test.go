package kernels

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// rowCases runs a test over rows of many lengths and kinds of numbers.
func rowCases(t *testing.T, run func(r *rand.Rand, n int, kind func(*rand.Rand) float32)) {
	t.Helper()
	r := rand.New(rand.NewPCG(41, 42))
	for n := range 200 {
		for _, kind := range kinds {
			run(r, n, kind)
		}
	}
}

// sameRow compares a row with what its definition says.
func sameRow(t *testing.T, name string, got, want []float32) {
	t.Helper()
	for i := range want {
		if !sameBits(got[i], want[i]) {
			t.Fatalf("%s of %d: %x at %d, want %x", name, len(want), got[i], i, want[i])
		}
	}
}

func TestAdd(t *testing.T) {
	rowCases(t, func(r *rand.Rand, n int, kind func(*rand.Rand) float32) {
		x, y := draw(r, n, kind), draw(r, n, kind)
		want := slices.Clone(x)
		for i := range want {
			want[i] += y[i]
		}
		onPaths(func(path string) {
			got := slices.Clone(x)
			Add(got, y)
			sameRow(t, path+": Add", got, want)
		})
	})
}

func TestStoredRows(t *testing.T) {
	rowCases(t, func(r *rand.Rand, n int, kind func(*rand.Rand) float32) {
		for _, f := range []Format{F32, BF16, F16} {
			src := append([]byte{0}, drawWeights(r, n, f, kind)...)[1:] // at an odd address
			want := make([]float32, n)
			for i := range want {
				switch f {
				case F32:
					want[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
				case BF16:
					want[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
				case F16:
					want[i] = halfToFloat(binary.LittleEndian.Uint16(src[2*i:]))
				}
			}
			x := draw(r, n, kind)
			sums := slices.Clone(x)
			for i := range sums {
				sums[i] += want[i]
			}
			onPaths(func(path string) {
				got := make([]float32, n)
				Decode(got, src, f)
				sameRow(t, path+": Decode "+f.String(), got, want)
				if f == F16 {
					return
				}
				copy(got, x)
				AddStored(got, src, f)
				sameRow(t, path+": AddStored "+f.String(), got, sums)
			})
		}
	})
}

// TestEncode compares with rounding by division: the nearest of the two BF16 around a number, and
// between them the one whose last bit is clear.
func TestEncode(t *testing.T) {
	nearest := func(v float32) uint16 {
		bits := math.Float32bits(v)
		below := uint16(bits >> 16)
		switch rest := bits & 0xffff; {
		case v != v:
			return below | 0x40
		case rest > 0x8000 || rest == 0x8000 && below&1 == 1:
			return below + 1
		}
		return below
	}
	rowCases(t, func(r *rand.Rand, n int, kind func(*rand.Rand) float32) {
		x := draw(r, n, kind)
		onPaths(func(path string) {
			got := make([]byte, 2*n+1)[1:]
			Encode(got, x, BF16)
			for i, v := range x {
				if b := binary.LittleEndian.Uint16(got[2*i:]); b != nearest(v) {
					t.Fatalf("%s: BF16 of %x is %#04x at %d of %d, want %#04x", path, v, b, i, n, nearest(v))
				}
			}
			got = make([]byte, 4*n+1)[1:]
			Encode(got, x, F32)
			for i, v := range x {
				if b := binary.LittleEndian.Uint32(got[4*i:]); b != math.Float32bits(v) {
					t.Fatalf("%s: F32 of %x is %#08x", path, v, b)
				}
			}
		})
	})
}

// TestRowsOnAllPaths compares norms and rotations with their definitions.
func TestRowsOnAllPaths(t *testing.T) {
	rowCases(t, func(r *rand.Rand, n int, kind func(*rand.Rand) float32) {
		x, w := draw(r, n, kind), draw(r, n, kind)
		cos, sin := draw(r, n/2, kind), draw(r, n/2, kind)
		norm, split, woven := slices.Clone(x), slices.Clone(x), slices.Clone(x)
		scale := float32(1 / math.Sqrt(float64(Dot(x, x)/float32(n)+1e-6)))
		for i, v := range x {
			norm[i] = float32(v*scale) * w[i]
		}
		turn := func(a, b *float32, c, s float32) {
			*a, *b = float32(*a*c)-float32(*b*s), float32(*b*c)+float32(*a*s)
		}
		h := n / 2
		for i := range h {
			turn(&split[i], &split[h+i], cos[i], sin[i])
			turn(&woven[2*i], &woven[2*i+1], cos[i], sin[i])
		}
		onPaths(func(path string) {
			got := slices.Clone(x)
			RMSNorm(got, got, w, 1e-6)
			sameRow(t, path+": RMSNorm", got, norm)
			copy(got, x)
			RopeHalf(got[:2*h], cos, sin)
			sameRow(t, path+": RopeHalf", got, split)
			copy(got, x)
			RopeInterleaved(got[:2*h], cos, sin)
			sameRow(t, path+": RopeInterleaved", got, woven)
		})
	})
}

func TestHighest(t *testing.T) {
	rowCases(t, func(r *rand.Rand, n int, kind func(*rand.Rand) float32) {
		x := draw(r, n, kind)
		want, nans := float32(math.Inf(-1)), false
		for _, v := range x {
			nans = nans || v != v
			if v > want {
				want = v
			}
		}
		onPaths(func(path string) {
			if got, nan := Highest(x); got != want || nan != nans {
				t.Fatalf("%s: Highest of %d = %v, %v, want %v, %v", path, n, got, nan, want, nans)
			}
		})
	})
}

// TestExpDown compares with package math.
func TestExpDown(t *testing.T) {
	r := rand.New(rand.NewPCG(43, 44))
	for range 100000 {
		x := -32 * r.Float64()
		if got, want := ExpDown(x), math.Exp(x); math.Abs(got-want) > 2*(math.Nextafter(want, 2)-want) {
			t.Fatalf("e^%v = %v, want %v", x, got, want)
		}
	}
}

// TestWeigh compares rows with single weights, and these with the definition.
func TestWeigh(t *testing.T) {
	r := rand.New(rand.NewPCG(45, 46))
	for n := range 400 {
		logits := draw(r, n, func(r *rand.Rand) float32 {
			switch r.IntN(12) {
			case 0:
				return float32(math.Inf(-1))
			case 1:
				return float32(r.IntN(8)) // ties
			}
			return 10 * tame(r)
		})
		top, _ := Highest(logits)
		if n == 0 || math.IsInf(float64(top), -1) {
			continue
		}
		p := Weighing{
			Low: float32(math.Inf(-1)), Top: float64(top), Inverse: math.Exp(r.NormFloat64()),
			Scale: math.Ldexp(1, 1+r.IntN(50)),
		}
		if n%3 == 0 {
			p.Low = logits[r.IntN(n)]
		}
		if n%2 == 0 {
			p.Least = uint64(p.Scale * r.Float64() / 100)
		}
		var sum uint64
		want := make([]uint64, n)
		for i, l := range logits {
			want[i] = p.Of(l)
			sum += want[i]
			about := math.Exp((float64(l)-p.Top)*p.Inverse) * p.Scale
			if w := float64(want[i]); w > 0 && math.Abs(w-about) > 0.51+1e-13*about {
				t.Fatalf("a logit %v below the top weighs %v, want %v", p.Top-float64(l), w, about)
			}
		}
		onPaths(func(path string) {
			got := make([]uint64, n)
			if total := p.Weigh(got, logits); total != sum || !slices.Equal(got, want) {
				t.Fatalf("%s: %+v: weights %v with sum %d, want %v with %d", path, p, got, total, want, sum)
			}
		})
	}
}

func TestRowsPanic(t *testing.T) {
	for name, run := range map[string]func(){
		"Add":       func() { Add(make([]float32, 2), make([]float32, 3)) },
		"AddStored": func() { AddStored(make([]float32, 2), make([]byte, 5), BF16) },
		"Encode":    func() { Encode(make([]byte, 5), make([]float32, 2), BF16) },
		"Encode to": func() { Encode(make([]byte, 4), make([]float32, 2), F16) },
		"Weigh":     func() { new(Weighing).Weigh(make([]uint64, 2), make([]float32, 3)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s took rows that do not fit", name)
				}
			}()
			run()
		}()
	}
}
