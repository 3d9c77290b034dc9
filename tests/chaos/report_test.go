//go:build linux

package chaos

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// outcome is what one fault did.
type outcome struct {
	fault           fault
	gap             pauses        // the longest between tokens
	first           time.Duration // and to a first one
	recovery        time.Duration // from the end of the fault to a whole cluster
	stall           time.Duration // the longest of the test itself
	retries, hedges int64
	requests        int
}

// pulse notices when this process gets no processor: whatever the cluster did then,
// the machine was too busy to.
type pulse struct{ longest atomic.Int64 }

const beat = 10 * time.Millisecond

// start starts it; what it returns stops it.
func (p *pulse) start() (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		last := time.Now()
		for {
			select {
			case <-ticker.C:
			case <-done:
				return
			}
			now := time.Now()
			if late := int64(now.Sub(last) - beat); late > p.longest.Load() {
				p.longest.Store(late)
			}
			last = now
		}
	})
	return func() { close(done); running.Wait() }
}

// take returns the longest stall since the last take.
func (p *pulse) take() time.Duration { return time.Duration(p.longest.Swap(0)) }

// report tells for each kind what its faults did, as a table in Markdown.
func report(outcomes []outcome) string {
	var b strings.Builder
	b.WriteString("| fault | times | longest pause | median | by replicas alone | median " +
		"| longest wait for a first token | whole again after, median | longest stall of the test " +
		"| retries | hedges | requests |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, k := range kinds {
		var gaps, alone, recoveries []time.Duration
		var first, stall time.Duration
		var retries, hedges int64
		requests := 0
		for _, o := range outcomes {
			if o.fault.Kind == k {
				gaps, alone = append(gaps, o.gap.resort), append(alone, o.gap.alone)
				recoveries = append(recoveries, o.recovery)
				first, stall = max(first, o.first), max(stall, o.stall)
				retries, hedges, requests = retries+o.retries, hedges+o.hedges, requests+o.requests
			}
		}
		if len(gaps) == 0 {
			continue
		}
		slices.Sort(gaps)
		slices.Sort(alone)
		slices.Sort(recoveries)
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s | %s | %s | %d | %d | %d |\n", k, len(gaps),
			ms(gaps[len(gaps)-1]), ms(gaps[len(gaps)/2]), ms(alone[len(gaps)-1]), ms(alone[len(gaps)/2]),
			ms(first), ms(recoveries[len(gaps)/2]), ms(stall), retries, hedges, requests)
	}
	return b.String()
}

// String implements fmt.Stringer.
func (p pauses) String() string {
	return fmt.Sprintf("%s, by replicas alone %s", ms(p.resort), ms(p.alone))
}

func ms(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
