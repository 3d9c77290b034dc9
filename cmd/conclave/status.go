package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/conclave-serve/conclave/coordinator"
	"github.com/conclave-serve/conclave/internal/client"
)

// statusCommand shows the cluster as a coordinator sees it.
type statusCommand struct {
	keyFlag
	URL      string        `help:"Address of a coordinator." default:"http://127.0.0.1:8080"`
	JSON     bool          `help:"Print JSON; with --watch one object a line."`
	Watch    bool          `help:"Show the load on workers and experts, again and again, until interrupted."`
	Interval time.Duration `help:"Time between looks of --watch." default:"1s"`
}

// shortestInterval keeps a watch from being a load.
const shortestInterval = 100 * time.Millisecond

// Validate implements kong's check of the command line.
func (f *statusCommand) Validate() error {
	if f.Interval < shortestInterval {
		return fmt.Errorf("--interval is %v: want %v or more", f.Interval, shortestInterval)
	}
	return nil
}

// watch shows the load until ctx ends.
func (f *statusCommand) watch(ctx context.Context) error {
	c := client.New(f.URL, f.key())
	w := watcher{interval: f.Interval, look: func(ctx context.Context) (*coordinator.Cluster, error) {
		s := &coordinator.Cluster{}
		return s, c.Get(ctx, coordinator.ClusterPath, s)
	}}
	switch {
	case f.JSON:
		w.show = func(s *watched) error { return showJSON(os.Stdout, os.Stderr, s) }
	case !term.IsTerminal(int(os.Stdout.Fd())):
		w.show = func(s *watched) error { return showPlain(os.Stdout, s) }
	default:
		fmt.Print(enterScreen)
		defer fmt.Print(leaveScreen)
		w.show = screen{os.Stdout}.show
	}
	return w.run(ctx)
}

// Run implements kong's command.
func (f *statusCommand) Run(ctx context.Context) error {
	if f.Watch {
		return f.watch(ctx)
	}
	var s coordinator.Status
	if err := client.New(f.URL, f.key()).Get(ctx, coordinator.StatusPath, &s); err != nil {
		return err
	}
	if f.JSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	return printStatus(os.Stdout, &s)
}

func printStatus(w io.Writer, s *coordinator.Status) error {
	state := "ready"
	if !s.Ready {
		state = "not ready: " + s.Missing
	}
	if s.LastResort {
		state = "ready, but the coordinator computes experts itself: " +
			cmp.Or(s.Missing, "workers are late")
	}
	registry := "connected"
	if !s.Registry {
		registry = "out of reach: placement is frozen, serving goes on"
	}
	placement := "settled"
	if !s.Settled {
		placement = "moving"
	}
	fmt.Fprintf(w, "model      %s (%s), %s kernels, %s on the wire\n",
		s.Model, s.Family, s.Kernels, s.Wire)
	if s.Quantization != "" {
		fmt.Fprintf(w, "quantised  %s\n", s.Quantization)
	}
	fmt.Fprintf(w, "state      %s\n", state)
	fmt.Fprintf(w, "registry   %s\n", registry)
	fmt.Fprintf(w, "placement  epoch %d, %s, controller %s\n", s.PlanEpoch, placement, s.Controller)
	fmt.Fprintf(w, "replicas   %s\n", replicas(s))
	fmt.Fprintf(w, "requests   %d running, %d waiting; cache %d of %d pages\n\n",
		s.Engine.Running, s.Engine.Waiting, s.Engine.PagesUsed, s.Engine.PagesTotal)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "COORDINATOR\tADDRESS\tGOSSIP\tTABLE EPOCH")
	for _, k := range s.Coordinators {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", k.ID, k.Addr, k.Gossip, k.TableEpoch)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "WORKER\tADDRESS\tGOSSIP\tLANE\tPLAN EPOCH\tEXPERTS\tCALLS\t"+
		"MEAN HOP: NETWORK + QUEUE + COMPUTE")
	for _, m := range s.Workers {
		lane := "open"
		if !m.Lane {
			lane = "down"
		}
		if m.Ejected {
			lane += ", late"
		}
		if m.Draining {
			lane += ", draining"
		}
		if !m.Probation.IsZero() {
			lane += ", on probation until " + m.Probation.Local().Format(time.TimeOnly)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n",
			m.ID, m.Addr, m.Gossip, lane, m.PlanEpoch, m.ExpertCount, m.Calls, meanHop(&m))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range s.Workers {
		fmt.Fprintf(w, "\n%s holds\n", m.ID)
		for layer := 0; layer < len(m.Experts); {
			end := layer + 1
			for end < len(m.Experts) && m.Experts[end] == m.Experts[layer] {
				end++
			}
			if m.Experts[layer] != "" {
				fmt.Fprintf(w, "  %-14s %s\n", layerRange(layer, end-1), m.Experts[layer])
			}
			layer = end
		}
	}
	return nil
}

// replicas says how many workers serve each expert, and what they are for.
func replicas(s *coordinator.Status) string {
	text := fmt.Sprint(s.ReplicasLeast)
	if s.ReplicasMost > s.ReplicasLeast {
		text += fmt.Sprintf(" to %d", s.ReplicasMost)
	}
	return fmt.Sprintf("%s of each expert; of %d calls %d sent again, %d hedged; %d ejections",
		text, s.Calls, s.Retries, s.Hedges, s.Ejections)
}

func layerRange(first, last int) string {
	if first == last {
		return fmt.Sprintf("layer %d", first)
	}
	return fmt.Sprintf("layers %d-%d", first, last)
}

func meanHop(m *coordinator.WorkerStatus) string {
	if m.Calls == 0 {
		return "-"
	}
	mean := func(seconds float64) float64 { return 1e6 * seconds / float64(m.Calls) }
	return fmt.Sprintf("%.0f + %.0f + %.0f µs",
		mean(m.NetworkSeconds), mean(m.QueueSeconds), mean(m.ComputeSeconds))
}
