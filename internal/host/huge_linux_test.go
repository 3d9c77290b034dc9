package host

import (
	"math"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conclave-serve/conclave/kernels"
)

// BenchmarkPages is one token through 1 GiB of weights on one thread, in small pages and in huge
// ones by turns. It reports the best processor times, in ms, and how much lay in huge pages.
func BenchmarkPages(b *testing.B) {
	const cols, bytes = 2048, 1 << 30
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	x, y := slices.Repeat([]float32{1}, cols), make([]float32, bytes/2/cols)
	var weights [2]kernels.Matrix
	for i := range weights {
		data, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = unix.Munmap(data) }() // it was mapped as a whole
		if i == 0 {
			_ = unix.Madvise(data, unix.MADV_NOHUGEPAGE) // a kernel without has small ones anyway
		} else {
			Huge(data)
		}
		for at := 0; at < len(data); at += 4096 {
			data[at] = 1
		}
		weights[i] = kernels.Matrix{Format: kernels.BF16, Rows: len(y), Cols: cols, Data: data}
	}
	best := [2]float64{math.Inf(1), math.Inf(1)}
	for b.Loop() {
		for i, w := range weights {
			before := threadTime(b)
			kernels.Mul(y, x, 1, w)
			best[i] = min(best[i], threadTime(b)-before)
		}
	}
	b.ReportMetric(best[0], "small-ms")
	b.ReportMetric(best[1], "huge-ms")
	b.ReportMetric(float64(HugeBytes())/bytes, "huge-GiB")
}

// threadTime is this thread's time on processors, in ms.
func threadTime(b *testing.B) float64 {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &used); err != nil {
		b.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e6
}
