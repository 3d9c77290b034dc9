package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// read writes a loop of nothing but loads, from four streams at once as the products of four rows
// have: what the bytes per second of products are measured against.
func read(v vectors) {
	const (
		streams = 4
		ahead   = 512 // bytes that are prefetched before they are loaded, as products do
		line    = 64
	)
	TEXT("read"+v.name, NOSPLIT, "func(p *byte, stride, n int)")
	Pragma("noescape")
	Doc("read"+v.name+" loads n > 0 times 64 bytes from each of four streams, which begin stride",
		"bytes after each other.")
	p, stride := Load(Param("p"), GP64()), Load(Param("stride"), GP64())
	n := Load(Param("n"), GP64())
	three := GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, three)
	stream := []Mem{
		{Base: p}, {Base: p, Index: stride, Scale: 1}, {Base: p, Index: stride, Scale: 2},
		{Base: p, Index: three, Scale: 1},
	}
	acc := v.zeros(streams)
	Label("loop")
	for i, m := range stream {
		PREFETCHT0(m.Offset(ahead))
		for at := 0; at < line; at += v.bytes {
			VORPS(m.Offset(at), acc[i], acc[i])
		}
	}
	ADDQ(Imm(line), p)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
