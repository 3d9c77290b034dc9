package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// pages are the answers for those who watch the process: /metrics in Prometheus'
// form, /healthz while it lives, /readyz while it serves what its plan gives it.
func (w *Worker) pages() (http.Handler, error) {
	registry, err := w.metrics()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(out http.ResponseWriter, _ *http.Request) {
		_, _ = out.Write([]byte("ok\n")) // the client may have gone
	})
	mux.HandleFunc("GET /readyz", func(out http.ResponseWriter, _ *http.Request) {
		if why := w.unready(); why != "" {
			http.Error(out, why, http.StatusServiceUnavailable)
			return
		}
		_, _ = out.Write([]byte("ok\n"))
	})
	return mux, nil
}

// unready says why this worker does not serve what its plan gives it, "" if it
// does.
func (w *Worker) unready() string {
	if !w.joined.Load() {
		return "not in the cluster yet"
	}
	switch r := w.seat.Registration.Value(); {
	case r.Draining:
		return "leaving: experts are handed over"
	case r.PlanEpoch == 0:
		return "no plan carried out yet"
	}
	return ""
}

// metrics are what this process counts; of labels there are memory nodes.
func (w *Worker) metrics() (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: "conclave_" + name, Help: help}, value)
	}
	counter := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: "conclave_" + name, Help: help}, value)
	}
	var problems []error
	for _, m := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
		gauge("ready", "1 if the worker serves what its plan gives it, else 0.", func() float64 {
			if w.unready() == "" {
				return 1
			}
			return 0
		}),
		gauge("plan_epoch", "Number of the last placement that was carried out.", func() float64 {
			if !w.joined.Load() {
				return 0
			}
			return float64(w.seat.Registration.Value().PlanEpoch)
		}),
		gauge("lanes", "Coordinators' open streams.",
			func() float64 { return float64(w.server.Load().Lanes) }),
		gauge("calls_waiting", "Calls that wait for their turn.",
			func() float64 { return float64(w.server.Load().Queued) }),
		counter("calls_total", "Calls computed.",
			func() float64 { return float64(w.server.Load().Calls) }),
		counter("expert_rows_total", "Token rows computed, one for each expert of a token.",
			func() float64 { return float64(w.server.Load().Rows) }),
		counter("compute_seconds_total", "Time spent computing.",
			func() float64 { return w.server.Load().Busy.Seconds() }),
		gauge("experts_held", "Experts that are loaded, over all layers.", w.heldExperts),
		gauge("experts_held_bytes", "Size of the experts that are loaded.",
			func() float64 { return float64(w.store.Bytes()) }),
		gauge("load_pending_bytes", "What is still to be read of the experts of the plan.",
			func() float64 { return float64(max(w.events.total.Load()-w.events.done.Load(), 0)) }),
		counter("loaded_bytes_total", "What was read of experts.",
			func() float64 { return float64(w.events.done.Load()) }),
		counter("origin_bytes_total", "Bytes of weights read from the origin of a model at a URL.",
			func() float64 { origin, _ := w.bytesRead(); return float64(origin) }),
		counter("peer_bytes_total", "Bytes of weights read from other workers.",
			func() float64 { _, peers := w.bytesRead(); return float64(peers) }),
		counter("peer_served_bytes_total", "Bytes of weights sent to other workers.",
			func() float64 { return float64(w.offer.served.Load()) }),
	} {
		problems = append(problems, registry.Register(m))
	}
	for k, node := range w.nodes.Weights() {
		problems = append(problems, registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "conclave_node_weights_bytes", Help: "Experts' weights that were put on a memory node.",
			ConstLabels: prometheus.Labels{"node": strconv.Itoa(node.ID)},
		}, func() float64 { return float64(w.nodes.Weights()[k].Bytes) })))
	}
	return registry, errors.Join(problems...)
}

func (w *Worker) heldExperts() float64 {
	n := 0
	for _, set := range w.store.Held() {
		n += set.Len()
	}
	return float64(n)
}

// pagePatience is how long a request may take to arrive, and an answer to leave.
const pagePatience = 10 * time.Second

// watch serves pages on lis until the function that it returns has ended that.
func watch(lis net.Listener, pages http.Handler, log *slog.Logger) (end func() error) {
	server := &http.Server{
		Handler: pages, ReadHeaderTimeout: pagePatience, ReadTimeout: pagePatience,
		WriteTimeout: pagePatience, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	return func() error {
		_ = server.Close() // nobody waits for more than a page
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve metrics on %v: %w", lis.Addr(), err)
		}
		return nil
	}
}
