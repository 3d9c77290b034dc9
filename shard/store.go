package shard

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// Expert is the weights of one routed expert, as views of the checkpoint.
type Expert struct {
	Gate, Up, Down kernels.Matrix
}

// Store holds the experts that one worker serves. Reading is lock-free and may
// go on while experts are loaded and dropped.
type Store struct {
	spec    *model.Spec
	ck      *safetensors.Checkpoint
	experts [][]atomic.Pointer[Expert]
	mu      sync.Mutex // serialises Load and Drop
	bytes   atomic.Int64
}

// NewStore returns an empty store over an open checkpoint, which must outlive
// it and must have passed spec.Check.
func NewStore(spec *model.Spec, ck *safetensors.Checkpoint) *Store {
	s := &Store{spec: spec, ck: ck, experts: make([][]atomic.Pointer[Expert], len(spec.Layers))}
	for l, layer := range spec.Layers {
		if layer.MoE != nil {
			s.experts[l] = make([]atomic.Pointer[Expert], len(layer.MoE.Experts))
		}
	}
	return s
}

// Expert returns an expert of a layer, or nil if the store does not hold it.
func (s *Store) Expert(layer, expert int) *Expert {
	if !s.has(layer, expert) {
		return nil
	}
	return s.experts[layer][expert].Load()
}

// has reports whether the model has an expert.
func (s *Store) has(layer, expert int) bool {
	return layer >= 0 && layer < len(s.experts) && expert >= 0 && expert < len(s.experts[layer])
}

// Held lists, for each layer, the experts that the store holds.
func (s *Store) Held() []Set {
	out := make([]Set, len(s.experts))
	for l := range s.experts {
		for e := range s.experts[l] {
			if s.experts[l][e].Load() != nil {
				out[l].Add(e)
			}
		}
	}
	return out
}

// Bytes is the size of the experts held.
func (s *Store) Bytes() int64 { return s.bytes.Load() }

// Load makes the given experts of a layer ready: their pages are read once, so
// that the first token does not wait for the disk. progress, if not nil, is
// told the bytes of each expert as it becomes ready. Experts that were ready
// before an error stay so.
func (s *Store) Load(
	ctx context.Context, layer int, experts Set, progress func(bytes int64),
) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range experts.Experts() {
		if !s.has(layer, e) {
			return fmt.Errorf("load expert %d of layer %d: the model has no such expert", e, layer)
		}
		if s.experts[layer][e].Load() != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("load experts of layer %d: %w", layer, err)
		}
		x, size, err := s.view(s.spec.Layers[layer].MoE.Experts[e])
		if err != nil {
			return fmt.Errorf("load expert %d of layer %d: %w", e, layer, err)
		}
		s.experts[layer][e].Store(x)
		s.bytes.Add(size)
		if progress != nil {
			progress(size)
		}
	}
	return nil
}

// Drop forgets the given experts of a layer, if it holds them. Work that already holds one may
// finish with it: the views stay valid while the checkpoint is open.
func (s *Store) Drop(layer int, experts Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range experts.Experts() {
		if !s.has(layer, e) {
			continue
		}
		if old := s.experts[layer][e].Swap(nil); old != nil {
			s.bytes.Add(-int64(len(old.Gate.Data) + len(old.Up.Data) + len(old.Down.Data)))
		}
	}
}

func (s *Store) view(w model.MLP) (*Expert, int64, error) {
	var x Expert
	var size int64
	for _, part := range []struct {
		tensor model.Tensor
		into   *kernels.Matrix
	}{{w.Gate, &x.Gate}, {w.Up, &x.Up}, {w.Down, &x.Down}} {
		m, err := View(s.ck, part.tensor)
		if err != nil {
			return nil, 0, err
		}
		Touch(m.Data)
		*part.into = m
		size += int64(len(m.Data))
	}
	return &x, size, nil
}

// View returns a matrix of the checkpoint as the kernels read it.
func View(ck *safetensors.Checkpoint, want model.Tensor) (kernels.Matrix, error) {
	t, ok := ck.Tensor(want.Name)
	if !ok {
		return kernels.Matrix{}, fmt.Errorf("tensor %s is missing from the checkpoint", want.Name)
	}
	format, err := formatOf(t)
	if err != nil {
		return kernels.Matrix{}, err
	}
	if len(t.Shape) != 2 || len(want.Shape) != 2 || t.Shape[0] != want.Shape[0] ||
		t.Shape[1] != want.Shape[1] {
		return kernels.Matrix{}, fmt.Errorf("%s: tensor %s has shape %v, config.json implies %v",
			t.File, t.Name, t.Shape, want.Shape)
	}
	return kernels.Matrix{Format: format, Rows: want.Shape[0], Cols: want.Shape[1], Data: t.Data}, nil
}

// Vector returns a one-dimensional tensor of the checkpoint in f32.
func Vector(ck *safetensors.Checkpoint, want model.Tensor) ([]float32, error) {
	t, ok := ck.Tensor(want.Name)
	if !ok {
		return nil, fmt.Errorf("tensor %s is missing from the checkpoint", want.Name)
	}
	format, err := formatOf(t)
	if err != nil {
		return nil, err
	}
	if len(t.Shape) != 1 || len(want.Shape) != 1 || t.Shape[0] != want.Shape[0] {
		return nil, fmt.Errorf("%s: tensor %s has shape %v, config.json implies %v",
			t.File, t.Name, t.Shape, want.Shape)
	}
	out := make([]float32, t.Shape[0])
	kernels.Decode(out, t.Data, format)
	return out, nil
}

func formatOf(t safetensors.Tensor) (kernels.Format, error) {
	switch t.DType {
	case safetensors.F32:
		return kernels.F32, nil
	case safetensors.BF16:
		return kernels.BF16, nil
	case safetensors.F16:
		return kernels.F16, nil
	}
	return 0, fmt.Errorf("%s: tensor %s has dtype %s: want F32, BF16 or F16", t.File, t.Name, t.DType)
}

// pageBytes is the smallest page of the systems that Conclave runs on.
const pageBytes = 4096

// Touch reads a byte of every page of data, so that mapped memory is resident.
// It returns their sum, so that the reads are not dropped.
//
//go:noinline
func Touch(data []byte) (sum byte) {
	for i := 0; i < len(data); i += pageBytes {
		sum += data[i]
	}
	return sum
}
