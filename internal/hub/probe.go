package hub

import (
	"context"
	"io"
	"net/http"
)

// probe asks for the first bytes of a weight file and learns what it is.
func (c *client) probe(ctx context.Context, name string) (identity, []byte, error) {
	const prefixBytes = 8
	ctx, alive, stop := c.watch(ctx)
	defer stop()
	a, err := c.get(ctx, name, http.Header{"Range": {span{0, prefixBytes}.header()}})
	if err != nil {
		return identity{}, nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusPartialContent {
		return identity{}, nil, errNoRanges()
	}
	got, size, err := parseContentRange(a.Header.Get("Content-Range"))
	if err != nil {
		return identity{}, nil, &refusal{err}
	}
	if want := (span{0, min(prefixBytes, size)}); got != want {
		return identity{}, nil, errOtherRange(got, want)
	}
	is, err := a.identity(size)
	if err != nil {
		return is, nil, err
	}
	prefix := make([]byte, got.end)
	if _, err := io.ReadFull(&aliveReader{a.Body, alive}, prefix); err != nil {
		return is, nil, bodyError(ctx, err)
	}
	return is, prefix, nil
}

func errNoRanges() error {
	return refuse("the server does not answer Range requests, so that a part cannot be read alone: " +
		"download the model and give its folder")
}

func errOtherRange(got, want span) error {
	return refuse("answers with bytes [%d, %d), asked for were [%d, %d)",
		got.begin, got.end, want.begin, want.end)
}

// checkRange holds the answer for s to the file that was probed, and returns the part that it
// brings: s, or a beginning of it.
func (f *file) checkRange(a *answer, s span) (span, error) {
	is := f.have.identity
	got, size := s, is.Size
	if a.StatusCode == http.StatusPartialContent {
		var err error
		if got, size, err = parseContentRange(a.Header.Get("Content-Range")); err != nil {
			return span{}, &refusal{err}
		}
	} else if a.ContentLength >= 0 {
		size = a.ContentLength
	}
	now, err := a.identity(size)
	switch {
	case err != nil:
		return span{}, err
	case now != is:
		return span{}, refuse("the file has changed at its origin, from %d bytes %.80s to %d bytes "+
			"%.80s: start again", is.Size, is.Tag, now.Size, now.Tag)
	case a.StatusCode != http.StatusPartialContent && s != span{0, is.Size}:
		return span{}, errNoRanges()
	case got.begin != s.begin || got.end > s.end:
		return span{}, errOtherRange(got, s)
	case a.ContentLength >= 0 && a.ContentLength != got.bytes():
		return span{}, refuse("announces %d bytes for a range of %d", a.ContentLength, got.bytes())
	}
	return got, nil
}
