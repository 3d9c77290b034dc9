package sched

import (
	"testing"
	"time"
)

// life runs steps of so many rows that take as long as took says, and returns
// how many of them ran in two parts.
func life(t *Tuner, steps, rows int, took func(parts int) time.Duration) (two int) {
	for range steps {
		parts := t.Parts(rows)
		two += parts - 1
		t.Took(rows, parts, took(parts))
	}
	return two
}

func TestTuner(t *testing.T) {
	far := func(parts int) time.Duration { return time.Duration(4-parts) * time.Millisecond }
	near := func(parts int) time.Duration { return time.Duration(1+parts) * time.Millisecond }
	var tuner Tuner
	if two := life(&tuner, 320, 16, far); two < 300 {
		t.Errorf("where two parts are faster: %d of 320 steps", two)
	}
	if two := life(&tuner, 320, 16, near); two > 100 {
		t.Errorf("after the network came near: %d of 320 steps", two)
	}
	if two := life(&tuner, 320, 16, near); two > 15 {
		t.Errorf("where one part is faster: %d of 320 steps", two)
	}
	if two := life(&tuner, 100, 1, far); two != 0 {
		t.Errorf("a single row was divided %d times", two)
	}
	if two := life(&tuner, 320, 200, far); two < 300 {
		t.Errorf("sizes are apart: %d of 320 steps", two)
	}
	life(&tuner, 1, 1<<30, far) // sizes beyond all classes
}

// One step that took a minute does not drive a size away from what is best.
func TestTunerOutlier(t *testing.T) {
	var tuner Tuner
	steps := 0
	took := func(parts int) time.Duration {
		if steps++; steps == 100 {
			return time.Minute
		}
		return time.Duration(4-parts) * time.Millisecond
	}
	if two := life(&tuner, 320, 16, took); two < 250 {
		t.Errorf("%d of 320 steps ran in two parts", two)
	}
}
