package kernels

//go:generate go run -C gen . -part read -out ../read_amd64.s -stubs ../read_amd64.go -pkg kernels

// Multiply-adds of one round of peakAVX2 and peakAVX512, in float32.
const (
	peakAVX2Adds   = 12 * 8
	peakAVX512Adds = 12 * 16
)

// multiplyAddsFast is MultiplyAdds for n > 0.
func multiplyAddsFast(n int) int {
	if wide {
		peakAVX512(n)
		return 2 * n * peakAVX512Adds
	}
	peakAVX2(n)
	return 2 * n * peakAVX2Adds
}

// readFast loads 64*lines bytes from each of four streams that begin stride bytes after each other.
func readFast(data []byte, stride, lines int) {
	if wide {
		readAVX512(&data[0], stride, lines)
		return
	}
	readAVX2(&data[0], stride, lines)
}
