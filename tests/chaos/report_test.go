//go:build linux

package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// outcome is what one fault did.
type outcome struct {
	fault           fault
	gap, first      time.Duration // the longest between tokens, and to a first one
	recovery        time.Duration // from the end of the fault to a whole cluster
	retries, hedges int64
	requests        int
}

// report tells for each kind what its faults did, as a table in Markdown.
func report(outcomes []outcome) string {
	var b strings.Builder
	b.WriteString("| fault | times | longest pause | median | longest wait for a first token " +
		"| whole again after, median | retries | hedges | requests |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, k := range kinds {
		var gaps, recoveries []time.Duration
		var first time.Duration
		var retries, hedges int64
		requests := 0
		for _, o := range outcomes {
			if o.fault.Kind == k {
				gaps, recoveries = append(gaps, o.gap), append(recoveries, o.recovery)
				first = max(first, o.first)
				retries, hedges, requests = retries+o.retries, hedges+o.hedges, requests+o.requests
			}
		}
		if len(gaps) == 0 {
			continue
		}
		slices.Sort(gaps)
		slices.Sort(recoveries)
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %d | %d | %d |\n", k, len(gaps),
			ms(gaps[len(gaps)-1]), ms(gaps[len(gaps)/2]), ms(first), ms(recoveries[len(gaps)/2]),
			retries, hedges, requests)
	}
	return b.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
