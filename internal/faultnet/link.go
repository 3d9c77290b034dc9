package faultnet

import (
	"context"
	"sync"
	"time"
)

// Link is what one direction between two ends is like. Its zero value is a good
// one.
type Link struct {
	Delay time.Duration // more time on the way
	Loss  float64       // part of the frames that are lost; a relay ignores it
	Down  bool          // nothing arrives: a switch drops frames, a relay holds bytes
}

// direction is a Link that changes while it is in use.
type direction struct {
	mu      sync.Mutex
	link    Link
	changed chan struct{} // replaced when closed
}

func newDirection(l Link) *direction { return &direction{link: l, changed: make(chan struct{})} }

func (d *direction) set(l Link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.link = l
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *direction) get() (Link, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.link, d.changed
}

// awaitUp waits until the direction is not down, or ctx ends.
func (d *direction) awaitUp(ctx context.Context) {
	for {
		link, changed := d.get()
		if !link.Down {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
