package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/conclave-serve/conclave/internal/safetensors"
)

// task is one request: a span of a file. It may cover gaps between the spans that are wanted.
type task struct {
	file *file
	span span
	want spans // of all tasks of the file
}

// Fetch implements safetensors.Source: it reads those of the ranges that are not present, several
// at a time. progress, if not nil, hears of their bytes as they arrive, never from two goroutines
// at once. What came before an error stays.
func (m *Model) Fetch(
	ctx context.Context, ranges []safetensors.Range, progress func(bytes int64),
) error {
	tasks, bytes, err := m.plan(ctx, ranges)
	if err != nil {
		return err
	}
	if len(tasks) > 0 {
		if err := m.makeRoom(bytes); err != nil {
			return err
		}
		if err := m.perform(ctx, tasks, progress); err != nil {
			return err
		}
	}
	// Also what others have made whole, or a killed process that could not check it.
	for _, r := range ranges {
		if err := m.file(r.File).check(); err != nil {
			return err
		}
	}
	return nil
}

// perform carries out the requests, several at a time.
func (m *Model) perform(ctx context.Context, tasks []task, progress func(bytes int64)) error {
	var mu sync.Mutex
	told := func(n int64) {
		if progress != nil {
			mu.Lock()
			defer mu.Unlock()
			progress(n)
		}
	}
	err := each(ctx, len(tasks), func(ctx context.Context, i int) error {
		t := &tasks[i]
		if t.span.bytes() >= claimBytes {
			return t.claimed(ctx, told)
		}
		return errors.Join(t.fetch(ctx, told), t.file.commitSoon())
	})
	touched := map[*file]bool{}
	for _, t := range tasks {
		if !touched[t.file] {
			touched[t.file] = true
			err = errors.Join(err, t.file.commit())
		}
	}
	return err
}

// plan turns ranges into the requests that they need.
func (m *Model) plan(ctx context.Context, ranges []safetensors.Range) ([]task, int64, error) {
	wanted := map[string]spans{}
	for _, r := range ranges {
		if r.Begin < 0 || r.End < r.Begin {
			return nil, 0, fmt.Errorf("hub: range [%d, %d) of %s", r.Begin, r.End, r.File)
		}
		wanted[r.File] = wanted[r.File].add(span{r.Begin, r.End})
	}
	var tasks []task
	var bytes int64
	for name, want := range wanted {
		f, err := m.open(ctx, name)
		if err != nil {
			return nil, 0, err
		}
		if n := len(want); n > 0 && want[n-1].end > f.have.Size {
			return nil, 0, fmt.Errorf("hub: %s has %d bytes, not %d", name, f.have.Size, want[n-1].end)
		}
		missing := f.refresh(want)
		for _, s := range missing.requests() {
			tasks = append(tasks, task{f, s, missing})
			bytes += s.bytes()
		}
	}
	slices.SortFunc(tasks, func(a, b task) int {
		return cmp.Or(cmp.Compare(a.file.name, b.file.name), cmp.Compare(a.span.begin, b.span.begin))
	})
	return tasks, bytes, nil
}

// Present implements safetensors.Source.
func (m *Model) Present(r safetensors.Range) bool {
	f := m.file(r.File)
	return f != nil && f.present(span{r.Begin, r.End})
}

// fetch reads what is wanted of the span, in as many tries as it takes; each goes on where the last
// one ended. A mirror is asked first, in each try: it may be there when the origin is not.
func (t *task) fetch(ctx context.Context, told func(int64)) error {
	f := t.file
	return f.m.client.retry(ctx, f.name, f.m.client.pace.fetch, func() (bool, error) {
		before := t.missing().bytes()
		if f.m.mirror != nil {
			t.fromMirror(ctx, told)
		}
		for _, s := range t.missing().requests() {
			for s.begin < s.end {
				n, err := f.receive(ctx, s, func(piece []byte, at int64) error {
					return t.take(piece, at, told)
				})
				s.begin += n
				if err != nil {
					return t.missing().bytes() < before, err
				}
			}
		}
		return true, nil
	})
}

// missing is what is wanted of the span and not present.
func (t *task) missing() spans {
	var missing spans
	for _, s := range t.want {
		part := span{max(s.begin, t.span.begin), min(s.end, t.span.end)}
		if part.begin < part.end {
			missing = append(missing, t.file.missing(part)...)
		}
	}
	return missing
}

// take keeps a piece that the origin sent.
func (t *task) take(piece []byte, at int64, told func(int64)) error {
	came := span{at, at + int64(len(piece))}
	// The gaps between what is wanted do not count, nor does what a mirror has sent.
	news := (&task{t.file, came, t.want}).missing().bytes()
	if err := t.file.keep(piece, at); err != nil {
		return err
	}
	t.file.m.fromOrigin.Add(came.bytes())
	told(news)
	return nil
}

// chunkBytes is what is read before it is handed on.
const chunkBytes = 256 << 10

// receive asks the origin for a span and hands on what comes of it, n bytes of its beginning. Where
// the origin gives a digest of its answer, nothing is handed on before that was found right.
func (f *file) receive(
	ctx context.Context, s span, take func(piece []byte, at int64) error,
) (n int64, err error) {
	ctx, alive, stop := f.m.client.watch(ctx)
	defer stop()
	header := http.Header{"Range": {s.header()}}
	if condition := f.have.condition(); condition != "" {
		header.Set("If-Range", condition)
	}
	a, err := f.m.client.get(ctx, f.name, header)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	got, err := f.checkRange(a, s)
	if err != nil {
		return 0, err
	}
	body := &aliveReader{a.Body, alive}
	piece := int64(chunkBytes)
	digest := contentDigest(a.Header)
	if digest != nil && got.bytes() <= maxSpan {
		piece = maxSpan
	}
	chunk := make([]byte, min(piece, got.bytes()))
	for n < got.bytes() {
		k, err := io.ReadFull(body, chunk[:min(int64(len(chunk)), got.bytes()-n)])
		if err == nil && int64(k) == got.bytes() {
			err = digest.check(chunk[:k])
		}
		if k > 0 && (err == nil || piece == chunkBytes) {
			if err := take(chunk[:k], got.begin+n); err != nil {
				return n, err
			}
			n += int64(k)
		}
		if err != nil {
			return n, bodyError(ctx, err)
		}
	}
	return n, nil
}
