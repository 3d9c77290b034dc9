package hub

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseContentRange(t *testing.T) {
	for text, want := range map[string]struct {
		span
		size int64
	}{
		"bytes 0-0/1":                    {span{0, 1}, 1},
		"bytes 0-499/1234":               {span{0, 500}, 1234}, // RFC 9110, 14.4
		"bytes 500-999/1234":             {span{500, 1000}, 1234},
		"Bytes 734-1233/1234":            {span{734, 1234}, 1234},
		"bytes 42-1233/*":                {},
		"bytes */1234":                   {},
		"bytes 5-4/10":                   {},
		"bytes 5-10/10":                  {},
		"bytes -5-7/10":                  {},
		"bytes 0-1":                      {},
		"bytes":                          {},
		"items 0-1/2":                    {},
		"":                               {},
		"bytes 0-1/99999999999999999999": {},
		"bytes 0x0-1/2":                  {},
		"bytes 0-1/4398046511105":        {}, // above the limit
	} {
		got, size, err := parseContentRange(text)
		if (err == nil) != (want.size > 0) || got != want.span || size != want.size {
			t.Errorf("%q: got %v of %d, %v; want %v of %d", text, got, size, err, want.span, want.size)
		}
	}
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-499/1234", "bytes */1234", "bytes 1-2/*", "bytes 9-1/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, size, err := parseContentRange(text)
		if err == nil && (got.begin < 0 || got.begin >= got.end || got.end > size || size > maxFileBytes) {
			t.Errorf("%q is %v of %d", text, got, size)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	r := record{identity: identity{Size: 100, Tag: `"x"`}, Present: spans{{0, 8}, {10, 20}}}
	good, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	_, body, _ := bytes.Cut(good, []byte("\n"))
	f.Add(body)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, sealed(data)} {
			r, err := decodeRecord(data)
			if err != nil {
				continue
			}
			again, err := r.encode()
			if err != nil {
				t.Fatal(err)
			}
			back, err := decodeRecord(again)
			if err != nil || !reflect.DeepEqual(r, back) {
				t.Errorf("%+v came back as %+v, %v", r, back, err)
			}
			if r.Present.bytes() > r.Size {
				t.Errorf("%d bytes are present of %d", r.Present.bytes(), r.Size)
			}
		}
	})
}

// sealed puts the right checksum before a record's JSON.
func sealed(body []byte) []byte {
	return append([]byte(recordMagic+sha(body)+"\n"), body...)
}

func TestDecodeRecordRefuses(t *testing.T) {
	for _, body := range []string{
		`{"size":-1}`, `{"size":10,"present":[[5,11]]}`, `{"size":10,"present":[[5,5]]}`,
		`{"size":10,"present":[[-1,5]]}`, `{"size":10,"present":[[0,5],[5,7]]}`,
		`{"size":10,"present":[[6,7],[0,5]]}`, `{"size":10,"present":[[1]]}`, `[]`, ``,
		`{"size":9223372036854775807}`,
	} {
		if r, err := decodeRecord(sealed([]byte(body))); err == nil {
			t.Errorf("%s is read as %+v", body, r)
		}
	}
}

// Spans behave as a set of single bytes does.
func TestSpansAreASet(t *testing.T) {
	const size = 60
	rapid.Check(t, func(t *rapid.T) {
		var set [size]bool
		var l spans
		draw := func() span {
			a, b := rapid.Int64Range(0, size).Draw(t, "a"), rapid.Int64Range(0, size).Draw(t, "b")
			return span{min(a, b), max(a, b)}
		}
		for range rapid.IntRange(0, 8).Draw(t, "adds") {
			s := draw()
			l = l.add(s)
			for i := s.begin; i < s.end; i++ {
				set[i] = true
			}
		}
		if data, err := (&record{identity: identity{Size: size}, Present: l}).encode(); err != nil {
			t.Fatal(err)
		} else if _, err := decodeRecord(data); err != nil {
			t.Fatalf("%v is out of order: %v", l, err)
		}
		s := draw()
		all, missing := true, l.without(s)
		for i := s.begin; i < s.end; i++ {
			all = all && set[i]
			if missing.has(span{i, i + 1}) == set[i] {
				t.Fatalf("%v without %v is %v", l, s, missing)
			}
		}
		if l.has(s) != all || (len(missing) == 0) != all {
			t.Fatalf("%v has %v: %v; without is %v", l, s, l.has(s), missing)
		}
	})
}

func TestRequests(t *testing.T) {
	l := spans{{0, 10}, {10 + mergeGap, 100_000}, {200_000, 200_000 + 2*maxSpan + 5}}
	want := []span{
		{0, 100_000}, {200_000, 200_000 + maxSpan}, {200_000 + maxSpan, 200_000 + 2*maxSpan},
		{200_000 + 2*maxSpan, 200_000 + 2*maxSpan + 5},
	}
	if got := l.requests(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestURLs(t *testing.T) {
	for text, want := range map[string]string{
		"https://hub.example/org/Model-7B/resolve/main":  "Model-7B",
		"https://hub.example/org/Model-7B/resolve/main/": "Model-7B",
		"http://127.0.0.1:8000/models/demo/":             "demo",
		"http://127.0.0.1:8000":                          "127.0.0.1",
	} {
		if _, err := ParseURL(text); err != nil || !IsURL(text) {
			t.Errorf("%s: %v", text, err)
		}
		if got := ModelName(text); got != want {
			t.Errorf("%s is called %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{
		"https://user:hunter2@h/m", "https://h/m?token=hunter2", "https://h/m#hunter2", "ftp://h/m", "https://",
	} {
		if _, err := ParseURL(text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v", text, err)
		}
	}
	if IsURL("/models/demo") || IsURL("models") {
		t.Error("a folder is taken for a URL")
	}
}
