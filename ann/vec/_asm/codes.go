package main

import (
	"fmt"

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
			k.blocks("block", func(at reg.Register) {
				code := ZMM()
				VMOVDQU64(Mem{Base: row, Index: at, Scale: 1}, code)
				VPDPBUSD(Mem{Base: k.query, Index: at, Scale: 1}, code, sums[0])
			})
		}
		VPADDD(sums[1], sums[0], sums[0])
		store512(sums[0], result)
	})
}

// dotCodesAVX2 writes a kernel for codes, four rows at a time, so that the query is loaded once for four, and their sums are added up
// together. With blocks, rows have that many times 64 bytes.
func dotCodesAVX2(name string, blocks int) {
	k := begin(name, "int8", "byte", "int32", "query · rows[ids[i]] for n ids, 32 codes at a time.")
	ones := YMM()
	VPCMPEQW(ones, ones, ones)
	VPSRLW(Imm(15), ones, ones) // 1 in each 16 bits
	add := func(query reg.Register, codes Mem, sum reg.VecVirtual) {
		code := YMM()
		VMOVDQU(codes, code)
		// 16-bit sums of two products: 2 · 127 · 127 is below the 32,767 at which they would saturate.
		VPMADDUBSW(query, code, code)
		VPMADDWD(ones, code, code)
		VPADDD(code, sum, sum)
	}
	products := func(rows []reg.Register, sums []reg.VecVirtual) {
		half := func(query Mem, codes func(row reg.Register) Mem) {
			q := YMM()
			VMOVDQU(query, q)
			for r, row := range rows {
				add(q, codes(row), sums[r])
			}
		}
		if blocks > 0 {
			for h := range 2 * blocks {
				half(Mem{Base: k.query, Disp: h * 32}, func(row reg.Register) Mem { return Mem{Base: row, Disp: h * 32} })
			}
			return
		}
		k.blocks(fmt.Sprintf("block%d", len(rows)), func(at reg.Register) {
			for h := range 2 {
				half(Mem{Base: k.query, Index: at, Scale: 1, Disp: h * 32}, func(row reg.Register) Mem {
					return Mem{Base: row, Index: at, Scale: 1, Disp: h * 32}
				})
			}
		})
	}
	const some = 4
	i, end := GP64(), GP64()
	XORQ(i, i)
	Label("rows")
	LEAQ(Mem{Base: i, Disp: some}, end)
	CMPQ(end, k.n)
	JGT(LabelRef("rest"))
	LEAQ(Mem{Base: i, Disp: 2 * some}, end)
	CMPQ(end, k.n)
	JGT(LabelRef("fetched")) // there are not as many more
	for r := range some {
		k.fetch(fmt.Sprintf("fetch%d", r), k.row(i, some+r), blocks)
	}
	Label("fetched")
	var rows []reg.Register
	for r := range some {
		rows = append(rows, k.row(i, r))
	}
	sums := zeroed(some, YMM)
	products(rows, sums)
	// Of four sums of eight the sum of each.
	VPHADDD(sums[1], sums[0], sums[0])
	VPHADDD(sums[3], sums[2], sums[2])
	VPHADDD(sums[2], sums[0], sums[0])
	high := XMM()
	VEXTRACTI128(Imm(1), sums[0], high)
	VPADDD(high, sums[0].AsX(), high)
	VMOVDQU(high, Mem{Base: k.out, Index: i, Scale: 4})
	ADDQ(Imm(some), i)
	JMP(LabelRef("rows"))
	Label("rest")
	CMPQ(i, k.n)
	JGE(LabelRef("done"))
	sums = zeroed(1, YMM)
	products([]reg.Register{k.row(i, 0)}, sums)
	store256(sums[0], Mem{Base: k.out, Index: i, Scale: 4})
	INCQ(i)
	JMP(LabelRef("rest"))
	Label("done")
	VZEROUPPER()
	RET()
}
