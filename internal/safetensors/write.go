package safetensors

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Write writes the tensors to a file at path. File of a tensor is not used. The file appears whole
// or not at all: it is written beside path and renamed.
func Write(path string, tensors []Tensor) error {
	return Create(path, tensors, func(w io.Writer, t Tensor) error {
		_, err := w.Write(t.Data)
		return err
	})
}

// Create is Write for tensors that do not fit into memory: Data is not used, and emit is called
// once for each tensor, in the order of the file, to write exactly the bytes that its shape
// implies.
//
// Tensors are laid out by descending element size and then by name, as the reference does, so that
// every tensor is aligned to its element size.
func Create(path string, tensors []Tensor, emit func(w io.Writer, t Tensor) error) (err error) {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType.Bits(), a.DType.Bits()), cmp.Compare(a.Name, b.Name))
	})
	header, err := encodeHeader(tensors)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
		}
	}()
	err = errors.Join(writeFile(f, header, tensors, emit), f.Chmod(0o644), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// writeFile streams the header and the tensors.
func writeFile(f io.Writer, header []byte, tensors []Tensor,
	emit func(io.Writer, Tensor) error) error {
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		want, err := byteSize(t.DType, t.Shape)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", quote(t.Name), err)
		}
		counted := &counter{w: w}
		if err := emit(counted, t); err != nil {
			return fmt.Errorf("tensor %s: %w", quote(t.Name), err)
		}
		if counted.n != want {
			return fmt.Errorf("tensor %s: got %d bytes, but %s %v needs %d",
				quote(t.Name), counted.n, t.DType, shapeText(t.Shape), want)
		}
	}
	return w.Flush()
}

// encodeHeader builds the length and the JSON header, padded with spaces to a multiple of eight.
// It passes its own result to ParseHeader, so that nothing is written that cannot be read.
func encodeHeader(tensors []Tensor) ([]byte, error) {
	var out bytes.Buffer
	out.Write(make([]byte, prefixBytes))
	out.WriteByte('{')
	var next int64
	for i, t := range tensors {
		if t.DType.Bits() == 0 {
			return nil, fmt.Errorf("tensor %s: unknown element type %s",
				quote(t.Name), quote(string(t.DType)))
		}
		size, err := byteSize(t.DType, t.Shape)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", quote(t.Name), err)
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		entry, err := json.Marshal(struct {
			DType   DType    `json:"dtype"`
			Shape   []int    `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}{t.DType, append([]int{}, t.Shape...), [2]int64{next, next + size}})
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(name)
		out.WriteByte(':')
		out.Write(entry)
		next += size
	}
	out.WriteByte('}')
	for out.Len()%8 != 0 {
		out.WriteByte(' ')
	}
	header := out.Bytes()
	binary.LittleEndian.PutUint64(header, uint64(len(header)-prefixBytes))
	_, err := ParseHeader(header[prefixBytes:], int64(len(header))+next, "new header")
	return header, err
}

// counter counts what passes through.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
