//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/conclave-serve/conclave/internal/faultnet"
)

// wait waits for a time, or for the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// aim waits for the moment of a fault.
func (c *cluster) aim(ctx context.Context, f fault) {
	if f.Prefill {
		select {
		case <-c.load.prompt():
		case <-time.After(3 * time.Second):
		case <-ctx.Done():
		}
	}
	wait(ctx, f.Wait)
}

// unable says why this machine cannot do a kind of fault, or "".
func (c *cluster) unable(k kind) string {
	switch {
	case c.apart:
	case k == loss:
		return "a relay of TCP connections loses nothing; it takes network namespaces"
	case k == diskFull:
		return "a small disk takes a mount namespace"
	}
	return ""
}

// perform does a fault and mends it.
func (c *cluster) perform(ctx context.Context, f fault) error {
	worker := c.workers[f.Worker]
	front := c.fronts[f.Front]
	bad := func(set func(faultnet.Link), l faultnet.Link) error {
		set(l)
		wait(ctx, f.Hold)
		set(faultnet.Link{})
		return nil
	}
	host := func(l faultnet.Link) { c.isolate(worker.host, l) }
	pair := func(l faultnet.Link) { c.link(front.host, worker.host, l) }
	down := faultnet.Link{Down: true}
	switch f.Kind {
	case kill:
		worker.kill()
		wait(ctx, f.Hold)
		return worker.start()
	case killAll:
		return c.killWorkers(ctx, f.Hold)
	case freeze:
		return c.pause(ctx, worker, f.Hold)
	case delay:
		return bad(host, faultnet.Link{Delay: f.Delay})
	case loss:
		return bad(host, faultnet.Link{Loss: f.Loss})
	case partition:
		return bad(host, down)
	case cut:
		return bad(pair, down)
	case cutOneWay:
		from, to := front.host, worker.host
		if f.Reverse {
			from, to = to, from
		}
		return bad(func(l faultnet.Link) { c.net.set(from, to, l) }, down)
	case slow:
		return c.throttle(ctx, worker, f)
	case diskFull:
		return c.fillDisk(ctx, worker, f.Hold)
	case corrupt:
		return c.damage(ctx, worker)
	case stale:
		return c.planWithout(ctx, front, f)
	case staleWork:
		return c.planWithout(ctx, worker, f)
	case etcdKill, etcdWipe, etcdFreeze:
		return c.loseEtcd(ctx, f)
	case drain:
		return c.drain(ctx, worker, f)
	case scale:
		return c.grow(ctx, f.Hold)
	case killFront, killElect:
		c.load.excused[f.Front].Store(true)
		front.kill()
		wait(ctx, f.Hold)
		return front.start()
	case double:
		return c.both(ctx, f)
	case rolling:
		return c.roll(ctx, f.Front)
	}
	return fmt.Errorf("nobody knows how to do %s", f.Kind)
}

// killWorkers kills all workers and starts them again.
func (c *cluster) killWorkers(ctx context.Context, hold time.Duration) error {
	for _, w := range c.workers {
		w.signal(syscall.SIGKILL)
	}
	for _, w := range c.workers {
		w.kill()
	}
	wait(ctx, hold)
	var errs []error
	for _, w := range c.workers {
		errs = append(errs, w.start())
	}
	return errors.Join(errs...)
}

// both does two faults at once.
func (c *cluster) both(ctx context.Context, f fault) error {
	var errs [2]error
	var wg sync.WaitGroup
	for i, part := range f.Parts {
		wg.Go(func() {
			wait(ctx, part.Wait)
			errs[i] = c.perform(ctx, part)
		})
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// pause stops a process for a while.
func (c *cluster) pause(ctx context.Context, p *process, hold time.Duration) error {
	p.signal(syscall.SIGSTOP)
	wait(ctx, hold)
	p.signal(syscall.SIGCONT)
	return nil
}

// planWithout cuts a process off etcd, and kills a worker and starts it again, so
// that others make plans that the process does not hear of.
func (c *cluster) planWithout(ctx context.Context, p *process, f fault) error {
	victim := c.workers[f.Worker]
	if victim == p {
		victim = c.workers[(f.Worker+1)%len(c.workers)]
	}
	c.link(p.host, 0, faultnet.Link{Down: true})
	victim.kill()
	wait(ctx, f.Hold)
	err := victim.start()
	wait(ctx, f.Hold/2)
	c.link(p.host, 0, faultnet.Link{})
	return err
}

// loseEtcd kills or freezes etcd.
func (c *cluster) loseEtcd(ctx context.Context, f fault) error {
	if f.Kind == etcdFreeze {
		return c.pause(ctx, c.etcd, f.Hold)
	}
	c.etcd.kill()
	wait(ctx, f.Hold)
	if f.Kind == etcdWipe {
		if err := os.RemoveAll(c.etcdData()); err != nil {
			return err
		}
	}
	return c.etcd.start()
}

// roll restarts all workers, etcd and a coordinator one by one, each when the one
// before is back.
func (c *cluster) roll(ctx context.Context, front int) error {
	for _, p := range append(slices.Clone(c.workers), c.etcd, c.fronts[front]) {
		if p == c.fronts[front] {
			c.load.excused[front].Store(true) // it takes no new requests
		}
		if err := p.stop(settling); err != nil {
			return err
		}
		if err := p.start(); err != nil {
			return err
		}
		if err := await(ctx, settling, c.whole); err != nil {
			return fmt.Errorf("restarted %s: %w", p.name, err)
		}
	}
	return nil
}

// inCache does something to the cache of the worker that loads from a URL.
func (c *cluster) inCache(f func() error) error {
	return c.net.do(c.workers[len(c.workers)-1].host, f)
}

func (c *cluster) emptyCache() error {
	return c.inCache(func() error {
		entries, err := os.ReadDir(c.cacheDir())
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(c.cacheDir(), e.Name())))
		}
		return err
	})
}

// damage lets a worker load from an origin that flips a bit, and waits until the
// worker has noticed. Others hold its experts, so it compares before it serves.
func (c *cluster) damage(ctx context.Context, worker *process) error {
	const noticed = "damaged bytes of an expert were replaced"
	before, err := worker.logged(noticed)
	if err != nil {
		return err
	}
	worker.kill()
	if err := c.emptyCache(); err != nil {
		return err
	}
	c.origin.flip.Store(true)
	if err := worker.start("--fetch-from", "origin"); err != nil {
		return err
	}
	return await(ctx, 20*time.Second, func(context.Context) error {
		now, err := worker.logged(noticed)
		if err == nil && now == before {
			err = fmt.Errorf("%s has not noticed the damage; it was done: %v",
				worker.name, !c.origin.flip.Load())
		}
		return err
	})
}

// fillDisk restarts the worker that loads from a URL on a disk with little room,
// and makes room later. While there is none the worker may end, and is started
// again as a supervisor would.
func (c *cluster) fillDisk(ctx context.Context, worker *process, hold time.Duration) error {
	worker.kill()
	if err := c.emptyCache(); err != nil {
		return err
	}
	ballast := filepath.Join(c.cacheDir(), "ballast")
	const room = 1 << 20 // small files, and the first experts
	if err := c.inCache(func() error {
		return os.WriteFile(ballast, make([]byte, cacheBytes-room), 0o600)
	}); err != nil {
		return err
	}
	if err := worker.start(); err != nil {
		return err
	}
	full, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	for full.Err() == nil {
		select {
		case <-worker.done:
			wait(full, 500*time.Millisecond)
			_ = worker.oddity() // there is no room
			if err := worker.start(); err != nil {
				return err
			}
		case <-full.Done():
		}
	}
	if err := c.inCache(func() error { return os.Remove(ballast) }); err != nil {
		return err
	}
	if !worker.running() {
		_ = worker.oddity() // as above
		return worker.start()
	}
	return nil
}
