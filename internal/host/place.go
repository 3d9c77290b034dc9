package host

import (
	"fmt"
	"slices"
)

// Pin says whether threads are bound to processors.
type Pin string

// The zero value is PinAuto.
const (
	PinAuto Pin = "auto" // if the process was given processors of its own, and fills them
	PinOn   Pin = "on"
	PinOff  Pin = "off"
)

// Placement is where threads run; empty where they are not bound.
type Placement struct {
	cpus []cpu // of each thread
}

// Place chooses processors for the threads of this process. It fails only for PinOn.
func Place(pin Pin, threads int) (Placement, error) {
	if pin == PinOff {
		return Placement{}, nil
	}
	allowed, err := allowedCPUs()
	if err != nil {
		if pin == PinOn {
			return Placement{}, fmt.Errorf("bind threads to processors: %w", err)
		}
		return Placement{}, nil
	}
	m := readMachine("/", allowed)
	return m.place(pin, threads)
}

func (m *machine) place(pin Pin, threads int) (Placement, error) {
	if pin == PinOn {
		if threads > len(m.cpus) {
			return Placement{}, fmt.Errorf("bind %d threads: this process may use %d processors only",
				threads, len(m.cpus))
		}
		return m.spread(threads), nil
	}
	given := len(m.cpus) < m.online && m.quota >= float64(threads)
	if pin == PinOff || !given || threads != len(m.cpus) && threads != m.cores() {
		return Placement{}, nil
	}
	return m.spread(threads), nil
}

// spread takes cores before their second threads, and among those from each node in turn.
func (m *machine) spread(threads int) Placement {
	taken := make(map[cpu]int) // of a node and a kind, keyed without the id
	turn := make(map[int]int)  // of each processor
	for _, c := range m.cpus {
		kind := cpu{node: c.node, second: c.second}
		turn[c.id] = taken[kind]
		taken[kind]++
	}
	cpus := slices.Clone(m.cpus)
	slices.SortStableFunc(cpus, func(a, b cpu) int {
		switch {
		case a.second != b.second && b.second, a.second == b.second && turn[a.id] < turn[b.id]:
			return -1
		case a.second != b.second || turn[a.id] > turn[b.id]:
			return 1
		}
		return 0
	})
	return Placement{cpus[:threads]}
}

// Bound is how many threads have a processor of their own.
func (p Placement) Bound() int { return len(p.cpus) }

// Bind returns what a thread calls, by its number, to be bound; nil where threads are not. A thread
// that the system does not let be bound runs as any other.
func (p Placement) Bind() func(thread int) {
	if len(p.cpus) == 0 {
		return nil
	}
	return func(thread int) { bind(p.cpus[thread].id) }
}

// Nodes returns the memory node of each thread, counted from 0 without gaps; nil where there are
// not several.
func (p Placement) Nodes() []int {
	var known []int
	nodes := make([]int, len(p.cpus))
	for i, c := range p.cpus {
		at := slices.Index(known, c.node)
		if at < 0 {
			at = len(known)
			known = append(known, c.node)
		}
		nodes[i] = at
	}
	if len(known) < 2 {
		return nil
	}
	return nodes
}
