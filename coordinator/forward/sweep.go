package forward

import (
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/kernels"
)

const (
	// segmentPages is the number of pages after which attention begins a new
	// sum: segments are anchored at absolute positions, as pages are, and their
	// sums are merged in ascending order. It is part of the numbers. Smaller
	// ones would spread a single sequence over more cores and cost more merging:
	// at 512 positions that is below a percent.
	segmentPages = 16
	// passHeads is the most query heads of a row that share a pass over a page:
	// enough that arithmetic, not reading, takes the time.
	passHeads = 16
	// passQueries is about the number of queries that share a pass: more would
	// push the page out of the nearest cache.
	passQueries = 64
	// leastSums is the memory for the sums of segments in numbers, and
	// partsPerThread bounds it from below: with fewer, threads would wait for
	// the last of them too often.
	leastSums      = 1 << 20
	partsPerThread = 4
)

// form is one way to attend: whose keys and values, and what becomes of a sum.
type form interface {
	// page returns the keys and values that a unit reads over page i of its
	// sequence.
	page(u *unit, i, thread int) (keys, values kernels.Cached)
	// finish takes what a query head of a row has added up over all positions.
	finish(row, head int, st *kernels.Attn, sum []float32)
}

// shape is what a sweep computes with: of each row a number of query heads, of
// which group read one key-value head.
type shape struct {
	heads, group int
	key, value   int // widths of a query and of a value
	pass         int // query heads that share a pass, within a group
	tile         int // the most rows that share it
	scale        float32
}

// sweep attends all query heads of some rows to the positions that they see.
//
// The work is divided into units, adjacent rows of one sequence with query
// heads that read the same keys and values, and these into segments of
// positions, which any thread may compute. Each is swept page by page: all
// queries that see the same part of a page make one pass over it. A query's
// sum over a segment goes to memory of its own, and the sums are merged in
// ascending order. So a query gets the same bits whatever rows are beside it,
// and however many threads there are.
type sweep struct {
	shape
	form    form
	pool    *kernels.Pool
	threads []sweepScratch

	// The rows at hand. Each sees the latest window positions; 0: all.
	rows   []Row
	window int
	q      []float32      // [rows, heads, key]
	out    []float32      // [rows, heads, value]
	states []kernels.Attn // [rows, heads]
	units  []unit

	// The parts at hand, as many as fit into sums.
	parts       []part
	first, last int // the units that have some
	sums        []float32
	partStates  []kernels.Attn
}

// unit is rows of one sequence and query heads that read one key-value head.
type unit struct {
	seq         *kvcache.Sequence
	row, rows   int
	head, heads int
	kv          int
	from, end   int    // segments
	next        int    // the first of them that has not been a part
	parts       [2]int // those at hand
}

// part is a segment of a unit, and its sums.
type part struct {
	unit, segment int
	sums          []float32      // [rows, heads, value]
	states        []kernels.Attn // [rows, heads]
}

// sweepScratch is one thread's.
type sweepScratch struct {
	q      []float32 // [rows, heads, key] of a unit
	scores []float32 // [rows, heads, PageTokens], and what AttendQueries decodes into
}

func newSweep(s shape, f form, maxRows int, pool *kernels.Pool) *sweep {
	queries := s.pass * s.tile
	w := &sweep{
		shape: s, form: f, pool: pool, threads: make([]sweepScratch, pool.Threads()),
		states: make([]kernels.Attn, maxRows*s.heads),
	}
	for i := range w.threads {
		w.threads[i].q = make([]float32, queries*s.key)
		w.threads[i].scores = make([]float32, kernels.AttendScratch(queries, kvcache.PageTokens))
	}
	n := max(leastSums, partsPerThread*len(w.threads)*queries*s.value)
	w.sums = make([]float32, n)
	w.partStates = make([]kernels.Attn, n/s.value)
	return w
}

// run attends rows, of which q [rows, heads, key] are the queries, and leaves
// the sums in out [rows, heads, value] after they were finished.
func (s *sweep) run(rows []Row, window int, q, out []float32) {
	s.rows, s.window, s.q, s.out = rows, window, q, out
	s.divide()
	for unit := 0; unit < len(s.units); {
		unit = s.fill(unit)
		s.pool.Run(len(s.parts), (*partJob)(s))
		s.pool.Run((s.last-s.first)*s.pass, (*mergeJob)(s))
	}
}

// divide makes units of the rows.
func (s *sweep) divide() {
	s.units = s.units[:0]
	for row := 0; row < len(s.rows); {
		end := row + 1
		for end < min(len(s.rows), row+s.tile) && s.rows[end].Seq == s.rows[row].Seq {
			end++
		}
		lo, _ := s.visible(s.rows[row].Pos, 0, s.rows[row].Pos+1)
		const positions = segmentPages * kvcache.PageTokens
		for head := 0; head < s.heads; head += s.group {
			for first := 0; first < s.group; first += s.pass {
				s.units = append(s.units, unit{
					seq: s.rows[row].Seq, row: row, rows: end - row, kv: head / s.group,
					head: head + first, heads: min(s.pass, s.group-first),
					from: lo / positions, next: lo / positions, end: s.rows[end-1].Pos/positions + 1,
				})
			}
		}
		row = end
	}
}

// visible returns the positions from lo to hi that a row at position pos sees.
func (s *sweep) visible(pos, lo, hi int) (from, end int) {
	if s.window > 0 {
		lo = max(lo, pos+1-s.window)
	}
	return lo, min(hi, pos+1)
}

// fill makes the next parts of the units from first on, as many as there is
// memory for, and returns the first unit that is not through.
func (s *sweep) fill(first int) int {
	s.parts, s.first, s.last = s.parts[:0], first, first
	used := 0 // queries
	for i := first; i < len(s.units); i++ {
		u := &s.units[i]
		u.parts = [2]int{len(s.parts), len(s.parts)}
		queries := u.rows * u.heads
		for ; u.next < u.end; u.next++ {
			if (used+queries)*s.value > len(s.sums) {
				return i
			}
			s.parts = append(s.parts, part{
				unit: i, segment: u.next,
				sums:   s.sums[used*s.value : (used+queries)*s.value],
				states: s.partStates[used : used+queries],
			})
			used += queries
			u.parts[1]++
			s.last = i + 1
		}
	}
	return len(s.units)
}

// partJob sweeps the pages of a part.
type partJob sweep

// Do implements kernels.Job.
func (j *partJob) Do(item, thread int) {
	s := (*sweep)(j)
	p, t := &s.parts[item], &s.threads[thread]
	u := &s.units[p.unit]
	rows, q := s.rows[u.row:u.row+u.rows], s.queries(u, t)
	clear(p.states)
	lo, _ := s.visible(rows[0].Pos, p.segment*segmentPages*kvcache.PageTokens, rows[0].Pos+1)
	end := min((p.segment+1)*segmentPages, rows[len(rows)-1].Pos/kvcache.PageTokens+1)
	for page := lo / kvcache.PageTokens; page < end; page++ {
		keys, values := s.form.page(u, page, thread)
		base := page * kvcache.PageTokens
		for r := 0; r < len(rows); {
			same, from, to := s.alike(rows, r, base)
			if from < to {
				a, b := r*u.heads, same*u.heads
				kernels.AttendQueries(p.states[a:b], p.sums[a*s.value:b*s.value], q[a*s.key:b*s.key],
					keys.From(from-base), values.From(from-base), to-from, s.scale, t.scores)
			}
			r = same
		}
	}
}

// alike returns the part of the page at position base that row first sees, and
// the end of the rows from first on that see the same part.
func (s *sweep) alike(rows []Row, first, base int) (end, from, to int) {
	from, to = s.visible(rows[first].Pos, base, base+kvcache.PageTokens)
	for end = first + 1; end < len(rows); end++ {
		f, t := s.visible(rows[end].Pos, base, base+kvcache.PageTokens)
		if f != from || t != to {
			break
		}
	}
	return end, from, to
}

// queries returns the queries of a unit [rows, heads, key].
func (s *sweep) queries(u *unit, t *sweepScratch) []float32 {
	n := u.heads * s.key
	at := (u.row*s.heads + u.head) * s.key
	if u.rows == 1 {
		return s.q[at : at+n]
	}
	for r := range u.rows {
		copy(t.q[r*n:(r+1)*n], s.q[at+r*s.heads*s.key:])
	}
	return t.q[:u.rows*n]
}

// mergeJob merges the parts of one head of a unit, and finishes what is complete.
type mergeJob sweep

// Do implements kernels.Job; items run over units and, within, over heads.
func (j *mergeJob) Do(item, _ int) {
	s := (*sweep)(j)
	u, head := &s.units[s.first+item/s.pass], item%s.pass
	if head >= u.heads {
		return
	}
	parts := s.parts[u.parts[0]:u.parts[1]]
	for r := range u.rows {
		at, query := (u.row+r)*s.heads+u.head+head, r*u.heads+head
		st, sum := &s.states[at], s.out[at*s.value:(at+1)*s.value]
		if parts[0].segment == u.from {
			*st = kernels.Attn{}
		}
		for i := range parts {
			p := &parts[i]
			st.Merge(sum, p.states[query], p.sums[query*s.value:(query+1)*s.value])
		}
		if parts[len(parts)-1].segment == u.end-1 {
			s.form.finish(u.row+r, u.head+head, st, sum)
		}
	}
}
