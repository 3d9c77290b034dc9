package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/conclave-serve/conclave/kernels"
)

// KernelsConfig says what Kernels measures. Zero values mean the defaults.
type KernelsConfig struct {
	Shape Shape // required
	// Memory is how much weights come from, in bytes; default 1 GiB.
	Memory int64
	// Threads is what is measured beside one thread; default all cores.
	Threads int
	// Duration is about how long it takes in all; default a minute.
	Duration time.Duration
	// Quick leaves out some numbers of rows.
	Quick bool
	// Progress, if set, hears how many of how many rounds have begun.
	Progress func(round, rounds int)
}

func (c *KernelsConfig) setDefaults() error {
	if c.Memory == 0 {
		c.Memory = 1 << 30
	}
	if c.Threads == 0 {
		c.Threads = runtime.GOMAXPROCS(0)
	}
	if c.Duration == 0 {
		c.Duration = time.Minute
	}
	if c.Threads < 1 || c.Duration < 0 {
		return fmt.Errorf("measure with %d threads for %v", c.Threads, c.Duration)
	}
	return c.Shape.check()
}

// KernelsReport is what Kernels found.
type KernelsReport struct {
	Features string    `json:"features"` // the path that the processor takes
	Shape    Shape     `json:"shape"`
	Memory   int64     `json:"memory_bytes"`
	Seconds  float64   `json:"seconds"`
	Ceilings []Ceiling `json:"ceilings"`
	Results  []Result  `json:"results"`
}

// Kernels measures the machine's ceilings and the kernels against them.
func Kernels(ctx context.Context, cfg KernelsConfig) (*KernelsReport, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	began := time.Now()
	pools := []*kernels.Pool{kernels.NewPool(cfg.Threads)}
	if cfg.Threads > 1 {
		pools = []*kernels.Pool{kernels.NewPool(1), pools[0]}
	}
	defer func() {
		for _, p := range pools {
			p.Close()
		}
	}()
	a, err := newArena(cfg.Memory, pools[len(pools)-1])
	if err != nil {
		return nil, err
	}
	rows := []int{1, 2, 4, 8, 16, 64, 128, 512}
	if cfg.Quick {
		rows = []int{1, 16, 128}
	}
	cases := products(a, cfg.Shape, rows, pools)
	cases = append(cases, waves(a, cfg.Shape, []int{1, 16, 128}, pools)...)
	cases = append(cases, attentions(a, cfg.Shape, pools)...)
	cases = append(cases, rowKernels(cfg.Shape)...)
	limits, byThreads := make([]limit, len(pools)), map[int]*limit{}
	var turns []*turn
	for i, p := range pools {
		l := &limits[i]
		l.init(a, p)
		byThreads[l.threads] = l
		for _, t := range []*turn{&l.read, &l.peak} {
			t.calibrate()
			t.spend(leastTimed)
			turns = append(turns, t)
		}
	}
	for _, c := range cases {
		if int(c.result.Bytes) > len(a.data) {
			return nil, fmt.Errorf("%s of %s in %s takes %d bytes: set --memory to more",
				c.result.Kernel, c.result.Shape, c.result.Format, int(c.result.Bytes))
		}
		c.against(byThreads[c.result.Threads])
		turns = append(turns, &c.turn)
	}
	err = takeTurns(ctx, turns, cfg.Duration, func(i int) {
		if cfg.Progress != nil {
			cfg.Progress(i, rounds)
		}
	})
	if err != nil {
		return nil, err
	}
	r := &KernelsReport{Features: kernels.Features(), Shape: cfg.Shape, Memory: int64(len(a.data))}
	for i := range limits {
		r.Ceilings = append(r.Ceilings, limits[i].ceiling())
	}
	for _, c := range cases {
		c.finish()
		r.Results = append(r.Results, c.result)
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// limit measures what so many threads do at most.
type limit struct {
	threads    int
	bytes      float64 // of one run of read, on all threads
	operations float64 // likewise of peak
	read, peak turn
}

// A ceiling is measured in items that are short, so that threads finish together, and many, so that
// waking them does not count.
const (
	readBytes  = 512 << 10 // some 25 µs
	peakRounds = 1000      // some 20 µs
	itemsEach  = 16        // for each thread
)

func (l *limit) init(a *arena, pool *kernels.Pool) {
	l.threads = pool.Threads()
	items := itemsEach * l.threads
	l.bytes = float64(items * readBytes)
	reading := &readJob{}
	l.read.run = func() {
		reading.data = a.take(items * readBytes)
		pool.Run(items, reading)
	}
	adding := make(addJob, l.threads)
	l.peak.run = func() {
		pool.Run(items, adding)
		l.operations = float64(items * adding[0].operations)
	}
}

func (l *limit) ceiling() Ceiling {
	return Ceiling{
		Threads: l.threads, Read: l.bytes / l.read.best(), Peak: l.operations / l.peak.best(),
		ReadNoise: l.read.noise(), PeakNoise: l.peak.noise(),
	}
}

type readJob struct{ data []byte }

// Do implements kernels.Job.
func (j *readJob) Do(item, _ int) { kernels.Read(j.data[item*readBytes : (item+1)*readBytes]) }

// addJob has what an item of each thread is, a cache line apart.
type addJob []struct {
	operations int
	_          [56]byte
}

// Do implements kernels.Job. The caller of Run, thread 0, always has an item.
func (j addJob) Do(_, thread int) { j[thread].operations = kernels.MultiplyAdds(peakRounds) }
