//go:build !amd64 && !arm64

package kernels

// fastPath is false where there is no assembly: the plain twin serves.
const fastPath = false

// fastPanels is false where there are no panels of packed activations.
const fastPanels = false

// Features names the path in use.
func Features() string { return "generic" }

const unreachable = "kernels: no fast path on this architecture"

func dotFast(_, _ []float32) float32                               { panic(unreachable) }
func decodeFast(_ []float32, _ *Matrix, _, _, _ int)               { panic(unreachable) }
func addWeightedFast(_, _, _ []float32, _ int)                     { panic(unreachable) }
func mulRowsFast(_, _ []float32, _ int, _ *Matrix, _, _ int)       { panic(unreachable) }
func copyBlocksFast(_ *float32, _ int, _ *float32, _ int)          { panic(unreachable) }
func mulPackedFast(_, _ []float32, _ int, _ *Matrix, _, _ int) int { panic(unreachable) }
func errorQ4Fast(_ *[quantGroup]float32, _ float32) float32        { panic(unreachable) }
func multiplyAddsFast(_ int) int                                   { panic(unreachable) }
func readFast(_ []byte, _, _ int)                                  { panic(unreachable) }

func dotCachedFast(_, _ []float32, _, _ *Cached, _, _ int, _ []float32) { panic(unreachable) }
func addCachedFast(_, _ []float32, _ *Cached, _ int, _ []float32)       { panic(unreachable) }
func mulScalesFast(_ []float32, _ *Cached)                              { panic(unreachable) }
func scaleMaxFast(_ []float32, _, _ float32) float32                    { panic(unreachable) }
func expSumsFast(_ []Attn, _ []float32, _ int)                          { panic(unreachable) }
func scaleByFast(_ []float32, _ float32)                                { panic(unreachable) }
func divideByFast(_ []float32, _ float32)                               { panic(unreachable) }

func swiGLUFast(_, _, _ []float32)                      { panic(unreachable) }
func swiGLUClampedFast(_, _, _ []float32, _, _ float32) { panic(unreachable) }
func sigmoidFast(_ []float32)                           { panic(unreachable) }

func addRowFast(_, _ []float32) int                                { panic(unreachable) }
func addStoredFast(_ []float32, _ []byte, _ Format) int            { panic(unreachable) }
func encodeFast(_ []byte, _ []float32, _ Format) int               { panic(unreachable) }
func decodeRowFast(_ []float32, _ []byte, _ Format) int            { panic(unreachable) }
func normFast(_, _, _ []float32, _ float32) int                    { panic(unreachable) }
func ropeHalfFast(_, _, _, _ []float32) int                        { panic(unreachable) }
func ropeInterleavedFast(_, _, _ []float32) int                    { panic(unreachable) }
func highestFast(_ []float32) (int, float32, bool)                 { panic(unreachable) }
func weighFast(_ []uint64, _ []float32, _ *Weighing) (int, uint64) { panic(unreachable) }

func roundFast(_ *Rounded, _ int, _ []float32) int                             { panic(unreachable) }
func mulBandFast(_ []float32, _ *Rounded, _, _ int, _ *Matrix, _ int, _ ahead) { panic(unreachable) }
