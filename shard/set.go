package shard

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Set is a set of expert indices of one layer. The zero value is empty.
type Set struct{ words []uint64 }

// NewSet returns the set of the given experts.
func NewSet(experts ...int) Set {
	var s Set
	for _, e := range experts {
		s.Add(e)
	}
	return s
}

// Add puts expert e into the set.
func (s *Set) Add(e int) {
	for len(s.words) <= e/64 {
		s.words = append(s.words, 0)
	}
	s.words[e/64] |= 1 << (e % 64)
}

// Has reports whether expert e is in the set.
func (s Set) Has(e int) bool {
	return e/64 < len(s.words) && s.words[e/64]>>(e%64)&1 == 1
}

// Remove takes expert e out of the set.
func (s *Set) Remove(e int) {
	if e/64 < len(s.words) {
		s.words[e/64] &^= 1 << (e % 64)
	}
}

// Len counts the experts in the set.
func (s Set) Len() int {
	n := 0
	for _, w := range s.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// Experts lists the set in ascending order.
func (s Set) Experts() []int {
	out := make([]int, 0, s.Len())
	for i, w := range s.words {
		for ; w != 0; w &= w - 1 {
			out = append(out, i*64+bits.TrailingZeros64(w))
		}
	}
	return out
}

// Minus returns the experts of s that are not in t.
func (s Set) Minus(t Set) Set {
	out := Set{slices.Clone(s.words)}
	for i := range out.words {
		if i < len(t.words) {
			out.words[i] &^= t.words[i]
		}
	}
	return out
}

// Union returns the experts that are in s or in t.
func (s Set) Union(t Set) Set {
	if len(s.words) < len(t.words) {
		s, t = t, s
	}
	out := Set{slices.Clone(s.words)}
	for i, w := range t.words {
		out.words[i] |= w
	}
	return out
}

// String writes the set as ranges, "0-7,12"; the empty set is "".
func (s Set) String() string {
	var b strings.Builder
	experts := s.Experts()
	for i := 0; i < len(experts); {
		j := i
		for j+1 < len(experts) && experts[j+1] == experts[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(experts[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(experts[j]))
		}
		i = j + 1
	}
	return b.String()
}

// MarshalText implements encoding.TextMarshaler.
func (s Set) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; no index may reach
// MaxExperts.
func (s *Set) UnmarshalText(text []byte) error {
	parsed, err := ParseSet(string(text), MaxExperts)
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// MaxExperts bounds the experts of one layer; the largest published model has
// 384.
const MaxExperts = 1 << 14

// ParseSet reads what String writes: ascending indices below limit, so that it takes no more
// work than that, however long the text.
func ParseSet(text string, limit int) (Set, error) {
	var s Set
	if text == "" {
		return s, nil
	}
	next := 0
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		lo, err := strconv.Atoi(first)
		hi := lo
		if err == nil && isRange {
			hi, err = strconv.Atoi(last)
		}
		if err != nil || lo < next || hi < lo || hi >= limit {
			return Set{}, fmt.Errorf("expert range %.32q: want ascending indices below %d", part, limit)
		}
		for e := lo; e <= hi; e++ {
			s.Add(e)
		}
		next = hi + 1
	}
	return s, nil
}
