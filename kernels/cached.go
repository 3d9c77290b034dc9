package kernels

import "math"

// Cached is the keys or the values of one head over some positions, as a KV cache stores them,
// little-endian, at any alignment. With w numbers to a position, number i of position j is
//
//	F32, BF16   Data[j*Stride + Format.Bytes(i):]
//	I8          float32(int8(Data[j*Stride + i])) * Scales[j*ScaleStride]
//
// Strides have no default: they are those of the cache, whose positions may hold many heads.
type Cached struct {
	Format Format // F32, BF16 or I8
	Data   []byte
	Stride int // bytes from position to position

	Scales      []float32 // of I8
	ScaleStride int       // elements from position to position
}

// From returns the positions from j on.
func (c Cached) From(j int) Cached {
	c.Data = c.Data[j*c.Stride:]
	if c.Format == I8 {
		c.Scales = c.Scales[j*c.ScaleStride:]
	}
	return c
}

// Decode writes the first len(dst) numbers of position j to dst; of I8 each is rounded once.
func (c Cached) Decode(dst []float32, j int) {
	if j < 0 {
		panic("kernels: Decode of a negative position")
	}
	c.check(j+1, len(dst))
	c.stored(dst, j, 0)
	if c.Format == I8 {
		scale := c.Scales[j*c.ScaleStride]
		for i := range dst {
			dst[i] *= scale
		}
	}
}

// check panics unless there are n positions of width numbers: the assembly trusts it.
func (c *Cached) check(n, width int) {
	if c.Format > BF16 && c.Format != I8 {
		panic("kernels: a KV cache is stored as F32, BF16 or I8")
	}
	if n == 0 {
		return
	}
	if c.Stride < 0 || len(c.Data) < (n-1)*c.Stride+c.Format.Bytes(width) {
		panic("kernels: cached keys or values are shorter than their positions")
	}
	if c.Format == I8 && (c.ScaleStride < 0 || len(c.Scales) < (n-1)*c.ScaleStride+1) {
		panic("kernels: cached keys or values have fewer scales than positions")
	}
}

// stored writes len(dst) numbers of position j from number from on as float32, without the scale:
// nothing is rounded.
func (c *Cached) stored(dst []float32, j, from int) {
	src := c.Data[j*c.Stride+c.Format.Bytes(from):]
	if c.Format != I8 {
		Decode(dst, src, c.Format)
		return
	}
	for i, v := range src[:len(dst)] {
		dst[i] = float32(int8(v))
	}
}

// EncodeCached writes one head of one position, x, as the cache stores it, to dst
// [f.Bytes(len(x))], and returns the scale of I8; in the other formats the scale is 1.
//
//	BF16   rounds to nearest, ties to even
//	I8     scale = max|x| / 127; dst[i] = x[i] / scale, rounded to nearest, ties to even,
//	       at least -127 and at most 127
//
// Division and rounding are float32's. The scale of zeros is 0. Where a number of x is NaN or
// infinite the scale is NaN, so that whoever attends to the position sees it.
func EncodeCached(dst []byte, x []float32, f Format) (scale float32) {
	if (f > BF16 && f != I8) || len(dst) != f.Bytes(len(x)) {
		panic("kernels: EncodeCached needs F32, BF16 or I8 and room for just x")
	}
	if f == I8 {
		return encodeI8(dst, x)
	}
	Encode(dst, x, f)
	return 1
}

// bfloat rounds to the upper half of a float32, ties to even. A NaN stays one, by its quiet bit.
func bfloat(v float32) uint16 {
	bits := math.Float32bits(v)
	if v != v {
		return uint16(bits>>16) | 1<<6
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// encodeI8 is EncodeCached to I8.
func encodeI8(dst []byte, x []float32) (scale float32) {
	const (
		most = 127
		// Adding 1.5·2^23 rounds a small float32 to an integer, ties to even, in its lowest bits.
		shifter = 0x1.8p23
	)
	var highest uint32 // as bits, which order magnitudes and put NaN above infinity
	for _, v := range x {
		highest = max(highest, math.Float32bits(v)&(1<<31-1))
	}
	scale = math.Float32frombits(highest) / most
	if highest >= 0x7f800000 || scale == 0 {
		clear(dst)
		if scale != 0 {
			scale = float32(math.NaN())
		}
		return scale
	}
	for i, v := range x {
		v = min(max(v/scale, -most), most)
		dst[i] = byte(math.Float32bits(v + shifter))
	}
	return scale
}
