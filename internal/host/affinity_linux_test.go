package host

import (
	"runtime"
	"slices"
	"testing"
)

func TestBind(t *testing.T) {
	before, err := allowedCPUs()
	if err != nil || len(before) == 0 {
		t.Fatalf("allowed processors: %v, %v", before, err)
	}
	place, err := Place(PinOn, len(before))
	if err != nil || place.Bound() != len(before) {
		t.Fatalf("Place: %d bound, %v", place.Bound(), err)
	}
	mustRunOn(t, place, []int{place.cpus[0].id})
	last := before[max(len(before)-2, 0):] // a node of two processors, where there are so many
	mustRunOn(t, Placement{cpus: []cpu{{id: last[0], node: 3}}, near: map[int][]int{3: last}}, last)
}

// mustRunOn binds a thread and asks the system where it may run.
func mustRunOn(t *testing.T, place Placement, want []int) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with this goroutine
		place.Bind()(0)
		if got, err := allowedCPUs(); err != nil || !slices.Equal(got, want) {
			t.Errorf("bound to %v, the thread may run on %v, %v", want, got, err)
		}
	}()
	<-done
}
