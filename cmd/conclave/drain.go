package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
	"github.com/conclave-serve/conclave/internal/client"
)

// drainCommand asks a worker to hand its experts over.
type drainCommand struct {
	keyFlag
	Worker  string        `arg:"" help:"Id of the worker, as conclave status shows it."`
	URL     string        `help:"Address of a coordinator." default:"http://127.0.0.1:8080"`
	Keep    bool          `help:"Let the worker run on without experts, also after a restart, instead of ending it." xor:"what"`
	Undo    bool          `help:"Let the worker take experts again." xor:"what"`
	Force   bool          `help:"Also if the other workers cannot hold its experts."`
	Wait    bool          `help:"Wait until it is done." default:"true" negatable:""`
	Timeout time.Duration `help:"How long to wait; the worker goes on handing over after that. 0: no limit." default:"10m"`
}

// drainPoll is the time between looks at how far a worker is.
const drainPoll = 200 * time.Millisecond

// Validate implements kong's check of the command line.
func (f *drainCommand) Validate() error { return notNegative("timeout", f.Timeout) }

// Run implements kong's command.
func (f *drainCommand) Run(ctx context.Context) error {
	do := "leave"
	switch {
	case f.Keep:
		do = "keep"
	case f.Undo:
		do = "serve"
	}
	c := client.New(f.URL, f.key())
	var reply coordinator.DrainReply
	err := c.Post(ctx, coordinator.DrainPath,
		coordinator.DrainRequest{Worker: f.Worker, Do: do, Force: f.Force}, &reply)
	if err != nil || !f.Wait || reply.Incarnation == "" {
		return err
	}
	if f.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.Timeout, errors.New("the timeout is over"))
		defer cancel()
	}
	return f.follow(ctx, c, reply.Incarnation, os.Stdout)
}

// follow shows how far the worker is until it is done. A status that cannot be had is asked for
// again: the coordinator may restart meanwhile.
func (f *drainCommand) follow(
	ctx context.Context, c *client.Client, run string, out io.Writer,
) error {
	var said string
	var failed error
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for {
		var s coordinator.Status
		if failed = c.Get(ctx, coordinator.StatusPath, &s); failed == nil {
			line, done := f.progress(&s, run)
			if line != said {
				fmt.Fprintln(out, line)
				said = line
			}
			if done {
				return nil
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("worker %s is not done: %w",
				f.Worker, cmp.Or(failed, context.Cause(ctx)))
		}
	}
}

// progress says how far a run of the worker is, and whether it is done.
func (f *drainCommand) progress(s *coordinator.Status, run string) (line string, done bool) {
	for _, w := range s.Workers {
		switch {
		case w.ID != f.Worker || w.Incarnation != run:
		case f.Undo && !w.Draining:
			return fmt.Sprintf("%s takes experts again", f.Worker), true
		case f.Undo, !w.Draining:
			return fmt.Sprintf("%s has been asked", f.Worker), false
		case f.Keep && w.ExpertCount == 0:
			return fmt.Sprintf("%s holds no experts any more", f.Worker), true
		case w.HandOver > 0:
			return fmt.Sprintf("%s has %d experts to hand over", f.Worker, w.HandOver), false
		default:
			return fmt.Sprintf("%s has handed its experts over and waits for the coordinators",
				f.Worker), false
		}
	}
	if !s.Registry {
		return "the registry is out of reach", false
	}
	return fmt.Sprintf(
		"%s has left; if it is started again, it takes experts (--keep lets it stay without)",
		f.Worker), true
}
