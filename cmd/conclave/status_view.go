package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/conclave-serve/conclave/coordinator"
	"github.com/conclave-serve/conclave/shard"
)

// view is one picture of a cluster. before, if not nil, is the picture that it
// replaces, and since the time between the two.
type view struct {
	now    *coordinator.Cluster
	before *coordinator.Cluster
	since  time.Duration
	at     time.Time
	width  int // of the screen, in characters
}

// lines draws the picture. None is wider than the screen.
func (v *view) lines() []string {
	lines := v.head()
	lines = append(lines, "")
	lines = append(lines, v.workers()...)
	if failures := v.failures(); len(failures) > 0 {
		lines = append(append(lines, ""), failures...)
	}
	if len(v.now.Layers) > 0 {
		lines = append(append(lines, ""), v.hottest()...)
		lines = append(append(lines, ""), v.heat()...)
	}
	for i, line := range lines {
		lines[i] = clipped(line, v.width)
	}
	return lines
}

// head says how the cluster as a whole is.
func (v *view) head() []string {
	s := v.now
	state := "ready"
	if !s.Ready {
		state = "not ready: " + s.Missing
	}
	placement := "settled"
	if !s.Settled {
		placement = "moving"
	}
	if n := s.Placement.StepsLeft; n > 0 {
		placement = fmt.Sprintf("rebalancing, %d layers to come", n)
	}
	registry := ""
	if !s.Registry {
		registry = ", registry out of reach: placement is frozen"
	}
	tokens := "-"
	if v.before != nil && v.since > 0 && s.Engine.GeneratedTokens >= v.before.Engine.GeneratedTokens {
		tokens = fmt.Sprintf("%.1f", float64(s.Engine.GeneratedTokens-v.before.Engine.GeneratedTokens)/
			v.since.Seconds())
	}
	lines := []string{
		fmt.Sprintf("%s at %s, %s: %s", s.Model, s.Coordinator, v.at.Format(time.TimeOnly), state),
		fmt.Sprintf("requests   %d running, %d waiting, %s tokens/s; cache %d of %d pages",
			s.Engine.Running, s.Engine.Waiting, tokens, s.Engine.PagesUsed, s.Engine.PagesTotal),
		fmt.Sprintf("steps      %s/s, %s calls of %s experts, %s read", rate(s.StepsPerSecond),
			rate(s.CallsPerStep), rate(s.ExpertsPerCall), bytes(s.ExpertBytesPerStep)),
		fmt.Sprintf("placement  epoch %d, %s, controller %s%s",
			s.Epoch, placement, cmp.Or(s.Controller, "none"), registry),
		fmt.Sprintf("balance    %s measured, %s by the load; %d to %d copies of an expert",
			part(s.Balancedness), part(s.Predicted), s.ReplicasLeast, s.ReplicasMost),
	}
	if p := s.Placement; p.Rebalances > 0 {
		lines = append(lines, fmt.Sprintf("rebalanced %d times, %d experts moved, %s; last from %s to %s",
			p.Rebalances, p.Moves, bytes(float64(p.MovedBytes)), part(p.Before), part(p.After)))
	}
	return lines
}

// part is a number from 0 to 1, where 0 is not known.
func part(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

// barWidth is the length of a bar that means all: what the rest of the table leaves.
func (v *view) barWidth() int {
	const rest, least, most = 100, 4, 24
	return min(max(v.width-rest, least), most)
}

// workers is a table of them.
func (v *view) workers() []string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WORKER\tSTATE\tSHARE\tLOAD\tSPEED\tSTEP\tNET + QUEUE + COMPUTE\t"+
		"AGAIN\tHEDGED\tEXPERTS")
	for i := range v.now.Workers {
		w := &v.now.Workers[i]
		speed := "-"
		if w.Speed > 0 {
			speed = bytes(w.Speed) + "/s"
		}
		hop, step := "-", "-"
		if w.CallsPerSecond > 0 {
			hop = fmt.Sprintf("%s + %s + %s",
				short(w.Network), short(w.QueueSeconds), short(w.ComputeSeconds))
			step = short(w.ComputePerStep)
		}
		fmt.Fprintf(t, "%s\t%s\t%s %3.0f %%\t%3.0f %%\t%s\t%s\t%s\t%d\t%d\t%d, %s\n",
			clean(w.ID), workerState(w), bar(w.Share, v.barWidth()), 100*w.Share, 100*w.PredictedShare,
			speed, step, hop, w.Retries, w.Hedges, w.Experts, bytes(float64(w.BytesHeld)))
	}
	_ = t.Flush() // into memory
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

// workerState is what keeps a worker from being asked like any other, if
// anything does.
func workerState(w *coordinator.WorkerSight) string {
	switch {
	case !w.Lane && w.Gossip == "dead":
		return "dead"
	case !w.Lane:
		return "no lane"
	case w.Ejected:
		return "late"
	case w.Draining:
		return "leaving"
	case w.Gossip == "dead":
		return "suspect"
	}
	return "open"
}

// recently is how long a failure is shown.
const recently = 5 * time.Minute

// failures are the workers' last, the latest first.
func (v *view) failures() []string {
	workers := slices.Clone(v.now.Workers)
	slices.SortStableFunc(workers, func(a, b coordinator.WorkerSight) int {
		return b.LastFailureAt.Compare(a.LastFailureAt)
	})
	var lines []string
	for i := range workers {
		w := &workers[i]
		ago := v.at.Sub(w.LastFailureAt)
		if w.LastFailure == "" || ago > recently || len(lines) == 3 {
			continue
		}
		lines = append(lines, fmt.Sprintf("failed     %s %v ago, %d in all: %s",
			w.ID, max(ago, 0).Round(time.Second), w.Failures, w.LastFailure))
	}
	return lines
}

// expertLoad is one expert and how much it is wanted.
type expertLoad struct {
	layer, expert     int
	rows, reads, load float64
	replicas          []int
}

// shown is how many of the hottest experts are.
const shown = 5

// hottest are the experts with the most load.
func (v *view) hottest() []string {
	var top []expertLoad
	for _, l := range v.now.Layers {
		for e := range min(len(l.Rows), len(l.Reads), len(l.Replicas)) {
			x := expertLoad{
				layer: l.Layer, expert: e, rows: float64(l.Rows[e]), reads: float64(l.Reads[e]),
				replicas: l.Replicas[e],
			}
			x.load = max(x.reads, x.rows/shard.RowsPerRead)
			if x.load > 0 && (len(top) < shown || x.load > top[len(top)-1].load) {
				top = append(top, x)
				slices.SortStableFunc(top, func(a, b expertLoad) int {
					return cmp.Compare(b.load, a.load)
				})
				top = top[:min(len(top), shown)]
			}
		}
	}
	lines := []string{"hottest experts"}
	for _, x := range top {
		var on []string
		for _, i := range x.replicas {
			if i >= 0 && i < len(v.now.Workers) {
				on = append(on, v.now.Workers[i].ID)
			}
		}
		lines = append(lines, fmt.Sprintf("  layer %-3d expert %-4d %6s reads/s %6s rows/s  on %s",
			x.layer, x.expert, rate(x.reads), rate(x.rows), strings.Join(on, ", ")))
	}
	return lines
}

// heat is a character for each layer: how much more than the mean its hottest
// expert is wanted. Where there are more layers than columns, neighbours share
// one, and the hotter counts.
func (v *view) heat() []string {
	const indent = 2
	layers := v.now.Layers
	each := max(1, (len(layers)+v.width-indent-1)/max(v.width-indent, 1))
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", indent))
	most := 0.0
	for group := range slices.Chunk(layers, each) {
		heat := 0.0
		for _, l := range group {
			heat = max(heat, l.Heat)
		}
		most = max(most, heat)
		b.WriteRune(level(heat))
	}
	scope := "each layer"
	if each > 1 {
		scope = fmt.Sprintf("every %d layers", each)
	}
	return []string{
		fmt.Sprintf("heat of %s, %d to %d: most wanted by mean, ▁ 1 to █ 8; most %.3g",
			scope, layers[0].Layer, layers[len(layers)-1].Layer, most),
		b.String(),
	}
}

// level is a column of one to eight eighths; none without a load.
func level(heat float64) rune {
	if !(heat > 0) {
		return '·'
	}
	return '▁' + rune(min(max(math.Floor(heat), 1), 8)) - 1
}

// bar draws a part of width.
func bar(part float64, width int) string {
	eighths := int(math.Round(8 * float64(width) * min(max(part, 0), 1)))
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string('█' + rune(8-rest)) // seven eighths to one
	}
	return s + strings.Repeat(" ", width-utf8.RuneCountInString(s))
}

// rate has three digits, or as many as it takes.
func rate(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// bytes is such as "1.2 MB".
func bytes(v float64) string { return humanize.Bytes(uint64(max(v, 0))) }

// short is a time in seconds with its unit: "120µs".
func short(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d >= 10*time.Millisecond {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

// clean leaves out what is no text: a terminal would obey it.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// clipped is a clean line of at most width characters.
func clipped(s string, width int) string {
	s = clean(s)
	if utf8.RuneCountInString(s) <= width {
		return strings.TrimRight(s, " ")
	}
	return string([]rune(s)[:max(width-1, 0)]) + "…"
}
