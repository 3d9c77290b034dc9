package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
)

// noisy is the noise from which a figure is said to be disturbed.
const noisy = 0.25

// WriteJSON writes a report.
func (r *KernelsReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, report any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// WriteTable writes a report for people.
func (r *KernelsReport) WriteTable(w io.Writer) error {
	s := r.Shape
	fmt.Fprintf(w, "%s, experts of %d×%d; kernels: %s; weights walk over %s; %.0f s\n\n", s.Name,
		s.Width, s.Hidden, r.Features, humanize.IBytes(uint64(r.Memory)), r.Seconds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "THREADS\tREAD GB/s\tNOISE\tPEAK GFLOP/s\tNOISE\t")
	disturbed := false
	for _, c := range r.Ceilings {
		fmt.Fprintf(t, "%d\t%.1f\t%.0f %%\t%.1f\t%.0f %%\t\n", c.Threads, c.Read/1e9,
			100*c.ReadNoise, c.Peak/1e9, 100*c.PeakNoise)
		disturbed = disturbed || c.ReadNoise > noisy || c.PeakNoise > noisy
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "KERNEL\tPART\tWEIGHTS\tSHAPE\tROWS\tTHREADS\tTIME µs\tGB/s\tGFLOP/s\t"+
		"CEILING\tBY\tRATIO\tNOISE\t")
	for i := range r.Results {
		k := &r.Results[i]
		by := "peak"
		if k.ReadBound {
			by = "read"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%.4g\t%.1f\t%.1f\t%.1f\t%s\t%.2f\t%.0f %%\t\n",
			k.Kernel, k.Part, k.Format, k.Shape, k.Rows, k.Threads, 1e6*k.Seconds,
			k.BytesPerSecond/1e9, k.Flops/1e9, k.Bound/1e9, by, k.Ratio, 100*k.Noise)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if disturbed {
		fmt.Fprintln(w, "\nOther work disturbed the machine: compare ratios, not figures of two runs.")
	}
	if r.crowded() {
		fmt.Fprintln(w, "\nAll threads compute less than three quarters of what as many single ones "+
			"would: other work has the cores, or threads share them.")
	}
	return nil
}

// crowded reports whether threads were in each other's way, or in that of other work.
func (r *KernelsReport) crowded() bool {
	if len(r.Ceilings) < 2 {
		return false
	}
	one, all := &r.Ceilings[0], &r.Ceilings[len(r.Ceilings)-1]
	return all.Peak < 0.75*one.Peak*float64(all.Threads)/float64(one.Threads)
}

// WriteJSON writes a report.
func (r *ModelReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

// WriteTable writes a report for people.
func (r *ModelReport) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s: %d layers, %d experts, %d for a token; %d worker(s) over loopback in "+
		"this process, %d threads at each end, %s on the wire; quantised as loaded: attention %s, "+
		"experts %s; kernels: %s\n\n", r.Model, r.Family, r.Layers, r.Experts, r.TopK, r.Workers,
		r.Threads, r.Wire, r.AttentionQuant, r.ExpertsQuant, r.Features)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "STEP\tROWS\tSTEPS\tTOKENS/s\tMEAN ms\tBEST ms\tALLOCS/TOKEN\tBYTES/TOKEN\t"+
		"GC/1000 TOKENS\t")
	for i := range r.Runs {
		s := &r.Runs[i]
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%.3g\t%.3g\t%.1f\t%.0f\t%.2f\t\n", s.Kind, s.Rows, s.Steps,
			s.TokensPerSecond, 1e3*s.Seconds, 1e3*s.Best, s.Allocations, s.AllocatedBytes,
			s.Collections)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nWhere the time of a step goes, ms:")
	var none Split
	fmt.Fprint(t, "STEP\tROWS\t")
	for _, p := range none.parts() {
		fmt.Fprintf(t, "%s\t", p.name)
	}
	fmt.Fprintln(t, "SUM\tOF STEP\t")
	for i := range r.Runs {
		s := &r.Runs[i]
		fmt.Fprintf(t, "%s\t%d\t", s.Kind, s.Rows)
		for _, p := range s.Split.parts() {
			fmt.Fprintf(t, "%.3f\t", 1e3*p.seconds)
		}
		fmt.Fprintf(t, "%.3f\t%.1f %%\t\n", 1e3*s.Split.Sum(), 100*s.Covered)
	}
	return t.Flush()
}

// WriteJSON writes a report.
func (r *HopReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

// WriteTable writes a report for people.
func (r *HopReport) WriteTable(w io.Writer) error {
	load := "idle"
	if r.Busy {
		load = "all cores busy"
	}
	fmt.Fprintf(w, "hidden %d, %s, %s; round trips, µs; ratios are of p50\n\n", r.Hidden, r.Wire, load)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "PATH\tTOKENS\tBYTES\tRAW P50\tP99\tCOMPUTED\tLANE P50\tP99\tRATIO\t"+
		"TO COMPUTED\tCALL P50\tP99\tRATIO\tGRPC LANE\tP99\tRATIO\tGRPC CALL\t"+
		"RATIO\tRAW GB/s\tCALL GB/s\t")
	for i := range r.Hops {
		h, g := &r.Hops[i], &r.Hops[i].GRPC
		fmt.Fprintf(t, "%s\t%d\t%s\t%.1f\t%.0f\t%.1f\t%.1f\t%.0f\t%.2f\t%.2f\t",
			h.Network, h.Tokens, humanize.IBytes(uint64(h.Bytes)), 1e6*h.Raw.P50, 1e6*h.Raw.P99,
			1e6*h.Computed.P50, 1e6*h.Lane.P50, 1e6*h.Lane.P99, h.LaneRatio, h.ComputedRatio)
		fmt.Fprintf(t, "%.1f\t%.0f\t%.2f\t", 1e6*h.Call.P50, 1e6*h.Call.P99, h.CallRatio)
		fmt.Fprintf(t, "%.1f\t%.0f\t%.2f\t%.1f\t%.2f\t%.2f\t%.2f\t\n", 1e6*g.Lane.P50, 1e6*g.Lane.P99,
			g.LaneRatio, 1e6*g.Call.P50, g.CallRatio, h.RawThroughput/1e9, h.CallThroughput/1e9)
	}
	return t.Flush()
}
