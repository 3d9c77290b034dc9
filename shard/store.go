package shard

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/model"
)

// Expert is the weights of one routed expert, as views of the checkpoint or quantised.
type Expert struct {
	Gate, Up, Down kernels.Matrix
	bytes          int64
}

// Store holds the experts that one worker serves. Reading is lock-free and may
// go on while experts are loaded and dropped.
type Store struct {
	spec    *model.Spec
	ck      *safetensors.Checkpoint
	quant   Quant
	nodes   *Nodes
	experts [][]atomic.Pointer[Expert]
	mu      sync.Mutex // serialises Load and Drop
	bytes   atomic.Int64
}

// NewStore returns an empty store over an open checkpoint, which must outlive
// it and must have passed spec.Check.
func NewStore(spec *model.Spec, ck *safetensors.Checkpoint) *Store {
	return NewQuantizedStore(spec, ck, QuantNone)
}

// NewQuantizedStore is NewStore for experts that are quantised as they are loaded.
func NewQuantizedStore(spec *model.Spec, ck *safetensors.Checkpoint, q Quant) *Store {
	experts := make([][]atomic.Pointer[Expert], len(spec.Layers))
	s := &Store{spec: spec, ck: ck, quant: q, experts: experts}
	for l, layer := range spec.Layers {
		if layer.MoE != nil {
			s.experts[l] = make([]atomic.Pointer[Expert], len(layer.MoE.Experts))
		}
	}
	return s
}

// On has experts that are quantised from now on lie on memory nodes. It returns the store.
func (s *Store) On(nodes *Nodes) *Store {
	s.nodes = nodes
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

// Bytes is the size of the experts held: of quantised ones, what they take in memory.
func (s *Store) Bytes() int64 { return s.bytes.Load() }

// Load makes the given experts of a layer ready: they are fetched where the
// checkpoint comes from elsewhere, and their pages are read once, so that the
// first token does not wait for the disk. progress, if not nil, is told the
// bytes of each expert in the checkpoint, as they arrive or as it becomes ready. Experts that were
// ready before an error stay so.
func (s *Store) Load(
	ctx context.Context, layer int, experts Set, progress func(bytes int64),
) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing, err := s.missing(layer, experts)
	if err != nil {
		return err
	}
	var tensors []model.Tensor
	for _, e := range missing {
		tensors = append(tensors, s.spec.Layers[layer].MoE.Experts[e].Tensors()...)
	}
	if progress, err = Fetch(ctx, s.ck, tensors, progress); err != nil {
		return fmt.Errorf("load experts of layer %d: %w", layer, err)
	}
	for _, e := range missing {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("load experts of layer %d: %w", layer, err)
		}
		x, read, err := s.view(s.spec.Layers[layer].MoE.Experts[e])
		if err != nil {
			return fmt.Errorf("load expert %d of layer %d: %w", e, layer, err)
		}
		s.experts[layer][e].Store(x)
		s.bytes.Add(x.bytes)
		if progress != nil {
			progress(read)
		}
	}
	return nil
}

// missing lists those of the experts of a layer that are not ready.
func (s *Store) missing(layer int, experts Set) ([]int, error) {
	var missing []int
	for _, e := range experts.Experts() {
		if !s.has(layer, e) {
			return nil, fmt.Errorf("load expert %d of layer %d: the model has no such expert", e, layer)
		}
		if s.experts[layer][e].Load() == nil {
			missing = append(missing, e)
		}
	}
	return missing, nil
}

// Drop forgets the given experts of a layer, if it holds them. Work that already holds one may
// finish with it: views stay valid while the checkpoint is open, and quantised weights until
// nothing refers to them. The garbage collector finds that out. It is called, as it has little
// else to do.
func (s *Store) Drop(layer int, experts Set) {
	if s.drop(layer, experts) && s.quant != QuantNone {
		runtime.GC()
	}
}

func (s *Store) drop(layer int, experts Set) (dropped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range experts.Experts() {
		if !s.has(layer, e) {
			continue
		}
		if old := s.experts[layer][e].Swap(nil); old != nil {
			s.bytes.Add(-old.bytes)
			dropped = true
		}
	}
	return dropped
}

// view returns an expert and the bytes read for it.
func (s *Store) view(w model.MLP) (x *Expert, read int64, err error) {
	x = &Expert{}
	for _, part := range []struct {
		linear model.Linear
		into   *kernels.Matrix
	}{{w.Gate, &x.Gate}, {w.Up, &x.Up}, {w.Down, &x.Down}} {
		m, err := View(s.ck, part.linear)
		if err != nil {
			return nil, 0, err
		}
		*part.into = m
	}
	read = w.Bytes(s.ck)
	if x.bytes = read; s.quant != QuantNone {
		x.bytes = s.quant.mlpBytes(w, s.ck)
	}
	if err := s.quant.Quantize(s.nodes, &x.Gate, &x.Up, &x.Down); err != nil {
		return nil, 0, err
	}
	s.quant.Idle(s.ck, w.Tensors()...)
	return x, read, nil
}
