package kernels

func roundFast(_ *Rounded, _ int, _ []float32) int { return 0 }

func mulBandFast(dst []float32, x *Rounded, t, n int, w *Matrix, r int) {
	mulBandGeneric(dst, x, t, n, w, r)
}
