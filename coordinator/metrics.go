package coordinator

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/shard"
)

// registerMetrics adds what this process, its workers and its table tell.
func (c *Coordinator) registerMetrics() error {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "conclave_" + name, Help: help,
		}, value)
	}
	count := func(name, help string, value func() int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "conclave_" + name, Help: help,
		}, func() float64 { return float64(value()) })
	}
	counter := func(name, help string, value func(dispatch.Totals) int64) prometheus.Collector {
		return count(name, help, func() int64 { return value(c.dispatcher.Totals()) })
	}
	moved := func(name, help string, value func(Placement) int64) prometheus.Collector {
		return count(name, help, func() int64 { return value(c.control.placement()) })
	}
	var problems []error
	for _, m := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
		gauge("ready", "1 if every expert can be reached or is computed here, else 0.", func() float64 {
			return flag((serving{c}).Ready() == nil)
		}),
		gauge("plan_epoch", "Number of the placement that requests are routed by.", func() float64 {
			return float64(c.dispatcher.Table().Epoch)
		}),
		gauge("replicas", "Workers that serve the expert that has the fewest.", func() float64 {
			least, _ := c.dispatcher.Table().Replicas()
			return float64(least)
		}),
		gauge("plan_settled", "1 if every expert is where the placement has it, else 0.",
			func() float64 { return flag(c.dispatcher.Table().Settled) }),
		gauge("balancedness", "Mean by maximum of the time that workers have computed lately.",
			func() float64 {
				status, load := c.snapshot(), c.dispatcher.Load()
				return newSight(&status, &load).Balancedness
			}),
		gauge("placement_balancedness", "Mean by slowest of the workers' times, as planned for.",
			func() float64 { return c.control.placement().Balancedness }),
		gauge("rebalance_layers_left", "Layers of a rebalance that are still to come.",
			func() float64 { return float64(c.control.placement().StepsLeft) }),
		moved("rebalances_total", "Rebalances that this process began as controller.",
			func(p Placement) int64 { return p.Rebalances }),
		moved("rebalance_experts_total", "Experts that workers were told to load for them.",
			func(p Placement) int64 { return p.Moves }),
		moved("rebalance_bytes_total", "Size of those experts.",
			func(p Placement) int64 { return p.MovedBytes }),
		counter("dispatch_calls_total", "Calls that went to workers.",
			func(t dispatch.Totals) int64 { return t.Calls }),
		counter("dispatch_experts_total", "Experts that calls asked for.",
			func(t dispatch.Totals) int64 { return t.Experts }),
		counter("dispatch_expert_bytes_total", "Size of the experts that calls asked for.",
			func(t dispatch.Totals) int64 { return t.Bytes }),
		counter("dispatch_retries_total",
			"Calls that went to other replicas because they failed or were late.",
			func(t dispatch.Totals) int64 { return t.Retries }),
		counter("dispatch_hedges_total",
			"Calls that went to other replicas too, before they were late.",
			func(t dispatch.Totals) int64 { return t.Hedges }),
		counter("dispatch_ejections_total",
			"Times that a worker was left alone because it kept answering late.",
			func(t dispatch.Totals) int64 { return t.Ejections }),
		counter("last_resort_experts_total",
			"Times that the coordinator computed an expert that no worker answered for.",
			func(t dispatch.Totals) int64 { return t.LastResortExperts }),
		counter("last_resort_rows_total", "Token rows that it computed so.",
			func(t dispatch.Totals) int64 { return t.LastResortRows }),
		gauge("last_resort", "1 while experts are computed by the coordinator, else 0.",
			func() float64 { return flag(c.dispatcher.LastResort()) }),
		gauge("registry_connected", "1 while etcd answers, else 0.", func() float64 {
			return flag(c.cluster.snapshot().Connected)
		}),
		newWorkerCollector(c.dispatcher.Hops, c.dispatcher.Speeds, c.lanes),
	} {
		problems = append(problems, c.metrics.Register(m))
	}
	return errors.Join(problems...)
}

// flag is 1 for true.
func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// stepMetrics returns what counts the engine's steps.
func (c *Coordinator) stepMetrics() (func(engine.StepReport), error) {
	labels := prometheus.Labels{"model_name": c.cfg.ModelName}
	rows := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "conclave_iteration_tokens_total", // vLLM's name, though it is no counter
		Help: "Positions computed in a forward pass.", ConstLabels: labels,
		Buckets: []float64{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384},
	})
	took := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "conclave_engine_step_seconds",
		Help: "Time of a forward pass and of sampling after it.", ConstLabels: labels,
		Buckets: prometheus.ExponentialBuckets(.0005, 2, 17), // to 33 s
	})
	err := errors.Join(c.metrics.Register(rows), c.metrics.Register(took))
	return func(r engine.StepReport) {
		rows.Observe(float64(r.Rows))
		took.Observe(r.Took.Seconds())
	}, err
}

// lanes says of each worker of the routing table whether there is a lane to it.
func (c *Coordinator) lanes() map[shard.WorkerID]bool {
	lanes := map[shard.WorkerID]bool{}
	for _, h := range c.dispatcher.Table().Holders {
		lanes[h.ID] = h.Reachable
	}
	return lanes
}

// workerCollector tells of the workers that are members now: one that leaves
// takes its series along, so that there are never more than members.
type workerCollector struct {
	hops   func() map[shard.WorkerID]dispatch.Hops
	speeds func() map[shard.WorkerID]float64
	lanes  func() map[shard.WorkerID]bool

	lane, ejected, speed, calls, failures, seconds *prometheus.Desc
	retries, hedges, ejections                     *prometheus.Desc
}

func newWorkerCollector(
	hops func() map[shard.WorkerID]dispatch.Hops, speeds func() map[shard.WorkerID]float64,
	lanes func() map[shard.WorkerID]bool,
) *workerCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("conclave_"+name, help, append([]string{"worker"}, labels...), nil)
	}
	return &workerCollector{
		hops: hops, speeds: speeds, lanes: lanes,
		lane: desc("worker_lane", "1 if there is a lane to the worker, else 0."),
		ejected: desc("worker_ejected",
			"1 while the worker is left alone because it kept answering late, else 0."),
		speed: desc("worker_expert_bytes_per_second",
			"Bytes of experts that the worker works through in a second of computing."),
		calls:     desc("worker_calls_total", "Calls that the worker has answered."),
		failures:  desc("worker_failures_total", "Lanes to the worker that broke."),
		retries:   desc("worker_retries_total", "Its calls that went to others: it failed or was late."),
		hedges:    desc("worker_hedges_total", "Its calls that went to others too, before it was late."),
		ejections: desc("worker_ejections_total", "Times that it was left alone for being late."),
		seconds: desc("worker_call_seconds_total",
			"Time of the worker's calls, by where it went: network, queue, compute.", "part"),
	}
}

// Describe implements prometheus.Collector.
func (c *workerCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.lane, c.ejected, c.speed, c.calls, c.failures, c.retries, c.hedges, c.ejections, c.seconds,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *workerCollector) Collect(out chan<- prometheus.Metric) {
	lanes, speeds := c.lanes(), c.speeds()
	for id, h := range c.hops() {
		worker := string(id)
		gauge := func(d *prometheus.Desc, v float64) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, worker)
		}
		counter := func(d *prometheus.Desc, v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v,
				append([]string{worker}, labels...)...)
		}
		gauge(c.lane, flag(lanes[id]))
		gauge(c.ejected, flag(h.Ejected))
		gauge(c.speed, speeds[id])
		counter(c.calls, float64(h.Calls))
		counter(c.failures, float64(h.Failures))
		counter(c.retries, float64(h.Retries))
		counter(c.hedges, float64(h.Hedges))
		counter(c.ejections, float64(h.Ejections))
		counter(c.seconds, h.Network.Seconds(), "network")
		counter(c.seconds, h.Queue.Seconds(), "queue")
		counter(c.seconds, h.Compute.Seconds(), "compute")
	}
}
