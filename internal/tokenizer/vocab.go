package tokenizer

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxID is the largest token id accepted. The largest public vocabularies have some 2^18
// entries; the bound keeps 32-bit arithmetic on ids safe.
const maxID = 1<<24 - 1

// symbol maps a byte to the character that stands for it in a vocabulary (GPT-2's byte map):
// printable Latin-1 characters stand for themselves, the other 68 bytes, in increasing order,
// for U+0100 onwards.
func symbol(b byte) rune {
	switch {
	case b <= 32:
		return 0x100 + rune(b)
	case 127 <= b && b <= 160:
		return 0x121 + rune(b-127)
	case b == 173:
		return 0x143
	}
	return rune(b)
}

// unsymbol is the inverse of symbol; ok is false for characters outside the map.
func unsymbol(c rune) (b byte, ok bool) {
	switch {
	case c < 0x100:
		return byte(c), symbol(byte(c)) == c
	case c <= 0x120:
		return byte(c - 0x100), true
	case c <= 0x142:
		return byte(c - 0x121 + 127), true
	case c == 0x143:
		return 173, true
	}
	return 0, false
}

// unspell appends the bytes that a vocabulary spelling stands for. ok is false, and dst
// unchanged, if the spelling holds a character outside the byte map.
func unspell(dst, spelling []byte) (out []byte, ok bool) {
	out = dst
	for i := 0; i < len(spelling); {
		c, size := utf8.DecodeRune(spelling[i:])
		b, ok := unsymbol(c)
		if !ok {
			return dst, false
		}
		out = append(out, b)
		i += size
	}
	return out, true
}

// kind says what an id is.
type kind uint8

const (
	absent   kind = iota // a hole: no token has this id
	ordinary             // a vocabulary entry made of byte symbols
	verbatim             // a vocabulary entry with other characters: stands for its own spelling
	added                // an added token: stands for its own spelling
	special              // an added token marked special
)

// entry is one id's token.
type entry struct {
	text string // the bytes it stands for, not its spelling
	kind kind
}

// vocab holds what every id stands for.
type vocab struct {
	entries []entry          // by id
	bytes   map[string]int32 // ordinary tokens, by their bytes
	names   map[string]int32 // verbatim, added and special tokens, by their spelling
	count   int              // tokens, that is entries that are not absent
}

// get returns the token of id, or an absent one.
func (v *vocab) get(id int32) entry {
	if id < 0 || int(id) >= len(v.entries) {
		return entry{}
	}
	return v.entries[id]
}

// id finds a token by its spelling.
func (v *vocab) id(spelling string) (int32, bool) {
	if id, ok := v.names[spelling]; ok {
		return id, true
	}
	raw, ok := unspell(nil, []byte(spelling))
	if !ok {
		return 0, false
	}
	id, ok := v.bytes[string(raw)]
	return id, ok
}

// spelling is the inverse of id.
func (v *vocab) spelling(id int32) (string, bool) {
	e := v.get(id)
	if e.kind != ordinary {
		return e.text, e.kind != absent
	}
	s := make([]byte, 0, 2*len(e.text))
	for i := range len(e.text) {
		s = utf8.AppendRune(s, symbol(e.text[i]))
	}
	return string(s), true
}

// put gives the free id a token. The caller has made room by grow.
func (v *vocab) put(id int32, text string, k kind) error {
	if have, taken := v.spelling(id); taken {
		return fmt.Errorf("id %d belongs to %q already", id, have)
	}
	index := v.names
	if k == ordinary {
		index = v.bytes
	}
	if _, twice := index[text]; twice {
		return errors.New("given twice")
	}
	index[text] = id
	v.entries[id] = entry{text: text, kind: k}
	v.count++
	return nil
}

// grow makes room for n more tokens with ids up to top, which must be in proportion to the
// number of tokens: embeddings and masks are sized by the largest id.
func (v *vocab) grow(n int, top int32) error {
	if int(top) >= 4*(v.count+n) {
		return fmt.Errorf("id %d is out of proportion to %d tokens", top, v.count+n)
	}
	if more := int(top) + 1 - len(v.entries); more > 0 {
		v.entries = append(v.entries, make([]entry, more)...)
	}
	return nil
}

// readVocab reads the object {"spelling": id, ...}.
func readVocab(r *reader) (*vocab, error) {
	type found struct {
		id         int32
		mapped     bool
		start, end int // in the arena
	}
	var tokens []found
	var arena []byte // all tokens in one piece of memory, not 10^5
	top := int32(-1)
	err := r.object(func(key []byte) error {
		start := len(arena)
		var mapped bool
		if arena, mapped = unspell(arena, key); !mapped {
			arena = append(arena, key...)
		}
		id, err := r.id()
		if err != nil {
			return fmt.Errorf("[%q]: %w", key, err)
		}
		top = max(top, id)
		tokens = append(tokens, found{id, mapped, start, len(arena)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	v := &vocab{bytes: make(map[string]int32, len(tokens)), names: map[string]int32{}}
	if err := v.grow(len(tokens), top); err != nil {
		return nil, err
	}
	text := string(arena)
	for _, t := range tokens {
		k := verbatim
		if t.mapped {
			k = ordinary
		}
		if err := v.put(t.id, text[t.start:t.end], k); err != nil {
			return nil, fmt.Errorf("[%q]: %w", text[t.start:t.end], err)
		}
	}
	return v, nil
}
