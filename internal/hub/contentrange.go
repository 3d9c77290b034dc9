package hub

import (
	"fmt"
	"strconv"
	"strings"
)

// maxFileBytes bounds the size that a server may claim; published weight files are below 50 GB.
const maxFileBytes = 1 << 42

// span is the bytes [begin, end) of a file.
type span struct{ begin, end int64 }

func (s span) bytes() int64 { return s.end - s.begin }

// header is the value of the Range header that asks for the span.
func (s span) header() string { return fmt.Sprintf("bytes=%d-%d", s.begin, s.end-1) }

// parseContentRange reads "bytes FIRST-LAST/SIZE" (RFC 9110, 14.4). The size must be known.
func parseContentRange(text string) (got span, size int64, err error) {
	bad := fmt.Errorf("Content-Range %.60q: want bytes FIRST-LAST/SIZE", text)
	unit, rest, ok := strings.Cut(text, " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return span{}, 0, bad
	}
	limits, total, ok := strings.Cut(rest, "/")
	first, last, dash := strings.Cut(limits, "-")
	if !ok || !dash {
		return span{}, 0, bad
	}
	var n [3]int64
	for i, digits := range []string{first, last, total} {
		v, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || v > maxFileBytes {
			return span{}, 0, bad
		}
		n[i] = int64(v)
	}
	if n[0] > n[1] || n[1] >= n[2] {
		return span{}, 0, bad
	}
	return span{n[0], n[1] + 1}, n[2], nil
}
