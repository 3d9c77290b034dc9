package bench

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/conclave-serve/conclave/internal/host"
	"github.com/conclave-serve/conclave/kernels"
)

// arena is the memory that weights and cached keys are taken from. Whoever takes some gets what was
// taken longest ago, so that caches have forgotten it.
type arena struct {
	data []byte
	at   int
}

// LeastMemory is the smallest arena: a matrix of a large model's attention, twice.
const LeastMemory = 256 << 20

// newArena allocates and fills an arena, unless the machine has not so much memory to spare.
func newArena(bytes int64, pool *kernels.Pool) (*arena, error) {
	if bytes < LeastMemory || bytes > 1<<40 {
		return nil, fmt.Errorf("measure with %s of memory: want at least %s",
			humanize.IBytes(uint64(max(bytes, 0))), humanize.IBytes(LeastMemory))
	}
	// A quarter more, for activations and for others on the machine.
	if free := availableMemory("/proc/meminfo"); free > 0 && bytes+bytes/4 > free {
		return nil, fmt.Errorf("measure with %s of memory: the machine has %s to spare; "+
			"set --memory to less", humanize.IBytes(uint64(bytes)), humanize.IBytes(uint64(free)))
	}
	a := &arena{data: make([]byte, bytes/fillBytes*fillBytes)}
	host.Huge(a.data) // as quantised weights have them
	pool.Run(len(a.data)/fillBytes, filling(a.data))
	return a, nil
}

// filling writes numbers that are ordinary in every format: as float32 and bf16 0.69 to 0.75, in
// E4M3 1 to 2, and as exponents of MXFP4 2^-71 and 2^-64.
type filling []byte

const fillBytes = 1 << 20

// Do implements kernels.Job.
func (f filling) Do(item, _ int) {
	part := f[item*fillBytes : (item+1)*fillBytes]
	for i := 0; i < len(part); i += 2 {
		part[i], part[i+1] = 0x38|byte(i>>1)&7, 0x3f
	}
}

// take returns the next n bytes, at a multiple of 64.
func (a *arena) take(n int) []byte {
	if n > len(a.data) {
		panic("bench: a case is larger than the arena")
	}
	if a.at+n > len(a.data) {
		a.at = 0
	}
	from := a.at
	a.at += (n + 63) / 64 * 64
	return a.data[from : from+n : from+n]
}

// availableMemory returns what Linux says in the file about memory that can be had without
// swapping, 0 where nobody says.
func availableMemory(path string) int64 {
	if runtime.GOOS != "linux" {
		return 0
	}
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil || kib > 1<<50 {
			return 0
		}
		return kib << 10
	}
	return 0
}
