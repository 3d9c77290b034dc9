package loadgen

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// readAll returns the data of all events, and what ended them if not the end of the stream.
func readAll(r io.Reader) (all []string, err error) {
	e := newEvents(r)
	for {
		data, err := e.next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, string(data))
	}
}

func TestEvents(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name, stream string
		want         []string
	}{
		{"two", "data: a\n\ndata: b\n\n", []string{"a", "b"}},
		{"carriage returns and line feeds", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}},
		{"carriage returns", "data: a\r\rdata: b\r\r", []string{"a", "b"}},
		{"no space", "data:a\n\n", []string{"a"}},
		{"one space is taken off", "data:  a\n\n", []string{" a"}},
		{"lines are joined", "data: a\ndata: b\ndata:\n\n", []string{"a\nb\n"}},
		{"comments", ": ping\n\ndata: a\n: ping\n\n:\n\n", []string{"a"}},
		{"other fields", "event: x\nid: 1\nretry: 5\ndata: a\n\nevent: y\n\n", []string{"a"}},
		{"names are exact", "dat: a\ndatas: b\n data: c\nDATA: d\n\n", nil},
		{"a field without a colon", "data\n\n", []string{""}},
		{"blank lines", "\n\n\ndata: a\n\n\n\n", []string{"a"}},
		{"a colon in the data", "data: {\"a\":1}\n\n", []string{`{"a":1}`}},
		{"a byte order mark", "\ufeffdata: a\n\n", []string{"a"}},
		{"a second one is no mark", "\ufeff\ufeffdata: a\n\n", nil},
		{"no blank line at the end", "data: a\n\ndata: b\n", []string{"a", "b"}},
		{"no end of line at the end", "data: a\n\ndata: b", []string{"a", "b"}},
		{"long", "data: " + long + "\n\ndata: b\n\n", []string{long, "b"}},
		{"empty", "", nil},
		{"no events", "<html>\n<p>data: a\n", nil},
	} {
		for _, r := range []io.Reader{
			strings.NewReader(c.stream), iotest.OneByteReader(strings.NewReader(c.stream)),
			iotest.HalfReader(strings.NewReader(c.stream)), iotest.DataErrReader(strings.NewReader(c.stream)),
		} {
			got, err := readAll(r)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: %.100q, %v; want %.100q", c.name, got, err, c.want)
			}
		}
	}
}

func TestEventsThatBreak(t *testing.T) {
	broken := errors.New("the connection broke")
	got, err := readAll(io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q, %v", got, err)
	}
	for name, stream := range map[string]io.Reader{
		"a line":   io.MultiReader(strings.NewReader("data: "), endless("x")),
		"an event": endless("data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"),
	} {
		if got, err := readAll(stream); !errors.Is(err, errEventTooLong) || len(got) > 0 {
			t.Errorf("%s without end: %d events, %v", name, len(got), err)
		}
	}
}

// endless reads a text over and over.
type endless string

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n+len(e) <= len(p) {
		n += copy(p[n:], e)
	}
	return n, nil
}

// FuzzEvents: however a stream is cut into pieces, it has the same events; none has a line end that
// its data line did not have, and no chunk in one makes the record's reader panic.
func FuzzEvents(f *testing.F) {
	f.Add("data: a\n\n: x\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\rdata:b\ndata:c")
	f.Add("\ufeffdata\n\ndata: [DONE]\n\n")
	f.Add(`data: {"usage":{"prompt_tokens":-1,"completion_tokens":1e3},"error":{"message":5}}`)
	f.Fuzz(func(t *testing.T, stream string) {
		whole, err := readAll(strings.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		cut, err := readAll(iotest.OneByteReader(strings.NewReader(stream)))
		if err != nil || !slices.Equal(whole, cut) {
			t.Fatalf("whole %q, byte by byte %q, %v", whole, cut, err)
		}
		for _, data := range whole {
			if strings.Contains(data, "\r") {
				t.Errorf("%q has a carriage return", data)
			}
			var r Record
			if c, err := parseChunk([]byte(data)); err == nil {
				r.add(0, c)
			}
			if r.OutputTokens < 0 || r.PromptTokens < 0 {
				t.Errorf("%q: %+v", data, r)
			}
		}
	})
}
