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
	// Settled is true when every expert is served by workers that the plan names,
	// and all of those that are known have it: whoever else holds a copy may drop it.
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
// layer (0 for dense layers). A worker that holds an expert outside the plan
// serves it, after those of the plan, until all of these have it.
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
			owners, others, loading := t.holdersOf(planned, l, e)
			switch {
			case len(owners) > 0 && !loading:
				t.replicas[l][e] = owners
			case len(owners)+len(others) > 0:
				t.replicas[l][e] = append(owners, others...)
				t.Settled = false
			default:
				t.missing = append(t.missing, missing{l, e})
				t.Settled = false
			}
		}
	}
	return t
}

// holdersOf lists who serves an expert: those that the plan names, and others.
// loading is true while one that the plan names has not got the expert yet.
func (t *Table) holdersOf(
	planned [][]shard.Set, layer, expert int,
) (owners, others []uint16, loading bool) {
	for i, h := range t.Holders {
		ready := layer < len(h.Ready) && h.Ready[layer].Has(expert)
		named := layer < len(planned[i]) && planned[i][layer].Has(expert)
		switch {
		case named && !ready: // a new worker's lane may open any moment
			loading = true
		case !h.Reachable:
		case named:
			owners = append(owners, uint16(i))
		case ready:
			others = append(others, uint16(i))
		}
	}
	return owners, others, loading
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

// Serving returns the indices of the holders that serve an expert, best first; they
// must stay as they are.
func (t *Table) Serving(layer, expert int) []uint16 { return t.replicas[layer][expert] }

// Replicas returns how many reachable workers serve an expert, at least and at
// most; 0 and 0 for a model without experts.
func (t *Table) Replicas() (least, most int) {
	least = len(t.Holders) + 1
	for _, layer := range t.replicas {
		for _, holders := range layer {
			least, most = min(least, len(holders)), max(most, len(holders))
		}
	}
	return min(least, most), most
}
