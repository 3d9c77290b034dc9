package shard

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/internal/host"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// topology is a machine that this one is not; it records what is put where.
type topology struct {
	ranges []bound
	err    error
}

type bound struct {
	data []byte
	node int
}

func (f *topology) Bind(data []byte, node int) error {
	f.ranges = append(f.ranges, bound{data, node})
	return f.err
}

// memoryNodes are nodes as a system may count them: 0, 2, 4 and so on.
func memoryNodes(count int) host.Memory {
	m := make(host.Memory, count)
	for k := range m {
		m[k] = host.Node{ID: 2 * k, Threads: 1}
	}
	return m
}

func fakeNodes(count int) (*Nodes, *topology) {
	f := &topology{}
	return NewNodes(NodesConfig{Memory: memoryNodes(count), Binder: f, Mappings: 1 << 20}), f
}

// nodeOfByte is whose row a byte of matrices that lie one after another is.
func nodeOfByte(matrices []kernels.Matrix, nodes, at int) int {
	for i := range matrices {
		m := &matrices[i]
		if size := m.Format.MatrixBytes(m.Rows, m.Cols); at >= size {
			at -= size
			continue
		}
		for k := range nodes {
			if _, hi := m.NodeRows(k, nodes); at < m.Format.MatrixBytes(hi, m.Cols) {
				return k
			}
		}
	}
	return -1
}

// Every byte of weights is in one range. It is on the node that reads its row, but in pages that have
// rows of several, and there are no more ranges than it takes.
func TestNodeRangesCover(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 42))
	formats := []kernels.Format{kernels.Q8, kernels.Q4, kernels.Q8x16, kernels.Q4x16, kernels.MXFP4x16}
	for range 400 {
		page, nodes := []int{64, 512, 4096}[r.IntN(3)], 2+r.IntN(2)
		var matrices []kernels.Matrix
		size := 0
		for range 1 + r.IntN(3) {
			m := kernels.Matrix{Format: formats[r.IntN(5)], Rows: r.IntN(130), Cols: 1 + r.IntN(200)}
			matrices = append(matrices, m)
			size += m.Format.MatrixBytes(m.Rows, m.Cols)
		}
		owner := make([]int, size)
		for b := range owner {
			owner[b] = nodeOfByte(matrices, nodes, b)
		}
		at := 0
		ranges := nodeRanges(matrices, nodes, page)
		for i, n := range ranges {
			if n.from != at || n.to <= n.from || n.from%page != 0 || i > 0 && ranges[i-1].node == n.node {
				t.Fatalf("pages of %d: ranges %v of %d bytes", page, ranges, size)
			}
			for at = n.from; at < n.to; at++ {
				whole := owner[at/page*page : min(at/page*page+page, size)]
				if owner[at] != n.node && slices.Max(whole) == slices.Min(whole) {
					t.Fatalf("pages of %d: byte %d is on node %d, its page belongs to %d", page, at, n.node,
						owner[at])
				}
			}
		}
		if at != size {
			t.Fatalf("pages of %d: ranges %v end before %d", page, ranges, size)
		}
	}
}

// Rows of a node in the jobs of a wave are those that lie on it, whatever the tokens.
func TestWavesReadWhatLiesOnTheirNode(t *testing.T) {
	r := rand.New(rand.NewPCG(43, 44))
	for _, nodes := range []int{2, 3} {
		homes := []int{0, 1, 2, 0}
		for i := range homes {
			homes[i] %= nodes
		}
		pool := kernels.NewPoolWith(kernels.PoolConfig{Threads: len(homes), Nodes: homes})
		defer pool.Close()
		for round := range 60 {
			var experts []*Expert
			hidden, width := 64+r.IntN(700), 64+r.IntN(400)
			f := []kernels.Format{kernels.Q4, kernels.Q8x16, kernels.BF16}[round%3]
			for range 1 + r.IntN(4) {
				shape := func(rows, cols int) kernels.Matrix {
					return kernels.Matrix{Format: f, Rows: rows, Cols: cols}
				}
				experts = append(experts, &Expert{
					Gate: shape(width, hidden), Up: shape(width, hidden), Down: shape(hidden, width),
				})
			}
			g := drawGroup(r, experts, 1+r.IntN(200), hidden)
			w := Work{pool: pool, x: g.X}
			if w.divide(&g); len(w.parts) == 0 {
				continue
			}
			w.wave = w.parts
			w.place()
			mustRead(t, (*gating)(&w), nodes, func(p *part) (*tiling, *kernels.Matrix) {
				return &p.gating, &p.expert.Up
			}, w.wave)
			mustRead(t, (*scaling)(&w), nodes, func(p *part) (*tiling, *kernels.Matrix) {
				return &p.down, &p.expert.Down
			}, w.wave)
		}
	}
}

func mustRead(t *testing.T, j kernels.Segmented, nodes int,
	of func(*part) (*tiling, *kernels.Matrix), wave []part) {
	t.Helper()
	begin := 0
	for s := range j.Segments() {
		tiles, m := of(&wave[s])
		end := j.End(s)
		for k := range nodes {
			from, to := kernels.Share(end-begin, k, nodes)
			_, _, lo, _ := tiles.at(from, len(wave[s].rows))
			_, _, _, hi := tiles.at(to-1, len(wave[s].rows))
			if wantLo, wantHi := m.NodeRows(k, nodes); lo != wantLo || hi != wantHi {
				t.Fatalf("%v of %d rows, %d tokens: node %d of %d does rows %d to %d, has %d to %d", m.Format,
					m.Rows, len(wave[s].rows), k, nodes, lo, hi, wantLo, wantHi)
			}
		}
		begin = end
	}
}

// A group has the same bits where rows lie on the nodes of the pool's threads, and its memory is
// put there as a whole.
func TestGroupOnNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(45, 46))
	for _, q := range []Quant{QuantInt8, QuantInt4, QuantInt8.Rounded(), QuantInt4.Rounded()} {
		for _, count := range []int{2, 3} {
			pool := kernels.NewPoolWith(kernels.PoolConfig{Threads: 3, Nodes: []int{0, 1, 2 % count}})
			nodes, fake := fakeNodes(count)
			var near, far []*Expert
			for range 3 {
				e := drawExpert(r, kernels.F32, 200, 72)
				a, b := *e, *e
				mustQuantize(t, q, nil, &a)
				fake.ranges = nil
				mustQuantize(t, q, nodes, &b)
				mustCover(t, fake.ranges, &b)
				far, near = append(far, &a), append(near, &b)
			}
			for _, tokens := range []int{1, 9, 60} {
				g := drawGroup(r, near, tokens, 200)
				var w Work
				mustBePlain(t, &w, pool, model.Activation{}, g)
				want, got := newRowsOf(len(g.Rows), 200), newRowsOf(len(g.Rows), 200)
				w.RunGroup(pool, model.Activation{}, g, got)
				g.Experts = far
				w.RunGroup(pool, model.Activation{}, g, want)
				if !slices.Equal(got.y, want.y) {
					t.Errorf("%v on %d nodes: other bits", q, count)
				}
			}
			pool.Close()
		}
	}
}

func mustQuantize(t *testing.T, q Quant, nodes *Nodes, e *Expert) {
	t.Helper()
	if err := q.Quantize(nodes, &e.Gate, &e.Up, &e.Down); err != nil {
		t.Fatal(err)
	}
}

// mustCover checks that ranges are an expert's memory.
func mustCover(t *testing.T, ranges []bound, e *Expert) {
	t.Helper()
	rest := e.Gate.Owner.(*memory).data
	for i, b := range ranges {
		if len(b.data) > len(rest) || &b.data[0] != &rest[0] {
			t.Fatalf("range %d, of %d bytes, is not what follows", i, len(b.data))
		}
		rest = rest[len(b.data):]
	}
	if len(rest) > 0 || len(ranges) < 2 {
		t.Fatalf("%d ranges lack %d bytes", len(ranges), len(rest))
	}
}

// What lies on nodes is counted while it is there.
func TestNodesCount(t *testing.T) {
	nodes, _ := fakeNodes(2)
	s := quantStore(t, QuantInt8).On(nodes)
	if err := s.Load(t.Context(), 1, NewSet(3, 4), nil); err != nil {
		t.Fatal(err)
	}
	held := func() (sum int64) {
		for _, w := range nodes.Weights() {
			sum += w.Bytes
		}
		return sum
	}
	if held() != s.Bytes() {
		t.Errorf("nodes have %d bytes, the store %d", held(), s.Bytes())
	}
	s.Drop(1, NewSet(3, 4))
	for range 100 { // clean-ups have a goroutine of their own
		if runtime.GC(); held() == 0 && nodes.mappings.Load() == 0 {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("nodes have %d bytes in %d mappings after all is dropped", held(), nodes.mappings.Load())
}

// A system that puts nothing on a node is asked and complained of once, and so is one without
// mappings; weights are the same.
func TestNodesRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(47, 48))
	for name, c := range map[string]struct {
		err      error
		mappings int
		asked    int
	}{
		"the system": {errors.New("not permitted"), 1 << 20, 1}, "no mappings": {nil, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			fake := &topology{err: c.err}
			nodes := NewNodes(NodesConfig{
				Memory: memoryNodes(2), Binder: fake, Mappings: c.mappings,
				Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			for range 3 {
				e := drawExpert(r, kernels.F32, 200, 72)
				a, b := *e, *e
				mustQuantize(t, QuantInt8, nil, &a)
				mustQuantize(t, QuantInt8, nodes, &b)
				if !slices.Equal(a.Down.Data, b.Down.Data) {
					t.Error("other weights")
				}
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || len(fake.ranges) != c.asked {
				t.Errorf("asked %d times, %d lines:\n%s", len(fake.ranges), n, log.String())
			}
			for _, w := range nodes.Weights() {
				if w.Bytes != 0 {
					t.Errorf("node %d has %d bytes", w.ID, w.Bytes)
				}
			}
		})
	}
}

func TestNoNodes(t *testing.T) {
	for count := range 2 {
		nodes := NewNodes(NodesConfig{Memory: memoryNodes(count), Binder: &topology{}})
		if nodes != nil {
			t.Errorf("%d nodes are several", count)
		}
		nodes.Announce()
		if nodes.Weights() != nil {
			t.Errorf("%d nodes have weights", count)
		}
	}
}

func TestAnnounce(t *testing.T) {
	var log strings.Builder
	f := &topology{}
	nodes := NewNodes(NodesConfig{
		Memory: memoryNodes(2), Binder: f, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	e := drawExpert(rand.New(rand.NewPCG(49, 50)), kernels.F32, 256, 64)
	mustQuantize(t, QuantInt8, nodes, e)
	nodes.Announce()
	for k, w := range nodes.Weights() {
		want := fmt.Sprintf("msg=\"memory node\" node=%d threads=1 weights_bytes=%d\n", 2*k, w.Bytes)
		if w.Bytes == 0 || !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, log.String())
		}
	}
	runtime.KeepAlive(e)
}
