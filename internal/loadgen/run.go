package loadgen

import (
	"context"
	"sync"
	"time"
)

// Run puts load on a server and returns the report. It returns an error, and no report, if the
// configuration is wrong, or if the server cannot be reached or refuses before the load begins.
// When the context ends, requests in flight are cancelled and the report is of those before.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	var entries []entry
	var first *job
	if cfg.Work.File != "" {
		var err error
		if entries, err = readEntries(cfg.Work.File, cfg.Endpoint); err != nil {
			return nil, err
		}
		first = new(job)
		entries[0].into(first)
	}
	t := newTarget(&cfg)
	defer t.close()
	a, err := t.prepare(ctx, first)
	if err != nil {
		return nil, err
	}
	w := newWorkload(&cfg, a, entries)
	if err := warmUp(ctx, t, w); err != nil {
		return nil, err
	}
	r := newRunner(t, cfg.Load, w.measured, false)
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	return r.report(ctx), nil
}

// warmupConcurrency is how many requests of a warm-up run at once if the load has no such number.
const warmupConcurrency = 8

// warmUp sends the requests that do not count, in a closed loop.
func warmUp(ctx context.Context, t *target, w *workload) error {
	l := t.cfg.Load
	if l.Warmup > 0 {
		l.Rate, l.Requests, l.Duration = 0, l.Warmup, 0
		setDefault(&l.Concurrency, warmupConcurrency)
		if err := newRunner(t, l, w.warmup, true).run(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// runner sends the requests of one load.
type runner struct {
	target *target
	load   Load
	jobs   func(int) *job
	places chan struct{} // one for each request that may run at once
	began  time.Time
	due    *arrivals

	mu       sync.Mutex
	records  []Record // of requests that have ended
	progress Progress
	elapsed  time.Duration // when the last one ended
}

func newRunner(t *target, l Load, jobs func(int) *job, warmup bool) *runner {
	places := l.Concurrency
	if places == 0 {
		places = maxInFlight
	}
	return &runner{
		target: t, load: l, jobs: jobs, places: make(chan struct{}, places),
		due:      newArrivals(l.Arrival, l.Rate, t.cfg.Work.Seed),
		progress: Progress{Warmup: warmup, Requests: l.Requests},
	}
}

// run sends requests until there are enough, or the time is over, and waits for their answers.
func (r *runner) run(ctx context.Context) error {
	sending := ctx
	if r.load.Duration > 0 {
		var cancel context.CancelFunc
		sending, cancel = context.WithTimeout(ctx, r.load.Duration)
		defer cancel()
	}
	r.began = time.Now()
	var requests sync.WaitGroup
	defer requests.Wait()
	for i := 0; i < maxRequests && (r.load.Requests == 0 || i < r.load.Requests); i++ {
		due := r.due.next()
		j := r.jobs(i) // before it is due: to write a long prompt takes time
		body, err := r.target.body(j)
		if err != nil {
			return err
		}
		if !r.await(sending, due) {
			return nil
		}
		if r.load.Rate == 0 {
			due = time.Since(r.began) // a closed loop has a place for it from now on
		}
		r.sent()
		requests.Go(func() {
			defer func() { <-r.places }()
			r.exchange(ctx, j, body, due)
		})
	}
	return nil
}

// await waits until a request is due and there is a place for it; false if nothing more is sent.
func (r *runner) await(ctx context.Context, due time.Duration) bool {
	if wait := due - time.Since(r.began); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	select {
	case r.places <- struct{}{}:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// exchange sends one request and keeps its record.
func (r *runner) exchange(ctx context.Context, j *job, body []byte, due time.Duration) {
	record := Record{
		Index: j.index, Sent: time.Since(r.began), Wanted: j.wanted, WantedOutput: j.output,
	}
	record.Late = max(record.Sent-due, 0)
	r.target.exchange(ctx, body, &record)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, record)
	r.elapsed = max(r.elapsed, record.Sent+record.End)
	switch {
	case record.Gone:
		return
	case record.Failure != nil:
		r.progress.Failed++
	default:
		r.progress.Finished++
		r.progress.OutputTokens += record.OutputTokens
	}
	r.tell()
}

// sent counts a request that is about to be sent.
func (r *runner) sent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress.Sent++
	r.tell()
}

// tell reports progress, under the lock.
func (r *runner) tell() {
	if f := r.target.cfg.Progress; f != nil {
		r.progress.Elapsed = time.Since(r.began)
		f(r.progress)
	}
}

// report makes the report of a run that has ended.
func (r *runner) report(ctx context.Context) *Report {
	report := newReport(r.target, r.records, r.elapsed, ctx.Err() != nil)
	report.Started = r.began
	return report
}
