//go:build linux

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// footprint is what a process takes.
type footprint struct {
	memory     int // bytes, resident
	files      int // file descriptors
	goroutines int // 0 where nobody tells
}

// tolerance is how much more a process may take than it did at first.
type tolerance struct {
	memoryFactor      float64
	memory            int
	files, goroutines int
}

// What requests are under way, and what is kept for the next ones, differs from
// moment to moment under load. Without load little may.
func underLoad() tolerance { return tolerance{2, 64 << 20, 16, 48} }
func atRest() tolerance    { return tolerance{2, 64 << 20, 6, 10} }

// measure looks at all Conclave processes.
func (c *cluster) measure(ctx context.Context) (map[string]footprint, error) {
	all := map[string]footprint{}
	for i, p := range c.fronts {
		f, err := p.footprint()
		if err == nil {
			f.goroutines, err = c.goroutines(ctx, i)
		}
		if err != nil {
			return nil, err
		}
		all[p.name] = f
	}
	for _, p := range c.workers {
		f, err := p.footprint()
		if err != nil {
			return nil, err
		}
		all[p.name] = f
	}
	return all, nil
}

func (p *process) footprint() (footprint, error) {
	dir := fmt.Sprintf("/proc/%d", p.pid())
	files, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return footprint{}, fmt.Errorf("%s: %w", p.name, err)
	}
	statm, err := os.ReadFile(dir + "/statm")
	if err != nil {
		return footprint{}, fmt.Errorf("%s: %w", p.name, err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	return footprint{memory: pages * os.Getpagesize(), files: len(files)}, err
}

// goroutines asks a coordinator's metrics.
func (c *cluster) goroutines(ctx context.Context, front int) (int, error) {
	body, err := c.get(ctx, front, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(body) {
		if value, ok := bytes.CutPrefix(line, []byte("go_goroutines ")); ok {
			return strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	return 0, fmt.Errorf("%s has no go_goroutines", c.fronts[front].name)
}

// within says who takes more than it may.
func (c *cluster) within(base map[string]footprint, t tolerance) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := c.measure(ctx)
		if err != nil {
			return err
		}
		for name, f := range now {
			b := base[name]
			if float64(f.memory) > t.memoryFactor*float64(b.memory)+float64(t.memory) ||
				f.files > b.files+t.files || f.goroutines > b.goroutines+t.goroutines {
				return fmt.Errorf("%s has %v; at first it was %v", name, f, b)
			}
		}
		return nil
	}
}

// String implements fmt.Stringer.
func (f footprint) String() string {
	return fmt.Sprintf("%d MiB, %d files, %d goroutines", f.memory>>20, f.files, f.goroutines)
}
