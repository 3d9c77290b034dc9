package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxEvent bounds one server-sent event.
const maxEvent = 4 << 20

// errEventTooLong is of a line or an event above maxEvent.
var errEventTooLong = fmt.Errorf("an event is longer than %d MiB", maxEvent>>20)

// events reads server-sent events, as the WHATWG's HTML standard defines them: lines end with LF,
// CR or CRLF, those with data are joined, others are passed over, a blank line ends an event. An
// event before the end of the stream counts also without its blank line: some servers close early.
type events struct {
	r      io.Reader
	buf    []byte // buf[start:end] is read and not yet used
	start  int
	end    int
	skipLF bool // the last line ended with CR: a LF that follows belongs to it
	began  bool // the first line, which may have a byte order mark, is read
	data   []byte
	err    error // what the reader ended with
}

// newEvents returns a reader of the events in r.
func newEvents(r io.Reader) *events { return &events{r: r, buf: make([]byte, 4096)} }

// next returns the data of the next event, valid until the next call, or io.EOF.
func (e *events) next() ([]byte, error) {
	e.data = e.data[:0]
	has := false
	for {
		line, err := e.line()
		if err != nil {
			if errors.Is(err, io.EOF) && has {
				return e.data, nil
			}
			return nil, err
		}
		if len(line) == 0 {
			if has {
				return e.data, nil
			}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		if string(field) != "data" {
			continue // a comment, which has no field, or one of no interest: event, id, retry
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if len(e.data)+len(value)+1 > maxEvent {
			return nil, errEventTooLong
		}
		if has {
			e.data = append(e.data, '\n')
		}
		e.data, has = append(e.data, value...), true
	}
}

// line returns the next line without its end, valid until the next call. At the end of the stream
// what is left is a line, then comes the reader's error.
func (e *events) line() ([]byte, error) {
	searched := 0
	for {
		if e.skipLF && e.start < e.end {
			e.skipLF = false
			if e.buf[e.start] == '\n' {
				e.start++
			}
		}
		have := e.buf[e.start:e.end]
		if i := bytes.IndexAny(have[searched:], "\r\n"); i >= 0 {
			i += searched
			e.skipLF = have[i] == '\r'
			e.start += i + 1
			return e.unmarked(have[:i]), nil
		}
		searched = len(have)
		switch {
		case e.err != nil && searched > 0 && errors.Is(e.err, io.EOF):
			e.start = e.end
			return e.unmarked(have), nil
		case e.err != nil:
			return nil, e.err
		case searched > maxEvent:
			return nil, errEventTooLong
		}
		e.fill()
	}
}

// unmarked takes the byte order mark off the first line.
func (e *events) unmarked(line []byte) []byte {
	if e.began {
		return line
	}
	e.began = true
	return bytes.TrimPrefix(line, []byte("\ufeff"))
}

// fill reads more into the buffer, which grows if a line fills it.
func (e *events) fill() {
	if e.start > 0 {
		e.end = copy(e.buf, e.buf[e.start:e.end])
		e.start = 0
	}
	if e.end == len(e.buf) {
		e.buf = append(e.buf, make([]byte, len(e.buf))...)
	}
	n, err := e.r.Read(e.buf[e.end:])
	e.end += n
	e.err = err
}
