// Package model says what a checkpoint is: it turns config.json and generation_config.json into a
// Spec of plain facts, names the tensors with their shapes, and checks that the weight files hold
// them.
//
// It must not compute with weights, and knows nothing of machines, placement or requests. A family
// of models is one file here (qwen3.go, qwen3moe.go) and a line in families.
//
// Invariants:
//
//   - A Spec is either right or refused. A field that would change the output and is not supported
//     (rope scaling, sliding windows, biases, quantisation, another activation) is an error that
//     names the field; a field whose default differs between releases is required.
//   - Every size is bounded before anything is allocated by it, so that products of sizes fit into
//     an int64.
//   - Each layer has exactly one of Dense and MoE.
//   - A Spec that has passed Check has every tensor in its checkpoint, with its shape and a format
//     that can be computed with.
//   - A Spec does not change after Read; it may be shared by goroutines.
//
// Opening a checkpoint:
//
//	spec, err := model.Read(dir)
//	if err != nil {
//		return err
//	}
//	ck, err := safetensors.Open(dir)
//	if err != nil {
//		return err
//	}
//	if err := spec.Check(ck); err != nil {
//		return err
//	}
package model
