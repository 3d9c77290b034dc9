package kernels

import "encoding/binary"

// MultiplyAdds does n > 0 rounds of float32 multiply-adds and nothing else, on the calling thread
// and on the path that products take, and returns how many operations that was, two to a
// multiply-add. They depend on each other so little that no product is faster.
func MultiplyAdds(n int) (operations int) {
	if n <= 0 {
		panic("kernels: MultiplyAdds of no round")
	}
	if fastPath {
		return multiplyAddsFast(n)
	}
	var acc, x [lanes]float32
	for l := range x {
		x[l] = 0.5
	}
	for range n {
		addLanes(&acc, &x, &x)
	}
	return 2 * n * lanes
}

// Read loads data, whose length is a multiple of 256, on the calling thread, in four streams as
// products read four rows, and does nothing with it.
func Read(data []byte) {
	const streams, line = 4, 64
	if len(data)%(streams*line) != 0 {
		panic("kernels: Read of a length that is no multiple of 256")
	}
	if len(data) == 0 {
		return
	}
	if fastPath {
		readFast(data, len(data)/streams, len(data)/(streams*line))
		return
	}
	readGeneric(data)
}

// readGeneric is the plain twin of Read. The sum is returned so that the loads are not left out.
//
//go:noinline
func readGeneric(data []byte) (sum uint64) {
	const word = 8
	for ; len(data) >= 4*word; data = data[4*word:] {
		sum ^= binary.LittleEndian.Uint64(data) ^ binary.LittleEndian.Uint64(data[word:]) ^
			binary.LittleEndian.Uint64(data[2*word:]) ^ binary.LittleEndian.Uint64(data[3*word:])
	}
	return sum
}
