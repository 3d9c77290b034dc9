package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/conclave-serve/conclave/internal/loadgen"
)

// benchProgress shows how far a load is: a bar on a terminal, a log line now and then elsewhere.
type benchProgress struct {
	duration time.Duration // of a load that has no number of requests
	log      *slog.Logger
	terminal bool

	bar    *progressbar.ProgressBar
	warmup bool // that the bar is of
	shown  time.Time
}

func newBenchProgress(duration time.Duration, log *slog.Logger) *benchProgress {
	return &benchProgress{
		duration: duration, log: log, terminal: term.IsTerminal(int(os.Stderr.Fd())), shown: time.Now(),
	}
}

// drawEvery is the time between pictures of the bar: to draw it for each request would take time
// from the load.
const drawEvery = 100 * time.Millisecond

// show takes the newest state of the run.
func (p *benchProgress) show(s loadgen.Progress) {
	every := logEvery
	if p.terminal {
		every = drawEvery
	}
	now := time.Now()
	if now.Sub(p.shown) < every {
		return
	}
	p.shown = now
	if p.terminal {
		p.draw(s)
		return
	}
	p.log.Info("progress", "warmup", s.Warmup, "sent", s.Sent, "finished", s.Finished,
		"failed", s.Failed, "output_tokens", s.OutputTokens)
}

// draw moves the bar: by requests if there is a number of them, else by time.
func (p *benchProgress) draw(s loadgen.Progress) {
	total, done := int64(s.Requests), int64(s.Finished+s.Failed)
	if total == 0 {
		total = max(p.duration.Milliseconds(), 1)
		done = min(s.Elapsed.Milliseconds(), total)
	}
	if p.bar == nil || p.warmup != s.Warmup {
		p.end()
		p.warmup = s.Warmup
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(os.Stderr),
			progressbar.OptionSetWidth(30), progressbar.OptionSetPredictTime(true))
	}
	what := "requests"
	if s.Warmup {
		what = "warm-up"
	}
	p.bar.Describe(fmt.Sprintf("%s: %d sent, %d finished, %d failed",
		what, s.Sent, s.Finished, s.Failed))
	_ = p.bar.Set64(done) // a terminal that is gone
}

// end takes the bar off the terminal.
func (p *benchProgress) end() {
	if p.bar != nil {
		_ = p.bar.Clear() // a terminal that is gone
		p.bar = nil
	}
}
