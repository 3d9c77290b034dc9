package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestAttendQueries compares attention over two pages with the plain formula in float64.
func TestAttendQueries(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, f := range []Format{F32, BF16, I8} {
		const q, d, dv, n = 5, 40, 24, 33
		qs, acc := draw(r, q*d, tame), make([]float32, q*dv)
		k, v := Cached{Format: f, Stride: f.Bytes(d), ScaleStride: 1, Scales: make([]float32, n), Data: make([]byte, n*f.Bytes(d))}, Cached{Format: f, Stride: f.Bytes(d), ScaleStride: 1, Scales: make([]float32, n), Data: make([]byte, n*f.Bytes(d))}
		for j := range n {
			k.Scales[j] = EncodeCached(k.Data[j*k.Stride:][:k.Stride], draw(r, d, tame), f)
			v.Scales[j] = EncodeCached(v.Data[j*k.Stride:][:k.Stride], draw(r, d, tame), f)
		}
		st := make([]Attn, q)
		AttendQueries(st, acc, qs, k, v, 20, 0.1, make([]float32, q*n))
		AttendQueries(st, acc, qs, k.From(20), v.From(20), 13, 0.1, make([]float32, q*n))
		for i := range q {
			st[i].Normalize(acc[i*dv:][:dv])
			keys, vals := make([]float32, n*d), make([]float32, n*d)
			for j := range n {
				k.Decode(keys[j*d:][:d], j)
				v.Decode(vals[j*d:][:d], j)
			}
			want := attention(qs[i*d:][:d], keys, vals, d, n, float64(float32(0.1)))
			for c := range dv {
				if math.Abs(float64(acc[i*dv+c])-want[c]) > 3e-6 {
					t.Fatal(f, i, c, acc[i*dv+c], want[c])
				}
			}
		}
	}
}
