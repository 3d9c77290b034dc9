package kernels

import "testing"

func TestReadTwin(t *testing.T) {
	if got := readGeneric([]byte{0: 1, 8: 2, 16: 4, 24: 8, 31: 0}); got != 15 {
		t.Errorf("four words combine to %d, want 15", got)
	}
}

func TestMultiplyAdds(t *testing.T) {
	onPaths(func(path string) {
		if one, ten := MultiplyAdds(1), MultiplyAdds(10); one < 2*lanes || ten != 10*one {
			t.Errorf("%s: %d operations a round, %d in ten", path, one, ten)
		}
	})
}

// BenchmarkRead is what a product with one token could reach at most.
func BenchmarkRead(b *testing.B) {
	data := make([]byte, benchBytes)
	for i := range data {
		data[i] = byte(i) // else all pages are the one of zeros
	}
	onPaths(func(path string) {
		b.Run(path, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				Read(data)
			}
		})
	})
}
