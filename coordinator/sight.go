package coordinator

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// ClusterPath is where a coordinator tells how its load lies on experts and
// workers.
const ClusterPath = "/v1/cluster"

// Cluster is what one coordinator measures of its experts and workers. Rates and
// means are over the last minute or so, in which the past counts less the older it
// is: half at HalfLifeSeconds. They have three digits.
type Cluster struct {
	Coordinator string `json:"coordinator"`
	Model       string `json:"model"`
	Ready       bool   `json:"ready"`
	Missing     string `json:"missing,omitempty"`
	Registry    bool   `json:"registry_connected"`
	Controller  string `json:"controller"`
	// Epoch is the placement's by which requests are routed; Settled is false while
	// experts move.
	Epoch         uint64 `json:"epoch"`
	Settled       bool   `json:"settled"`
	ReplicasLeast int    `json:"replicas_least"`
	ReplicasMost  int    `json:"replicas_most"`

	HalfLifeSeconds float64 `json:"half_life_seconds"`
	// Balancedness is the mean by the maximum of the times that workers with a lane
	// have computed: 1 if all work alike, 0 if none has. Predicted is the planner's:
	// the mean by the slowest of the times that the measured load takes workers with
	// a lane in each layer, summed over layers, if the copies of an expert share its
	// load as well as can be.
	Balancedness float64 `json:"balancedness"`
	Predicted    float64 `json:"predicted_balancedness"`
	// Placement is what this process knows and has done as controller.
	Placement Placement `json:"placement"`
	// A step makes so many calls, and reads so many bytes of experts.
	StepsPerSecond     float64 `json:"steps_per_second"`
	CallsPerStep       float64 `json:"calls_per_step"`
	ExpertsPerCall     float64 `json:"experts_per_call"`
	ExpertBytesPerStep float64 `json:"expert_bytes_per_step"`

	Engine  engine.Stats  `json:"engine"`
	Workers []WorkerSight `json:"workers"`
	Layers  []LayerSight  `json:"layers"`
}

// WorkerSight is one worker as a coordinator measures it.
type WorkerSight struct {
	ID   string `json:"id"`
	Addr string `json:"addr"`
	Zone string `json:"zone,omitempty"`
	// Gossip is what gossip says of it: alive, dead or unknown. Lane says whether
	// there is a lane to it; Ejected is true while it is left alone for being late.
	Gossip   string  `json:"gossip"`
	Lane     bool    `json:"lane"`
	Ejected  bool    `json:"ejected,omitempty"`
	Draining bool    `json:"draining,omitempty"`
	Queue    float32 `json:"queue"`
	// Experts are those that are ready, BytesHeld their size, Capacity the bytes that
	// there is room for, 0 for no limit.
	Experts   int   `json:"expert_count"`
	BytesHeld int64 `json:"bytes_held"`
	Capacity  int64 `json:"capacity_bytes"`
	// Speed is how many bytes of experts it works through in a second of computing, 0
	// if that is not known; Bandwidth and Compute what it measured of itself
	// when it started.
	Speed     float64 `json:"speed_bytes_per_second"`
	Bandwidth float64 `json:"bandwidth_bytes_per_second,omitempty"`
	Compute   float64 `json:"compute_flops,omitempty"`
	// Share is its part of the time that all workers have computed, PredictedShare
	// the part that it would have by the measured load, as in Cluster.Predicted.
	Share          float64 `json:"share"`
	PredictedShare float64 `json:"predicted_share"`
	// ComputePerStep is what a step has it compute, in seconds; the others are the
	// means of a call.
	CallsPerSecond float64 `json:"calls_per_second"`
	ComputePerStep float64 `json:"compute_seconds_per_step"`
	Network        float64 `json:"network_seconds"`
	QueueSeconds   float64 `json:"queue_seconds"`
	ComputeSeconds float64 `json:"compute_seconds"`
	// Counts are since this coordinator started.
	Retries       int64     `json:"retries"`
	Hedges        int64     `json:"hedges"`
	Ejections     int64     `json:"ejections"`
	Failures      int64     `json:"failures"`
	LastFailure   string    `json:"last_failure,omitempty"`
	LastFailureAt time.Time `json:"last_failure_at,omitzero"`
}

// LayerSight is one layer with experts.
type LayerSight struct {
	Layer int `json:"layer"`
	// Heat is the load of the expert that has the most, by the mean.
	Heat float64 `json:"heat"`
	// By expert: the token rows and the calls in a second that want it, and the
	// workers that serve it, as indices of Cluster.Workers.
	Rows     []float32 `json:"rows"`
	Reads    []float32 `json:"reads"`
	Replicas [][]int   `json:"replicas"`
}

// sight answers at ClusterPath.
func (c *Coordinator) sight(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c.look()) // the client may have gone
}

// look puts together what is measured now.
func (c *Coordinator) look() *Cluster {
	status, load, table := c.snapshot(), c.dispatcher.Load(), c.dispatcher.Table()
	s := newSight(&status, &load)
	registered := c.cluster.snapshot().Workers
	for i := range s.Workers {
		w := &s.Workers[i]
		w.Bandwidth = round(registered[w.ID].Bandwidth)
		w.Compute = round(registered[w.ID].Compute)
	}
	s.place(table, c.layers(), &load, c.fingerprint)
	s.Placement = c.control.placement()
	return s
}

// newSight takes over what the status says, and the rates of workers.
func newSight(status *Status, load *dispatch.Load) *Cluster {
	s := &Cluster{
		Coordinator: status.Coordinator, Model: status.Model, Ready: status.Ready,
		Missing: status.Missing, Registry: status.Registry, Controller: status.Controller,
		Epoch: status.PlanEpoch, Settled: status.Settled,
		ReplicasLeast: status.ReplicasLeast, ReplicasMost: status.ReplicasMost,
		HalfLifeSeconds: dispatch.HalfLife.Seconds(), Engine: status.Engine,
		StepsPerSecond: round(load.Steps), CallsPerStep: round(ratio(load.Calls, load.Steps)),
		ExpertsPerCall:     round(ratio(load.Experts, load.Calls)),
		ExpertBytesPerStep: round(ratio(load.Bytes, load.Steps)),
		Workers:            make([]WorkerSight, len(status.Workers)), Layers: []LayerSight{},
	}
	times := make([]float64, len(status.Workers))
	for i, w := range status.Workers {
		times[i] = load.Workers[shard.WorkerID(w.ID)].Compute
	}
	for i, w := range status.Workers {
		l := load.Workers[shard.WorkerID(w.ID)]
		s.Workers[i] = WorkerSight{
			ID: w.ID, Addr: w.Addr, Zone: w.Zone, Gossip: w.Gossip, Lane: w.Lane,
			Ejected: w.Ejected, Draining: w.Draining, Queue: w.Queue,
			Experts: w.ExpertCount, Capacity: w.Capacity, Speed: round(l.Speed),
			Share: round(ratio(times[i], sum(times))), CallsPerSecond: round(l.Calls),
			ComputePerStep: seconds(ratio(l.Compute, load.Steps)),
			Network:        seconds(ratio(l.Network, l.Calls)),
			QueueSeconds:   seconds(ratio(l.Queue, l.Calls)),
			ComputeSeconds: seconds(ratio(l.Compute, l.Calls)),
			Retries:        w.Retries, Hedges: w.Hedges, Ejections: w.Ejections,
			Failures:    w.Failures,
			LastFailure: w.LastFailure, LastFailureAt: w.LastFailureAt,
		}
	}
	s.Balancedness = s.balance(times)
	return s
}

// place adds which worker serves which expert, and what the measured load
// makes of that.
func (s *Cluster) place(
	table *router.Table, layers []shard.Layer, load *dispatch.Load, model string,
) {
	index := map[shard.WorkerID]int{}
	for i, w := range s.Workers {
		index[shard.WorkerID(w.ID)] = i
	}
	demand := shard.LoadOf(model, layers, []*shard.Report{{Model: model, Layers: load.Layers}})
	for l, layer := range layers {
		if layer.Experts == 0 {
			continue
		}
		sight := LayerSight{
			Layer: l, Heat: round(ratio(slices.Max(demand[l])*float64(layer.Experts), sum(demand[l]))),
			Rows: rounded(load.Layers[l].Rows), Reads: rounded(load.Layers[l].Reads),
			Replicas: make([][]int, layer.Experts),
		}
		for e := range layer.Experts {
			replicas := []int{}
			for _, h := range table.Serving(l, e) {
				if i, here := index[table.Holders[h].ID]; here {
					replicas = append(replicas, i)
				}
			}
			slices.Sort(replicas)
			sight.Replicas[e] = replicas
		}
		s.Layers = append(s.Layers, sight)
	}
	s.hold(table, layers, index)
	s.predict(layers, demand)
}

// predict has the planner say what the load makes of the replicas. Workers that cannot be asked,
// or are about to leave, are none of its business.
func (s *Cluster) predict(layers []shard.Layer, load shard.Load) {
	d := &shard.Demand{Layers: layers, Load: load}
	serving := &shard.Plan{Layers: make([][]shard.Set, len(layers))}
	seat := make([]int, len(s.Workers)) // of the plan, -1: none
	for i, w := range s.Workers {       // by id, as a plan has them
		seat[i] = -1
		if w.Lane && !w.Draining {
			seat[i] = len(serving.Workers)
			serving.Workers = append(serving.Workers, shard.WorkerID(w.ID))
			d.Workers = append(d.Workers, shard.Capacity{ID: shard.WorkerID(w.ID), Speed: w.Speed})
		}
	}
	for _, layer := range s.Layers {
		held := make([][]int, len(serving.Workers))
		for e, replicas := range layer.Replicas {
			for _, i := range replicas {
				if at := seat[i]; at >= 0 {
					held[at] = append(held[at], e)
				}
			}
		}
		sets := make([]shard.Set, len(held))
		for at, experts := range held {
			sets[at] = shard.NewSet(experts...)
		}
		serving.Layers[layer.Layer] = sets
	}
	if f := d.Forecast(serving); f.Slowest > 0 {
		s.Predicted = round(f.Balancedness())
	}
	times := d.Times(serving)
	all := 0.0
	for _, v := range times {
		all += v
	}
	for i := range s.Workers {
		w := &s.Workers[i]
		w.PredictedShare = round(ratio(times[shard.WorkerID(w.ID)], all))
	}
}

// hold adds up what workers hold.
func (s *Cluster) hold(table *router.Table, layers []shard.Layer, index map[shard.WorkerID]int) {
	for _, h := range table.Holders {
		if i, here := index[h.ID]; here {
			for l, set := range h.Ready {
				s.Workers[i].BytesHeld += int64(set.Len()) * layers[l].ExpertBytes
			}
		}
	}
}

// balance is the mean by the maximum of the times of those workers that can be
// asked.
func (s *Cluster) balance(times []float64) float64 {
	var most, all float64
	n := 0
	for i, w := range s.Workers {
		if w.Lane && !w.Draining {
			most, all, n = max(most, times[i]), all+times[i], n+1
		}
	}
	return round(ratio(all, float64(n)*most))
}

// ratio is a by b, 0 if there is no b.
func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

// seconds keeps three digits of a time, which may be microseconds.
func seconds(v float64) float64 { return round(v*1e6) / 1e6 }

func sum(values []float64) (total float64) {
	for _, v := range values {
		total += v
	}
	return total
}
