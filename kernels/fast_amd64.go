package kernels

//go:generate go run -C gen . -part mul -out ../mul_amd64.s -stubs ../mul_amd64.go -pkg kernels
//go:generate go run -C gen . -part attend -out ../attend_amd64.s -stubs ../attend_amd64.go -pkg kernels
//go:generate go run -C gen . -part gate -out ../gate_amd64.s -stubs ../gate_amd64.go -pkg kernels
//go:generate go run -C gen . -part rounded -out ../rounded_amd64.s -stubs ../rounded_amd64.go -pkg kernels
//go:generate go run -C gen . -part rows -out ../rows_amd64.s -stubs ../rows_amd64.go -pkg kernels

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// fastPath chooses the assembly. Tests clear it to run the plain twin.
var fastPath = cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C

// wide chooses registers of 512 bits where there are both. The set is what every server processor
// with AVX-512 has.
var wide = fastPath && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ &&
	cpu.X86.HasAVX512VL

// Features names the path in use.
func Features() string {
	switch {
	case !fastPath:
		return "generic"
	case wide:
		return "avx512+avx2+fma+f16c"
	}
	return "avx2+fma+f16c"
}

func addWeightedFast(acc, weights, values []float32, stride int) {
	addWeightedAVX2(&acc[0], len(acc), &weights[0], len(weights), &values[0], 4*stride)
}

func swiGLUFast(dst, gate, up []float32) {
	swiGLUAVX2(unsafe.SliceData(dst), unsafe.SliceData(gate), unsafe.SliceData(up), len(dst))
}

func swiGLUClampedFast(dst, gate, up []float32, alpha, limit float32) {
	swiGLUClampedAVX2(unsafe.SliceData(dst), unsafe.SliceData(gate), unsafe.SliceData(up), len(dst),
		alpha, limit)
}

func sigmoidFast(x []float32) { sigmoidAVX2(unsafe.SliceData(x), len(x)) }

// rowsOfTile returns the rows of a tile of 1, 2 or 3 tokens.
func rowsOfTile(f Format, tokens int) int {
	if tokens == 1 || wide && f > F16 {
		return tileRows
	}
	return 2
}

// mulTile computes a tile of rowsOfTile rows, or of one token and one row.
func mulTile(f Format, tokens, rows int, operands, tail *byte) {
	switch {
	case rows > 1 && wide && f > F16:
		mulWide(f, tokens, operands, tail)
	case tokens == 3:
		mul3x2(f, operands, tail)
	case tokens == 2:
		mul2x2(f, operands, tail)
	case rows > 1:
		mul1x4(f, operands, tail)
	default:
		mul1x1(f, operands, tail)
	}
}

// mulWide computes a tile in registers of 512 bits.
func mulWide(f Format, tokens int, operands, tail *byte) {
	switch tokens {
	case 1:
		mulWide1x4(f, operands, tail)
	case 2:
		mulWide2x4(f, operands, tail)
	default:
		mulWide3x4(f, operands, tail)
	}
}

func mulWide1x4(f Format, operands, tail *byte) {
	switch f {
	case E4M3:
		mul1x4E4M3AVX512(operands, tail)
	case MXFP4:
		mul1x4MXFP4AVX512(operands, tail)
	case Q8:
		mul1x4Q8AVX512(operands, tail)
	case Q4:
		mul1x4Q4AVX512(operands, tail)
	}
}

func mulWide2x4(f Format, operands, tail *byte) {
	switch f {
	case E4M3:
		mul2x4E4M3AVX512(operands, tail)
	case MXFP4:
		mul2x4MXFP4AVX512(operands, tail)
	case Q8:
		mul2x4Q8AVX512(operands, tail)
	case Q4:
		mul2x4Q4AVX512(operands, tail)
	}
}

func mulWide3x4(f Format, operands, tail *byte) {
	switch f {
	case E4M3:
		mul3x4E4M3AVX512(operands, tail)
	case MXFP4:
		mul3x4MXFP4AVX512(operands, tail)
	case Q8:
		mul3x4Q8AVX512(operands, tail)
	case Q4:
		mul3x4Q4AVX512(operands, tail)
	}
}

// decodeFast writes len(dst) weights of row r from column from on, which is a multiple of 128. It
// prefetches those of the row that is so many rows ahead.
func decodeFast(dst []float32, w *Matrix, r, from, ahead int) {
	whole := len(dst) / lanes * lanes
	if whole > 0 {
		var o operands
		o.dst, o.w = &dst[0], &w.Data[r*w.stride()+w.quantsAt(from)]
		o.wStride, o.blocks = ahead*w.stride(), whole/lanes
		p := (*byte)(unsafe.Pointer(&o))
		switch w.Format {
		case F32:
			decodeF32AVX2(p)
		case BF16:
			decodeBF16AVX2(p)
		case F16:
			decodeF16AVX2(p)
		case E4M3:
			o.scales = &w.scales(r)[from/scaleBlock]
			if wide {
				decodeE4M3AVX512(p)
			} else {
				decodeE4M3AVX2(p)
			}
		case MXFP4:
			o.exponents = &w.exponents(r)[from/exponentGroup]
			if wide {
				decodeMXFP4AVX512(p)
			} else {
				decodeMXFP4AVX2(p)
			}
		case Q8, Q4:
			o.exponents = w.beforeScale(r, from)
			decodeQuantsFast(w.Format, p)
		}
	}
	if whole < len(dst) {
		w.decodeGeneric(dst[whole:], r, from+whole)
	}
}

func decodeQuantsFast(f Format, operands *byte) {
	switch {
	case f == Q8 && wide:
		decodeQ8AVX512(operands)
	case f == Q8:
		decodeQ8AVX2(operands)
	case wide:
		decodeQ4AVX512(operands)
	default:
		decodeQ4AVX2(operands)
	}
}

func errorQ4Fast(group *[quantGroup]float32, scale float32) float32 {
	return errorQ4AVX2(&group[0], scale)
}
