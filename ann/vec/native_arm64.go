//go:build !purego

package vec

import "golang.org/x/sys/cpu"

// native gives the kernels in assembly that this machine can run, the fastest first.
func native() []kernels {
	if !cpu.ARM64.HasASIMD {
		return nil
	}
	neon := kernels{"neon", dotCodesNEON, dotWide, dotFloats, hamming, expand}
	if cpu.ARM64.HasASIMDDP {
		neondot := neon
		neondot.name, neondot.dotCodes = "neondot", dotCodesNEONDot
		return []kernels{neondot, neon}
	}
	return []kernels{neon}
}

func dotCodesNEONDot(query []int8, rows []byte, ids []uint32, out []int32) {
	dotCodesSDOT(&query[0], &rows[0], uint64(len(query)), &ids[0], uint64(len(ids)), &out[0])
}

func dotCodesNEON(query []int8, rows []byte, ids []uint32, out []int32) {
	dotCodesSMULL(&query[0], &rows[0], uint64(len(query)), &ids[0], uint64(len(ids)), &out[0])
}

func dotWide(query []int16, rows []byte, ids []uint32, out []int32) {
	dotWideNEON(&query[0], &rows[0], uint64(len(query)), &ids[0], uint64(len(ids)), &out[0])
}

func dotFloats(query, rows []float32, ids []uint32, out []float32) {
	dotFloatsNEON(&query[0], &rows[0], uint64(len(query))*4, &ids[0], uint64(len(ids)), &out[0])
}

func hamming(query, rows []uint64, ids []uint32, out []int32) {
	hammingNEON(&query[0], &rows[0], uint64(len(query))*8, &ids[0], uint64(len(ids)), &out[0])
}
