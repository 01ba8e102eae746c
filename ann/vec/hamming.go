package vec

import "math/bits"

// Words is what the length of a row of bits is a multiple of, in words of 64: a cache line.
const Words = Block / 8

// Hamming counts the bits in which a query differs from each of the rows that ids name: out[i] is that of row ids[i], which begins
// at rows[ids[i]*len(query)]. It panics if len(query) is no positive multiple of Words, out is shorter than ids, or a row lies
// beyond rows.
func Hamming(query, rows []uint64, ids []uint32, out []int32) {
	check(len(query), Words, len(rows), ids, len(out))
	if len(ids) > 0 {
		current.Load().hamming(query, rows, ids, out)
	}
}

func hammingGo(query, rows []uint64, ids []uint32, out []int32) {
	stride := len(query)
	for i, id := range ids {
		row := rows[int(id)*stride:][:stride]
		sum := 0
		for j, q := range query {
			sum += bits.OnesCount64(q ^ row[j])
		}
		out[i] = int32(sum)
	}
}
