package kernels

import "math"

// Attn is the running softmax of one query head over the blocks of a KV cache. The zero value is
// the state before the first block.
type Attn struct {
	Max float32 // the largest score so far; meaningless while Sum is 0
	Sum float32 // Σ exp(score - Max); at least 1 after a block
}

// AttendQueries folds positions 0 to n-1 of a page into the running attention of several query
// heads that read one key-value head: q [queries, d], acc [queries, dv], one state for each query;
// scores is scratch of at least queries*n numbers; with AttendScratch of them many queries of I8
// are faster. For each query, with the numbers that keys and values store, and with the scales a[j]
// of keys and b[j] of values in I8, else 1:
//
//	s[j] = Dot(q, key[j]) * a[j] * scale              each product rounded
//	m    = max(st.Max, s[0], …, s[n-1]) + 0;  c = Exp(st.Max - m)
//	p[j] = Exp(s[j] - m)
//	Sum  = Sum*c + p[0] + p[1] + …                    in ascending j
//	acc  = fma(p[j] * b[j], value[j], … acc*c)        in ascending j
//
// NaNs are no maximum. acc need not be cleared before the first page. The output of a head is
// acc / st.Sum: Normalize. The bits of a query depend neither on the others nor on their number,
// but on where pages are cut: callers anchor them at absolute positions. Values may be the
// beginning of the keys. Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.
func AttendQueries(states []Attn, acc, q []float32, keys, values Cached, n int, scale float32,
	scores []float32) {
	queries := len(states)
	if queries == 0 {
		return
	}
	d, dv := len(q)/queries, len(acc)/queries
	if len(q) != queries*d || len(acc) != queries*dv || n < 0 || len(scores) < queries*n {
		panic("kernels: AttendQueries of queries, sums or scores that do not match the states")
	}
	keys.check(n, d)
	values.check(n, dv)
	for t := range states {
		states[t].start(acc[t*dv : (t+1)*dv])
	}
	if n == 0 {
		return
	}
	scores, panel := scores[:queries*n], scores[queries*n:]
	panel = panel[:min(len(panel), widened)]
	dotCached(scores, q, &keys, &values, n, dv, panel)
	for t := range states {
		states[t].raise(acc[t*dv:(t+1)*dv], scores[t*n:(t+1)*n], &keys, scale)
	}
	expSums(states, scores, n)
	if values.Format == I8 {
		for t := range states {
			mulScales(scores[t*n:(t+1)*n], &values)
		}
	}
	addCached(acc, scores, &values, n, panel)
}

// widened is how many numbers of keys or values are decoded into memory at once, for many queries:
// they stay in the first-level cache.
const widened = 2048

// AttendScratch returns how many numbers of scratch make AttendQueries fastest.
func AttendScratch(queries, n int) int { return queries*n + widened }

// start clears what a query adds up before its first page.
func (st *Attn) start(acc []float32) {
	if st.Sum == 0 {
		st.Max = float32(math.Inf(-1))
		clear(acc)
	}
}

// raise scales the dot products of one query with a page's keys, and moves the running attention to
// the new maximum.
func (st *Attn) raise(acc, scores []float32, keys *Cached, scale float32) {
	if keys.Format == I8 {
		mulScales(scores, keys)
	}
	highest := scaleMax(scores, scale, st.Max)
	if st.Sum != 0 && highest != st.Max {
		c := Exp(st.Max - highest)
		st.Sum = float32(st.Sum * c)
		scaleBy(acc, c)
	}
	st.Max = highest
}

// Merge folds the attention over later positions into that over earlier ones, as flash-decoding
// does: with m = max(st.Max, later.Max),
//
//	Sum = fma(Exp(later.Max - m), later.Sum, Sum*c);  c = Exp(st.Max - m)
//	acc = fma(Exp(later.Max - m), laterAcc, acc*c)
//
// The bits depend on the order: callers merge by ascending position. A zero state has no positions
// and changes nothing; its acc is not read.
func (st *Attn) Merge(acc []float32, later Attn, laterAcc []float32) {
	if len(acc) != len(laterAcc) {
		panic("kernels: Merge of sums of different lengths")
	}
	switch {
	case later.Sum == 0:
		st.start(acc)
		return
	case st.Sum == 0:
		*st = later
		copy(acc, laterAcc)
		return
	}
	highest := max(st.Max, later.Max)
	c, p := Exp(st.Max-highest), Exp(later.Max-highest)
	*st = Attn{Max: highest, Sum: fma32(p, later.Sum, float32(st.Sum*c))}
	scaleBy(acc, c)
	addWeighted(acc, []float32{p}, laterAcc, len(acc))
}

// Sink folds a logit that has no value into the softmax: it takes its share of the weight and adds
// nothing. Call it at most once, before Normalize. gpt-oss has one such logit per query head; Xiao
// et al., "Efficient Streaming Language Models with Attention Sinks", 2023.
func (st *Attn) Sink(acc []float32, z float32) {
	if st.Sum == 0 {
		st.Max, st.Sum = z, 1
		clear(acc)
		return
	}
	if z > st.Max {
		c := Exp(st.Max - z)
		st.Max, st.Sum = z, float32(st.Sum*c)
		for i := range acc {
			acc[i] *= c
		}
	}
	st.Sum += Exp(z - st.Max)
}

// Normalize divides acc by the sum of the weights folded into it: acc[i] /= st.Sum.
func (st *Attn) Normalize(acc []float32) {
	divideBy(acc, st.Sum)
}
