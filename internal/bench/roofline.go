package bench

// Ceiling is what so many threads of the machine do at most.
type Ceiling struct {
	Threads int `json:"threads"`
	// Read is bytes a second, Peak float32 operations a second, two to a multiply-add.
	Read float64 `json:"read_bytes_per_second"`
	Peak float64 `json:"peak_flops"`
	// ReadNoise and PeakNoise are how much longer than the best run the median took: 0.1 is 10 %.
	ReadNoise float64 `json:"read_noise"`
	PeakNoise float64 `json:"peak_noise"`
}

// Bound returns how many operations a second are possible at most for work that does so many
// operations on so many bytes from memory: Williams, Waterman and Patterson, "Roofline", 2009.
// Work without bytes has the peak for its bound.
func (c Ceiling) Bound(operations, bytes float64) float64 {
	if bytes <= 0 {
		return c.Peak
	}
	return min(c.Read*operations/bytes, c.Peak)
}

// Result is one kernel on one shape.
type Result struct {
	Kernel  string `json:"kernel"`
	Part    string `json:"part"` // of a model: what the shape is taken from
	Format  string `json:"format"`
	Shape   string `json:"shape"`
	Rows    int    `json:"rows"` // tokens, or queries
	Threads int    `json:"threads"`
	// Operations and Bytes are those of one run; Cached says that the bytes come from caches.
	Operations float64 `json:"operations"`
	Bytes      float64 `json:"bytes"`
	Cached     bool    `json:"cached"`
	// Seconds is the best run's time, Noise how much longer than it the median took.
	Seconds float64 `json:"seconds"`
	Noise   float64 `json:"noise"`
	Runs    int     `json:"runs"`

	BytesPerSecond float64 `json:"bytes_per_second"`
	Flops          float64 `json:"flops"`
	// Bound is the ceiling in operations a second, ReadBound that it is memory that bounds. Ratio is
	// what was reached of it: where memory bounds, the median by turns with reading, else by the best
	// runs of both.
	Bound     float64 `json:"bound_flops"`
	Ratio     float64 `json:"ratio"`
	ReadBound bool    `json:"read_bound"`
}

// bound fills in what the ceiling is.
func (r *Result) bound(c Ceiling) {
	fromMemory := r.Bytes
	if r.Cached {
		fromMemory = 0
	}
	r.Bound = c.Bound(r.Operations, fromMemory)
	r.ReadBound = r.Bound < c.Peak
}
