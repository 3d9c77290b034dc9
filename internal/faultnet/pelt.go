package faultnet

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// peltingHands is how many connections a pelting has open at once.
const peltingHands = 16

// dialPatience is for a machine that is busy with what was thrown before.
const dialPatience = 10 * time.Second

// Pelt opens n TCP connections to addr, one after the other on each of a few hands, writes
// what payload returns for each and, half of the time, reads until the other side hangs up or
// patience is over; else it goes at once. It returns how many could be opened. The payload
// of a connection depends on seed and its number alone; payload is called concurrently.
func Pelt(
	ctx context.Context, addr string, n int, seed uint64, patience time.Duration,
	payload func(rng *rand.Rand) []byte,
) (opened int) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for hand := range peltingHands {
		wg.Go(func() {
			for i := hand; i < n && ctx.Err() == nil; i += peltingHands {
				rng := rand.New(rand.NewPCG(seed, uint64(i)))
				if throw(addr, payload(rng), rng.IntN(2) == 0, patience) {
					mu.Lock()
					opened++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return opened
}

// throw writes b to a new connection; what becomes of it is the other side's business.
func throw(addr string, b []byte, listen bool, patience time.Duration) bool {
	c, err := net.DialTimeout("tcp", addr, dialPatience)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(b); err == nil && listen {
		_, _ = io.Copy(io.Discard, c)
	}
	return true
}

// Spoil returns what a broken or hostile peer makes of a well-formed message: cut short, with
// bits flipped, with bytes in between, or random from a byte on.
func Spoil(rng *rand.Rand, b []byte) []byte {
	out := append([]byte(nil), b...)
	at := rng.IntN(len(out) + 1)
	switch rng.IntN(4) {
	case 0:
		return out[:at]
	case 1:
		for range 1 + rng.IntN(4) {
			if len(out) > 0 {
				out[rng.IntN(len(out))] ^= 1 << rng.IntN(8)
			}
		}
		return out
	case 2:
		return append(append(out[:at:at], Noise(rng, 64)...), out[at:]...)
	}
	return append(out[:at], Noise(rng, 512)...)
}

// Noise returns up to limit random bytes.
func Noise(rng *rand.Rand, limit int) []byte {
	out := make([]byte, rng.IntN(limit+1))
	for i := range out {
		out[i] = byte(rng.Uint32())
	}
	return out
}
