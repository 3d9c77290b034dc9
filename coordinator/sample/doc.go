// Package sample chooses the next token of one sequence from the model's
// logits.
//
// It owns the meaning of the sampling parameters and the random numbers behind
// a draw. It must not know about batches, requests, text or time: logits in, a
// token id out.
//
// The order is that of transformers: logit bias, repetition, frequency and
// presence penalties, temperature, top-k, top-p, min-p, typical-p,
// renormalisation, draw. Tokens that are not allowed are impossible from the
// start.
//
// Invariants:
//   - The token is a function of (Params, prompt, tokens drawn so far, logits).
//     Draw i of a sequence uses random number i of its seed and nothing else,
//     so batch neighbours never change a text.
//   - Probabilities are 64-bit integers relative to the most likely token.
//     Integer sums are exact, so no result depends on the order of a sum, and
//     the exponential is package kernels' own (ExpDown), in which no compiler can
//     fuse anything, so no result depends on the architecture.
//   - Ties go to the lower token id, everywhere.
//   - An id outside the vocabulary given to New is never returned, nor one
//     whose logit is NaN or minus infinity.
//   - A mask leaves the draw as if the logits of all other tokens were minus
//     infinity; only their NaN goes unseen.
//   - Next leaves the logits as it found them and allocates nothing once its
//     buffers have grown.
//
// Example:
//
//	s := sample.New(sample.Params{Temperature: 0.7, TopK: 20, Seed: 1}, vocab, prompt)
//	for {
//		id, err := s.Next(forward(id)) // logits [vocab] f32
//		…
//	}
package sample
