package kernels

import "testing"

// TestRead reads between fences on every path: a load beyond them would end the test.
func TestRead(t *testing.T) {
	for _, n := range []int{0, 256, 512, 64 << 10} {
		for _, before := range []bool{false, true} {
			data := guarded(t, max(n, 1), before)[:n]
			onPaths(func(string) { Read(data) })
		}
	}
}
