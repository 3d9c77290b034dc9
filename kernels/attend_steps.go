package kernels

// The steps of AttendQueries, and their plain twins.

// dotCached computes scores[t*n+j] = Dot(q[t], key[j]) of the stored numbers, without scales. The
// values, dv numbers each, are what will be read next.
func dotCached(scores, q []float32, keys, values *Cached, n, dv int, panel []float32) {
	if fastPath && len(q) > 0 {
		dotCachedFast(scores, q, keys, values, n, dv, panel)
		return
	}
	dotCachedGeneric(scores, q, keys, n)
}

func dotCachedGeneric(scores, q []float32, keys *Cached, n int) {
	queries := len(scores) / n
	d := len(q) / queries
	for j := range n {
		for t := 0; t < queries; t += 4 {
			dotKeyGeneric(scores[t*n+j:], q[t*d:], min(4, queries-t), d, keys, j, n)
		}
	}
}

// dotKeyGeneric computes scores[t*n] for the dot product of key j with up to four queries.
func dotKeyGeneric(scores, q []float32, queries, d int, keys *Cached, j, n int) {
	var acc [4][lanes]float32
	var key [lanes]float32
	k := 0
	for ; k+lanes <= d; k += lanes {
		keys.stored(key[:], j, k)
		for t := range queries {
			addLanes(&acc[t], (*[lanes]float32)(q[t*d+k:]), &key)
		}
	}
	tail := key[:d-k]
	keys.stored(tail, j, k)
	for t := range queries {
		for l, v := range tail {
			acc[t][l] = fma32(q[t*d+k+l], v, acc[t][l])
		}
		scores[t*n] = reduce(&acc[t])
	}
}

// addCached adds weighted values to the sums of all queries: for j ascending,
//
//	acc[t][i] = fma(weights[t*n+j], value[j][i], acc[t][i])
//
// with the stored numbers of a value, without scales.
func addCached(acc, weights []float32, values *Cached, n int, panel []float32) {
	if fastPath {
		addCachedFast(acc, weights, values, n, panel)
		return
	}
	addCachedGeneric(acc, weights, values, n, 0)
}

// addCachedGeneric is the plain twin of addCached, for columns from on.
func addCachedGeneric(acc, weights []float32, values *Cached, n, from int) {
	queries := len(weights) / n
	dv := len(acc) / queries
	var block [lanes]float32
	for ; from < dv; from += lanes {
		value := block[:min(lanes, dv-from)]
		for j := range n {
			values.stored(value, j, from)
			for t := range queries {
				sums := acc[t*dv+from:][:len(value)]
				for i, v := range value {
					sums[i] = fma32(weights[t*n+j], v, sums[i])
				}
			}
		}
	}
}

// mulScales multiplies number j of x by the scale of position j.
func mulScales(x []float32, c *Cached) {
	if fastPath {
		mulScalesFast(x, c)
		return
	}
	for j := range x {
		x[j] *= c.Scales[j*c.ScaleStride]
	}
}

// scaleMax multiplies x by scale and returns the largest of its elements and of highest, NaNs
// excepted. It is never -0, so that the order of comparisons does not show.
func scaleMax(x []float32, scale, highest float32) float32 {
	if fastPath {
		return scaleMaxFast(x, scale, highest) + 0
	}
	for j, v := range x {
		v *= scale
		x[j] = v
		if v > highest {
			highest = v
		}
	}
	return highest + 0
}

// expSums replaces x[t][j] by Exp(x[t][j] - Max), for the maximum of state t, and adds it to the
// state's sum, in ascending j.
func expSums(states []Attn, x []float32, n int) {
	if fastPath {
		expSumsFast(states, x, n)
		return
	}
	for t := range states {
		st, row := &states[t], x[t*n:(t+1)*n]
		for j, v := range row {
			p := Exp(v - st.Max)
			row[j] = p
			st.Sum += p
		}
	}
}

// scaleBy multiplies x by c.
func scaleBy(x []float32, c float32) {
	if fastPath {
		scaleByFast(x, c)
		return
	}
	for i := range x {
		x[i] *= c
	}
}

// divideBy divides x by c.
func divideBy(x []float32, c float32) {
	if fastPath {
		divideByFast(x, c)
		return
	}
	for i := range x {
		x[i] /= c
	}
}
