package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/conclave-serve/conclave/coordinator"
)

// watcher shows a cluster again and again.
type watcher struct {
	look     func(ctx context.Context) (*coordinator.Cluster, error)
	interval time.Duration
	show     func(w *watched) error
}

// watched is what there is to show: the last picture, and what is wrong since, if
// the coordinator does not answer.
type watched struct {
	view
	err error
}

// lookTimeout bounds one look: a coordinator that takes longer counts as away.
const lookTimeout = 5 * time.Second

// run shows what it sees until ctx ends. A coordinator that does not answer at
// first is an error; one that goes away later is waited for.
func (w *watcher) run(ctx context.Context) error {
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	var seen watched
	for {
		next, err := w.once(ctx)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			seen = watched{view: view{now: next, before: seen.now, since: now.Sub(seen.at), at: now}}
		case seen.now == nil:
			return err
		default:
			seen.err = err
		}
		if err := w.show(&seen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		if ctx.Err() != nil { // also where both were ready
			return nil
		}
	}
}

func (w *watcher) once(ctx context.Context) (*coordinator.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return w.look(ctx)
}

// screen draws in place on a terminal, in its second buffer: what was there before
// comes back.
type screen struct{ f *os.File }

const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeCursor  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// show draws a picture over the last one.
func (s screen) show(w *watched) error {
	width, height, err := term.GetSize(int(s.f.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = plainWidth, 24
	}
	w.width = width
	lines := w.lines()
	if w.err != nil {
		complaint := clipped("no answer, trying again: "+w.err.Error(), width)
		lines = append([]string{complaint, ""}, lines...)
	}
	lines = lines[:min(len(lines), height)]
	text := strings.Join(lines, clearLine+"\r\n")
	_, err = io.WriteString(s.f, homeCursor+text+clearLine+clearBelow)
	return err
}

// plainWidth is the width of pictures that go elsewhere than to a terminal.
const plainWidth = 160

// showPlain prints one picture below the other.
func showPlain(out io.Writer, w *watched) error {
	w.width = plainWidth
	if w.err != nil {
		complaint := "no answer, trying again: " + w.err.Error()
		_, err := fmt.Fprintf(out, "%s\n\n", clipped(complaint, w.width))
		return err
	}
	_, err := fmt.Fprintf(out, "%s\n\n", strings.Join(w.lines(), "\n"))
	return err
}

// showJSON prints one object a line, and complaints elsewhere.
func showJSON(out, complaints io.Writer, w *watched) error {
	if w.err != nil {
		_, err := fmt.Fprintf(complaints, "no answer, trying again: %v\n", w.err)
		return err
	}
	return json.NewEncoder(out).Encode(w.now)
}
