package shard

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"weak"

	"github.com/conclave-serve/conclave/kernels"
)

func TestQuantNames(t *testing.T) {
	for _, q := range []Quant{QuantNone, QuantInt8, QuantInt4} {
		if f, name := SplitModel(q.Rounded().Model("abc")); f != "abc" || name != q.Rounded().String() {
			t.Errorf("SplitModel(%s) = %s, %s", q.Rounded().Model("abc"), f, name)
		}
		if got, err := ParseQuant(q.String()); got != q || err != nil {
			t.Errorf("ParseQuant(%v) = %v, %v", q, got, err)
		}
		if f, name := SplitModel(q.Model("abc")); f != "abc" || name != q.String() {
			t.Errorf("SplitModel(%s) = %s, %s", q.Model("abc"), f, name)
		}
	}
	if m := QuantInt4.Rounded().Model("abc"); m != "abc+experts=int4,activations=int8" {
		t.Errorf("a model with rounded activations is %s", m)
	}
	if _, err := ParseQuant("int5"); err == nil {
		t.Error("int5 is a quantisation")
	}
}

// quantStore is testStore's, quantised.
func quantStore(t testing.TB, q Quant) *Store {
	plain := testStore(t, "")
	return NewQuantizedStore(plain.spec, plain.ck, q)
}

// TestQuantBeside refuses activations in int8 that meet no quantised weights.
func TestQuantBeside(t *testing.T) {
	s := testStore(t, "") // of experts in BF16
	sparse, dense := *s.spec, *s.spec
	sparse.Experts, dense.Experts = len(s.spec.Layers[1].MoE.Experts), 0
	for _, c := range []struct{ experts, own, want Quant }{
		{QuantNone, QuantNone, QuantNone},
		{QuantInt4.Rounded(), QuantNone, QuantInt4.Rounded()},
		{QuantNone.Rounded(), QuantInt8.Rounded(), QuantNone},
	} {
		if got, err := c.experts.Beside(c.own, &sparse, s.ck); got != c.want || err != nil {
			t.Errorf("%v beside %v is %v, %v", c.experts, c.own, got, err)
		}
	}
	_, err := QuantNone.Rounded().Beside(QuantNone, &sparse, s.ck)
	if err == nil || !strings.Contains(err.Error(), "leave out --activations") {
		t.Errorf("activations of stored experts: %v", err)
	}
	if _, err := QuantInt8.Rounded().Beside(QuantNone, &dense, s.ck); err == nil {
		t.Error("activations of a model without experts are rounded")
	}
}

// TestQuantisedStore loads what the views hold, counts its own bytes, and tells those of the
// checkpoint as progress.
func TestQuantisedStore(t *testing.T) {
	plain := testStore(t, "")
	if err := plain.Load(t.Context(), 1, NewSet(5), nil); err != nil {
		t.Fatal(err)
	}
	for q, format := range map[Quant]kernels.Format{QuantInt8: kernels.Q8, QuantInt4: kernels.Q4} {
		s := NewQuantizedStore(plain.spec, plain.ck, q)
		var progress []int64
		tell := func(n int64) { progress = append(progress, n) }
		if err := s.Load(t.Context(), 1, NewSet(2, 5), tell); err != nil {
			t.Fatal(err)
		}
		each := int64(2*testWidth*format.Bytes(testHidden) + testHidden*format.Bytes(testWidth))
		if s.Bytes() != 2*each || q.ExpertBytes(s.spec, s.ck, 1) != each || q.ExpertBytes(s.spec, s.ck, 0) != 0 {
			t.Errorf("%v: %d bytes held, %d of an expert, want %d", q, s.Bytes(), q.ExpertBytes(s.spec, s.ck, 1), each)
		}
		if !slices.Equal(progress, []int64{expertBytes, expertBytes}) {
			t.Errorf("%v: progress %v", q, progress)
		}
		x, want := s.Expert(1, 5), plain.Expert(1, 5)
		for i, m := range []kernels.Matrix{x.Gate, x.Up, x.Down} {
			sameWeights(t, m, []kernels.Matrix{want.Gate, want.Up, want.Down}[i], format)
		}
		s.Drop(1, NewSet(2, 5))
		if s.Bytes() != 0 {
			t.Errorf("%v: %d bytes after all is dropped", q, s.Bytes())
		}
	}
}

// sameWeights compares with all of a matrix being one number, of which no more than a scale's rounding
// is lost.
func sameWeights(t *testing.T, got, want kernels.Matrix, format kernels.Format) {
	t.Helper()
	if got.Format != format || got.Rows != want.Rows || got.Cols != want.Cols {
		t.Fatalf("%v [%d,%d], want %v [%d,%d]", got.Format, got.Rows, got.Cols, format, want.Rows, want.Cols)
	}
	a, b := make([]float32, got.Cols), make([]float32, got.Cols)
	for r := range got.Rows {
		kernels.DecodeRow(a, got, r)
		kernels.DecodeRow(b, want, r)
		for c := range a {
			if d := math.Abs(float64(a[c] - b[c])); d > math.Abs(float64(b[c]))/128 {
				t.Fatalf("[%d,%d] is %v, want %v", r, c, a[c], b[c])
			}
		}
	}
}

// TestQuantisedMemory has a dropped expert's memory stay while a matrix of it is held, and go after.
func TestQuantisedMemory(t *testing.T) {
	s := quantStore(t, QuantInt8)
	if err := s.Load(t.Context(), 1, NewSet(3), nil); err != nil {
		t.Fatal(err)
	}
	held := s.Expert(1, 3).Down
	owner := weak.Make(held.Owner.(*memory))
	s.Drop(1, NewSet(3))
	runtime.GC()
	if owner.Value() == nil {
		t.Fatal("the memory of a matrix that is held has gone")
	}
	row := make([]float32, held.Cols)
	kernels.DecodeRow(row, held, held.Rows-1)
	held = kernels.Matrix{}
	for range 100 { // other goroutines' stacks may refer to it for a moment
		if runtime.GC(); owner.Value() == nil {
			return
		}
		runtime.Gosched()
	}
	t.Error("the memory of a dropped expert stays")
}

// TestQuantisedUse computes with experts while they are dropped and loaded again: memory that went
// too early would end the process.
func TestQuantisedUse(t *testing.T) {
	s := quantStore(t, QuantInt4)
	all := NewSet(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	if err := s.Load(t.Context(), 1, all, nil); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var done sync.WaitGroup
	for range 2 {
		done.Go(func() {
			x, y := make([]float32, testHidden), make([]float32, testWidth)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if e := s.Expert(1, i%testExperts); e != nil {
					kernels.Mul(y, x, 1, e.Up)
				}
			}
		})
	}
	for range 10 {
		s.Drop(1, all)
		if err := s.Load(t.Context(), 1, all, nil); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	done.Wait()
}
