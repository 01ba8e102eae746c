package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// expand writes the hop of a graph search. Each link is read once, and no other address than its word of visited depends on it.
func expand() {
	TEXT("expandScalar", NOSPLIT, "func(links *uint32, n uint64, visited *uint64, bound uint32, fresh *uint32, rows *byte, stride uint64) uint64")
	Pragma("noescape")
	Doc("expandScalar appends to fresh the ids of n links that are below bound and not in visited, and returns how many.")
	links, n := Load(Param("links"), GP64()), Load(Param("n"), GP64())
	visited, bound := Load(Param("visited"), GP64()), Load(Param("bound"), GP32())
	fresh := Load(Param("fresh"), GP64())

	count := GP64()
	XORQ(count, count)
	end := GP64()
	LEAQ(Mem{Base: links, Index: n, Scale: 4}, end)
	Label("link")
	id, at, word, isNew := GP64(), GP64(), GP64(), GP64()
	CMPQ(links, end)
	JAE(LabelRef("walked"))
	MOVL(Mem{Base: links}, id.As32())
	ADDQ(Imm(4), links)
	CMPL(id.As32(), I32(-1))
	JE(LabelRef("walked"))
	ANDL(U32(1<<31-1), id.As32())
	CMPL(id.As32(), bound)
	JAE(LabelRef("link"))
	// An id that is not new is written as well, and the next one over it.
	MOVL(id.As32(), Mem{Base: fresh, Index: count, Scale: 4})
	MOVL(id.As32(), at.As32())
	SHRL(Imm(6), at.As32())
	MOVQ(Mem{Base: visited, Index: at, Scale: 8}, word)
	XORL(isNew.As32(), isNew.As32())
	BTSQ(id, word)
	SETCC(isNew.As8())
	MOVQ(word, Mem{Base: visited, Index: at, Scale: 8})
	ADDQ(isNew, count)
	JMP(LabelRef("link"))

	Label("walked")
	rows, stride := Load(Param("rows"), GP64()), Load(Param("stride"), GP64())
	lines, i := GP64(), GP64()
	MOVQ(stride, lines)
	MOVQ(U32(512), i)
	CMPQ(lines, i)
	CMOVQHI(i, lines)
	TESTQ(lines, lines)
	JZ(LabelRef("done"))
	XORQ(i, i)
	Label("fresh")
	CMPQ(i, count)
	JAE(LabelRef("done"))
	row, line := GP64(), GP64()
	MOVL(Mem{Base: fresh, Index: i, Scale: 4}, row.As32())
	INCQ(i)
	IMULQ(stride, row)
	ADDQ(rows, row)
	XORQ(line, line)
	Label("fetch")
	PREFETCHT0(Mem{Base: row, Index: line, Scale: 1})
	ADDQ(Imm(64), line)
	CMPQ(line, lines)
	JB(LabelRef("fetch"))
	JMP(LabelRef("fresh"))
	Label("done")
	Store(count, ReturnIndex(0))
	RET()
}

// fetch writes the request for a list of links, of which two cache lines come.
func fetch() {
	TEXT("fetchLines", NOSPLIT, "func(links *uint32)")
	Pragma("noescape")
	Doc("fetchLines brings 128 bytes into the cache.")
	links := Load(Param("links"), GP64())
	PREFETCHT0(Mem{Base: links})
	PREFETCHT0(Mem{Base: links, Disp: 64})
	RET()
}
