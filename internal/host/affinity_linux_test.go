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
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with this goroutine
		place.Bind()(0)
		if got, err := allowedCPUs(); err != nil || !slices.Equal(got, []int{place.cpus[0].id}) {
			t.Errorf("bound to %d, the thread may run on %v, %v", place.cpus[0].id, got, err)
		}
	}()
	<-done
}
