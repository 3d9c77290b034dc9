package shard

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// View returns a weight matrix of the checkpoint, and its bias if it has one, as the kernels read
// them. Matrix data stays in the mapped file; scales of blocks and biases are converted to f32.
// All of it is read, so that the first token does not wait for the disk, and what would poison
// every result is refused: NaN, infinity, and scales that are no numbers.
func View(ck *safetensors.Checkpoint, want model.Linear) (kernels.Matrix, error) {
	w := want.Weight
	s, err := locate(ck, w)
	if err != nil {
		return kernels.Matrix{}, err
	}
	m := kernels.Matrix{Rows: w.Shape[0], Cols: w.Shape[1], Data: s.Data, Stride: s.Stride}
	switch s.DType {
	case safetensors.F8E4M3:
		m.Format = kernels.E4M3
		m.Scales, err = blockScales(s, w.Scales)
	case safetensors.U8:
		m.Format = kernels.MXFP4
		m.Exponents, m.ExponentStride = s.Scales, s.ScalesStride
		touch(s.Data) // every code is a number
		err = checkExponents(s, w)
	default:
		m.Format, err = formatOf(s.DType)
	}
	if err != nil {
		return m, err
	}
	if at, bad := kernels.NotFinite(m.Format, s.Data); bad {
		return m, fmt.Errorf("%s: tensor %s: value %d of row %d is NaN or infinite", s.File, w.Name,
			at%m.Cols, at/m.Cols)
	}
	if want.Bias.Exists() {
		m.Bias, err = Vector(ck, want.Bias)
	}
	return m, err
}

// locate finds a weight that is to be read now.
func locate(ck *safetensors.Checkpoint, want model.Tensor) (model.Stored, error) {
	s, err := want.Locate(ck)
	if err != nil || ck.Whole() {
		return s, err
	}
	if err := ck.Require(s.Ranges()...); err != nil {
		return s, fmt.Errorf("tensor %s: %w", want.Name, err)
	}
	return s, nil
}

// Vector returns a one-dimensional weight of the checkpoint in f32.
func Vector(ck *safetensors.Checkpoint, want model.Tensor) ([]float32, error) {
	s, err := locate(ck, want)
	if err != nil {
		return nil, err
	}
	format, err := formatOf(s.DType)
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %s: %w", s.File, want.Name, err)
	}
	out := make([]float32, want.Shape[0])
	for i := range out {
		kernels.Decode(out[i:i+1], s.Data[i*s.Stride:], format)
		// Minus infinity is how one masks an expert or a sink.
		if v := out[i]; !(v < float32(math.Inf(1))) {
			return nil, fmt.Errorf("%s: tensor %s: value %d is %g", s.File, want.Name, i, v)
		}
	}
	return out, nil
}

// maxScale is what the kernels can multiply with.
const maxScale = 0x1p120

// blockScales converts the scales of FP8 blocks.
func blockScales(s model.Stored, name string) ([]float32, error) {
	size := 4
	switch s.ScalesDType {
	case safetensors.BF16:
		size = 2
	case safetensors.F8E8M0:
		size = 1
	}
	out := make([]float32, len(s.Scales)/size)
	for i := range out {
		var v float32
		switch size {
		case 4:
			v = math.Float32frombits(binary.LittleEndian.Uint32(s.Scales[4*i:]))
		case 2:
			v = math.Float32frombits(uint32(binary.LittleEndian.Uint16(s.Scales[2*i:])) << 16)
		default:
			v = float32(math.Ldexp(1, int(s.Scales[i])-127))
			if s.Scales[i] == 0xff {
				v = float32(math.NaN())
			}
		}
		if !(v >= 0 && v < maxScale) {
			return nil, fmt.Errorf("%s: scales %s: value %d is %g, want a number from 0 to 2^120",
				s.File, name, i, v)
		}
		out[i] = v
	}
	return out, nil
}

// checkExponents refuses the NaN code of E8M0.
func checkExponents(s model.Stored, w model.Tensor) error {
	row := w.Shape[1] / 32
	for r := range w.Shape[0] {
		for i, e := range s.Scales[r*s.ScalesStride:][:row] {
			if e == 0xff {
				return fmt.Errorf("%s: scales %s: group %d of row %d is NaN", s.File, w.Scales, i, r)
			}
		}
	}
	return nil
}

func formatOf(d safetensors.DType) (kernels.Format, error) {
	switch d {
	case safetensors.F32:
		return kernels.F32, nil
	case safetensors.BF16:
		return kernels.BF16, nil
	case safetensors.F16:
		return kernels.F16, nil
	}
	return 0, fmt.Errorf("dtype %s is not supported (F32, BF16, F16 are)", d)
}

// Activate sets dst to the activation between the two halves of an MLP; dst may be either of them.
func Activate(a model.Activation, dst, gate, up []float32) {
	if a.Limit > 0 {
		kernels.SwiGLUClamped(dst, gate, up, a.Alpha, a.Limit)
		return
	}
	kernels.SwiGLU(dst, gate, up)
}

// pageBytes is the smallest page of the systems that Conclave runs on.
const pageBytes = 4096

// touch reads a byte of every page of data, so that mapped memory is resident.
// It returns their sum, so that the reads are not dropped.
//
//go:noinline
func touch(data []byte) (sum byte) {
	for i := 0; i < len(data); i += pageBytes {
		sum += data[i]
	}
	return sum
}
