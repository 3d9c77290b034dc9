package kernels

import "runtime"

// Product is a matrix and where its product goes.
type Product struct {
	Dst []float32 // [n, W.Rows]
	W   Matrix
}

// together is how many products are computed as one job at most.
const together = 4

// products are those of a MatMulAll in progress.
type products struct {
	list [together]product
	ends [together]int // items up to the end of each
	n    int
}

// MatMulAll computes several products of the same x [n, Cols], at most four, as MatMul does each of
// them, but as one job: threads wait for each other once. It allocates nothing.
func (p *Pool) MatMulAll(x []float32, n int, all ...Product) {
	if len(all) > together {
		panic("kernels: MatMulAll of too many products")
	}
	j, end := &p.products, 0
	packedAlready, roundedAlready := false, false
	for i := range all {
		w := &all[i].W
		checkMatMul(all[i].Dst, x, n, *w)
		if w.Cols != all[0].W.Cols {
			panic("kernels: MatMulAll of matrices of different columns")
		}
		packed := packs(n, w)
		j.list[i] = newProduct(all[i].Dst, x, max(n, 1), *w, packed, p.threads, p.Nodes())
		if w.Format.Interleaved() {
			if !roundedAlready {
				p.round(x, n, w.Cols)
			}
			j.list[i].rounded, roundedAlready = &p.rounding.to, true
		}
		if packed && !packedAlready { // once for all of them
			packedAlready = true
			p.product.product, p.product.x = j.list[i], x
			p.pack(&p.product)
			p.product = packing{}
		}
		if packed {
			j.list[i].x = p.packed
		}
		if n > 0 && w.Rows > 0 {
			end += j.list[i].tiles()
		}
		j.ends[i] = end
	}
	j.n = len(all)
	p.Run(end, j)
	for i := range all {
		j.list[i] = product{}
		runtime.KeepAlive(all[i].W.Owner)
	}
}

// Segments and End make each matrix a segment of the job.
func (j *products) Segments() int { return j.n }
func (j *products) End(i int) int { return j.ends[i] }

// Do implements Job.
func (j *products) Do(item, thread int) {
	from := 0
	for i := range j.n {
		if end := j.ends[i]; item < end {
			j.list[i].Do(item-from, thread)
			return
		}
		from = j.ends[i]
	}
}
