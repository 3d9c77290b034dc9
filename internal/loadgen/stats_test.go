package loadgen

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
	"time"
)

// TestPercentiles compares with numpy: testdata/percentiles.py.
func TestPercentiles(t *testing.T) {
	raw, err := os.ReadFile("testdata/percentiles.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Name            string
			Values, P, Want []float64
			Mean            float64
		}
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-12*max(math.Abs(a), math.Abs(b)) }
	for _, c := range golden.Cases {
		s := summarize(slices.Clone(c.Values))
		if s.Count != len(c.Values) || !near(s.Mean, c.Mean) ||
			s.Min != slices.Min(c.Values) || s.Max != slices.Max(c.Values) {
			t.Errorf("%s: %+v", c.Name, s)
		}
		slices.Sort(c.Values)
		for i, p := range c.P {
			if got := percentile(c.Values, p); !near(got, c.Want[i]) {
				t.Errorf("%s: percentile %v is %v, numpy says %v", c.Name, p, got, c.Want[i])
			}
		}
	}
	if summarize(nil) != nil {
		t.Error("nothing has a summary")
	}
}

// at returns a record of events at these milliseconds, whole 10 ms after the last.
func at(tokens int, events ...int) Record {
	r := Record{OutputTokens: tokens, Counted: true}
	for _, e := range events {
		r.Events = append(r.Events, time.Duration(e)*time.Millisecond)
		r.End = time.Duration(e+10) * time.Millisecond
	}
	return r
}

// TestRecordTimes: several tokens may come in one event.
func TestRecordTimes(t *testing.T) {
	for _, c := range []struct {
		record     Record
		ttft, tpot time.Duration
		has        [2]bool
		gaps       []float64
	}{
		{at(0), 0, 0, [2]bool{}, nil},
		{at(1, 70), 70 * ms, 0, [2]bool{true, false}, nil},
		{at(3, 70, 80, 100), 70 * ms, 15 * ms, [2]bool{true, true}, []float64{10, 20}},
		{at(7, 70, 80, 100), 70 * ms, 5 * ms, [2]bool{true, true}, []float64{10, 20}},
		{at(7, 70), 70 * ms, 0, [2]bool{true, false}, nil},
	} {
		ttft, ok1 := c.record.TTFT()
		tpot, ok2 := c.record.TPOT()
		if ttft != c.ttft || tpot != c.tpot || [2]bool{ok1, ok2} != c.has {
			t.Errorf("%v: ttft %v %v, tpot %v %v", c.record.Events, ttft, ok1, tpot, ok2)
		}
		if gaps := c.record.Gaps(); !slices.Equal(gaps, c.gaps) {
			t.Errorf("%v: gaps %v, want %v", c.record.Events, gaps, c.gaps)
		}
	}
}

func TestSLO(t *testing.T) {
	failed := at(3, 70, 80, 100)
	failed.Failure = &Failure{Kind: failStream}
	for _, c := range []struct {
		limits string
		record Record
		want   bool
	}{
		{"ttft:70ms", at(3, 70, 80, 100), true},
		{"ttft:69ms", at(3, 70, 80, 100), false},
		{"e2e:110ms", at(3, 70, 80, 100), true},
		{"e2e:109ms", at(3, 70, 80, 100), false},
		{"tpot:15ms", at(3, 70, 80, 100), true},
		{"tpot:14ms", at(3, 70, 80, 100), false},
		{"itl:20ms", at(3, 70, 80, 100), true},
		{"itl:19ms", at(3, 70, 80, 100), false}, // the 99th percentile of two gaps is 19.9 ms
		{"itl:20ms,ttft:1ms", at(3, 70, 80, 100), false},
		{"itl:1ms,tpot:1ms", at(1, 70), true}, // no gap is too long
		{"ttft:1s", at(0), false},
		{"e2e:1s", at(0), true},
		{"e2e:1s", failed, false},
		{"e2e:1s", Record{Gone: true}, false},
	} {
		slo, err := ParseSLO(c.limits)
		if err != nil {
			t.Fatal(err)
		}
		if got := slo.meets(&c.record); got != c.want {
			t.Errorf("%v meets %s: %v, want %v", c.record.Events, c.limits, got, c.want)
		}
		if slo.String() == "" {
			t.Errorf("%s has no text", c.limits)
		}
	}
	for _, bad := range []string{"", "x", "ttft", "ttft:", "ttft:5", "ttft:-1s", "ttft:1s,ttft:2s", "ttft=1s"} {
		if slo, err := ParseSLO(bad); err == nil {
			t.Errorf("%q is read as %v", bad, slo)
		}
	}
	if slo, _ := ParseSLO("e2e:10s, ttft:500ms"); slo.String() != "ttft:500ms,e2e:10s" {
		t.Errorf("read as %s", slo)
	}
}
