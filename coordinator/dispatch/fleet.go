package dispatch

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/router"
	"github.com/conclave-serve/conclave/shard"
)

// Worker is a worker as membership knows it.
type Worker struct {
	ID          shard.WorkerID
	Incarnation string
	Addr        string
	// Ready lists the experts that it serves, per layer.
	Ready []shard.Set
	// Suspect is set while gossip believes that the worker is dead.
	Suspect bool
}

// peer is a worker that the fleet tries to keep a lane to.
type peer struct {
	Worker
	lane   *lane // nil while down
	cancel context.CancelFunc
	record *record // of all incarnations of the worker
}

// snapshot is one immutable view of the fleet; changed is closed when a newer
// one replaces it.
type snapshot struct {
	table *router.Table
	lanes []*lane // by holder; nil while down
	// lost is since when some expert has been out of reach; zero if none is.
	lost time.Time
	// served is set once every expert has been in reach.
	served  bool
	changed chan struct{}
}

// fleet keeps the lanes and derives the routing table from them.
type fleet struct {
	cfg  *Config
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu        sync.Mutex
	plan      *shard.Plan
	peers     map[shard.WorkerID]*peer
	current   *snapshot
	pinned    *snapshot // what the step in flight routes by; nil between steps
	announced uint64    // the newest epoch that OnSettled was told
}

func newFleet(cfg *Config) *fleet {
	f := &fleet{cfg: cfg, peers: map[shard.WorkerID]*peer{}}
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.rebuildLocked()
	return f
}

// update takes in what membership says.
func (f *fleet) update(plan *shard.Plan, workers []Worker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return
	}
	f.plan = plan
	seen := map[shard.WorkerID]bool{}
	for _, w := range workers {
		seen[w.ID] = true
		old := f.peers[w.ID]
		if old != nil && old.Incarnation == w.Incarnation && old.Addr == w.Addr {
			if w.Suspect && !old.Suspect && old.lane != nil {
				old.lane.cut(errSuspect)
				f.loseLocked(old)
			}
			old.Ready, old.Suspect = w.Ready, w.Suspect
			continue
		}
		p := &peer{Worker: w, record: &record{}}
		if old != nil {
			old.cancel()
			p.record = old.record
		}
		ctx, cancel := context.WithCancel(f.ctx)
		p.cancel = cancel
		f.peers[w.ID] = p
		f.wg.Go(func() { f.keepLane(ctx, p) })
	}
	for id, p := range f.peers {
		if !seen[id] {
			p.cancel()
			delete(f.peers, id)
		}
	}
	f.rebuildLocked()
}

// errSuspect is why a lane was cut on gossip's word. It is tried again at once:
// gossip may be wrong.
var errSuspect = errors.New("gossip declares the worker dead")

// Delays between attempts to reach a worker: a restarting process on the same
// host is back within tens of milliseconds. One whose lanes break as soon as
// they are open must not cost every layer a failed call.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// keepLane holds a lane open to one incarnation of a worker until ctx ends.
func (f *fleet) keepLane(ctx context.Context, p *peer) {
	delay := firstRetry
	said := "" // the last complaint, which is not repeated
	for ctx.Err() == nil {
		l, err := openLane(ctx, f.cfg, string(p.ID), p.Addr, p.record)
		if err == nil {
			opened := time.Now()
			f.attach(p, l)
			<-l.ctx.Done()
			f.lose(l)
			l.close()
			said = ""
			if time.Since(opened) > lastRetry {
				delay = firstRetry
			}
		} else if text := err.Error(); text != said && ctx.Err() == nil {
			f.cfg.Log.Warn("lane not open", "worker", p.ID, "addr", p.Addr, "err", err)
			said = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, lastRetry)
	}
}

func (f *fleet) attach(p *peer, l *lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.lane = l
	f.cfg.Log.Info("lane open", "worker", p.ID, "addr", p.Addr)
	f.rebuildLocked()
}

// fail cuts a lane and takes it out of the table at once: an error on the data
// path is proof.
func (f *fleet) fail(l *lane, cause error) {
	l.cut(cause)
	f.lose(l)
}

// lose takes a lane that was cut out of the table.
func (f *fleet) lose(l *lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.peers {
		if p.lane == l {
			f.loseLocked(p)
			f.rebuildLocked()
		}
	}
}

func (f *fleet) loseLocked(p *peer) {
	if f.ctx.Err() == nil {
		cause := context.Cause(p.lane.ctx)
		p.record.broke(cause, time.Now())
		f.cfg.Log.Warn("lane broken", "worker", p.ID, "addr", p.Addr, "err", cause)
	}
	p.lane = nil
}

// rebuildLocked replaces the current snapshot.
func (f *fleet) rebuildLocked() {
	ids := slices.Sorted(maps.Keys(f.peers))
	s := &snapshot{changed: make(chan struct{})}
	holders := make([]router.Holder, 0, len(ids))
	for _, id := range ids {
		p := f.peers[id]
		holders = append(holders, router.Holder{ID: id, Ready: p.Ready, Reachable: p.lane != nil})
		s.lanes = append(s.lanes, p.lane)
	}
	s.table = router.NewTable(f.plan, f.cfg.Experts, holders)
	old := f.current
	s.served = old != nil && old.served || s.table.Complete()
	if !s.table.Complete() {
		s.lost = time.Now()
		if old != nil && !old.lost.IsZero() {
			s.lost = old.lost
		}
	}
	f.current = s
	if old != nil {
		close(old.changed)
		if old.table.Complete() != s.table.Complete() {
			f.cfg.Log.Info("routing table", "epoch", s.table.Epoch, "complete", s.table.Complete(),
				"missing", s.table.Missing())
		}
	}
	f.announceLocked()
}

// pin makes the newest snapshot the one that the step in flight routes by.
func (f *fleet) pin() *snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pinned = f.current
	f.announceLocked()
	return f.pinned
}

// newest returns the newest snapshot, and leaves what is pinned.
func (f *fleet) newest() *snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

// unpin ends the step.
func (f *fleet) unpin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pinned = nil
	f.announceLocked()
}

// announceLocked reports a settled epoch that no layer in flight falls behind,
// if it is news.
func (f *fleet) announceLocked() {
	s := f.current
	if f.pinned != nil {
		s = f.pinned
	}
	if s.table.Settled && s.table.Epoch > f.announced {
		f.announced = s.table.Epoch
		f.cfg.OnSettled(s.table.Epoch)
	}
}

func (f *fleet) close() {
	f.mu.Lock()
	f.stop() // under the lock, so that update starts no keeper any more
	f.mu.Unlock()
	f.wg.Wait()
}
