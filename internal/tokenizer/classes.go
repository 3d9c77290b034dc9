package tokenizer

import "unicode"

// class is a set of the Unicode properties that split patterns ask for.
type class uint8

const (
	upper   class = 1 << iota // \p{Lu} \p{Lt}
	lower                     // \p{Ll}
	other                     // \p{Lm} \p{Lo}
	mark                      // \p{M}
	number                    // \p{N}
	punct                     // \p{P}
	symbols                   // \p{S}
	space                     // \s, that is White_Space
	letter  = upper | lower | other
)

// tableSize covers the planes that nearly all text is in; beyond lie ideographs (and rarities),
// which are looked up in package unicode.
const tableSize = 0x20000

// classes finds the class of a character. It is built once per Tokenizer: package unicode's
// binary searches would dominate the time of splitting.
type classes struct {
	table [tableSize]class
}

func newClasses() *classes {
	c := new(classes)
	for _, p := range properties() {
		c.fill(p.table, p.class)
	}
	return c
}

type property struct {
	class class
	table *unicode.RangeTable
}

func properties() []property {
	return []property{
		{upper, unicode.Lu}, {upper, unicode.Lt}, {lower, unicode.Ll},
		{other, unicode.Lm}, {other, unicode.Lo}, {mark, unicode.M}, {number, unicode.N},
		{punct, unicode.P}, {symbols, unicode.S}, {space, unicode.White_Space},
	}
}

func (c *classes) fill(t *unicode.RangeTable, bits class) {
	for _, r := range t.R16 {
		for u := uint32(r.Lo); u <= uint32(r.Hi); u += uint32(r.Stride) {
			c.table[u] |= bits
		}
	}
	for _, r := range t.R32 {
		for u := r.Lo; u <= r.Hi && u < tableSize; u += r.Stride {
			c.table[u] |= bits
		}
	}
}

func (c *classes) of(r rune) class {
	if r < tableSize {
		return c.table[r]
	}
	var bits class
	for _, p := range properties() {
		if unicode.Is(p.table, r) {
			bits |= p.class
		}
	}
	return bits
}
