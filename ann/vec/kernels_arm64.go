//go:build !purego

package vec

//go:noescape
func dotCodesSDOT(query *int8, rows *byte, stride uint64, ids *uint32, n uint64, out *int32)

//go:noescape
func dotCodesSMULL(query *int8, rows *byte, stride uint64, ids *uint32, n uint64, out *int32)

//go:noescape
func dotWideNEON(query *int16, rows *byte, stride uint64, ids *uint32, n uint64, out *int32)

//go:noescape
func dotFloatsNEON(query *float32, rows *float32, stride uint64, ids *uint32, n uint64, out *float32)

//go:noescape
func hammingNEON(query *uint64, rows *uint64, stride uint64, ids *uint32, n uint64, out *int32)

//go:noescape
func expandScalar(links *uint32, n uint64, visited *uint64, bound uint32, fresh *uint32, rows *byte, stride uint64) uint64

// fetchLines brings 128 bytes into the cache.
//
//go:noescape
func fetchLines(links *uint32)
