package router

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-serve/conclave/shard"
)

// Holder is a worker as the table sees it.
type Holder struct {
	ID shard.WorkerID
	// Ready lists the experts that the worker serves, per layer.
	Ready []shard.Set
	// Reachable is false while there is no lane to the worker.
	Reachable bool
}

// Table says which workers serve each expert right now.
type Table struct {
	// Epoch is the epoch of the plan that the table was built from.
	Epoch uint64
	// Settled is true when every expert goes to a worker that the plan names:
	// whoever else holds a copy may drop it.
	Settled bool
	// Holders are the workers, by the index that replicas use.
	Holders []Holder
	// replicas[layer][expert] lists indices of Holders, best first.
	replicas [][][]uint16
	missing  []missing
}

// missing is an expert that no reachable worker serves.
type missing struct{ layer, expert int }

// NewTable builds the table for a model with the given number of experts per
// layer (0 for dense layers). Workers of the plan come first; a worker outside
// the plan that still holds an expert serves it until the plan's is ready.
func NewTable(plan *shard.Plan, experts []int, holders []Holder) *Table {
	t := &Table{Settled: plan != nil, Holders: holders, replicas: make([][][]uint16, len(experts))}
	planned := make([][]shard.Set, len(holders))
	if plan != nil {
		t.Epoch = plan.Epoch
		for i, h := range holders {
			planned[i] = plan.Assigned(h.ID)
		}
	}
	for l, n := range experts {
		t.replicas[l] = make([][]uint16, n)
		for e := range n {
			var owners, others []uint16
			for i, h := range holders {
				if !h.Reachable || l >= len(h.Ready) || !h.Ready[l].Has(e) {
					continue
				}
				if l < len(planned[i]) && planned[i][l].Has(e) {
					owners = append(owners, uint16(i))
				} else {
					others = append(others, uint16(i))
				}
			}
			switch {
			case len(owners) > 0:
				t.replicas[l][e] = owners
			case len(others) > 0:
				t.replicas[l][e] = others
				t.Settled = false
			default:
				t.missing = append(t.missing, missing{l, e})
				t.Settled = false
			}
		}
	}
	return t
}

// Complete reports whether every expert can be reached.
func (t *Table) Complete() bool { return len(t.missing) == 0 }

// Missing describes the experts that cannot be reached, for people; it is
// empty for a complete table.
func (t *Table) Missing() string {
	if len(t.missing) == 0 {
		return ""
	}
	first := t.missing[0].layer
	var set shard.Set
	layers := map[int]bool{}
	for _, m := range t.missing {
		layers[m.layer] = true
		if m.layer == first {
			set.Add(m.expert)
		}
	}
	text := fmt.Sprintf("no reachable worker serves experts %s of layer %d", set, first)
	if len(layers) > 1 {
		text += fmt.Sprintf(" and others in %d more layers", len(layers)-1)
	}
	var away []string
	for _, h := range t.Holders {
		if !h.Reachable {
			away = append(away, string(h.ID))
		}
	}
	if len(away) > 0 {
		slices.Sort(away)
		text += "; unreachable: " + strings.Join(away, ", ")
	}
	return text
}

// replica chooses the holder that serves an expert in this step, or -1.
func (t *Table) replica(layer, expert int) int {
	holders := t.replicas[layer][expert]
	if len(holders) == 0 {
		return -1
	}
	return int(holders[expert%len(holders)])
}
