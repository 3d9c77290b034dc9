package kernels

// Share returns which of some items are part k of so many, in order; parts are as even as can be.
// What memory nodes get of a job and of a matrix is this, and so are tiles.
func Share(items, k, parts int) (from, to int) {
	return items * k / parts, items * (k + 1) / parts
}

// Cut is how the rows of a matrix are divided into tiles: whole steps, as many for each as can be,
// and so that the rows of a memory node begin with a tile. It affects speed, never a result.
type Cut struct{ rows, steps, step, tiles int }

// NewCut divides the rows of a matrix into tiles of at most some rows, for the memory nodes of a
// pool. A tile has one step at least; two, if the nodes would not get whole tiles otherwise.
func NewCut(w *Matrix, most, nodes int) Cut {
	c := Cut{rows: w.Rows, step: w.rowStep()}
	c.steps = (w.Rows + c.step - 1) / c.step
	each := max(most/c.step, 1)
	c.tiles = (c.steps + each - 1) / each
	if c.steps >= nodes {
		c.tiles = min((c.tiles+nodes-1)/nodes*nodes, c.steps/nodes*nodes)
	}
	return c
}

// Tiles returns their number, 0 of a matrix without rows.
func (c Cut) Tiles() int { return c.tiles }

// Tile returns the rows of a tile.
func (c Cut) Tile(i int) (lo, hi int) {
	from, to := Share(c.steps, i, c.tiles)
	return from * c.step, min(to*c.step, c.rows)
}

// Most returns the rows of the largest tile.
func (c Cut) Most() int {
	if c.tiles == 0 {
		return 0
	}
	return min((c.steps+c.tiles-1)/c.tiles*c.step, c.rows)
}

// rowStep is what the rows of a tile are best a multiple of: those that are decoded at once for
// many tokens, or a band.
func (m *Matrix) rowStep() int {
	if m.Format.Interleaved() {
		return bandRows
	}
	return tileStep
}

// NodeRows returns the rows of a matrix that threads of memory node k of so many take, whatever the
// tokens and the tiles: they are that node's share of the job in Pool.MatMul, Pool.MatMulAll and
// each Segmented job whose segments are tiles of a Cut. The exceptions are products of packed
// activations, which read weights seldom, and matrices of fewer steps than nodes.
func (m *Matrix) NodeRows(k, nodes int) (lo, hi int) {
	step := m.rowStep()
	from, to := Share((m.Rows+step-1)/step, k, nodes)
	return min(from*step, m.Rows), min(to*step, m.Rows)
}
