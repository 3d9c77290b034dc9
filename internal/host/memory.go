package host

import (
	"slices"
	"strconv"
	"strings"
)

// Node is a memory node that threads are bound to.
type Node struct {
	ID      int // the system's number
	Threads int
}

// Memory is the memory nodes of a placement, several, in the order of their threads.
type Memory []Node

// Memory returns the nodes that threads are bound to; nil where these are not several.
func (p Placement) Memory() Memory {
	var m Memory
	for _, c := range p.cpus {
		at := m.index(c.node)
		if at < 0 {
			at = len(m)
			m = append(m, Node{ID: c.node})
		}
		m[at].Threads++
	}
	if len(m) < 2 {
		return nil
	}
	return m
}

func (m Memory) index(id int) int {
	return slices.IndexFunc(m, func(n Node) bool { return n.ID == id })
}

// Bind has the pages of mapped memory come from a node, by its index, as long as that has room.
// They must not have been touched. data begins with a page; its last page may be a part.
func (m Memory) Bind(data []byte, node int) error { return bindMemory(data, m[node].ID) }

// defaultMappings is Linux's bound where it is not known.
const defaultMappings = 65530

// Mappings is how many mappings a process may have: each range that is bound to a node is one.
func Mappings() int { return mappings("/") }

func mappings(root string) int {
	n, err := strconv.Atoi(strings.TrimSpace(readText(root, "proc/sys/vm/max_map_count")))
	if err != nil || n < 0 {
		return defaultMappings
	}
	return n
}
