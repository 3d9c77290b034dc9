package worker

import (
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
)

// sum adds what the experts of a request say, token by token. A coordinator asks for
// it when it would get all that a token's experts say from here: it is what it would do
// itself, to the bit, and a small part of the bytes crosses the network.
type sum struct {
	encoded []byte // [rows, hidden] in the request's format
	first   []int  // by token: its first entry of order, and behind the last one the end
	order   []int  // rows by token, and for each ascending by expert
	rows    []float32

	// The request at hand.
	format wire.Format
	hidden int
	out    []byte // [tokens, hidden] in F32
}

// summed is the size of the reply to a request for sums.
func summed(r *wire.Request, hidden int) int { return int(r.Tokens) * hidden * wire.F32.Size() }

// outputs returns memory for the outputs of a request.
func (s *sum) outputs(r *wire.Request, hidden int) []byte {
	s.encoded = sized(s.encoded, len(r.Rows)*hidden*r.Format.Size())
	return s.encoded
}

// run writes the sums to out, on all threads.
func (s *sum) run(pool *kernels.Pool, r *wire.Request, hidden int, out []byte) {
	s.sort(r)
	s.format, s.hidden, s.out = r.Format, hidden, out
	s.rows = sized(s.rows, pool.Threads()*hidden)
	pool.Run(int(r.Tokens), s)
	s.out = nil
	if cap(s.encoded) > keptBytes {
		s.encoded = nil
	}
}

// sort orders the request's rows, which are those of one expert after another, by
// token.
func (s *sum) sort(r *wire.Request) {
	s.first, s.order = sized(s.first, int(r.Tokens)+1), sized(s.order, len(r.Rows))
	clear(s.first)
	for _, token := range r.Rows {
		s.first[token]++
	}
	end := 0
	for token, n := range s.first {
		end += n
		s.first[token] = end
	}
	for i := len(r.Rows) - 1; i >= 0; i-- {
		token := r.Rows[i]
		s.first[token]--
		s.order[s.first[token]] = i
	}
}

// Do implements kernels.Job for one token.
func (s *sum) Do(token, thread int) {
	size := s.hidden * s.format.Size()
	row := s.rows[thread*s.hidden:][:s.hidden]
	clear(row)
	for _, i := range s.order[s.first[token]:s.first[token+1]] {
		s.format.Add(row, s.encoded[i*size:(i+1)*size])
	}
	size = s.hidden * wire.F32.Size()
	wire.F32.Encode(s.out[token*size:(token+1)*size], row)
}
