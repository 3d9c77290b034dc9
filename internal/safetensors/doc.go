// Package safetensors reads and writes weight files in the safetensors format: a little-endian
// uint64 header length, a JSON header {name: {dtype, shape, data_offsets: [begin, end)}}, and the
// tensors' bytes.
//
// A checkpoint is a folder holding model.safetensors, or model.safetensors.index.json
// and the shards that it names.
//
// The package owns file layout and validation. It must not know models: which tensors exist, what
// they mean or which formats can be computed with is decided above.
//
// Invariants:
//
//   - A file is hostile until its whole header has been checked. Whatever ParseHeader returns lies
//     inside the file, overlaps nothing, leaves no hole, and has exactly the bytes that its shape
//     and dtype imply; the sizes of all products are checked for overflow.
//   - Parsing uses memory in proportion to the header's own length, which is bounded.
//   - The index decides where a tensor is. Shard names are never guessed, and are plain names
//     inside the checkpoint's folder.
//   - Mapped bytes are read-only and off the Go heap. They are valid until Close, and the files
//     must not be truncated while they are mapped.
//   - Where a Source brings the bytes, only what was fetched may be looked at; Require refuses the
//     rest. A folder needs neither, and costs nothing more.
//   - Errors name the file and the tensor.
//
// Reading a checkpoint:
//
//	ck, err := safetensors.Open(dir)
//	if err != nil {
//		return err
//	}
//	defer ck.Close()
//	t, ok := ck.Tensor("model.norm.weight")
package safetensors
