package kernels

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Job is work that splits into items. Do may be called for several items at once, but never twice
// for one item, nor twice at once with the same thread, which is less than Pool.Threads.
type Job interface{ Do(item, thread int) }

// Pool runs jobs on a fixed number of threads: the caller of Run and threads-1 goroutines, which
// spin for a moment after a job and then park. It is used by one caller at a time.
type Pool struct {
	threads int
	spins   bool
	homes   []int // the node of each thread
	helpers []helper
	running sync.WaitGroup
	closed  atomic.Bool

	// The current job. Written by Run while no item is unfinished; read by whoever has claimed an
	// item, which Run waits for.
	job      Job
	items    int64
	segments Segmented // the job, if that matters

	nodes    []node // what is left to claim
	_        [64]byte
	undone   atomic.Int64 // items that are not finished; written by every thread
	waiting  atomic.Bool  // the caller is parked, or about to, on finished
	finished chan struct{}

	product  packing   // the MatMul in progress
	packed   []float32 // its activations; kept for the next
	products products  // the MatMulAll in progress
	rounding rounding  // its activations, for an interleaved matrix
}

// PoolConfig is what a pool is made of.
type PoolConfig struct {
	Threads int // the caller of Run included; at least 1
	// Bind, if set, is called with the number of each thread but 0 by that thread, which then stays
	// one thread of the system. Thread 0 is whoever calls Run, and floats.
	Bind func(thread int)
	// Nodes, if set, is the memory node of each thread, from 0 without gaps. A thread does its own
	// node's share of a job's items before it helps others.
	Nodes []int
}

// helper is where one goroutine parks.
type helper struct {
	parked atomic.Bool // set by the goroutine; whoever clears it decides whether wake is sent
	wake   chan struct{}
	_      [48]byte
}

// NewPool starts threads-1 goroutines; the caller of Run is the last thread. Close ends them.
func NewPool(threads int) *Pool { return NewPoolWith(PoolConfig{Threads: threads}) }

// NewPoolWith is NewPool for threads that are bound to processors or belong to memory nodes.
func NewPoolWith(cfg PoolConfig) *Pool {
	threads := max(cfg.Threads, 1)
	p := &Pool{
		threads:  threads,
		spins:    runtime.GOMAXPROCS(0) > 1,
		homes:    make([]int, threads),
		helpers:  make([]helper, threads-1),
		finished: make(chan struct{}, 1),
	}
	if cfg.Nodes != nil && len(cfg.Nodes) != threads {
		panic("kernels: a pool needs the node of each thread")
	}
	nodes := 1
	for i := range cfg.Nodes {
		p.homes[i] = cfg.Nodes[i]
		nodes = max(nodes, cfg.Nodes[i]+1)
	}
	p.nodes = make([]node, nodes)
	p.running.Add(len(p.helpers))
	for i := range p.helpers {
		p.helpers[i].wake = make(chan struct{}, 1)
		go p.help(i, cfg.Bind)
	}
	return p
}

// Threads returns the number of threads, the caller of Run included.
func (p *Pool) Threads() int { return p.threads }

// Nodes returns the number of memory nodes that the threads belong to, at least 1.
func (p *Pool) Nodes() int { return len(p.nodes) }

// Run calls j.Do for every item from 0 to items-1 and returns when all are done. Items are claimed
// in ascending order, each memory node's share by itself. It must not be called from within a job
// of the same pool.
func (p *Pool) Run(items int, j Job) {
	if p.threads == 1 || items <= 1 {
		for item := range items {
			j.Do(item, 0)
		}
		return
	}
	p.job, p.items = j, int64(items)
	p.undone.Store(p.items)
	p.deal()
	for i := range min(items-1, len(p.helpers)) {
		if h := &p.helpers[i]; h.parked.CompareAndSwap(true, false) {
			h.wake <- struct{}{}
		}
	}
	p.work(0)
	p.await()
	p.job, p.segments = nil, nil
}

// Close ends the goroutines and waits for them. It may be called twice, but not during Run.
func (p *Pool) Close() {
	p.closed.Store(true)
	for i := range p.helpers {
		if h := &p.helpers[i]; h.parked.CompareAndSwap(true, false) {
			h.wake <- struct{}{}
		}
	}
	p.running.Wait()
}

// work claims and does items until none is left. A goroutine that comes late may find the next job
// already here: it claims from that, since job and items are read after the claim.
func (p *Pool) work(thread int) {
	home := p.homes[thread]
	for i := range p.nodes {
		k := home + i
		if k >= len(p.nodes) {
			k -= len(p.nodes)
		}
		p.workFor(k, thread)
	}
}

// workFor does items of a node's share until none is left of it.
func (p *Pool) workFor(k, thread int) {
	n := &p.nodes[k]
	for {
		left := n.unclaimed.Load()
		if left == 0 {
			return
		}
		if !n.unclaimed.CompareAndSwap(left, left-1) {
			continue
		}
		p.job.Do(int(p.item(k, left)), thread)
		if p.undone.Add(-1) == 0 && p.waiting.CompareAndSwap(true, false) {
			p.finished <- struct{}{}
		}
	}
}

// await returns when all items are done. A signal may be left over from the previous job, whose
// last thread was delayed between counting its item and looking at waiting; hence the loop.
func (p *Pool) await() {
	for s := p.spin(); s.more(true); {
		if p.undone.Load() == 0 {
			return
		}
	}
	for p.undone.Load() != 0 {
		p.waiting.Store(true)
		if p.undone.Load() != 0 || !p.waiting.CompareAndSwap(true, false) {
			<-p.finished
		}
	}
}

// help is one goroutine of the pool.
func (p *Pool) help(i int, bind func(thread int)) {
	defer p.running.Done()
	if bind != nil {
		runtime.LockOSThread() // never unlocked: a bound thread ends with the goroutine
		bind(i + 1)
	}
	h := &p.helpers[i]
	for !p.closed.Load() {
		p.work(i + 1)
		p.pause(h)
	}
}

// pause returns when there may be work, or the pool was closed. The next job often comes as soon as
// others have finished their items of this one.
func (p *Pool) pause(h *helper) {
	for s := p.spin(); s.more(p.undone.Load() != 0); {
		if p.pending() || p.closed.Load() {
			return
		}
	}
	h.parked.Store(true)
	if p.pending() || p.closed.Load() {
		if h.parked.CompareAndSwap(true, false) {
			return
		}
	}
	<-h.wake
}
