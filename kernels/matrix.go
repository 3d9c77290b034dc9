package kernels

import "runtime"

// Matrix is a read-only view of stored weights [Rows, Cols], little-endian, at any alignment. The
// fields after Data are zero where a format or a layer has no use for them.
type Matrix struct {
	Format     Format
	Rows, Cols int
	Data       []byte

	// Stride is the bytes from row to row; 0 means that rows are dense. gpt-oss's gate is the even
	// rows of a tensor, its up the odd ones.
	Stride int

	// Scales of E4M3, [ceil((First+Rows)/128), ceil(Cols/128)]:
	//
	//	W[r,c] = E4M3(q[r,c]) * Scales[(First+r)/128, c/128]    rounded once to float32
	//
	// They are below 2^120 in magnitude; greater ones give infinities and NaNs.
	Scales []float32
	First  int // rows of the scales' first block that lie before row 0

	// Exponents of MXFP4, E8M0, one for 32 columns: Cols is a multiple of 32 and
	//
	//	W[r,c] = E2M1(q[r,c]) * 2^(Exponents[r*ExponentStride + c/32] - 127)
	Exponents      []byte
	ExponentStride int // bytes from row to row; 0 means that they are dense

	// A row of Q8 or Q4 holds its quants, by whole groups of 32 columns, and then a scale for each
	// group g, the upper half s[g] of a float32. A group of Q8 is 32 bytes, in the order of the
	// columns; of Q4 16, of which byte i holds column i in its low half, and 16+i in its high half:
	//
	//	Q8: W[r,c] = int8(q[c]) * s[c/32]             Q4: W[r,c] = q[c] * s[c/32] - 8 * s[c/32]
	//
	// Nothing is rounded in this. Scales are below 2^120 in magnitude. What the quants of columns
	// beyond the last are does not matter.

	// Bias [Rows] is added by MatMul to the finished dot products; nil means none.
	Bias []float32

	// Owner, if not nil, is what keeps the memory behind Data mapped: that may go when nothing refers
	// to Owner any more. Every function of the package that takes a Matrix refers to it to the end.
	Owner any
}

// Row returns the bytes of row r of a matrix that is not interleaved.
func (m Matrix) Row(r int) []byte {
	from := r * m.stride()
	return m.Data[from : from+m.Format.Bytes(m.Cols)]
}

// Slice returns rows lo to hi as a view. Of an interleaved matrix, lo is a multiple of 16.
func (m Matrix) Slice(lo, hi int) Matrix {
	if lo < 0 || hi < lo || hi > m.Rows {
		panic("kernels: Slice of rows that the matrix has not")
	}
	v := m
	v.Rows = hi - lo
	if v.Rows == 0 {
		v.Data, v.Scales, v.First, v.Exponents, v.Bias = nil, nil, 0, nil, nil
		return v
	}
	if m.Format.Interleaved() {
		if lo%bandRows != 0 {
			panic("kernels: Slice from the midst of an interleaved matrix's band")
		}
		v.Data = m.Data[m.Format.MatrixBytes(lo, m.Cols):]
	} else {
		v.Data = m.Data[lo*m.stride():]
	}
	switch m.Format {
	case E4M3:
		v.Scales = m.scales(lo)
		v.First = (m.First + lo) % scaleBlock
	case MXFP4:
		v.Exponents = m.exponents(lo)
	}
	if m.Bias != nil {
		v.Bias = m.Bias[lo:hi]
	}
	return v
}

// stride returns the bytes from row to row.
func (m *Matrix) stride() int {
	if m.Stride != 0 {
		return m.Stride
	}
	return m.Format.Bytes(m.Cols)
}

func (m *Matrix) exponentStride() int {
	if m.ExponentStride != 0 {
		return m.ExponentStride
	}
	return m.Cols / exponentGroup
}

// scaleRow returns which row of E4M3's scales is row r's.
func (m *Matrix) scaleRow(r int) int { return (m.First + r) / scaleBlock }

// scales returns E4M3's scales from those of row r on.
func (m *Matrix) scales(r int) []float32 {
	return m.Scales[m.scaleRow(r)*((m.Cols+scaleBlock-1)/scaleBlock):]
}

// exponents returns MXFP4's exponents from those of row r on.
func (m *Matrix) exponents(r int) []byte {
	return m.Exponents[r*m.exponentStride():]
}

// check panics unless the matrix has all the bytes that its shape promises: the assembly trusts it.
func (m *Matrix) check() {
	if m.Format == I8 || m.Format > MXFP4x16 {
		panic("kernels: matrix of an unknown format")
	}
	if m.Rows < 0 || m.Cols < 0 {
		panic("kernels: matrix of negative size")
	}
	if m.Bias != nil && len(m.Bias) != m.Rows {
		panic("kernels: bias that does not match the matrix's rows")
	}
	if m.Rows == 0 {
		return
	}
	if m.Format.Interleaved() {
		if m.Stride != 0 || len(m.Data) < m.Format.MatrixBytes(m.Rows, m.Cols) {
			panic("kernels: interleaved weights are shorter than bands times groups, or not dense")
		}
		return
	}
	row := m.Format.Bytes(m.Cols)
	if m.stride() < row || len(m.Data) < (m.Rows-1)*m.stride()+row {
		panic("kernels: weights are shorter than rows times columns")
	}
	switch m.Format {
	case E4M3:
		blocks := (m.Cols + scaleBlock - 1) / scaleBlock
		if m.First < 0 || len(m.Scales) < ((m.First+m.Rows-1)/scaleBlock+1)*blocks {
			panic("kernels: E4M3 scales are fewer than blocks")
		}
	case MXFP4:
		groups := m.Cols / exponentGroup
		if m.Cols%exponentGroup != 0 {
			panic("kernels: MXFP4 columns are no multiple of 32")
		}
		if m.exponentStride() < groups || len(m.Exponents) < (m.Rows-1)*m.exponentStride()+groups {
			panic("kernels: MXFP4 exponents are fewer than groups")
		}
	}
}

// DecodeRow writes the weights of row r, the values that MatMul computes with, to dst [Cols].
func DecodeRow(dst []float32, m Matrix, r int) {
	m.check()
	if r < 0 || r >= m.Rows || len(dst) != m.Cols {
		panic("kernels: DecodeRow needs a row of the matrix and len(dst) = Cols")
	}
	m.decode(dst, r, 0)
	runtime.KeepAlive(m.Owner)
}

// decode writes len(dst) weights of row r from column from on, a multiple of 128.
func (m *Matrix) decode(dst []float32, r, from int) {
	if m.Format.Interleaved() {
		m.decodeInterleaved(dst, r, from)
		return
	}
	if fastPath {
		decodeFast(dst, m, r, from, 1)
		return
	}
	m.decodeGeneric(dst, r, from)
}

// decodeGeneric is the plain twin of decode; from may be any multiple of 16.
func (m *Matrix) decodeGeneric(dst []float32, r, from int) {
	row := m.Row(r)
	switch m.Format {
	case E4M3:
		scales := m.scales(r)
		for len(dst) > 0 {
			n := min(len(dst), scaleBlock-from%scaleBlock)
			decodeE4M3(dst[:n], row[from:], scales[from/scaleBlock])
			dst, from = dst[n:], from+n
		}
	case MXFP4:
		exponents := m.exponents(r)
		for len(dst) > 0 {
			n := min(len(dst), exponentGroup-from%exponentGroup)
			decodeMXFP4(dst[:n], row[from/2:], exponents[from/exponentGroup])
			dst, from = dst[n:], from+n
		}
	case Q8, Q4:
		m.decodeQuants(dst, row, from)
	default:
		Decode(dst, row[m.Format.Bytes(from):], m.Format)
	}
}

// MulTransposed computes dst [Cols] = mᵀ·y for y [Rows]: starting from 0, in ascending r,
//
//	dst[c] = fma(y[r], m[r][c], dst[c])
//
// on the calling thread. The bias is not used. Multi-head latent attention takes a query to the
// space of the latent cache with it (DeepSeek-V2, 2024, section 2.1.2).
func MulTransposed(dst, y []float32, m Matrix) {
	m.check()
	if len(dst) != m.Cols || len(y) != m.Rows {
		panic("kernels: MulTransposed needs len(dst) = Cols and len(y) = Rows")
	}
	// Weights are decoded into a block that the first-level cache holds, whose columns are those of
	// a scale, and whose rows are enough to make loading and storing dst cheap.
	const rows, cols = 16, scaleBlock
	var block [rows * cols]float32
	clear(dst)
	for c := 0; c < m.Cols; c += cols {
		part := dst[c:min(c+cols, m.Cols)]
		for r := 0; r < m.Rows; r += rows {
			n := min(rows, m.Rows-r)
			for i := range n {
				m.decode(block[i*cols:][:len(part)], r+i, c)
			}
			addWeighted(part, y[r:r+n], block[:], cols)
		}
	}
	runtime.KeepAlive(m.Owner)
}
