package kernels

import (
	"fmt"
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

// guardedMatrix copies all that a matrix refers to to between fences.
func guardedMatrix(t *testing.T, m Matrix, before bool) Matrix {
	bytesOf := func(b []byte) []byte {
		g := guarded(t, max(len(b), 1), before)[:len(b)]
		copy(g, b)
		return g
	}
	m.Data, m.Exponents = bytesOf(m.Data), bytesOf(m.Exponents)
	scales := guardedFloats(t, len(m.Scales), before)
	copy(scales, m.Scales)
	m.Scales, m.Bias = scales, guardedFloats(t, m.Rows, before)
	return m
}

// TestNothingOutOfBounds runs every kernel on buffers between fences.
func TestNothingOutOfBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	pool := NewPool(1)
	defer pool.Close()
	for _, before := range []bool{false, true} {
		for _, cols := range []int{1, 7, 8, 15, 16, 17, 31, 32, 64, 77, 128, 200, 530} {
			for _, n := range []int{1, 2, 3, 4, 5, 11} {
				for _, f := range append(allFormats, Q8x16, Q4x16, MXFP4x16) {
					const rows = 14 // 8 and 4 of a panel, and 2
					w := drawMatrix(r, f, rows, cols, tame)
					if n%2 == 0 && !f.Interleaved() {
						w = spread(r, w)
					}
					w = guardedMatrix(t, w, before)
					x := guardedFloats(t, n*w.Cols, before)
					copy(x, draw(r, len(x), tame))
					onPaths(func(string) {
						pool.MatMul(guardedFloats(t, n*rows, before), x, n, w)
						row, y := guardedFloats(t, w.Cols, before), guardedFloats(t, rows, before)
						DecodeRow(row, w, rows-1)
						MulTransposed(row, y, w)
					})
				}
			}
			acc, q := guardedFloats(t, cols, before), guardedFloats(t, cols, before)
			w := guardedFloats(t, cols, before)
			onPaths(func(string) {
				rowsGuarded(t, acc, q, w, before)
				Dot(acc, q)
				RMSNorm(acc, q, w, 1e-6)
				SwiGLU(acc, q, w)
				SwiGLUClamped(acc, q, w, 1.702, 7)
				Sigmoid(acc)
				Softmax(acc)
			})
		}
	}
}

// rowsGuarded runs what is done to rows on some between fences.
func rowsGuarded(t *testing.T, acc, q, w []float32, before bool) {
	n := len(acc)
	RopeInterleaved(acc[n&1:], q[n/2+n&1:], w[n/2+n&1:])
	RopeHalf(acc[:n/2*2], q[:n/2], w[:n/2])
	Add(acc, q)
	Scale(acc, 2)
	Highest(acc)
	for _, f := range []Format{F32, BF16} {
		stored := guarded(t, f.Bytes(n), before)
		Encode(stored, q, f)
		AddStored(acc, stored, f)
		Decode(acc, stored, f)
	}
	Decode(acc, guarded(t, F16.Bytes(n), before), F16)
	weights := guarded(t, 8*n, before)
	p := Weighing{Top: 1, Inverse: 1, Scale: 1 << 40}
	p.Weigh(unsafe.Slice((*uint64)(unsafe.Pointer(&weights[0])), n), w)
}

// TestAttentionNotOutOfBounds runs attention on buffers between fences.
func TestAttentionNotOutOfBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, before := range []bool{false, true} {
		for _, f := range cachedFormats {
			for _, widths := range [][2]int{{1, 1}, {7, 9}, {16, 8}, {64, 64}, {80, 100}, {192, 128}, {576, 512}} {
				t.Run(fmt.Sprintf("%v/%v/%v", before, f, widths), func(t *testing.T) {
					for _, queries := range []int{1, 2, 3, 4, 5, 7, 8, 16, 17} {
						for _, n := range []int{1, 2, 3, 4, 5, 11} {
							attendGuarded(t, drawAttend(r, f, queries, widths[0], widths[1], n, tame), before)
						}
					}
				})
			}
		}
	}
}

func attendGuarded(t *testing.T, c attendCase, before bool) {
	floats := func(x []float32) []float32 {
		g := guardedFloats(t, len(x), before)
		copy(g, x)
		return g
	}
	c.acc, c.q = floats(c.acc), floats(c.q)
	for _, part := range []*Cached{&c.keys, &c.values} {
		data := guarded(t, len(part.Data), before)
		copy(data, part.Data)
		part.Data, part.Scales = data, floats(part.Scales)
	}
	queries := c.queries()
	states := guardedFloats(t, 2*queries, before)
	c.states = unsafe.Slice((*Attn)(unsafe.Pointer(&states[0])), queries)
	for _, scratch := range []int{queries * c.n, AttendScratch(queries, c.n)} {
		AttendQueries(c.states, c.acc, c.q, c.keys, c.values, c.n, c.scale,
			guardedFloats(t, scratch, before))
	}
	width := len(c.acc) / queries
	c.states[0].Merge(c.acc[:width], c.states[queries-1], floats(c.acc[:width]))
	c.states[0].Normalize(c.acc[:width])
}
