package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// Format is the element type of activations on the wire, always little-endian.
type Format int32

// The formats of the protocol.
const (
	F32  = Format(conclavev1.WireFormat_WIRE_FORMAT_F32)
	BF16 = Format(conclavev1.WireFormat_WIRE_FORMAT_BF16)
)

// ParseFormat reads the name of a format as flags spell it.
func ParseFormat(name string) (Format, error) {
	switch name {
	case "f32":
		return F32, nil
	case "bf16":
		return BF16, nil
	}
	return 0, fmt.Errorf("wire format %q is unknown: want f32 or bf16", name)
}

// String returns the name that ParseFormat reads.
func (f Format) String() string {
	switch f {
	case F32:
		return "f32"
	case BF16:
		return "bf16"
	}
	return fmt.Sprintf("wire format %d", int32(f))
}

// Size is the number of bytes of one element, or 0 for an unknown format.
func (f Format) Size() int {
	switch f {
	case F32:
		return 4
	case BF16:
		return 2
	}
	return 0
}

// Encode writes src to dst in format f; dst holds len(src)*f.Size() bytes.
func (f Format) Encode(dst []byte, src []float32) {
	if len(dst) != len(src)*f.Size() {
		panic("wire: Encode: dst does not match src")
	}
	if f == F32 {
		if hostIsLittleEndian {
			copy(dst, floatBytes(src))
			return
		}
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
		return
	}
	for i, v := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], bf16(v))
	}
}

// Decode reads dst from src, which holds len(dst)*f.Size() bytes.
func (f Format) Decode(dst []float32, src []byte) {
	if len(src) != len(dst)*f.Size() {
		panic("wire: Decode: src does not match dst")
	}
	if f == F32 {
		if hostIsLittleEndian {
			copy(floatBytes(dst), src)
			return
		}
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
		return
	}
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

// bf16 rounds to the nearest bfloat16, ties to even; NaN stays a quiet NaN.
func bf16(v float32) uint16 {
	bits := math.Float32bits(v)
	if v != v {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

var hostIsLittleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// floatBytes views x as bytes in the host's order.
func floatBytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
