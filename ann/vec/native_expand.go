//go:build (amd64 || arm64) && !purego

package vec

// expand is expandScalar of the machine, for slices.
func expand(links []uint32, visited []uint64, n uint32, fresh []uint32, rows []byte, stride int) int {
	var base *byte
	if len(rows) == 0 {
		stride = 0 // no row is fetched
	} else {
		base = &rows[0]
	}
	return int(expandScalar(&links[0], uint64(len(links)), &visited[0], n, &fresh[0], base, uint64(stride)))
}

func fetch(links []uint32) { fetchLines(&links[0]) }
