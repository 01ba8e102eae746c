package vec

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// MaxCode is the largest value of a code.
const MaxCode = 127

// DotCodes computes the dot product of a query, -127 to 127, with each of the rows of codes, 0 to MaxCode, that ids name: out[i]
// is that of row ids[i], which begins at rows[ids[i]*len(query)]. It panics if len(query) is no positive multiple of Block, out
// is shorter than ids, or a row lies beyond rows.
func DotCodes(query []int8, rows []byte, ids []uint32, out []int32) {
	check(len(query), Block, len(rows), ids, len(out))
	if len(ids) > 0 {
		current.Load().dotCodes(query, rows, ids, out)
	}
}

func dotCodesGo(query []int8, rows []byte, ids []uint32, out []int32) {
	stride := len(query)
	for i, id := range ids {
		row := rows[int(id)*stride:][:stride]
		var sum int32
		for j, q := range query {
			sum += int32(q) * int32(row[j])
		}
		out[i] = sum
	}
}

// Centre turns a row of codes, 0 to MaxCode, into a query: dst[j] = code[j] - 64. Where a row was padded with zeros the query has
// -64, which counts nothing against rows padded alike. It panics if dst is shorter than code.
func Centre(dst []int8, code []byte) {
	if len(dst) < len(code) {
		panic(fmt.Sprintf("vec: %d codes, room for %d", len(code), len(dst)))
	}
	// Eight at a time. Adding 64 to each byte carries into no other, as a code has 7 bits; turning the highest bit then takes 128
	// off.
	to := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(dst))), len(code))
	for len(code) >= 8 {
		binary.LittleEndian.PutUint64(to, (binary.LittleEndian.Uint64(code)+0x4040404040404040)^0x8080808080808080)
		code, to = code[8:], to[8:]
	}
	for j, c := range code {
		to[j] = c + 64 ^ 128
	}
}
