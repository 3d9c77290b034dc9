package coordinator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// StatusPath is where a coordinator tells what its cluster looks like.
const StatusPath = "/conclave/v1/status"

// Status is a cluster as one coordinator sees it.
type Status struct {
	Coordinator string `json:"coordinator"`
	Model       string `json:"model"`
	Fingerprint string `json:"fingerprint"`
	Family      string `json:"family"`
	Kernels     string `json:"kernels"`
	Wire        string `json:"wire"`
	// Quantization says what weights were quantised to as they were loaded; "" if
	// none were.
	Quantization string `json:"quantization,omitempty"`
	Ready        bool   `json:"ready"`
	Missing      string `json:"missing,omitempty"`
	// LastResort is true while experts that no worker serves are computed by the
	// coordinator: it is ready, but slow.
	LastResort bool   `json:"last_resort,omitempty"`
	Registry   bool   `json:"registry_connected"`
	PlanEpoch  uint64 `json:"plan_epoch"`
	Settled    bool   `json:"settled"`
	// ReplicasLeast and ReplicasMost are how many workers serve an expert.
	ReplicasLeast int `json:"replicas_least"`
	ReplicasMost  int `json:"replicas_most"`
	// Calls to workers since this coordinator started; Retries went to others
	// because they failed or were late, Hedges to others too before they were
	// late. Ejections is how often a worker was left alone for being late.
	Calls     int64 `json:"calls"`
	Retries   int64 `json:"retries"`
	Hedges    int64 `json:"hedges"`
	Ejections int64 `json:"ejections"`
	// LastResortExperts is how many times the coordinator has computed an expert.
	LastResortExperts int64          `json:"last_resort_experts"`
	Controller        string         `json:"controller"`
	Engine            engine.Stats   `json:"engine"`
	Coordinators      []FrontStatus  `json:"coordinators"`
	Workers           []WorkerStatus `json:"workers"`
}

// FrontStatus is one coordinator of the cluster.
type FrontStatus struct {
	ID         string    `json:"id"`
	Addr       string    `json:"addr"`
	TableEpoch uint64    `json:"table_epoch"`
	Started    time.Time `json:"started"`
	// Gossip is what gossip says of it: alive, dead or unknown.
	Gossip string `json:"gossip"`
	// Queue is the number of requests that wait there, by its own account.
	Queue float32 `json:"queue"`
}

// WorkerStatus is one worker of the cluster.
type WorkerStatus struct {
	ID        string `json:"id"`
	Addr      string `json:"addr"`
	Zone      string `json:"zone,omitempty"`
	Capacity  int64  `json:"capacity_bytes"`
	PlanEpoch uint64 `json:"plan_epoch"`
	Draining  bool   `json:"draining,omitempty"`
	// Incarnation is this run of it. HandOver, of a draining one, is how many of its
	// experts nobody else has yet who stays.
	Incarnation string `json:"incarnation"`
	HandOver    int    `json:"hand_over,omitempty"`
	// Probation is until when it gets no experts because it came back too often.
	Probation time.Time `json:"probation_until,omitzero"`
	Started   time.Time `json:"started"`
	Gossip    string    `json:"gossip"`
	// Lane says whether this coordinator has a lane to the worker.
	Lane bool `json:"lane"`
	// Queue is the number of requests that wait there, by its own account.
	Queue float32 `json:"queue"`
	// Experts lists, for each layer, the experts ready: "0-7,12".
	Experts []string `json:"experts"`
	// ExpertCount is their number over all layers.
	ExpertCount int `json:"expert_count"`
	// Calls and where their time went, summed since this coordinator started.
	Calls    int64 `json:"calls"`
	Failures int64 `json:"failures"`
	// Retries, Hedges and Ejections are those of this worker; Ejected is true while
	// it is left alone.
	Retries        int64   `json:"retries"`
	Hedges         int64   `json:"hedges"`
	Ejections      int64   `json:"ejections"`
	Ejected        bool    `json:"ejected,omitempty"`
	NetworkSeconds float64 `json:"network_seconds"`
	QueueSeconds   float64 `json:"queue_seconds"`
	ComputeSeconds float64 `json:"compute_seconds"`
	// LastFailure says why the last lane to it broke, and LastFailureAt when.
	LastFailure   string    `json:"last_failure,omitempty"`
	LastFailureAt time.Time `json:"last_failure_at,omitzero"`
}

func (c *Coordinator) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(c.snapshot()) // the client may have gone
}

// snapshot puts together what the registry, gossip and the lanes say.
func (c *Coordinator) snapshot() Status {
	s := Status{
		Coordinator: c.cfg.ID, Model: c.cfg.ModelName, Fingerprint: c.fingerprint,
		Family: c.spec.Family, Kernels: kernels.Features(), Wire: c.cfg.Wire.String(),
		Quantization: c.quantization(), Engine: c.engine.Stats(),
	}
	table := c.dispatcher.Table()
	s.setTable(table)
	s.LastResort = c.dispatcher.LastResort()
	s.Ready = s.Ready || s.LastResort
	state := c.cluster.snapshot()
	s.setMembers(state, c.cluster.seat.Gossip.Members())
	s.setDrains(state, len(c.spec.Layers))
	for i := range s.Workers {
		s.Workers[i].Probation = c.cluster.damper.probation(s.Workers[i].ID, time.Now())
	}
	s.setLanes(table, c.dispatcher.Hops())
	t := c.dispatcher.Totals()
	s.Calls, s.Retries, s.Hedges, s.Ejections = t.Calls, t.Retries, t.Hedges, t.Ejections
	s.LastResortExperts = t.LastResortExperts
	return s
}

// quantization says what differs from the checkpoint's own weights.
func (c *Coordinator) quantization() string {
	experts, attention := c.cfg.ExpertsQuant, c.cfg.AttentionQuant
	if experts == shard.QuantNone && attention == shard.QuantNone {
		return ""
	}
	return fmt.Sprintf("experts %v, attention %v", experts, attention)
}

func (s *Status) setTable(t *router.Table) {
	s.Ready, s.Missing, s.PlanEpoch, s.Settled = t.Complete(), t.Missing(), t.Epoch, t.Settled
	s.ReplicasLeast, s.ReplicasMost = t.Replicas()
}

// setMembers lists the members that the registry knows, by id, with gossip's
// opinion of them.
func (s *Status) setMembers(state membership.State, members []membership.Member) {
	gossip, queue := map[string]string{}, map[string]float32{}
	for _, m := range members {
		gossip[m.Incarnation] = "dead"
		if m.Alive {
			gossip[m.Incarnation] = "alive"
		}
		queue[m.Incarnation] = m.Load.Queue
	}
	s.Registry, s.Controller = state.Connected, state.Controller
	s.Coordinators, s.Workers = []FrontStatus{}, []WorkerStatus{} // never null in JSON
	for _, k := range state.Coordinators {
		s.Coordinators = append(s.Coordinators, FrontStatus{
			ID: k.ID, Addr: k.Addr, TableEpoch: k.TableEpoch, Started: k.Started,
			Gossip: cmp.Or(gossip[k.Incarnation], "unknown"), Queue: queue[k.Incarnation],
		})
	}
	for _, m := range state.Workers {
		s.Workers = append(s.Workers, WorkerStatus{
			ID: m.ID, Incarnation: m.Incarnation, Addr: m.Addr, Zone: m.Zone,
			Capacity: m.Capacity, PlanEpoch: m.PlanEpoch,
			Draining: m.Draining, Started: m.Started, Gossip: cmp.Or(gossip[m.Incarnation], "unknown"),
			Queue: queue[m.Incarnation], Experts: append([]string{}, m.Ready...),
			ExpertCount: countExperts(m.Ready),
		})
	}
	slices.SortFunc(s.Coordinators, func(a, b FrontStatus) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Workers, func(a, b WorkerStatus) int { return cmp.Compare(a.ID, b.ID) })
}

// setLanes adds this coordinator's own experience with the workers.
func (s *Status) setLanes(t *router.Table, hops map[shard.WorkerID]dispatch.Hops) {
	lanes := map[shard.WorkerID]bool{}
	for _, h := range t.Holders {
		lanes[h.ID] = h.Reachable
	}
	for i := range s.Workers {
		w := &s.Workers[i]
		h := hops[shard.WorkerID(w.ID)]
		w.Lane, w.Calls, w.Failures = lanes[shard.WorkerID(w.ID)], h.Calls, h.Failures
		w.Retries, w.Hedges, w.Ejections, w.Ejected = h.Retries, h.Hedges, h.Ejections, h.Ejected
		w.NetworkSeconds, w.QueueSeconds, w.ComputeSeconds =
			h.Network.Seconds(), h.Queue.Seconds(), h.Compute.Seconds()
		w.LastFailure, w.LastFailureAt = h.LastFailure, h.LastFailureAt
	}
}

func countExperts(ready []string) int {
	n := 0
	for _, text := range ready {
		if set, err := shard.ParseSet(text, shard.MaxExperts); err == nil {
			n += set.Len()
		}
	}
	return n
}
