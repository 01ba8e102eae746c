package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const hammingDoc = "the bits in which query and rows[ids[i]] differ, for n ids."

func hammingVPOPCNT() {
	k := begin("hammingVPOPCNT", "uint64", "uint64", "int32", hammingDoc)
	k.each(4, 0, func(row reg.Register, result Mem) {
		sums := zeroed(1, ZMM)
		k.blocks("block", func(at reg.Register) {
			word := ZMM()
			VMOVDQU64(Mem{Base: row, Index: at, Scale: 1}, word)
			VPXORQ(Mem{Base: k.query, Index: at, Scale: 1}, word, word)
			VPOPCNTQ(word, word)
			VPADDQ(word, sums[0], sums[0])
		})
		store512(sums[0], result) // the upper halves of the 64-bit counts are zeros
	})
}

// hammingAVX2 looks up the count of each four bits (Muła, Kurz, Lemire: Faster population counts using AVX2 instructions, 2018).
func hammingAVX2() {
	k := begin("hammingAVX2", "uint64", "uint64", "int32", hammingDoc)
	counts := GLOBL("bitsOf4", RODATA|NOPTR)
	for i := range 32 {
		n := 0
		for b := i % 16; b > 0; b /= 2 {
			n += b % 2
		}
		DATA(i, U8(n))
	}
	table, low, zero := YMM(), YMM(), YMM()
	VMOVDQU(counts, table)
	VPCMPEQB(low, low, low)
	VPSRLW(Imm(12), low, low)
	VPACKUSWB(low, low, low) // 15 in each byte
	VPXOR(zero, zero, zero)
	k.each(4, 0, func(row reg.Register, result Mem) {
		sums := zeroed(2, YMM)
		k.blocks("block", func(at reg.Register) {
			for h, sum := range sums {
				word, high := YMM(), YMM()
				VMOVDQU(Mem{Base: row, Index: at, Scale: 1, Disp: h * 32}, word)
				VPXOR(Mem{Base: k.query, Index: at, Scale: 1, Disp: h * 32}, word, word)
				VPSRLW(Imm(4), word, high)
				VPAND(low, word, word)
				VPAND(low, high, high)
				VPSHUFB(word, table, word)
				VPSHUFB(high, table, high)
				VPADDB(high, word, word)
				VPSADBW(zero, word, word)
				VPADDQ(word, sum, sum)
			}
		})
		VPADDQ(sums[1], sums[0], sums[0])
		store256(sums[0], result) // the upper halves of the 64-bit counts are zeros
	})
}
