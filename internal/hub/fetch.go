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

// wanted counts the bytes of s that are wanted.
func (t *task) wanted(s span) int64 { return s.bytes() - t.want.without(s).bytes() }

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

// fetch reads the span, in as many tries as it takes; each goes on where the last one ended.
func (t *task) fetch(ctx context.Context, told func(int64)) error {
	f, s := t.file, t.span
	return f.m.client.retry(ctx, f.name, f.m.client.pace.fetch, func() (bool, error) {
		before := s.begin
		for s.begin < s.end {
			n, err := f.fetchOnce(ctx, s, func(came span) { told(t.wanted(came)) })
			s.begin += n
			if err != nil {
				return s.begin > before, err
			}
		}
		return true, nil
	})
}

// chunkBytes is what is read before it is written.
const chunkBytes = 256 << 10

// fetchOnce asks for a span and writes what comes of it, n bytes of its beginning.
func (f *file) fetchOnce(ctx context.Context, s span, told func(span)) (n int64, err error) {
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
	chunk := make([]byte, min(chunkBytes, got.bytes()))
	for n < got.bytes() {
		k, err := io.ReadFull(body, chunk[:min(int64(len(chunk)), got.bytes()-n)])
		if k > 0 {
			at := got.begin + n
			if _, err := f.data.WriteAt(chunk[:k], at); err != nil {
				return n, &refusal{fmt.Errorf("write the cache: %w", diskError(err))}
			}
			came := span{at, at + int64(k)}
			f.add(came)
			n += came.bytes()
			told(came)
		}
		if err != nil {
			return n, bodyError(ctx, err)
		}
	}
	return n, nil
}
