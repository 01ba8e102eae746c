package vec

// DotWide computes the dot product of a query of 16 bits with each of the rows of signed bytes that ids name: out[i] is the sum of
// query[j] * int8(rows[ids[i]*len(query)+j]). Codes are such bytes as well. The caller sees to it that the sum fits 32 bits; if
// it does not it wraps, in each implementation alike. It panics if len(query) is no positive multiple of Block, out is shorter
// than ids, or a row lies beyond rows.
func DotWide(query []int16, rows []byte, ids []uint32, out []int32) {
	check(len(query), Block, len(rows), ids, len(out))
	if len(ids) > 0 {
		current.Load().dotWide(query, rows, ids, out)
	}
}

func dotWideGo(query []int16, rows []byte, ids []uint32, out []int32) {
	stride := len(query)
	for i, id := range ids {
		row := rows[int(id)*stride:][:stride]
		var sum int32
		for j, q := range query {
			sum += int32(q) * int32(int8(row[j]))
		}
		out[i] = sum
	}
}
