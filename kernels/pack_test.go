package kernels

import (
	"math/rand/v2"
	"testing"
)

// pack packs tokens into memory that is not clear, in pieces.
func pack(r *rand.Rand, p Packing, packed, x []float32) {
	for i := range packed {
		packed[i] = wild(r)
	}
	for t := range p.Tokens {
		for from := 0; from < p.Cols; {
			n := 1 + r.IntN(p.Cols-from)
			p.Put(packed, t, from, x[t*p.Cols+from:][:n])
			from += n
		}
	}
}

// TestPackingKeepsEveryNumber packs every shape of tile, and looks for each number and the padding
// where products read it.
func TestPackingKeepsEveryNumber(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	for tokens := 1; tokens <= 4*packedTokens+1; tokens++ {
		for _, cols := range []int{1, 15, 16, 33, 128, 511, 512, 513, 768, 1025, 2000} {
			p := Packing{tokens, cols}
			x, packed := draw(r, tokens*cols, wild), make([]float32, p.Len())
			onPaths(func(path string) {
				pack(r, p, packed, x)
				for i := range tokens {
					for from := 0; from < cols; from += lanes {
						var want [lanes]float32
						copy(want[:], x[i*cols+from:(i+1)*cols])
						for l, v := range p.block(packed, i, from) {
							if !sameBits(v, want[l]) {
								t.Fatalf("%s %v: column %d of token %d is %v, want %v", path, p, from+l, i, v, want[l])
							}
						}
					}
				}
			})
		}
	}
}

func TestWrongPackingPanics(t *testing.T) {
	p := Packing{3, 20}
	packed, row := make([]float32, p.Len()), make([]float32, 20)
	w := Matrix{Format: F32, Rows: 2, Cols: 20, Data: make([]byte, 160)}
	p.Put(packed, 2, 0, row)
	MulPacked(make([]float32, 6), packed, 3, w)
	for i, call := range []func(){
		func() { p.Put(packed, 3, 0, row) },
		func() { p.Put(packed, -1, 0, row) },
		func() { p.Put(packed, 0, 1, row) },
		func() { p.Put(packed, 0, -1, row) },
		func() { p.Put(packed[1:], 0, 0, row) },
		func() { MulPacked(make([]float32, 5), packed, 3, w) },
		func() { MulPacked(make([]float32, 6), packed[1:], 3, w) },
		func() { MulPacked(nil, nil, -1, w) },
		func() { MulPacked(make([]float32, 400), make([]float32, 200*32), 200, w) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("call %d does not panic", i)
				}
			}()
			call()
		}()
	}
}
