package wire

import "time"

// Request is conclave.v1.DispatchRequest: run some experts of one layer over
// some rows. Expert i owns the next RowCounts[i] entries of Rows and Weights.
type Request struct {
	ID, Epoch uint64
	Layer     uint32
	// Timeout is how long the sender waits; it travels in microseconds.
	Timeout time.Duration
	Format  Format
	Tokens  uint32
	Experts []uint32
	// RowCounts has one entry per expert.
	RowCounts []uint32
	// Rows and Weights have one entry per (expert, row).
	Rows    []uint32
	Weights []float32
	// Sum says that every expert of each token is in this request, so that the
	// worker may add what they say.
	Sum bool
	// Activations is [Tokens, hidden] in Format.
	Activations Payload
	// Buffers, if set, lends the memory of the encoded head.
	Buffers *Buffers
}

// Reset empties r and keeps its memory.
func (r *Request) Reset() {
	r.ID, r.Epoch, r.Layer, r.Timeout, r.Format, r.Tokens = 0, 0, 0, 0, 0, 0
	r.Experts, r.RowCounts = r.Experts[:0], r.RowCounts[:0]
	r.Rows, r.Weights = r.Rows[:0], r.Weights[:0]
	r.Sum = false
	r.Activations.body = r.Activations.body[:0]
}

// Status is conclave.v1.DispatchStatus.
type Status int32

// The outcomes of a request, as in the protocol.
const (
	StatusOK            Status = 1
	StatusExpertNotHeld Status = 2
	StatusInvalid       Status = 3
	StatusExpired       Status = 4
)

// Response is conclave.v1.DispatchResponse.
type Response struct {
	ID      uint64
	Status  Status
	Message string
	Format  Format
	// The worker's clock, in nanoseconds.
	Received, Started, Finished uint64
	// Summed says that Outputs are sums, for which the request asked.
	Summed bool
	// Outputs is [len(request.Rows), hidden] in Format: gate weight times
	// expert output. If Summed, it is [request.Tokens, hidden] in F32: a token's
	// outputs, each rounded to the request's format, added to zero in the order of
	// the experts.
	Outputs Payload
	// Buffers, if set, lends the memory of the encoded head.
	Buffers *Buffers
}

// Reset empties r and keeps its memory.
func (r *Response) Reset() {
	r.ID, r.Status, r.Message, r.Format = 0, 0, "", 0
	r.Received, r.Started, r.Finished, r.Summed = 0, 0, 0, false
	r.Outputs.body = r.Outputs.body[:0]
}
