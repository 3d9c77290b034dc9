package loadgen

import (
	"math"
	"slices"
	"time"
)

// Summary describes values; of times they are in milliseconds.
type Summary struct {
	Count int     `json:"count"`
	Mean  float64 `json:"mean"`
	Min   float64 `json:"min"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// summarize sorts values and describes them; nil if there are none.
func summarize(values []float64) *Summary {
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return &Summary{
		Count: len(values), Mean: sum / float64(len(values)),
		Min: values[0], Max: values[len(values)-1],
		P50: percentile(values, 50), P90: percentile(values, 90), P99: percentile(values, 99),
	}
}

// percentile returns what p percent of the values, which are sorted, lie below: between the two
// nearest it interpolates, as numpy.percentile does by default (method "linear", number 7 of
// Hyndman and Fan 1996).
func percentile(sorted []float64, p float64) float64 {
	at := p / 100 * float64(len(sorted)-1)
	low := math.Floor(at)
	if int(low) >= len(sorted)-1 {
		return sorted[len(sorted)-1]
	}
	a, b := sorted[int(low)], sorted[int(low)+1]
	return a + (at-low)*(b-a)
}

// milliseconds is a time as reports give it.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Finished says whether the answer is whole.
func (r *Record) Finished() bool { return r.Failure == nil && !r.Gone }

// TTFT is the time to the first token; false if there was none.
func (r *Record) TTFT() (time.Duration, bool) {
	if len(r.Events) == 0 {
		return 0, false
	}
	return r.Events[0], true
}

// TPOT is the time from the first to the last event for each token after the first; false with
// fewer than two. A server that puts several tokens into an event has fewer gaps than tokens.
func (r *Record) TPOT() (time.Duration, bool) {
	if len(r.Events) < 2 || r.OutputTokens < 2 {
		return 0, false
	}
	between := r.Events[len(r.Events)-1] - r.Events[0]
	return between / time.Duration(r.OutputTokens-1), true
}

// Gaps are the times between events that follow one another, in milliseconds.
func (r *Record) Gaps() []float64 {
	var gaps []float64
	for i := 1; i < len(r.Events); i++ {
		gaps = append(gaps, milliseconds(r.Events[i]-r.Events[i-1]))
	}
	return gaps
}
