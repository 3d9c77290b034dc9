package grammar

import (
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// A run is a place in a grammar where characters of one set may follow each other: the inside of a
// JSON string, text before a tag. Most tokens of a vocabulary are such characters and nothing else,
// and which those are does not depend on the grammar. They are found once per set and number of
// characters that may still follow; a mask takes them as they are and looks at the rest alone.

// steps are the numbers of characters that runs are prepared for; a run takes the largest that it
// has room for. Below the first it is searched like anything else, which few characters bound.
var steps = [...]int{4, 8, 16, 32, Unbounded}

// Bounds of what a vocabulary keeps. A class takes up to 5 MB at 150,000 tokens.
const (
	maxRunSets  = 16
	maxOwnSets  = 8  // that one grammar uses; what is of others is searched like anything else
	minRunChars = 24 // in a set; fewer let few tokens through
)

// run is the tokens that are whole characters of a set, and no more than a number of them.
type run struct {
	allowed []uint64
	count   int
	rest    *trie // all other tokens
}

// runSet is what a vocabulary knows of one set of characters.
type runSet struct {
	chars regular.Set
	once  sync.Once
	// counts holds by token how many characters of the set it is, 0 if it is anything else.
	counts []uint16
	runs   [len(steps)]struct {
		once sync.Once
		run  *run
	}
}

// runCache holds the sets that grammars have used; beyond its size it forgets all of them.
type runCache struct {
	mu   sync.Mutex
	sets map[string]*runSet
}

// runSet returns what the vocabulary knows of a set, or nil if it is too small to be of use.
func (v *Vocabulary) runSet(chars regular.Set) *runSet {
	if chars.Size() < minRunChars {
		return nil
	}
	key := string(slices.Clone([]rune(chars)))
	v.runs.mu.Lock()
	defer v.runs.mu.Unlock()
	s, ok := v.runs.sets[key]
	if !ok {
		if v.runs.sets == nil || len(v.runs.sets) == maxRunSets {
			v.runs.sets = map[string]*runSet{}
		}
		s = &runSet{chars: chars}
		v.runs.sets[key] = s
	}
	return s
}

// length counts the characters of s, or returns 0 if it is not made of characters of the set alone.
func (r *runSet) length(s []byte) int {
	n := 0
	for len(s) > 0 {
		c, size := utf8.DecodeRune(s)
		if c == utf8.RuneError && size == 1 || !r.chars.Has(c) {
			return 0
		}
		s = s[size:]
		n++
	}
	return n
}

// prepare makes the runs of a set that a repetition of up to most characters uses, so that no mask
// waits for them. It returns how many bytes they take that were not there before.
func (v *Vocabulary) prepare(s *runSet, most int) (bytes int) {
	for _, step := range steps {
		if most != Unbounded && step != Unbounded && step <= most || step == most {
			_, made := v.run(s, step)
			bytes += made
		}
	}
	return bytes
}

// run returns the run of a set with room for so many characters, or nil if that is few, and how
// many bytes it takes if it was not there before.
func (v *Vocabulary) run(s *runSet, room int) (r *run, made int) {
	best := -1
	for i, step := range steps {
		if room == Unbounded || step != Unbounded && step <= room {
			best = i
		}
	}
	if best < 0 {
		return nil, 0
	}
	s.once.Do(func() {
		s.counts = make([]uint16, v.size)
		made += 2 * v.size
		for id := range int32(v.size) {
			if text := v.text(id); len(text) <= maxTokenBytes {
				s.counts[id] = uint16(s.length(text))
			}
		}
	})
	slot := &s.runs[best]
	slot.once.Do(func() {
		slot.run = v.newRun(s.counts, steps[best])
		made += 8*v.Words() + nodeBytes*len(slot.run.rest.label)
	})
	return slot.run, made
}

func (v *Vocabulary) newRun(counts []uint16, most int) *run {
	r := &run{allowed: make([]uint64, v.Words())}
	var rest []int32
	for _, id := range v.sorted() {
		if n := int(counts[id]); n > 0 && (most == Unbounded || n <= most) {
			r.allowed[id/64] |= 1 << (id % 64)
			r.count++
		} else {
			rest = append(rest, id)
		}
	}
	r.rest = newTrie(rest, v.text)
	return r
}

// sorted returns the ids in the order of their texts.
func (v *Vocabulary) sorted() []int32 {
	ids := make([]int32, 0, v.size)
	for _, id := range v.whole.token {
		if id >= 0 {
			ids = append(append(ids, id), v.whole.same[id]...)
		}
	}
	return ids
}
