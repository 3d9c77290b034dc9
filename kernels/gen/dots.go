package main

import (
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// dotFields are those of the type dotOperands of package kernels, in order.
var dotFields = []string{"scores", "scoreStride", "q", "qStride", "keys", "keyStride", "blocks",
	"queries", "n", "keyBytes", "values", "valueStride", "valueBytes"}

// dotOperands points at that type.
type dotOperands struct{ base Register }

// field is a field in memory.
func (o dotOperands) field(name string) Mem {
	return Mem{Base: o.base, Disp: 8 * slices.Index(dotFields, name)}
}

// load returns a field in a register.
func (o dotOperands) load(name string) Register {
	r := GP64()
	MOVQ(o.field(name), r)
	return r
}

// dots writes the dot products of several queries with keys, two keys at a time: these are read
// from memory once, and stay in the first-level cache while the queries go by in threes and twos.
func dots(f cached) {
	dotPairs("dots"+f.name(), func() { f.begin(true) }, []int{3, 2, 1}, func(tile dotTile) {
		acc := sums(tile.x.rows, 2)
		dotLoop(tile.label, f, acc, tile.x, tile.keys, tile.blocks)
		storePairs(reduceTile(acc), tile.dst)
	})
}

// dotsWide is dots of F32 with sixteen lanes to a register: four queries hide the latency of the
// additions. (BF16 is bound by decoding, and is as fast without.)
func dotsWide() {
	dotPairs("dotsF32AVX512", func() {}, []int{4, 2, 1}, func(tile dotTile) {
		acc := make([][2]VecVirtual, tile.x.rows)
		for t := range acc {
			for k := range acc[t] {
				acc[t][k] = ZMM()
				VPXORQ(acc[t][k], acc[t][k], acc[t][k])
			}
		}
		Label(tile.label)
		a, b := loadF32Wide(tile.keys.at(0, 0)), loadF32Wide(tile.keys.at(1, 0))
		for t := range acc {
			q := ZMM()
			VMOVUPS(tile.x.at(t, 0), q)
			VFMADD231PS(a, q, acc[t][0])
			VFMADD231PS(b, q, acc[t][1])
		}
		tile.x.move(wideBytes)
		tile.keys.move(wideBytes)
		DECQ(tile.blocks)
		JNZ(LabelRef(tile.label))
		for t := 0; t < len(acc); t += 2 {
			dst := tile.dst
			if t > 0 {
				dst.base = GP64()
				LEAQ(Mem{Base: tile.dst.base, Index: tile.dst.stride, Scale: 2}, dst.base)
			}
			reduceWide(acc[t:min(t+2, len(acc))], dst)
		}
	})
}

// dotTile is some queries times two keys.
type dotTile struct {
	label   string
	x, keys pointers // used up
	blocks  Register // used up
	dst     pointers
}

// dotPairs writes a kernel that goes over keys by twos, and for each two over queries by so many, in
// descending order.
func dotPairs(name string, begin func(), sizes []int, write func(dotTile)) {
	TEXT(name, NOSPLIT, "func(operands *byte)")
	Pragma("noescape")
	Doc(name+" computes the dot products of queries and at least two keys, of at least one block:",
		"see type dotOperands. It uses up the operands.")
	o := dotOperands{Load(Param("operands"), GP64())}
	begin()
	stride := o.load("keyStride")

	Label("pair")
	o.prefetchKeys(stride)
	o.prefetchValues(2)
	q, scores, left := o.load("q"), o.load("scores"), o.load("queries")
	tile := func(label string, queries int) {
		x := pointers{rows: queries, base: GP64(), stride: o.load("qStride")}
		if queries > 3 {
			x.stride3 = GP64()
			LEAQ(Mem{Base: x.stride, Index: x.stride, Scale: 2}, x.stride3)
		}
		MOVQ(q, x.base)
		keys := pointers{rows: 2, base: o.load("keys"), stride: stride}
		dst := pointers{rows: queries, base: scores, stride: o.load("scoreStride")}
		write(dotTile{label, x, keys, o.load("blocks"), dst})
		for range queries {
			ADDQ(x.stride, q)
			ADDQ(dst.stride, scores)
		}
		SUBQ(Imm(uint64(queries)), left)
	}
	names := map[int]string{4: "four", 3: "three", 2: "two", 1: "one"}
	for _, n := range sizes[:len(sizes)-1] {
		rest := names[n] + "Rest"
		Label(names[n] + "s")
		CMPQ(left, Imm(uint64(n)))
		JL(LabelRef(rest))
		if n == 3 {
			CMPQ(left, Imm(4)) // two twos are better than three and one
			JE(LabelRef(rest))
		}
		tile(names[n], n)
		JMP(LabelRef(names[n] + "s"))
		Label(rest)
	}
	TESTQ(left, left)
	JZ(LabelRef("next"))
	tile("one", 1)

	Label("next")
	ADDQ(Imm(8), o.field("scores"))
	ADDQ(stride, o.field("keys"))
	ADDQ(stride, o.field("keys"))
	SUBQ(Imm(2), o.field("n"))
	JZ(LabelRef("done"))
	CMPQ(o.field("n"), Imm(1))
	JNE(LabelRef("pair"))
	// One key is left: do it with the one before, again.
	SUBQ(Imm(4), o.field("scores"))
	SUBQ(stride, o.field("keys"))
	INCQ(o.field("n"))
	JMP(LabelRef("pair"))
	Label("done")
	VZEROUPPER()
	RET()
}

// prefetchKeys asks for two keys that are some ahead, if there are as many.
func (o dotOperands) prefetchKeys(stride Register) {
	const ahead = 8
	CMPQ(o.field("n"), Imm(ahead+2))
	JL(LabelRef("keysAsked"))
	keys := pointers{rows: 2, base: o.load("keys"), stride: stride}
	LEAQ(Mem{Base: keys.base, Index: stride, Scale: ahead}, keys.base)
	prefetchLines("keys", keys, o.load("keyBytes"))
}

// prefetchValues asks for the next of the values.
func (o dotOperands) prefetchValues(rows int) {
	values := pointers{rows: rows, base: o.load("values"), stride: o.load("valueStride")}
	if rows > 3 {
		values.stride3 = GP64()
		LEAQ(Mem{Base: values.stride, Index: values.stride, Scale: 2}, values.stride3)
	}
	next := GP64()
	LEAQ(Mem{Base: values.base, Index: values.stride, Scale: uint8(rows)}, next)
	MOVQ(next, o.field("values"))
	prefetchLines("values", values, o.load("valueBytes"))
}

// prefetchLines asks for bytes of each row, line by line. They may be none.
func prefetchLines(name string, rows pointers, bytes Register) {
	const line = 64
	TESTQ(bytes, bytes)
	JLE(LabelRef(name + "Asked"))
	Label(name + "Ask")
	for r := range rows.rows {
		PREFETCHT0(rows.at(r, 0))
	}
	rows.move(line)
	SUBQ(Imm(line), bytes)
	JG(LabelRef(name + "Ask"))
	Label(name + "Asked")
}

// dotLoop adds up the blocks; it uses up the pointers.
func dotLoop(label string, f cached, acc [][][2]VecVirtual, x, keys pointers, blocks Register) {
	for t := range acc {
		for _, a := range acc[t] {
			VXORPS(a[0], a[0], a[0])
			VXORPS(a[1], a[1], a[1])
		}
	}
	Label(label)
	for h := range 2 {
		step(acc, h, func(t int) Mem { return x.at(t, h*registerBytes) },
			func(r int) Op { return f.load(keys.at(r, h*f.halfBytes()), r) })
	}
	x.move(2 * registerBytes)
	keys.move(2 * f.halfBytes())
	DECQ(blocks)
	JNZ(LabelRef(label))
}

// dots1 writes the dot products of one query, with four keys at a time.
func dots1(f cached) {
	const keys = 4
	name := "dots1" + f.name()
	TEXT(name, NOSPLIT, "func(operands *byte)")
	Pragma("noescape")
	Doc(name+" computes the dot products of one query and at least four keys, of at least one block:",
		"see type dotOperands. It uses up the operands.")
	o := dotOperands{Load(Param("operands"), GP64())}
	f.begin(true)
	scores, n := o.load("scores"), o.load("n")
	w := pointers{rows: keys, base: o.load("keys"), stride: o.load("keyStride"), stride3: GP64()}
	LEAQ(Mem{Base: w.stride, Index: w.stride, Scale: 2}, w.stride3)

	Label("four")
	o.prefetchValues(keys)
	acc := sums(1, keys)
	dotLoop("loop", f, acc, pointers{rows: 1, base: o.load("q")}, w.after(0), o.load("blocks"))
	VMOVUPS(reduceKeys(acc[0]), Mem{Base: scores})
	ADDQ(Imm(4*keys), scores)
	LEAQ(Mem{Base: w.base, Index: w.stride, Scale: keys}, w.base)
	SUBQ(Imm(keys), n)
	JZ(LabelRef("done"))
	Label("back") // fewer are left: do them with the ones before, again
	CMPQ(n, Imm(keys))
	JGE(LabelRef("four"))
	SUBQ(Imm(4), scores)
	SUBQ(w.stride, w.base)
	INCQ(n)
	JMP(LabelRef("back"))
	Label("done")
	VZEROUPPER()
	RET()
}
