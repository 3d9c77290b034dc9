// Command gen writes the AVX2 and AVX-512 kernels of package kernels and their Go declarations: with -part mul
// mul_amd64.s, the matrix products, with -part attend attend_amd64.s, the inner loops of attention, with -part gate
// gate_amd64.s, the activations, with -part rows rows_amd64.s, what is done to whole rows, with -part
// rounded rounded_amd64.s, products of rounded activations.
// Run it by `go generate` in that package.
package main

import (
	"flag"
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const (
	// block is the elements of one step: both halves of the sixteen lanes.
	block = 16
	// half is the elements of a register, whose float32 take registerBytes.
	half          = 8
	registerBytes = 4 * half
)

func main() {
	part := flag.String("part", "mul", "what to write: mul, attend, gate, rows, rounded or read")
	flag.Parse()
	switch *part {
	case "attend":
		attend()
	case "rounded":
		rounded()
	case "gate":
		gates()
	case "rows":
		rows()
	case "read":
		for _, v := range bothVectors() {
			read(v)
		}
	default:
		products()
	}
	Generate()
}

// products writes the matrix products.
func products() {
	unscaled := []format{f32{}, newBF16(), f16{}}
	groups := []wideFormat{newMXFP4(), newQ8(), newQ4()}
	scaled := newE4M3()
	for _, f := range append(unscaled, scaled, groups[0], groups[1], groups[2]) {
		mul(f, 1, 1) // what the others leave over
		mul(f, 1, 4) // one token: four rows hide the latency of the additions
		mul(f, 2, 2)
		mul(f, 3, 2) // many tokens: twelve sums, two decoded weights, one activation
		decode(f)
	}
	for _, f := range groups {
		for tokens := 1; tokens <= 3; tokens++ {
			mulWide(f, tokens)
		}
		decodeWide(f)
	}
	for tokens := 1; tokens <= 3; tokens++ {
		mulWideE4M3(scaled, tokens)
	}
	decodeWideE4M3(scaled)
	errorQ4()
	panelTiles(unscaled...)
	reduceTiles()
	reduceTilesWide()
	copyBlocks()
	addWeighted()
}

// attend writes attention over cached keys and values.
func attend() {
	for _, f := range []cached{f32{}, newBF16(), i8{}} {
		dots(f)
		dots1(f)
		values(f, 4, 3, 2, 1) // twelve sums, three values, one weight
		values(f, 2, 4, 1)
		values(f, 1, 8, 1)
	}
	dotsWide()
	valuesWide("F32", 4, loadF32Wide)
	valuesWide("BF16", 2, loadBF16Wide)
	widen(i8{})
	scaleMax()
	expSums()
	rowOf("scaleAVX2", "computes x[i] *= c for i < n.", VMULPS, VMULSS)
	rowOf("divideAVX2", "computes x[i] /= c for i < n.", VDIVPS, VDIVSS)
	mulRow()
}

// fields are those of the type operands of package kernels, in order; each takes eight bytes.
var fields = []string{"dst", "dstStride", "x", "xStride", "w", "wStride", "blocks",
	"scales", "exponents", "exponentStride", "xTail"}

// field is a field of the operands. (avo knows no types but Go's own: the parameter is a *byte.)
func field(name string) Register {
	r := Load(Param("operands"), GP64())
	MOVQ(Mem{Base: r, Disp: 8 * slices.Index(fields, name)}, r)
	return r
}

// pointers points at up to four rows by a base and a stride.
type pointers struct {
	rows                  int
	base, stride, stride3 Register
}

// rowsAt returns pointers from fields of the operands.
func rowsAt(base, stride string, rows int) pointers {
	p := pointers{rows: rows, base: field(base)}
	if rows > 1 {
		p.stride = field(stride)
	}
	if rows > 3 {
		p.stride3 = GP64()
		LEAQ(Mem{Base: p.stride, Index: p.stride, Scale: 2}, p.stride3)
	}
	return p
}

// after points at the rows from row n on, a multiple of four.
func (p pointers) after(n int) pointers {
	base := GP64()
	MOVQ(p.base, base)
	for range n / 4 {
		LEAQ(Mem{Base: base, Index: p.stride, Scale: 4}, base)
	}
	p.base = base
	return p
}

// at addresses what lies disp bytes from the pointer to a row.
func (p pointers) at(row, disp int) Mem {
	switch row {
	case 0:
		return Mem{Base: p.base, Disp: disp}
	case 3:
		return Mem{Base: p.base, Index: p.stride3, Scale: 1, Disp: disp}
	}
	return Mem{Base: p.base, Index: p.stride, Scale: uint8(row), Disp: disp}
}

// move advances the pointers.
func (p pointers) move(bytes int) {
	ADDQ(I32(bytes), p.base)
}
