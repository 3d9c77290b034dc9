//go:build linux

package chaos

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"time"

	"github.com/conclave-serve/conclave/coordinator"
)

// grow lets one more worker join under load, waits until each coordinator has it
// compute, and tells it to leave.
func (c *cluster) grow(ctx context.Context, hold time.Duration) error {
	if err := c.spare.start(); err != nil {
		return err
	}
	began := time.Now()
	err := await(ctx, settling, func(ctx context.Context) error {
		for i, front := range c.fronts {
			s, err := c.status(ctx, i)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(s.Workers, func(w coordinator.WorkerStatus) bool {
				return w.ID == c.spare.name && w.Calls > 0
			}) {
				return fmt.Errorf("%s does not ask %s", front.name, c.spare.name)
			}
		}
		return nil
	})
	c.joined = max(c.joined, time.Since(began))
	if err != nil {
		c.spare.kill()
		return err
	}
	wait(ctx, hold)
	return c.spare.stop(settling)
}

// drain lets a worker hand over by command, and has it back after a while.
func (c *cluster) drain(ctx context.Context, worker *process, f fault) error {
	// An etcd that was emptied a moment ago may not know the worker again yet.
	order := func(args ...string) error {
		return await(ctx, settling, func(ctx context.Context) error {
			return c.tool(ctx, c.fronts[f.Front], append([]string{"drain", worker.name}, args...)...)
		})
	}
	if f.Reverse {
		if err := order("--keep"); err != nil {
			return err
		}
		wait(ctx, f.Hold)
		return order("--undo")
	}
	worker.release()
	if err := order(); err != nil {
		return err
	}
	if err := worker.left(settling); err != nil {
		return err
	}
	wait(ctx, f.Hold)
	return worker.start()
}

// tool runs a command of conclave that asks a coordinator, on that one's host.
func (c *cluster) tool(ctx context.Context, front *process, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	args = append(args, "--url", "http://"+c.net.listenAddr(front.host))
	cmd := exec.CommandContext(ctx, c.program, args...)
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := c.net.do(front.host, cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("conclave %v: %w: %s", args, err, out)
	}
	return nil
}

// tail is the last thing that a command said.
type tail []byte

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	*t = slices.Clone(b)
	return len(b), nil
}

// elected is the number of the coordinator that plans.
func (c *cluster) elected(ctx context.Context) (int, error) {
	s, err := c.status(ctx, 0)
	if err != nil {
		return 0, err
	}
	for i, front := range c.fronts {
		if front.name == s.Controller {
			return i, nil
		}
	}
	return 0, fmt.Errorf("nobody plans, or a stranger: %q", s.Controller)
}
