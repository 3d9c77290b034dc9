// Package demo carries the demo model inside the binary, so that Conclave has something to serve
// before anything is downloaded.
//
// It owns the embedded checkpoint (an ordinary Hugging Face folder of the qwen3_moe family; its
// README.md is the model card) and its unpacking. It knows nothing of what the files mean: whoever
// loads a checkpoint loads this one by its path like any other. tools/demo-model trains it.
//
// Invariants:
//   - the folder's name is the hash of its content, so another version never mixes with this one;
//   - a folder gets its final name when all of it is written and synced, and a file that is found
//     wrong later is replaced by one rename: nobody ever reads half a file;
//   - any number of processes and goroutines may unpack into the same place at once.
//
// Use:
//
//	path, err := demo.Unpack(cacheDir)
//	if err != nil {
//		return err
//	}
//	spec, err := model.Read(path)
package demo
