package loadgen

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// WriteTable writes a report for people.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	line("server", "%s, %s, %s", r.Target.URL, r.Target.Model, r.Target.Endpoint)
	line("load", "%s", r.Load.Describe())
	line("asked for", "%s", r.Load.work())
	c := r.Requests
	line("requests", "%s finished, %s failed, %s cancelled in %.1f s; at most %d at once",
		comma(c.Finished), comma(c.Failed), comma(c.Cancelled), r.Seconds, c.MaxRunning)
	line("tokens", "%s", r.Tokens.describe(c.Finished))
	fmt.Fprintf(&b, "\n%-27s%10s%10s%10s%10s%10s\n", "", "MEAN", "P50", "P90", "P99", "MAX")
	for _, row := range []struct {
		name    string
		summary *Summary
	}{
		{"time to first token, ms", r.TTFT},
		{"between tokens, ms", r.ITL},
		{"per output token, ms", r.TPOT},
		{"end to end, ms", r.E2E},
		{"sent late, ms", r.Late},
		{"prompt, tokens", r.PromptTokens},
		{"answer, tokens", r.OutputTokens},
	} {
		if s := row.summary; s != nil {
			fmt.Fprintf(&b, "%-27s%10s%10s%10s%10s%10s\n", row.name,
				figure(s.Mean), figure(s.P50), figure(s.P90), figure(s.P99), figure(s.Max))
		}
	}
	b.WriteString("\n")
	t := r.Throughput
	line("throughput", "%s requests/s, %s output tokens/s, %s tokens/s in all",
		figure(t.Requests), figure(t.OutputTokens), figure(t.TotalTokens))
	if g := r.Goodput; g != nil {
		line("goodput", "%.1f %% of requests, %s requests/s, meet %s",
			100*g.Share, figure(g.Requests), g.SLO)
	}
	for _, e := range r.Errors {
		line("failed", "%s × %s: %s", comma(e.Count), e.Kind, e.Example)
	}
	for _, n := range r.Notes {
		line("note", "%s", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Describe says when requests were sent, in a line.
func (l *LoadFacts) Describe() string {
	text := fmt.Sprintf("%d at a time", l.Concurrency)
	if l.Rate > 0 {
		text = fmt.Sprintf("%g requests/s, %s", l.Rate, l.Arrival)
		if l.Concurrency > 0 {
			text += fmt.Sprintf(", at most %d at once", l.Concurrency)
		}
	}
	if l.Requests > 0 {
		text += fmt.Sprintf(", %s requests", comma(l.Requests))
	}
	if l.Duration > 0 {
		text += fmt.Sprintf(", for %v", seconds(l.Duration).Round(time.Millisecond))
	}
	if l.Warmup > 0 {
		text += fmt.Sprintf(", after %s that do not count", comma(l.Warmup))
	}
	return text
}

// work says what was asked for.
func (l *LoadFacts) work() string {
	text := fmt.Sprintf("prompts %s", l.Prompt)
	switch {
	case l.File != "":
		text = "prompts from " + l.File
	case l.SharedPrefix > 0 && l.Prefixes == 1:
		text += fmt.Sprintf(" behind a shared prefix of %d", l.SharedPrefix)
	case l.SharedPrefix > 0:
		text += fmt.Sprintf(" behind one of %d prefixes of %d", l.Prefixes, l.SharedPrefix)
	}
	text += fmt.Sprintf(", answers %s", l.Output)
	if l.IgnoreEOS {
		text += " in full"
	}
	return text + fmt.Sprintf("; seed %d", l.Seed)
}

func (t *Tokens) describe(finished int) string {
	by := "counted by the server"
	if t.ByServer < finished {
		by = "counted as events where the server gave no counts"
	}
	cached := ""
	if t.Cached != nil && t.Prompt > 0 {
		cached = fmt.Sprintf(" (%s cached, %.1f %%)", comma(*t.Cached),
			100*float64(*t.Cached)/float64(t.Prompt))
	}
	return fmt.Sprintf("%s prompt%s, %s output, %s", comma(t.Prompt), cached, comma(t.Output), by)
}

func comma(n int) string { return humanize.Comma(int64(n)) }

// figure writes a number with about three digits that matter.
func figure(x float64) string {
	switch {
	case x >= 1000:
		return humanize.Comma(int64(x + 0.5))
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// rawRecord is a record in JSON. Times are in milliseconds.
type rawRecord struct {
	Index        int       `json:"index"`
	Sent         float64   `json:"sent_ms"` // since the run began
	Late         float64   `json:"late_ms"`
	TTFT         *float64  `json:"ttft_ms"`
	E2E          float64   `json:"e2e_ms"`
	Gaps         []float64 `json:"gaps_ms"`
	PromptTokens int       `json:"prompt_tokens"`
	CachedTokens *int      `json:"cached_tokens"`
	OutputTokens int       `json:"output_tokens"`
	Counted      bool      `json:"counted_by_server"`
	Cancelled    bool      `json:"cancelled,omitempty"`
	Failure      *Failure  `json:"failure,omitempty"`
}

// WriteJSON writes a report for programs; raw adds every request.
func (r *Report) WriteJSON(w io.Writer, raw bool) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if !raw {
		return e.Encode(r)
	}
	records := make([]rawRecord, len(r.Records))
	for i := range r.Records {
		k := &r.Records[i]
		records[i] = rawRecord{
			Index: k.Index, Sent: milliseconds(k.Sent), Late: milliseconds(k.Late),
			E2E: milliseconds(k.End), Gaps: k.Gaps(), PromptTokens: k.PromptTokens,
			CachedTokens: k.CachedTokens, OutputTokens: k.OutputTokens, Counted: k.Counted,
			Cancelled: k.Gone, Failure: k.Failure,
		}
		if first, ok := k.TTFT(); ok {
			ms := milliseconds(first)
			records[i].TTFT = &ms
		}
	}
	return e.Encode(struct {
		*Report
		Records []rawRecord `json:"records"`
	}{r, records})
}
