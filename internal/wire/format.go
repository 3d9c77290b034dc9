package wire

import (
	"fmt"

	"github.com/conclave-serve/conclave/kernels"
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
	kernels.Encode(dst, src, f.stored())
}

// Decode reads dst from src, which holds len(dst)*f.Size() bytes.
func (f Format) Decode(dst []float32, src []byte) {
	if len(src) != len(dst)*f.Size() {
		panic("wire: Decode: src does not match dst")
	}
	kernels.Decode(dst, src, f.stored())
}

// Add adds src, which holds len(dst)*f.Size() bytes, to dst.
func (f Format) Add(dst []float32, src []byte) { kernels.AddStored(dst, src, f.stored()) }

// stored is the format as kernels have it: BF16 rounds to nearest, ties to even,
// and a NaN stays one.
func (f Format) stored() kernels.Format {
	switch f {
	case F32:
		return kernels.F32
	case BF16:
		return kernels.BF16
	}
	panic("wire: elements of " + f.String())
}
