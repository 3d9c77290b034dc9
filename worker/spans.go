package worker

import (
	"cmp"
	"slices"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/model"
)

// expertSpan is a part of a weight file that belongs to one routed expert.
type expertSpan struct {
	begin, end    int64
	layer, expert int
}

// expertSpans tells, for each weight file, which parts belong to which expert, in ascending order.
type expertSpans map[string][]expertSpan

// findExperts lists where a checkpoint keeps its experts. The spec has passed Check with it.
func findExperts(spec *model.Spec, ck *safetensors.Checkpoint) (expertSpans, error) {
	all := expertSpans{}
	for l, layer := range spec.Layers {
		if layer.MoE == nil {
			continue
		}
		for e, expert := range layer.MoE.Experts {
			ranges, err := model.Ranges(ck, expert.Tensors()...)
			if err != nil {
				return nil, err
			}
			for _, r := range ranges {
				all[r.File] = append(all[r.File], expertSpan{r.Begin, r.End, l, e})
			}
		}
	}
	for file, list := range all {
		slices.SortFunc(list, func(a, b expertSpan) int {
			return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
		})
		all[file] = joined(list)
	}
	return all, nil
}

// joined makes one of neighbours of the same expert. Rows of a fused tensor may take turns, and the
// ranges of two matrices then overlap.
func joined(list []expertSpan) []expertSpan {
	out := list[:0]
	for _, s := range list {
		if n := len(out) - 1; n >= 0 && out[n].layer == s.layer && out[n].expert == s.expert &&
			s.begin <= out[n].end {
			out[n].end = max(out[n].end, s.end)
			continue
		}
		out = append(out, s)
	}
	return out
}

// first returns the expert to which the beginning of a range belongs, and how much of the range
// does, at most most bytes. It reports false for bytes of no expert.
func (all expertSpans) first(
	r safetensors.Range, most int64,
) (owner expertSpan, one safetensors.Range, ok bool) {
	list := all[r.File]
	i, _ := slices.BinarySearchFunc(list, r.Begin, func(s expertSpan, at int64) int {
		if s.end <= at {
			return -1
		}
		return 1
	})
	if i == len(list) || list[i].begin > r.Begin || r.Begin >= r.End {
		return expertSpan{}, r, false
	}
	r.End = min(r.End, list[i].end, r.Begin+most)
	return list[i], r, true
}

// parts cuts ranges at the borders of experts and into pieces of at most most bytes. What belongs
// to no expert is left out.
func (all expertSpans) parts(ranges []safetensors.Range, most int64) []part {
	var out []part
	for _, r := range ranges {
		for r.Begin < r.End {
			owner, one, ok := all.first(r, most)
			if !ok {
				r.Begin = all.next(r)
				continue
			}
			out = append(out, part{one, owner.layer, owner.expert})
			r.Begin = one.End
		}
	}
	return out
}

// next is where the first expert behind the beginning of a range begins, or the range's end.
func (all expertSpans) next(r safetensors.Range) int64 {
	for _, s := range all[r.File] {
		if s.begin > r.Begin {
			return min(s.begin, r.End)
		}
	}
	return r.End
}

// part is a range that belongs to one expert.
type part struct {
	safetensors.Range
	layer, expert int
}
