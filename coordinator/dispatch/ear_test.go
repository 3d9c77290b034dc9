package dispatch

import (
	"testing"
	"time"
)

// Whoever waits at once after each request hears the answers itself; when nobody waits any more,
// the listener does, and learns that the worker has gone.
func TestWhoWaitsHears(t *testing.T) {
	r := newRig(t, nil)
	f := startFake(t, "a")
	r.serve(f, 0, 1, 2, 3)
	r.awaitLanes()
	ear := &r.d.fleet.newest().lanes[0].ear
	for began := time.Now(); ear.heard.Load() < 20; {
		r.check()
		if time.Since(began) > testTimeout {
			t.Fatalf("%d answers were heard by who waited", ear.heard.Load())
		}
	}
	lost := r.d.Changed()
	f.grpc.Stop()
	select {
	case <-lost:
	case <-time.After(testTimeout):
		t.Error("nobody notices that the worker has gone")
	}
}

// A listener that leaves the lane alone comes back by itself.
func TestListenerComesBack(t *testing.T) {
	e := ear{turn: make(chan struct{}, 1)}
	e.timer = time.AfterFunc(time.Hour, e.watch)
	defer e.timer.Stop()
	e.left.Store(true)
	e.wake()
	heard := make(chan struct{})
	go func() {
		e.await(t.Context())
		close(heard)
	}()
	<-heard
	if e.left.Load() || e.watched.Load() {
		t.Error("the lane is still left alone")
	}
}
