package kernels

import (
	"math/rand/v2"
	"testing"
)

func TestShareCovers(t *testing.T) {
	for items := range 40 {
		for parts := 1; parts < 8; parts++ {
			at := 0
			for k := range parts {
				from, to := Share(items, k, parts)
				if from != at || to < from || to-from > items/parts+1 || to-from < items/parts {
					t.Errorf("part %d of %d of %d items is %d to %d", k, parts, items, from, to)
				}
				at = to
			}
			if at != items {
				t.Errorf("%d parts of %d items end at %d", parts, items, at)
			}
		}
	}
}

// drawShape is a matrix without data, which is enough to cut it.
func drawShape(r *rand.Rand) Matrix {
	f := []Format{BF16, Q8, Q4, Q8x16, Q4x16, MXFP4x16}[r.IntN(6)]
	return Matrix{Format: f, Rows: r.IntN(900), Cols: 32 * (1 + r.IntN(200))}
}

// Tiles are whole steps, cover the rows in order, and if there are enough steps, none reaches from
// one node's rows into another's.
func TestCut(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	for range 5000 {
		w, most, nodes := drawShape(r), r.IntN(300), 1+r.IntN(4)
		c, at, node := NewCut(&w, most, nodes), 0, 0
		for i := range c.Tiles() {
			lo, hi := c.Tile(i)
			if lo != at || hi <= lo || hi-lo > c.Most() || hi%c.step != 0 && hi != w.Rows {
				t.Fatalf("%v of %d rows, at most %d: tile %d is %d to %d", w.Format, w.Rows, most, i, lo, hi)
			}
			_, end := w.NodeRows(node, nodes)
			for end <= lo {
				node++
				_, end = w.NodeRows(node, nodes)
			}
			if hi > end && c.steps >= nodes {
				t.Fatalf("%v of %d rows, at most %d: tile %d, %d to %d, is of two of %d nodes", w.Format,
					w.Rows, most, i, lo, hi, nodes)
			}
			at = hi
		}
		if limit := max(most, 2*c.step); at != w.Rows || c.Most() > limit {
			t.Fatalf("%v of %d rows, at most %d: tiles end at %d, the largest has %d", w.Format, w.Rows,
				most, at, c.Most())
		}
	}
}

// rowsOfNode are the first and the last row that a node has to do of a segment of a job, whose
// items are tiles of a product.
func rowsOfNode(p *Pool, segment, first, k int, m *product) (lo, hi int) {
	from, to := p.part(segment, k)
	for item := int(from); item < int(to); item++ {
		l, h := m.cut.Tile((item - first) / m.tokenTiles)
		if item == int(from) {
			lo = l
		}
		hi = h
	}
	return lo, hi
}

// A node does the rows of NodeRows of a product, and of each of several that are one job.
func TestNodesDoTheirRows(t *testing.T) {
	r := rand.New(rand.NewPCG(33, 34))
	for range 2000 {
		pool := &Pool{threads: 8, nodes: make([]node, 2+r.IntN(3))}
		var j products
		var first [together]int
		n, end := 1+r.IntN(120), 0
		for i := range j.list {
			w := drawShape(r)
			j.list[i] = newProduct(nil, nil, n, w, false, pool.threads, pool.Nodes())
			first[i] = end
			end += j.list[i].tiles()
			j.ends[i], j.n = end, i+1
		}
		for i := range j.list {
			m := &j.list[i]
			if (m.w.Rows+m.w.rowStep()-1)/m.w.rowStep() < pool.Nodes() {
				continue // not every node has a tile
			}
			for k := range pool.nodes {
				wantLo, wantHi := m.w.NodeRows(k, pool.Nodes())
				pool.job, pool.items = m, int64(m.tiles())
				pool.deal()
				lo, hi := rowsOfNode(pool, 0, 0, k, m)
				pool.job, pool.items = &j, int64(end)
				pool.deal()
				sLo, sHi := rowsOfNode(pool, i, first[i], k, m)
				if lo != wantLo || hi != wantHi || sLo != wantLo || sHi != wantHi {
					t.Fatalf("%v of %d rows, %d tokens, node %d of %d: rows %d to %d alone, %d to %d with "+
						"others, want %d to %d", m.w.Format, m.w.Rows, n, k, pool.Nodes(), lo, hi, sLo, sHi,
						wantLo, wantHi)
				}
			}
			pool.segments = nil
		}
	}
}

// Products on several nodes, of all formats, packed or not, have the bits of those on one.
func TestProductsOnNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(35, 36))
	plain := NewPool(2)
	defer plain.Close()
	for _, nodes := range []int{2, 3} {
		pool := NewPoolWith(PoolConfig{Threads: 4, Nodes: nodesOf(4, nodes)})
		defer pool.Close()
		for _, f := range allFormats {
			for _, n := range []int{1, 5, 70} {
				a, b := drawMatrix(r, f, 1+r.IntN(120), 64, tame), drawMatrix(r, f, 1+r.IntN(40), 64, tame)
				x := draw(r, n*64, tame)
				var got, want [2][]float32
				for i, w := range []Matrix{a, b} {
					got[i], want[i] = make([]float32, n*w.Rows), make([]float32, n*w.Rows)
					plain.MatMul(want[i], x, n, w)
				}
				pool.MatMulAll(x, n, Product{got[0], a}, Product{got[1], b})
				for i := range want {
					for k := range want[i] {
						if !sameBits(got[i][k], want[i][k]) {
							t.Fatalf("%v, %d tokens, %d nodes: other bits", f, n, nodes)
						}
					}
				}
			}
		}
	}
}
