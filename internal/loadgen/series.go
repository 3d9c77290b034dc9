package loadgen

import (
	"cmp"
	"slices"
	"time"
)

// Point is a moment of a run.
type Point struct {
	At      time.Duration // middle of the interval
	Tokens  float64       // output tokens per second
	Running float64       // requests, on average
}

// Series divides a run into intervals. An answer's tokens are shared out evenly over its events.
func (r *Report) Series(interval time.Duration) []Point {
	length := seconds(r.Seconds)
	if interval <= 0 || length <= 0 || length/interval > maxRequests {
		return nil
	}
	points := make([]Point, (length+interval-1)/interval)
	at := func(d time.Duration) int {
		return int(min(max(d/interval, 0), time.Duration(len(points)-1)))
	}
	width := func(i int) time.Duration { return min(interval, length-time.Duration(i)*interval) }
	for i := range points {
		points[i].At = time.Duration(i)*interval + width(i)/2
	}
	for i := range r.Records {
		k := &r.Records[i]
		share := 1.0
		if n := len(k.Events); n > 0 && k.OutputTokens > n {
			share = float64(k.OutputTokens) / float64(n)
		}
		for _, e := range k.Events {
			b := at(k.Sent + e)
			points[b].Tokens += share / width(b).Seconds()
		}
		end := min(k.Sent+k.End, length)
		for b := at(k.Sent); b <= at(end); b++ {
			from := time.Duration(b) * interval
			overlap := min(end, from+interval) - max(k.Sent, from)
			points[b].Running += float64(max(overlap, 0)) / float64(width(b))
		}
	}
	return points
}

// maxRunning returns how many requests ran at once, at most.
func maxRunning(records []Record) int {
	type change struct {
		at time.Duration
		by int
	}
	var changes []change
	for i := range records {
		k := &records[i]
		changes = append(changes, change{k.Sent, 1}, change{k.Sent + k.End, -1})
	}
	slices.SortFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) // ends come first
	})
	running, most := 0, 0
	for _, c := range changes {
		running += c.by
		most = max(most, running)
	}
	return most
}
