package shard

import (
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/conclave-serve/conclave/internal/host"
	"github.com/conclave-serve/conclave/kernels"
)

// Binder puts mapped memory that nobody has touched on a memory node, by its index. data begins
// with a page. host.Memory is one.
type Binder interface {
	Bind(data []byte, node int) error
}

// NodesConfig is which memory nodes there are.
type NodesConfig struct {
	// Memory is the nodes that a pool's threads belong to, in the pool's order.
	Memory host.Memory
	// Binder puts memory on them; default Memory.
	Binder Binder
	// Mappings bounds the ranges that are on a node of their own choice at a time. Default half of
	// what the process may have: one that has no mapping left ends.
	Mappings int
	// Log hears, once, that memory cannot be put anywhere, and is told by Announce.
	Log *slog.Logger
}

// Nodes puts rows of weights that are held outside their files on the memory nodes whose threads
// read them, and counts them. nil puts nothing anywhere. Where memory lies never shows in a result.
type Nodes struct {
	cfg      NodesConfig
	page     int
	refused  atomic.Bool // by the system, which is not asked again
	full     sync.Once
	mappings atomic.Int64
	bytes    []atomic.Int64 // of weights on each node
}

// NewNodes returns nil if there are not several nodes.
func NewNodes(cfg NodesConfig) *Nodes {
	if len(cfg.Memory) < 2 {
		return nil
	}
	if cfg.Binder == nil {
		cfg.Binder = cfg.Memory
	}
	if cfg.Mappings == 0 {
		cfg.Mappings = host.Mappings() / 2
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Nodes{
		cfg: cfg, page: os.Getpagesize(), bytes: make([]atomic.Int64, len(cfg.Memory)),
	}
}

// NodeWeights is what a memory node has.
type NodeWeights struct {
	host.Node
	Bytes int64 // of weights that were put on it
}

// Weights returns what each node has, in the order of the pool's nodes.
func (n *Nodes) Weights() []NodeWeights {
	if n == nil {
		return nil
	}
	list := make([]NodeWeights, len(n.bytes))
	for k := range list {
		list[k] = NodeWeights{Node: n.cfg.Memory[k], Bytes: n.bytes[k].Load()}
	}
	return list
}

// Announce logs what each node has.
func (n *Nodes) Announce() {
	for _, w := range n.Weights() {
		n.cfg.Log.Info("memory node", "node", w.ID, "threads", w.Threads, "weights_bytes", w.Bytes)
	}
}

// put has the memory of some matrices, which lie in it one after another, come from the nodes whose
// threads read their rows. It must not have been touched.
func (n *Nodes) put(m *memory, matrices []kernels.Matrix) {
	if n == nil || n.refused.Load() {
		return
	}
	ranges := nodeRanges(matrices, len(n.bytes), n.page)
	if !n.reserve(len(ranges)) {
		return
	}
	held := placed{bytes: make([]int64, len(n.bytes)), mappings: len(ranges)}
	for _, r := range ranges {
		if err := n.cfg.Binder.Bind(m.data[r.from:r.to], r.node); err != nil {
			if !n.refused.Swap(true) {
				n.cfg.Log.Warn("weights cannot be put on memory nodes: they lie where they are first touched",
					"err", err)
			}
			break
		}
		held.bytes[r.node] += int64(r.to - r.from)
		n.bytes[r.node].Add(int64(r.to - r.from))
	}
	runtime.AddCleanup(m, n.release, held)
}

// reserve takes mappings, if there are so many.
func (n *Nodes) reserve(mappings int) bool {
	if n.mappings.Add(int64(mappings)) <= int64(n.cfg.Mappings) {
		return true
	}
	n.mappings.Add(-int64(mappings))
	n.full.Do(func() {
		n.cfg.Log.Warn("not all weights are put on memory nodes: raise vm.max_map_count",
			"ranges", n.cfg.Mappings)
	})
	return false
}

// placed is what some memory has on nodes.
type placed struct {
	bytes    []int64 // by node
	mappings int
}

// release is called when the memory goes.
func (n *Nodes) release(p placed) {
	for k, bytes := range p.bytes {
		n.bytes[k].Add(-bytes)
	}
	n.mappings.Add(-int64(p.mappings))
}

// nodeRange is bytes that belong on a node.
type nodeRange struct{ from, to, node int }

// nodeRanges divides the memory of matrices that lie one after another: every byte belongs to one
// node, which is that of its row but for the rest of a page, that of most of the page's rows there.
func nodeRanges(matrices []kernels.Matrix, nodes, page int) (ranges []nodeRange) {
	at, from := 0, 0
	add := func(end, node int) {
		last := len(ranges) - 1
		switch {
		case end <= from:
			return
		case last >= 0 && ranges[last].node == node:
			ranges[last].to = end
		default:
			ranges = append(ranges, nodeRange{from, end, node})
		}
		from = end
	}
	node := 0
	for i := range matrices {
		m := &matrices[i]
		for k := range nodes {
			lo, hi := m.NodeRows(k, nodes)
			if lo == hi {
				continue
			}
			node = k
			end := at + m.Format.MatrixBytes(hi, m.Cols)
			add((end+page/2)/page*page, k)
		}
		at += m.Format.MatrixBytes(m.Rows, m.Cols)
	}
	if last := len(ranges) - 1; last >= 0 && from >= at {
		ranges[last].to = at // the rest of its last page is nobody's
	}
	add(at, node)
	return ranges
}
