package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func dotWideVNNI() {
	k := begin("dotWideVNNI", "int16", "byte", "int32", "query · rows[ids[i]] for n ids, 32 signed bytes at a time.")
	k.each(4, 0, func(row reg.Register, result Mem) {
		sums := zeroed(2, ZMM)
		k.blocks("block", func(at reg.Register) {
			for h := range 2 {
				wide := ZMM()
				VPMOVSXBW(Mem{Base: row, Index: at, Scale: 1, Disp: h * 32}, wide)
				VPDPWSSD(Mem{Base: k.query, Index: at, Scale: 2, Disp: h * 64}, wide, sums[h])
			}
		})
		VPADDD(sums[1], sums[0], sums[0])
		store512(sums[0], result)
	})
}

func dotWideAVX2() {
	k := begin("dotWideAVX2", "int16", "byte", "int32", "query · rows[ids[i]] for n ids, 16 signed bytes at a time.")
	k.each(4, 0, func(row reg.Register, result Mem) {
		sums := zeroed(2, YMM)
		k.blocks("block", func(at reg.Register) {
			for q := range 4 {
				wide := YMM()
				VPMOVSXBW(Mem{Base: row, Index: at, Scale: 1, Disp: q * 16}, wide)
				VPMADDWD(Mem{Base: k.query, Index: at, Scale: 2, Disp: q * 32}, wide, wide)
				VPADDD(wide, sums[q%2], sums[q%2])
			}
		})
		VPADDD(sums[1], sums[0], sums[0])
		store256(sums[0], result)
	})
}
