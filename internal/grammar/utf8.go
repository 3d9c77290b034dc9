package grammar

import (
	"unicode/utf8"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

// byteRange is one byte of an encoded character.
type byteRange struct{ lo, hi byte }

// encodings calls f for sequences of byte ranges that together are the UTF-8 of the characters of
// s, in ascending order: of each sequence every combination is a character of s.
func encodings(s regular.Set, f func([]byteRange)) {
	// The last characters of one, two, three and four bytes.
	bounds := [...]rune{0x7f, 0x7ff, 0xffff, utf8.MaxRune}
	for i := 0; i < len(s); i += 2 {
		lo := s[i]
		for _, bound := range bounds {
			if lo <= s[i+1] && lo <= bound {
				hi := min(s[i+1], bound)
				encodeRange(lo, hi, f)
				lo = hi + 1
			}
		}
	}
}

// encodeRange does it for characters lo to hi, all of one length.
func encodeRange(lo, hi rune, f func([]byteRange)) {
	var a, b [utf8.UTFMax]byte
	n := utf8.EncodeRune(a[:], lo)
	utf8.EncodeRune(b[:], hi)
	// Where tails are not whole blocks, the range is cut at block borders.
	for tail := 1; tail < n; tail++ {
		block := rune(1)<<(6*tail) - 1
		if lo&^block == hi&^block {
			continue
		}
		if lo&block != 0 {
			encodeRange(lo, lo|block, f)
			encodeRange((lo|block)+1, hi, f)
			return
		}
		if hi&block != block {
			encodeRange(lo, hi&^block-1, f)
			encodeRange(hi&^block, hi, f)
			return
		}
	}
	out := make([]byteRange, n)
	for i := range out {
		out[i] = byteRange{a[i], b[i]}
	}
	f(out)
}
