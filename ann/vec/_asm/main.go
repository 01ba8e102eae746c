// Command _asm writes the amd64 kernels of package vec: go generate ./ann/vec.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// ahead is how many rows before its use a row is fetched into the cache.
const ahead = 4

func main() {
	ConstraintExpr("amd64,!purego")
	dotCodes("dotCodesVNNI", 64, 0)
	dotCodes("dotCodesVNNI384", 64, 6)
	dotCodes("dotCodesAVX2", 32, 0)
	Generate()
}

// dotCodes writes a kernel for rows that are a multiple of 64 bytes; width is how many of them one instruction takes. With blocks,
// rows have that many times 64 bytes, and the query stays in registers.
func dotCodes(name string, width, blocks int) {
	TEXT(name, NOSPLIT, "func(query *int8, rows *byte, stride uint64, ids *uint32, n uint64, out *int32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s computes out[i] = query · rows[ids[i]] for n ids, %d bytes at a time.", name, width))
	query, rows, stride := Load(Param("query"), GP64()), Load(Param("rows"), GP64()), Load(Param("stride"), GP64())
	ids, n, out := Load(Param("ids"), GP64()), Load(Param("n"), GP64()), Load(Param("out"), GP64())

	var held []reg.VecVirtual
	for b := range blocks {
		z := ZMM()
		VMOVDQU64(Mem{Base: query, Disp: b * 64}, z)
		held = append(held, z)
	}
	var ones reg.VecVirtual
	if width == 32 {
		ones = YMM()
		VPCMPEQW(ones, ones, ones)
		VPSRLW(Imm(15), ones, ones) // 1 in each 16 bits
	}
	i := GP64()
	XORQ(i, i)
	Label("next")
	CMPQ(i, n)
	JGE(LabelRef("done"))

	// The row after the next few, if there is one.
	far := GP64()
	LEAQ(Mem{Base: i, Disp: ahead}, far)
	CMPQ(far, n)
	JGE(LabelRef("compute"))
	there := GP64()
	MOVL(Mem{Base: ids, Index: far, Scale: 4}, there.As32())
	IMULQ(stride, there)
	ADDQ(rows, there)
	if blocks > 0 {
		for b := range blocks {
			PREFETCHT0(Mem{Base: there, Disp: b * 64})
		}
	} else {
		line := GP64()
		XORQ(line, line)
		Label("fetch")
		PREFETCHT0(Mem{Base: there, Index: line, Scale: 1})
		ADDQ(Imm(64), line)
		CMPQ(line, stride)
		JLT(LabelRef("fetch"))
	}

	Label("compute")
	row := GP64()
	MOVL(Mem{Base: ids, Index: i, Scale: 4}, row.As32())
	IMULQ(stride, row)
	ADDQ(rows, row)
	if width == 64 {
		sums := []reg.VecVirtual{ZMM(), ZMM()}
		for _, s := range sums {
			VPXORD(s, s, s)
		}
		if blocks > 0 {
			for b := range blocks {
				code := ZMM()
				VMOVDQU64(Mem{Base: row, Disp: b * 64}, code)
				VPDPBUSD(held[b], code, sums[b%2])
			}
		} else {
			at, code := GP64(), ZMM()
			XORQ(at, at)
			Label("block")
			VMOVDQU64(Mem{Base: row, Index: at, Scale: 1}, code)
			VPDPBUSD(Mem{Base: query, Index: at, Scale: 1}, code, sums[0])
			ADDQ(Imm(64), at)
			CMPQ(at, stride)
			JLT(LabelRef("block"))
		}
		VPADDD(sums[1], sums[0], sums[0])
		high := YMM()
		VEXTRACTI64X4(Imm(1), sums[0], high)
		low := sums[0].AsY()
		VPADDD(high, low, low)
		store(low, Mem{Base: out, Index: i, Scale: 4})
	} else {
		sums := []reg.VecVirtual{YMM(), YMM()}
		for _, s := range sums {
			VPXOR(s, s, s)
		}
		at := GP64()
		XORQ(at, at)
		Label("block")
		for half, sum := range sums {
			code := YMM()
			VMOVDQU(Mem{Base: row, Index: at, Scale: 1, Disp: half * 32}, code)
			// 16-bit sums of two products: 2 · 127 · 127 is below the 32,767 at which they would saturate.
			VPMADDUBSW(Mem{Base: query, Index: at, Scale: 1, Disp: half * 32}, code, code)
			VPMADDWD(ones, code, code)
			VPADDD(code, sum, sum)
		}
		ADDQ(Imm(64), at)
		CMPQ(at, stride)
		JLT(LabelRef("block"))
		VPADDD(sums[1], sums[0], sums[0])
		store(sums[0], Mem{Base: out, Index: i, Scale: 4})
	}
	INCQ(i)
	JMP(LabelRef("next"))
	Label("done")
	VZEROUPPER()
	RET()
}

// store adds the eight lanes of y and stores the sum.
func store(y reg.Register, to Mem) {
	x, t := XMM(), XMM()
	VEXTRACTI128(Imm(1), y, x)
	VPADDD(y.(reg.Vec).AsX(), x, x)
	VPSHUFD(Imm(0x4e), x, t)
	VPADDD(t, x, x)
	VPSHUFD(Imm(0xb1), x, t)
	VPADDD(t, x, x)
	VMOVD(x, to)
}
