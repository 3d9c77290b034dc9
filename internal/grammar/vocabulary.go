package grammar

import (
	"bytes"
	"slices"
)

// maxTokenBytes is how long a token may be that a grammar uses; longer ones are never allowed. The
// longest of public vocabularies are runs of 256 blanks.
const maxTokenBytes = 1 << 12

// Vocabulary is the tokens of a tokenizer in the form that grammars search. It is made once, and
// used by all grammars; it is safe for concurrent use.
type Vocabulary struct {
	size   int
	text   func(id int32) []byte
	whole  *trie
	single [256]int32 // the token of each byte alone, or -1
	quotes []int32    // the tokens with two quotes or more
	runs   runCache
}

// NewVocabulary reads the tokens 0 to size-1. text returns the bytes of one, which need not be a
// whole number of characters, and nil for a control token or no token at all: these come next only
// where a grammar names them. What it returns must not change afterwards.
func NewVocabulary(size int, text func(id int32) []byte) *Vocabulary {
	v := &Vocabulary{size: size, text: text}
	for b := range v.single {
		v.single[b] = -1
	}
	ids := make([]int32, 0, size)
	for id := range int32(size) {
		t := text(id)
		if len(t) == 0 || len(t) > maxTokenBytes {
			continue
		}
		ids = append(ids, id)
		if bytes.Count(t, []byte{'"'}) > 1 {
			v.quotes = append(v.quotes, id)
		}
		if len(t) == 1 && v.single[t[0]] < 0 {
			v.single[t[0]] = id
		}
	}
	slices.SortFunc(ids, func(a, b int32) int {
		if c := bytes.Compare(text(a), text(b)); c != 0 {
			return c
		}
		return int(a - b)
	})
	v.whole = newTrie(ids, text)
	return v
}

// Size returns the number of ids.
func (v *Vocabulary) Size() int { return v.size }

// Words returns the length of a mask.
func (v *Vocabulary) Words() int { return (v.size + 63) / 64 }

// trie holds tokens by their bytes. Nodes are in depth-first order, children by their bytes, so a
// walk runs through the arrays, and jumps over what a node leads to.
type trie struct {
	label  []byte
	depth  []uint16 // bytes from the root, 1 for its children
	height []uint16 // bytes of the longest way down from here
	end    []int32  // the node behind those that this one leads to
	token  []int32  // an id, or -1
	same   map[int32][]int32
}

// nodeBytes is what a node of a trie takes.
const nodeBytes = 13

// newTrie makes a trie of ids, which are sorted by their texts.
func newTrie(ids []int32, text func(id int32) []byte) *trie {
	t := &trie{}
	var path []int32 // nodes of the token before
	closeTo := func(n int) {
		for len(path) > n {
			node := path[len(path)-1]
			path = path[:len(path)-1]
			t.end[node] = int32(len(t.label))
			if len(path) > 0 {
				above := path[len(path)-1]
				t.height[above] = max(t.height[above], t.height[node]+1)
			}
		}
	}
	var last []byte
	for _, id := range ids {
		s := text(id)
		common := 0
		for common < min(len(s), len(last)) && s[common] == last[common] {
			common++
		}
		closeTo(common)
		for i := common; i < len(s); i++ {
			path = append(path, int32(len(t.label)))
			t.label = append(t.label, s[i])
			t.depth = append(t.depth, uint16(i+1))
			t.height = append(t.height, 0)
			t.end = append(t.end, 0)
			t.token = append(t.token, -1)
		}
		node := path[len(path)-1]
		if t.token[node] < 0 {
			t.token[node] = id
		} else {
			if t.same == nil {
				t.same = map[int32][]int32{}
			}
			t.same[t.token[node]] = append(t.same[t.token[node]], id)
		}
		last = s
	}
	closeTo(0)
	return t
}

// Text returns the bytes of a token, nil for a control token.
func (v *Vocabulary) Text(id int32) []byte { return v.text(id) }
