package host

import (
	"fmt"
	"slices"
)

// Pin says whether threads are bound to processors.
type Pin string

// The zero value is PinAuto.
const (
	// PinAuto is PinOn if the process was given processors of its own and fills them, else PinNode.
	PinAuto Pin = "auto"
	PinOn   Pin = "on"   // each thread to a processor of its own
	PinNode Pin = "node" // each thread to all processors of a memory node, where there are several
	PinOff  Pin = "off"
)

// Placement is where threads run; empty where they are not bound.
type Placement struct {
	cpus []cpu         // of each thread
	near map[int][]int // for PinNode: the processors of each node, on which its threads are kept
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
	switch {
	case pin == PinOff:
		return Placement{}, nil
	case pin == PinAuto && given && (threads == len(m.cpus) || threads == m.cores()):
		return m.spread(threads), nil
	}
	return m.keep(threads), nil
}

// keep deals threads to the memory nodes; with one node, or threads on one only, it is empty. Other
// processes may do the same: the system shares a node's processors out among their threads.
func (m *machine) keep(threads int) Placement {
	if len(m.cpus) == 0 {
		return Placement{}
	}
	all := m.spread(len(m.cpus)).cpus
	p := Placement{near: make(map[int][]int)}
	for i := range threads {
		p.cpus = append(p.cpus, all[i%len(all)])
	}
	if p.Memory() == nil {
		return Placement{}
	}
	for _, c := range m.cpus {
		p.near[c.node] = append(p.near[c.node], c.id)
	}
	return p
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
	return Placement{cpus: cpus[:threads]}
}

// Bound is how many threads have a processor of their own.
func (p Placement) Bound() int {
	if p.near != nil {
		return 0
	}
	return len(p.cpus)
}

// Bind returns what a thread calls, by its number, to be bound; nil where threads are not. A thread
// that the system does not let be bound runs as any other.
func (p Placement) Bind() func(thread int) {
	if len(p.cpus) == 0 {
		return nil
	}
	return func(thread int) {
		c := p.cpus[thread]
		if p.near != nil {
			bind(p.near[c.node]...)
			return
		}
		bind(c.id)
	}
}

// Nodes returns the memory node of each thread, as an index of Memory; nil where that is.
func (p Placement) Nodes() []int {
	memory := p.Memory()
	if memory == nil {
		return nil
	}
	nodes := make([]int, len(p.cpus))
	for i, c := range p.cpus {
		nodes[i] = memory.index(c.node)
	}
	return nodes
}
