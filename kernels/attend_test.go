package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

// attendFloats attends one query to n positions in F32, whose keys and values are stride numbers
// apart.
func attendFloats(st *Attn, acc, q, keys, values []float32, stride, n int, scale float32) {
	cached := func(x []float32) Cached {
		data := make([]byte, F32.Bytes(len(x)))
		EncodeCached(data, x, F32)
		return Cached{Format: F32, Data: data, Stride: F32.Bytes(stride)}
	}
	states := []Attn{*st}
	AttendQueries(states, acc, q, cached(keys), cached(values), n, scale, make([]float32, n))
	*st = states[0]
}

// attention is the plain formula in float64.
func attention(q, keys, values []float32, stride, positions int, scale float64) []float64 {
	out, sum := make([]float64, len(q)), 0.0
	for j := range positions {
		s := 0.0
		for i, v := range q {
			s += float64(v) * float64(keys[j*stride+i])
		}
		p := math.Exp(s * scale)
		sum += p
		for i := range out {
			out[i] += p * float64(values[j*stride+i])
		}
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// TestSink compares the weights of keys beside a sink with the reference, wherever the sink lies
// among the scores.
func TestSink(t *testing.T) {
	v := readVectors(t).Sink
	if len(v.Scores) == 0 {
		t.Fatal("vectors are missing")
	}
	// Keys of one element are the scores; values are unit vectors, so that the output is the weights.
	n := len(v.Scores)
	values := make([]float32, n*n)
	for i := range n {
		values[i*n+i] = 1
	}
	weights := func(sink float32) []float32 {
		var st Attn
		acc := make([]float32, n)
		for j := range n { // the keys have a stride of their own: one position at a time
			attendFloats(&st, acc, []float32{1}, v.Scores[j:], values[j*n:], n, 1, 1)
		}
		st.Sink(acc, sink)
		st.Normalize(acc)
		return acc
	}
	got, sum := weights(v.Sink), 0.0
	for i, want := range v.Probabilities {
		if sum += float64(got[i]); !near(got[i], want, 3e-7) {
			t.Errorf("weight %d = %v, want %v", i, got[i], want)
		}
	}
	if math.Abs(1-sum-v.Mass) > 3e-7 {
		t.Errorf("the sink took %v, want %v", 1-sum, v.Mass)
	}
	for _, sink := range []float32{-1e30, -3, 2, 30, 200} {
		total := math.Exp(float64(sink))
		for _, s := range v.Scores {
			total += math.Exp(float64(s))
		}
		for i, got := range weights(sink) {
			if want := math.Exp(float64(v.Scores[i])) / total; !near(got, want, 1e-6) {
				t.Errorf("sink %v: weight %d = %v, want %v", sink, i, got, want)
			}
		}
	}
}

// TestSinkAlone has no position to attend to.
func TestSinkAlone(t *testing.T) {
	var st Attn
	acc := []float32{float32(math.NaN()), 2}
	st.Sink(acc, 3)
	if st.Normalize(acc); acc[0] != 0 || acc[1] != 0 {
		t.Errorf("the output of a sink alone is %v", acc)
	}
}

// TestAttendLatent has values that are the beginning of the keys, as multi-head latent attention.
func TestAttendLatent(t *testing.T) {
	const key, value, n, stride = 576, 512, 37, 576
	r := rand.New(rand.NewPCG(27, 28))
	q, keys := draw(r, key, tame), draw(r, n*stride, tame)
	want := attention(q, keys, keys, stride, n, 0.05)
	onPaths(func(path string) {
		var st Attn
		acc := make([]float32, value)
		attendFloats(&st, acc, q, keys, keys, stride, 20, 0.05)
		attendFloats(&st, acc, q, keys[20*stride:], keys[20*stride:], stride, n-20, 0.05)
		st.Normalize(acc)
		for i := range acc {
			if math.Abs(float64(acc[i])-want[i]) > 5e-6 {
				t.Fatalf("%s: [%d] = %v, want %v", path, i, acc[i], want[i])
			}
		}
	})
}
