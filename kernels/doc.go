// Package kernels holds the numeric leaves of a forward pass: matrix products over weights in the
// checkpoint's own format, the inner loops of attention, norms, rotary embedding, activations and
// softmax, and the pool of threads that runs them. Slices and ints go in, slices come out.
//
// It must not know models, tensors by name, requests or the network; it imports the standard
// library and x/sys/cpu only.
//
// Invariants:
//
//   - Canonical dot product. Element i goes to lane i mod 16 by a true float32 fused multiply-add,
//     in ascending i; the lanes are added by one fixed tree (see reduce). Every dot product of the
//     package has these bits, whichever path, tile, batch or thread computed it.
//   - Same bits on every machine. The fast paths agree bit for bit with the plain Go twin, and the
//     twin rounds explicitly wherever a compiler may fuse x*y+z. (NaNs agree in being NaN.)
//   - What Quantize makes of a matrix depends on its values alone.
//   - A product of quantised weights has the bits of the product of their float32 values: each is
//     scaled, with one rounding at most, before it is multiplied. Not so keys and values in I8:
//     their scale is one for a position, and multiplies the finished product (see AttendQueries).
//   - Interleaved matrices round activations first; their products are as MulRounded defines them.
//   - A query's attention has the bits of the query alone, however many share a pass over a page.
//   - Weights, keys and values are read in place, at any alignment, and never beyond the row.
//   - A matrix's Owner is reachable while a function of the package works with the matrix.
//   - Nothing here allocates, except what makes something New, and Reserve.
//   - Bits do not depend on a pool's threads, nor on the memory nodes they belong to.
//   - Wrong lengths are the caller's bug and panic with a constant message.
//
// A product on all threads:
//
//	pool := kernels.NewPool(2)
//	defer pool.Close()
//	w := kernels.Matrix{Format: kernels.BF16, Rows: 768, Cols: 2048, Data: mapped}
//	pool.MatMul(y, x, tokens, w) // y [tokens, 768] = x [tokens, 2048] · wᵀ
//
// A new weight format is a case in Format (Bytes, String), its fields in Matrix, a decoder in
// Matrix.decodeGeneric and a loader in each generator: gen/ for amd64, gen/neon for arm64. A new
// format of a KV cache is a case in Cached (stored, EncodeCached) and a loader that is listed in
// the generators' attend.
package kernels
