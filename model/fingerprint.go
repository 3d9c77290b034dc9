package model

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/conclave-serve/conclave/internal/safetensors"
)

// sampleBytes of a tensor go into the fingerprint: one page, which is what a read costs anyway.
const sampleBytes = 4096

// Fingerprint is a cheap, stable identity of the checkpoint in dir, by which processes verify that
// they serve the same one. It is the SHA-256 of config.json, of the header of every weight file in
// the order of their names, and of a sample of the weights. The sample is there because two
// fine-tunes of one model have the same config and the same headers: it takes the beginning of
// every tensor outside the routed experts, and of one expert for each MoE layer.
//
// It is no checksum: a change in a part that is not sampled goes unnoticed. s was read from dir and
// ck opened there. What is sampled is fetched; the fingerprint does not tell where a checkpoint
// comes from.
func (s *Spec) Fingerprint(
	ctx context.Context, dir string, ck *safetensors.Checkpoint,
) (string, error) {
	config, err := readBounded(dir, configFile)
	if err != nil {
		return "", err
	}
	ck.Scattered(true)
	defer ck.Scattered(false)
	h := sha256.New()
	writeField(h, config)
	for _, f := range ck.Files() {
		writeField(h, []byte(f.Name))
		writeField(h, f.Header)
	}
	sample, err := s.sample(ctx, ck)
	if err != nil {
		return "", fmt.Errorf("fingerprint %s: %w", dir, err)
	}
	for _, t := range sample {
		writeField(h, []byte(t.name))
		writeField(h, t.data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sampled is the beginning of a weight.
type sampled struct {
	name string
	data []byte
}

// sample lists what of the weights goes into the fingerprint, and makes it present.
func (s *Spec) sample(ctx context.Context, ck *safetensors.Checkpoint) ([]sampled, error) {
	tensors := s.AttentionTensors()
	for i, l := range s.Layers {
		if l.MoE != nil {
			e := l.MoE.Experts[i%len(l.MoE.Experts)]
			tensors = append(tensors, e.Tensors()...)
		}
	}
	list := make([]sampled, len(tensors))
	ranges := make([]safetensors.Range, len(tensors))
	for i, want := range tensors {
		t, err := want.Locate(ck)
		if err != nil {
			return nil, err
		}
		list[i] = sampled{want.Name, t.Data[:min(len(t.Data), sampleBytes)]}
		ranges[i] = t.Ranges()[0]
		ranges[i].End = ranges[i].Begin + int64(len(list[i].data))
	}
	return list, ck.Fetch(ctx, ranges, nil)
}

// writeField writes a length and the bytes, so that no two lists of fields hash alike.
func writeField(h hash.Hash, field []byte) {
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(field)))
	h.Write(length[:])
	h.Write(field)
}
