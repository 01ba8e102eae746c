// Command _asm writes the amd64 kernels of package vec: go generate ./ann/vec.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64,!purego")
	dotCodesVNNI("dotCodesVNNI", 0)
	dotCodesVNNI("dotCodesVNNI384", 6)
	dotCodesAVX2("dotCodesAVX2", 0)
	dotCodesAVX2("dotCodesAVX2x384", 6)
	dotWideVNNI()
	dotWideAVX2()
	dotFloatsAVX512()
	dotFloatsAVX2()
	hammingVPOPCNT()
	hammingAVX2()
	expand()
	fetch()
	Generate()
}

// batch is a kernel of one query against the rows that ids name. A stride is in bytes of a row.
type batch struct {
	query, rows, stride, ids, n, out reg.Register
}

// begin writes a kernel's head, and loads its arguments.
func begin(name, query, row, result, doc string) batch {
	TEXT(name, NOSPLIT, fmt.Sprintf("func(query *%s, rows *%s, stride uint64, ids *uint32, n uint64, out *%s)", query, row, result))
	Pragma("noescape")
	Doc(name + " computes out[i] = " + doc)
	load := func(name string) reg.Register { return Load(Param(name), GP64()) }
	return batch{load("query"), load("rows"), load("stride"), load("ids"), load("n"), load("out")}
}

// each writes the loop over the rows, and the kernel's end. A row is fetched into the cache as many rows before its use as ahead
// says; blocks is how many times 64 bytes a row has, 0 if that is known only from the stride.
func (k batch) each(ahead, blocks int, body func(row reg.Register, result Mem)) {
	i := GP64()
	XORQ(i, i)
	Label("next")
	CMPQ(i, k.n)
	JGE(LabelRef("done"))
	if ahead > 0 {
		far := GP64()
		LEAQ(Mem{Base: i, Disp: ahead}, far)
		CMPQ(far, k.n)
		JGE(LabelRef("compute")) // there is no such row
		k.fetch("fetch", k.row(far, 0), blocks)
		Label("compute")
	}
	body(k.row(i, 0), Mem{Base: k.out, Index: i, Scale: 4})
	INCQ(i)
	JMP(LabelRef("next"))
	Label("done")
	VZEROUPPER()
	RET()
}

// row gives the address of the row of the id that comes after after the i-th.
func (k batch) row(i reg.Register, after int) reg.Register {
	row := GP64()
	MOVL(Mem{Base: k.ids, Index: i, Scale: 4, Disp: 4 * after}, row.As32())
	IMULQ(k.stride, row)
	ADDQ(k.rows, row)
	return row
}

// fetch brings a row into the cache; the label is of this place alone.
func (k batch) fetch(label string, row reg.Register, blocks int) {
	if blocks > 0 {
		for b := range blocks {
			PREFETCHT0(Mem{Base: row, Disp: b * 64})
		}
		return
	}
	line := GP64()
	XORQ(line, line)
	Label(label)
	PREFETCHT0(Mem{Base: row, Index: line, Scale: 1})
	ADDQ(Imm(64), line)
	CMPQ(line, k.stride)
	JLT(LabelRef(label))
}

// blocks writes a loop over the 64-byte blocks of a row; at is the offset of a block, in bytes of a row, and the label of this loop alone.
func (k batch) blocks(label string, body func(at reg.Register)) {
	at := GP64()
	XORQ(at, at)
	Label(label)
	body(at)
	ADDQ(Imm(64), at)
	CMPQ(at, k.stride)
	JLT(LabelRef(label))
}

// zeroed gives n registers of zeros, of the width that make makes.
func zeroed(n int, make func() reg.VecVirtual) []reg.VecVirtual {
	var all []reg.VecVirtual
	for range n {
		r := make()
		if r.Size() == 64 {
			VPXORD(r, r, r)
		} else {
			VPXOR(r, r, r)
		}
		all = append(all, r)
	}
	return all
}

// store512 adds the sixteen 32-bit integers of z and stores the sum.
func store512(z reg.VecVirtual, to Mem) {
	high := YMM()
	VEXTRACTI64X4(Imm(1), z, high)
	low := z.AsY()
	VPADDD(high, low, low)
	store256(low, to)
}

// store256 adds the eight 32-bit integers of y and stores the sum.
func store256(y reg.Register, to Mem) {
	x, t := XMM(), XMM()
	VEXTRACTI128(Imm(1), y, x)
	VPADDD(y.(reg.Vec).AsX(), x, x)
	VPSHUFD(Imm(0x4e), x, t)
	VPADDD(t, x, x)
	VPSHUFD(Imm(0xb1), x, t)
	VPADDD(t, x, x)
	VMOVD(x, to)
}
