package kernels

import "sync/atomic"

// Segmented is a job whose items are several matrices' rows, one matrix after the other: the items
// of segment s end before End(s). Each memory node then gets a part of each segment; of a plain Job
// it gets a part of all items. So a node reads the same rows of a matrix every time, which may lie
// in its memory (Matrix.NodeRows). Which thread does an item never shows in a result.
type Segmented interface {
	Job
	Segments() int
	End(segment int) int
}

// node is one memory node's share of the current job.
type node struct {
	unclaimed atomic.Int64 // items of it that nobody has claimed
	size      int64        // written by Run, like the job
	_         [48]byte     // unclaimed is written by every thread
}

// deal gives every node its share of the job, for all to claim.
func (p *Pool) deal() {
	if len(p.nodes) == 1 {
		p.nodes[0].unclaimed.Store(p.items)
		return
	}
	p.segments, _ = p.job.(Segmented)
	for k := range p.nodes { // all sizes before the first can be claimed
		n := &p.nodes[k]
		n.size = 0
		for s := range p.segmentCount() {
			from, to := p.part(s, k)
			n.size += to - from
		}
	}
	for k := range p.nodes {
		p.nodes[k].unclaimed.Store(p.nodes[k].size)
	}
}

// item is the one that a node has next if so many are left.
func (p *Pool) item(k int, left int64) int64 {
	if len(p.nodes) == 1 {
		return p.items - left
	}
	at := p.nodes[k].size - left
	for s := 0; ; s++ {
		from, to := p.part(s, k)
		if at < to-from {
			return from + at
		}
		at -= to - from
	}
}

func (p *Pool) segmentCount() int {
	if p.segments == nil {
		return 1
	}
	return p.segments.Segments()
}

// part is a node's items of a segment.
func (p *Pool) part(segment, k int) (from, to int64) {
	begin, end := 0, int(p.items)
	if p.segments != nil {
		end = p.segments.End(segment)
		if segment > 0 {
			begin = p.segments.End(segment - 1)
		}
	}
	first, last := Share(end-begin, k, len(p.nodes))
	return int64(begin + first), int64(begin + last)
}

// pending reports whether there is an item to claim.
func (p *Pool) pending() bool {
	for k := range p.nodes {
		if p.nodes[k].unclaimed.Load() > 0 {
			return true
		}
	}
	return false
}
