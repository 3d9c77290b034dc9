package kernels

import (
	"encoding/binary"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/bits.txt anew")

// TestBits compares results with a table that was made on amd64: run on another architecture it
// shows that no compiler fused or reordered anything.
func TestBits(t *testing.T) {
	onPaths(func(path string) {
		got := bitsTable()
		if *rewrite {
			if err := os.WriteFile("testdata/bits.txt", []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile("testdata/bits.txt")
		if err != nil {
			t.Fatal(err)
		}
		gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		if len(gotLines) != len(wantLines) {
			t.Fatalf("%s: %d lines, want %d", path, len(gotLines), len(wantLines))
		}
		for i := range gotLines {
			if gotLines[i] != wantLines[i] {
				t.Errorf("%s: got  %s\nwant %s", path, gotLines[i], wantLines[i])
			}
		}
	})
}

// exact draws a float32 by integer arithmetic alone, so that inputs are the same everywhere.
func exact(r *rand.Rand) float32 {
	return float32(int32(r.Uint32()>>8)-1<<23) / (1 << 21)
}

func anyBits(r *rand.Rand) float32 { return math.Float32frombits(r.Uint32()) }

func bitsTable() string {
	var out strings.Builder
	// line writes the first results and a hash of all; NaNs count as one value.
	line := func(name string, values []float32) {
		hash := fnv.New64a()
		fmt.Fprintf(&out, "%-28s", name)
		for i, v := range values {
			bits := math.Float32bits(v)
			if v != v {
				bits = 0x7fc00000
			}
			if i < 4 {
				fmt.Fprintf(&out, " %08x", bits)
			}
			hash.Write(binary.LittleEndian.AppendUint32(nil, bits))
		}
		fmt.Fprintf(&out, " %d:%016x\n", len(values), hash.Sum64())
	}
	r := rand.New(rand.NewPCG(31, 32))
	scalarBits(r, line)
	productBits(r, line)
	rowBits(r, line)
	quantisedBits(r, line)
	cachedBits(r, line)
	quantBits(r, line)
	return out.String()
}

func scalarBits(r *rand.Rand, line func(string, []float32)) {
	var fmas, exps, dots []float32
	for range 20000 {
		fmas = append(fmas, fma32(exact(r), exact(r), exact(r)))
		fmas = append(fmas, fma32(anyBits(r), anyBits(r), anyBits(r)))
		exps = append(exps, Exp(exact(r)*30))
	}
	line("fma", fmas)
	line("exp", exps)
	for n := range 100 {
		dots = append(dots, Dot(draw(r, n, exact), draw(r, n, exact)))
	}
	line("dot of 0 to 99", dots)
}

func productBits(r *rand.Rand, line func(string, []float32)) {
	pool := NewPool(2)
	defer pool.Close()
	for _, f := range []Format{F32, BF16, F16} {
		for _, cols := range []int{64, 75} {
			const n, rows = 7, 11
			data := make([]byte, f.Bytes(rows*cols))
			for i := range data {
				data[i] = byte(r.Uint32())
				if size := f.Bytes(1); i%size == size-1 {
					data[i] = data[i]&0x81 | 0x3c // ordinary exponents
				}
			}
			w := Matrix{Format: f, Rows: rows, Cols: cols, Data: data}
			dst := make([]float32, n*rows)
			pool.MatMul(dst, draw(r, n*cols, exact), n, w)
			line(fmt.Sprintf("matmul %v cols=%d", f, cols), dst)
		}
	}
	const head, n = 72, 40
	acc := make([]float32, head)
	var st Attn
	q := draw(r, head, exact)
	for range 3 {
		kv := draw(r, 2*n*head, exact)
		attendFloats(&st, acc, q, kv, kv[n*head:], head, n, 0.01)
	}
	line("attend", append(acc, st.Max, st.Sum))
}

func rowBits(r *rand.Rand, line func(string, []float32)) {
	const n = 1000
	x, y, dst := draw(r, n, exact), draw(r, n, exact), make([]float32, n)
	RMSNorm(dst, x, y, 1e-6)
	line("rmsnorm", dst)
	SwiGLU(dst, x, y)
	line("swiglu", dst)
	RopeHalf(x, y[:n/2], y[n/2:])
	line("rope", x)
	Softmax(y)
	line("softmax", y)
	for _, theta := range []float64{1e4, 1.5e5, 1e6, 5e6} {
		var table []float32
		cos, sin := make([]float32, 64), make([]float32, 64)
		for _, pos := range []int{0, 1, 2, 3, 77, 1000, 40959, 262143} {
			NewRotary(theta, 128).Table(pos, cos, sin)
			table = append(append(table, cos...), sin...)
		}
		line(fmt.Sprintf("rotary theta=%g", theta), table)
	}
}

func quantisedBits(r *rand.Rand, line func(string, []float32)) {
	pool := NewPool(2)
	defer pool.Close()
	const n, rows = 7, 11
	for _, f := range []Format{E4M3, MXFP4} {
		for _, cols := range []int{64, 160, 203} {
			if f == MXFP4 {
				cols -= cols % exponentGroup
			}
			w := Matrix{Format: f, Rows: rows, Cols: cols, First: 125, Data: make([]byte, f.Bytes(rows*cols))}
			w.Scales, w.Exponents = draw(r, 4, exact), make([]byte, rows*cols/exponentGroup)
			w.Bias = draw(r, rows, exact)
			for i := range w.Data {
				w.Data[i] = byte(r.Uint32())
			}
			for i := range w.Exponents {
				w.Exponents[i] = byte(r.Uint32())
			}
			dst := make([]float32, n*rows)
			pool.MatMul(dst, draw(r, n*cols, exact), n, w)
			line(fmt.Sprintf("matmul %v cols=%d", f, cols), dst)
			all := make([]float32, rows*cols)
			for i := range rows {
				DecodeRow(all[i*cols:][:cols], w, i)
			}
			line(fmt.Sprintf("decode %v cols=%d", f, cols), all)
			dst = make([]float32, cols)
			MulTransposed(dst, draw(r, rows, exact), w)
			line(fmt.Sprintf("transposed %v cols=%d", f, cols), dst)
		}
	}
	const size = 1000
	x, y, dst := draw(r, size, exact), draw(r, size, exact), make([]float32, size)
	SwiGLUClamped(dst, x, y, 1.702, 3)
	line("swiglu clamped", dst)
	RopeInterleaved(x, y[:size/2], y[size/2:])
	line("rope interleaved", x)
	var st Attn
	attendFloats(&st, dst[:72], x[:100], y, x, 100, 9, 0.01)
	st.Sink(dst[:72], st.Max-1)
	st.Sink(dst[:72], st.Max+1)
	line("sink", append(dst[:72:72], st.Max, st.Sum))
	Sigmoid(x)
	line("sigmoid", x)
	cos, sin := make([]float32, 64), make([]float32, 64)
	NewYarn(1e6, 128, Yarn{Factor: 4, BetaFast: 32, BetaSlow: 1, Original: 32768, Truncate: true,
		Magnitude: 1.138629436111989}).Table(100_000, cos, sin)
	line("yarn", append(cos, sin...))
}

func cachedBits(r *rand.Rand, line func(string, []float32)) {
	for _, f := range cachedFormats {
		for _, widths := range [][2]int{{64, 64}, {75, 43}, {192, 128}} {
			const queries, positions = 18, 41
			d, dv := widths[0], widths[1]
			encode := func(width int) Cached {
				c := Cached{Format: f, Stride: f.Bytes(width), ScaleStride: 1}
				c.Data, c.Scales = make([]byte, positions*c.Stride), make([]float32, positions)
				for j := range positions {
					c.Scales[j] = EncodeCached(c.Data[j*c.Stride:][:c.Stride], draw(r, width, exact), f)
				}
				return c
			}
			keys, values := encode(d), encode(dv)
			if f == I8 {
				line(fmt.Sprintf("scales %v of %d", f, d), keys.Scales)
			}
			states, acc, q := make([]Attn, queries), make([]float32, queries*dv), draw(r, queries*d, exact)
			scores := make([]float32, AttendScratch(queries, 32))
			AttendQueries(states, acc, q, keys, values, 32, 0.01, scores)
			AttendQueries(states, acc, q, keys.From(32), values.From(32), positions-32, 0.01, scores)
			first, second := states[0], acc[dv:2*dv]
			first.Merge(acc[:dv], states[1], second)
			line(fmt.Sprintf("attend %v %v", f, widths), append(acc, first.Max, first.Sum))
		}
	}
}

func quantBits(r *rand.Rand, line func(string, []float32)) {
	pool := NewPool(2)
	defer pool.Close()
	for _, f := range []Format{Q8, Q4} {
		for _, cols := range []int{64, 80, 203} {
			const n, rows = 7, 11
			w := Matrix{Format: f, Rows: rows, Cols: cols, Data: drawQuants(r, rows, cols, f, exact)}
			dst := make([]float32, n*rows)
			pool.MatMul(dst, draw(r, n*cols, exact), n, w)
			line(fmt.Sprintf("matmul %v cols=%d", f, cols), dst)
		}
	}
}
