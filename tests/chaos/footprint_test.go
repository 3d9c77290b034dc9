//go:build linux

package chaos

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// footprint is what a process takes.
type footprint struct {
	memory     int // bytes, resident
	files      int // file descriptors
	goroutines int // 0 where nobody tells, as below
	heap       int // bytes that survived the last collection
}

// tolerance is how much more a process may take than it did at first.
type tolerance struct {
	memoryFactor      float64
	memory, heap      int
	files, goroutines int
}

// What requests are under way, and what is kept for the next ones, differs from
// moment to moment under load. Without load little may.
func underLoad() tolerance { return tolerance{2, 64 << 20, 32 << 20, 16, 48} }
func atRest() tolerance    { return tolerance{2, 64 << 20, 16 << 20, 6, 10} }

// measure looks at all Conclave processes.
func (c *cluster) measure(ctx context.Context) (map[string]footprint, error) {
	all := map[string]footprint{}
	for i, p := range c.fronts {
		f, err := p.footprint()
		if err == nil {
			err = c.tell(ctx, &f, c.clients[i], c.net.listenAddr(p.host))
		}
		if err != nil {
			return nil, err
		}
		all[p.name] = f
	}
	for _, p := range c.workers {
		f, err := p.footprint()
		if err == nil && c.apart {
			err = c.tellWorker(ctx, &f, p)
		}
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

// tellWorker asks a worker, by a connection that does not stay.
func (c *cluster) tellWorker(ctx context.Context, f *footprint, p *process) error {
	transport := &http.Transport{DialContext: c.net.dial(p.host), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	host, _, err := net.SplitHostPort(c.net.listenAddr(p.host))
	if err != nil {
		return err
	}
	addr := net.JoinHostPort(host, strconv.Itoa(metricsPort))
	return c.tell(ctx, f, &http.Client{Transport: transport}, addr)
}

// tell reads what a process says of itself. The collector lets the heap grow to twice
// of what survived; that does not depend on when one asks.
func (c *cluster) tell(ctx context.Context, f *footprint, client *http.Client, addr string) error {
	body, err := get(ctx, client, "http://"+addr+"/metrics")
	if err != nil {
		return err
	}
	found := 0
	for line := range strings.Lines(string(body)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue // a comment
		}
		switch name {
		case "go_goroutines":
			f.goroutines = int(value)
			found++
		case "go_memstats_next_gc_bytes":
			f.heap = int(value / 2)
			found++
		}
	}
	if found != 2 {
		return fmt.Errorf("%s does not tell of goroutines and heap", addr)
	}
	return nil
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
				f.heap > b.heap+t.heap || f.files > b.files+t.files ||
				f.goroutines > b.goroutines+t.goroutines {
				return fmt.Errorf("%s has %v; at first it was %v", name, f, b)
			}
		}
		return nil
	}
}

// String implements fmt.Stringer.
func (f footprint) String() string {
	return fmt.Sprintf("%d MiB, of which %.1f MiB of heap survived, %d files, %d goroutines",
		f.memory>>20, float64(f.heap)/(1<<20), f.files, f.goroutines)
}
