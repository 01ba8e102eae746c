package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dotCodesVNNI writes a kernel for codes. With blocks, rows have that many times 64 bytes, and the query stays in registers.
func dotCodesVNNI(name string, blocks int) {
	k := begin(name, "int8", "byte", "int32", "query · rows[ids[i]] for n ids, 64 codes at a time.")
	var held []reg.VecVirtual
	for b := range blocks {
		z := ZMM()
		VMOVDQU64(Mem{Base: k.query, Disp: b * 64}, z)
		held = append(held, z)
	}
	k.each(4, blocks, func(row reg.Register, result Mem) {
		sums := zeroed(2, ZMM)
		if blocks > 0 {
			for b := range blocks {
				code := ZMM()
				VMOVDQU64(Mem{Base: row, Disp: b * 64}, code)
				VPDPBUSD(held[b], code, sums[b%2])
			}
		} else {
			k.blocks(func(at reg.Register) {
				code := ZMM()
				VMOVDQU64(Mem{Base: row, Index: at, Scale: 1}, code)
				VPDPBUSD(Mem{Base: k.query, Index: at, Scale: 1}, code, sums[0])
			})
		}
		VPADDD(sums[1], sums[0], sums[0])
		store512(sums[0], result)
	})
}

// dotCodesAVX2 writes a kernel for codes. With blocks, rows have that many times 64 bytes.
func dotCodesAVX2(name string, blocks int) {
	k := begin(name, "int8", "byte", "int32", "query · rows[ids[i]] for n ids, 32 codes at a time.")
	ones := YMM()
	VPCMPEQW(ones, ones, ones)
	VPSRLW(Imm(15), ones, ones) // 1 in each 16 bits
	k.each(4, blocks, func(row reg.Register, result Mem) {
		sums := zeroed(2, YMM)
		half := func(query, codes Mem, sum reg.VecVirtual) {
			code := YMM()
			VMOVDQU(codes, code)
			// 16-bit sums of two products: 2 · 127 · 127 is below the 32,767 at which they would saturate.
			VPMADDUBSW(query, code, code)
			VPMADDWD(ones, code, code)
			VPADDD(code, sum, sum)
		}
		if blocks > 0 {
			for h := range 2 * blocks {
				half(Mem{Base: k.query, Disp: h * 32}, Mem{Base: row, Disp: h * 32}, sums[h%2])
			}
		} else {
			k.blocks(func(at reg.Register) {
				for h := range 2 {
					half(Mem{Base: k.query, Index: at, Scale: 1, Disp: h * 32}, Mem{Base: row, Index: at, Scale: 1, Disp: h * 32}, sums[h])
				}
			})
		}
		VPADDD(sums[1], sums[0], sums[0])
		store256(sums[0], result)
	})
}
