package vec

// Lanes is what the length of a row of floats is a multiple of: a cache line of them.
const Lanes = Block / 4

// DotFloats computes the dot product of a query with each of the rows that ids name: out[i] is that of row ids[i], which begins at
// rows[ids[i]*len(query)]. Every implementation gives the same bits for finite values: a product is rounded before it is added,
// and the order of the sum is fixed. There are 64 sums, each of every 64th product; sum j takes sum j+32, then j+16, j+8, j+4,
// j+2 and j+1, as long as j is below that number. It panics if len(query) is no positive multiple of Lanes, out is shorter
// than ids, or a row lies beyond rows.
func DotFloats(query, rows []float32, ids []uint32, out []float32) {
	check(len(query), Lanes, len(rows), ids, len(out))
	if len(ids) > 0 {
		current.Load().dotFloats(query, rows, ids, out)
	}
}

func dotFloatsGo(query, rows []float32, ids []uint32, out []float32) {
	stride := len(query)
	for i, id := range ids {
		row := rows[int(id)*stride:][:stride]
		var sums [64]float32
		for at := 0; at < stride; at += Lanes {
			q, r, s := query[at:][:Lanes], row[at:][:Lanes], sums[at%64:][:Lanes]
			for j := range s {
				s[j] += float32(q[j] * r[j]) // the conversion keeps the compiler from fusing
			}
		}
		for half := 32; half > 0; half /= 2 {
			for j := range half {
				sums[j] += sums[j+half]
			}
		}
		out[i] = sums[0]
	}
}
