package model

import (
	"fmt"
	"slices"

	"github.com/conclave-serve/conclave/internal/safetensors"
)

// Stored is where a checkpoint keeps a weight.
type Stored struct {
	File  string
	DType safetensors.DType
	// Data begins with the weight's first row; rows are Stride bytes apart.
	Data   []byte
	Stride int

	// Scales of a quantised weight: for F8_E4M3 all of ScalesDType [⌈out/128⌉, ⌈in/128⌉], for MXFP4
	// (DType U8) bytes [.., in/32] that begin with the first row's, ScalesStride bytes apart.
	Scales       []byte
	ScalesDType  safetensors.DType
	ScalesStride int

	offset, scalesOffset int64 // of Data and Scales in their files
	scalesFile           string
}

// Ranges is where Data and Scales are: what must be present before they are read.
func (s Stored) Ranges() []safetensors.Range {
	list := []safetensors.Range{{File: s.File, Begin: s.offset, End: s.offset + int64(len(s.Data))}}
	if s.Scales == nil {
		return list
	}
	end := s.scalesOffset + int64(len(s.Scales))
	return append(list, safetensors.Range{File: s.scalesFile, Begin: s.scalesOffset, End: end})
}

// Ranges is where a checkpoint keeps weights. The spec has passed Check with it.
func Ranges(ck *safetensors.Checkpoint, tensors ...Tensor) ([]safetensors.Range, error) {
	var list []safetensors.Range
	for _, t := range tensors {
		s, err := t.Locate(ck)
		if err != nil {
			return nil, err
		}
		list = append(list, s.Ranges()...)
	}
	return list, nil
}

// Bytes is the size of the weight and of its scales: what is read of the checkpoint for it.
func (t Tensor) Bytes(ck *safetensors.Checkpoint) int64 {
	s, err := t.Locate(ck)
	if err != nil {
		return 0
	}
	if t.Part == nil {
		return int64(len(s.Data) + len(s.Scales))
	}
	row := rowBytes(s.DType, t.Shape)
	return int64(t.Shape[0]) * int64(row+s.scaleRowBytes(t))
}

// Bytes is the size of all weights, biases and scales.
func (m MLP) Bytes(ck *safetensors.Checkpoint) (n int64) {
	for _, t := range m.Tensors() {
		n += t.Bytes(ck)
	}
	return n
}

func (s Stored) scaleRowBytes(t Tensor) int {
	if s.Scales == nil {
		return 0
	}
	return t.Shape[1] / mxGroup
}

const (
	// fp8Block is the rows and the columns that share a scale in the FP8 releases.
	fp8Block = 128
	// mxGroup is the values of a row that share an exponent in MXFP4.
	mxGroup = 32
)

// Locate finds the weight in a checkpoint and checks the shapes and formats of what it finds, but
// no values. Errors name file and tensor.
func (t Tensor) Locate(ck *safetensors.Checkpoint) (Stored, error) {
	got, ok := ck.Tensor(t.Name)
	mx := t.Scales != "" && t.Part != nil
	want := t.storedShape(mx)
	if !ok {
		return Stored{}, fmt.Errorf("checkpoint: tensor %s is missing, config.json implies shape %v",
			t.Name, want)
	}
	if err := t.checkFormat(got, mx); err != nil {
		return Stored{}, err
	}
	if !slices.Equal(got.Shape, want) {
		return Stored{}, fmt.Errorf("%s: tensor %s has shape %v, config.json implies %v",
			got.File, t.Name, got.Shape, want)
	}
	row := rowBytes(got.DType, t.Shape)
	s := Stored{
		File: got.File, DType: got.DType, Data: got.Data, Stride: row, offset: got.Offset,
	}
	if p := t.Part; p != nil {
		s.Data = s.Data[p.Index*p.Rows*row:][:p.Rows*row][p.First*row:]
		s.offset += int64((p.Index*p.Rows + p.First) * row)
		s.Stride = p.Step * row
	}
	switch _, scaled := ck.Tensor(t.Scales); {
	case mx || got.DType == safetensors.F8E4M3:
		if err := t.locateScales(ck, &s, mx); err != nil {
			return Stored{}, err
		}
	case scaled: // were they applied, or forgotten?
		return Stored{}, fmt.Errorf("%s: tensor %s is stored as %s, but has scales, %s",
			got.File, t.Name, got.DType, t.Scales)
	}
	return s, nil
}

// checkFormat refuses element types that the weight cannot have.
func (t Tensor) checkFormat(got safetensors.Tensor, mx bool) error {
	switch d := got.DType; {
	case mx && d != safetensors.U8:
		return fmt.Errorf("%s: tensor %s is stored as %s, want MXFP4 blocks in U8", got.File, t.Name, d)
	case mx || d == safetensors.F32 || d == safetensors.BF16 || d == safetensors.F16:
		return nil
	case d == safetensors.F8E4M3 && t.Scales == "":
		return fmt.Errorf("%s: tensor %s is stored as %s, which config.json does not imply",
			got.File, t.Name, d)
	case d == safetensors.F8E4M3:
		return nil
	default:
		return fmt.Errorf("%s: tensor %s is stored as %s, which is not supported (F32, BF16, F16 are)",
			got.File, t.Name, d)
	}
}

// locateScales adds the scales to a located weight.
func (t Tensor) locateScales(ck *safetensors.Checkpoint, s *Stored, mx bool) error {
	got, ok := ck.Tensor(t.Scales)
	if !ok {
		return fmt.Errorf("%s: tensor %s is stored as %s, but its scales %s are missing",
			s.File, t.Name, s.DType, t.Scales)
	}
	want := []int{blocks(t.Shape[0]), blocks(t.Shape[len(t.Shape)-1])}
	formats := []safetensors.DType{safetensors.F32, safetensors.BF16, safetensors.F8E8M0}
	if mx {
		want = []int{t.Part.Of, t.Part.Rows, t.Shape[1] / mxGroup}
		formats = []safetensors.DType{safetensors.U8}
	}
	if !slices.Equal(got.Shape, want) {
		return fmt.Errorf("%s: scales %s have shape %v, weight %s implies %v",
			got.File, t.Scales, got.Shape, t.Name, want)
	}
	if !slices.Contains(formats, got.DType) {
		return fmt.Errorf("%s: scales %s are stored as %s, which is not supported (%v are)",
			got.File, t.Scales, got.DType, formats)
	}
	s.Scales, s.ScalesDType = got.Data, got.DType
	s.scalesFile, s.scalesOffset = got.File, got.Offset
	if mx {
		p, row := t.Part, t.Shape[1]/mxGroup
		s.Scales = s.Scales[p.Index*p.Rows*row:][:p.Rows*row][p.First*row:]
		s.scalesOffset += int64((p.Index*p.Rows + p.First) * row)
		s.ScalesStride = p.Step * row
	}
	return nil
}

// storedShape is the shape that the stored tensor has.
func (t Tensor) storedShape(mx bool) []int {
	if t.Part == nil {
		return t.Shape
	}
	shape := append([]int{t.Part.Of, t.Part.Rows}, t.Shape[1:]...)
	if mx { // groups of 32 values in 16 bytes
		return append(shape[:2], t.Shape[1]/mxGroup, mxGroup/2)
	}
	return shape
}

// rowBytes is the stored size of a row of a matrix, or of one value of a vector.
func rowBytes(d safetensors.DType, shape []int) int {
	cols := 1
	if len(shape) == 2 {
		cols = shape[1]
	}
	switch d {
	case safetensors.F32:
		return 4 * cols
	case safetensors.F8E4M3:
		return cols
	case safetensors.U8:
		return cols / 2
	}
	return 2 * cols
}

func blocks(n int) int { return (n + fp8Block - 1) / fp8Block }
