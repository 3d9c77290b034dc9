package kernels

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// definition is what every product must equal: the twin's dot product of decoded values.
func definition(x []float32, w Matrix, t, row int) float32 {
	decoded := make([]float32, w.Cols)
	Decode(decoded, w.Row(row), w.Format)
	return dotGeneric(x[t*w.Cols:(t+1)*w.Cols], decoded)
}

// misaligned returns a copy of data that starts offset bytes into its allocation.
func misaligned(data []byte, offset int) []byte {
	return append(make([]byte, offset, offset+len(data)), data...)[offset:]
}

// TestMatMul compares every path with the definition, bit for bit, over random shapes with tails,
// misaligned weights and values of every kind, and so also shows that tiles change nothing.
func TestMatMul(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	pool := NewPool(3)
	defer pool.Close()
	for round := range 450 {
		f := allFormats[round%3]
		n, rows, cols := r.IntN(9), r.IntN(14), r.IntN(100)
		kind := kinds[round/3%3]
		x := draw(r, n*cols, kind)
		w := Matrix{f, rows, cols, misaligned(drawWeights(r, rows*cols, f, kind), r.IntN(8))}
		checkProduct(t, pool, x, n, w)
	}
	for _, shape := range [][3]int{{1, 768, 256}, {50, 40, 768}, {97, 9, 1000}, {64, 130, 33}} {
		for _, f := range allFormats {
			n, rows, cols := shape[0], shape[1], shape[2]
			w := Matrix{f, rows, cols, drawWeights(r, rows*cols, f, tame)}
			checkProduct(t, pool, draw(r, n*cols, tame), n, w)
		}
	}
}

func checkProduct(t *testing.T, pool *Pool, x []float32, n int, w Matrix) {
	t.Helper()
	want := make([]float32, n*w.Rows)
	for i := range want {
		want[i] = definition(x, w, i/w.Rows, i%w.Rows)
	}
	check := func(name string, got []float32) {
		for i := range want {
			if !sameBits(got[i], want[i]) {
				t.Fatalf("%s %v n=%d [%d,%d]: token %d row %d is %x, want %x", name, w.Format, n,
					w.Rows, w.Cols, i/w.Rows, i%w.Rows, got[i], want[i])
			}
		}
	}
	onPaths(func(path string) {
		got := make([]float32, len(want))
		pool.MatMul(got, x, n, w)
		check(path, got)
	})
}

// TestUnderflowKeepsItsSign has every lane end as -0, which padding a tail with +0 would lose.
func TestUnderflowKeepsItsSign(t *testing.T) {
	const n, rows = 4, 5
	pool := NewPool(1)
	defer pool.Close()
	for cols := lanes; cols < 3*lanes; cols++ {
		x := make([]float32, n*cols)
		for i := range x {
			x[i] = -0x1p-149
		}
		quarter := map[Format][]byte{F32: {0, 0, 0x80, 0x3e}, BF16: {0x80, 0x3e}, F16: {0, 0x34}}
		for _, f := range allFormats {
			w := Matrix{f, rows, cols, bytes.Repeat(quarter[f], rows*cols)}
			dst := make([]float32, n*rows)
			onPaths(func(path string) {
				pool.MatMul(dst, x, n, w)
				for i, v := range dst {
					if math.Float32bits(v) != 1<<31 {
						t.Fatalf("%s %v [%d,%d]: %d is %v, want -0", path, f, rows, cols, i, v)
					}
				}
			})
		}
	}
}

// TestTilesCover checks that the tiles of a large product are each done, and once.
func TestTilesCover(t *testing.T) {
	for _, n := range []int{1, 3, 47, 48, 49, 200} {
		for _, cols := range []int{1, 768, 7168, 1 << 20} {
			tokens, rows := tileSize(n, cols)
			if tokens < 1 || tokens > n || rows < tileRows || rows%tileRows != 0 {
				t.Errorf("tileSize(%d, %d) = %d, %d", n, cols, tokens, rows)
			}
		}
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	pool := NewPool(2)
	defer pool.Close()
	const n, rows, cols = 5, 70, 1000 // with tails of every sort
	x, dst, weights := draw(r, n*cols, tame), make([]float32, n*rows), draw(r, cols, tame)
	head, scores := make([]float32, 100), make([]float32, 10)
	for _, f := range allFormats {
		w := Matrix{f, rows, cols, drawWeights(r, rows*cols, f, tame)}
		for name, run := range map[string]func(){
			"MatMul":      func() { pool.MatMul(dst, x, n, w) },
			"Dot":         func() { Dot(weights, x[:cols]) },
			"AttendBlock": func() { AttendBlock(new(Attn), head, x[:100], x, x, 100, 10, 1, scores) },
		} {
			onPaths(func(path string) {
				if got := testing.AllocsPerRun(20, run); got != 0 {
					t.Errorf("%s %s %v allocates %v times", path, name, f, got)
				}
			})
		}
	}
}

func TestWrongShapesPanic(t *testing.T) {
	ok := Matrix{BF16, 2, 3, make([]byte, 12)}
	pool := NewPool(1)
	defer pool.Close()
	for i, call := range []func(){
		func() { pool.MatMul(make([]float32, 1), make([]float32, 3), 1, ok) },
		func() { pool.MatMul(make([]float32, 2), make([]float32, 2), 1, ok) },
		func() { pool.MatMul(make([]float32, 2), make([]float32, 3), 1, Matrix{BF16, 2, 3, ok.Data[:11]}) },
		func() { pool.MatMul(make([]float32, 2), make([]float32, 3), 1, Matrix{9, 2, 3, ok.Data}) },
		func() { Dot(make([]float32, 2), make([]float32, 3)) },
		func() {
			AttendBlock(&Attn{}, make([]float32, 2), make([]float32, 2), make([]float32, 9),
				make([]float32, 5), 2, 3, 1, make([]float32, 3))
		},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			call()
		})
	}
}
