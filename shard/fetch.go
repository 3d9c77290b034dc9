package shard

import (
	"context"

	"github.com/conclave-serve/conclave/internal/safetensors"
	"github.com/conclave-serve/conclave/model"
)

// Fetch makes weights of the checkpoint present, where they come from elsewhere, so that View and
// Vector may read them. progress, if not nil, hears of bytes as they arrive. Reading tells bytes as
// well, so Fetch returns the progress to read with, which leaves out those that have been told.
func Fetch(
	ctx context.Context, ck *safetensors.Checkpoint, tensors []model.Tensor, progress func(int64),
) (func(int64), error) {
	if ck.Whole() {
		return progress, nil
	}
	ranges, err := model.Ranges(ck, tensors...)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		return nil, ck.Fetch(ctx, ranges, nil)
	}
	var told int64
	err = ck.Fetch(ctx, ranges, func(bytes int64) {
		told += bytes
		progress(bytes)
	})
	return func(bytes int64) {
		known := min(bytes, told)
		told -= known
		if bytes > known {
			progress(bytes - known)
		}
	}, err
}
