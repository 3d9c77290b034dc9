package kernels

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guarded returns n bytes that end (or, if before, begin) where the next byte cannot be touched:
// reading or writing it kills the process.
func guarded(t *testing.T, n int, before bool) []byte {
	t.Helper()
	page := unix.Getpagesize()
	size := (n + page - 1) / page * page
	all, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(all) })
	for _, fence := range [][]byte{all[:page], all[page+size:]} {
		if err := unix.Mprotect(fence, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	if before {
		return all[page : page+n : page+n]
	}
	return all[page+size-n : page+size : page+size]
}

func guardedFloats(t *testing.T, n int, before bool) []float32 {
	b := guarded(t, 4*max(n, 1), before)
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), n)
}

// TestNothingOutOfBounds runs every kernel on buffers between fences.
func TestNothingOutOfBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	pool := NewPool(1)
	defer pool.Close()
	for _, before := range []bool{false, true} {
		for _, cols := range []int{1, 7, 8, 15, 16, 17, 31, 32, 64, 77, 128, 200} {
			for n := 1; n <= 5; n++ {
				for _, f := range allFormats {
					const rows = 7
					w := Matrix{f, rows, cols, guarded(t, rows*cols*f.Size(), before)}
					copy(w.Data, drawWeights(r, rows*cols, f, tame))
					x := guardedFloats(t, n*cols, before)
					copy(x, draw(r, len(x), tame))
					onPaths(func(string) { pool.MatMul(guardedFloats(t, n*rows, before), x, n, w) })
				}
			}
			keys, values := guardedFloats(t, 5*cols, before), guardedFloats(t, 5*cols, before)
			acc, q := guardedFloats(t, cols, before), guardedFloats(t, cols, before)
			onPaths(func(string) {
				AttendBlock(&Attn{}, acc, q, keys, values, cols, 5, 1, guardedFloats(t, 5, before))
				Dot(acc, q)
				RMSNorm(acc, q, keys[:cols], 1e-6)
				SwiGLU(acc, q, keys[:cols])
				Softmax(acc)
			})
		}
	}
}
