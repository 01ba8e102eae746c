//go:build !purego

package vec

import "golang.org/x/sys/cpu"

// native gives the kernels in assembly that this machine can run, the fastest first.
func native() []kernels {
	var all []kernels
	if !cpu.X86.HasAVX2 || !cpu.X86.HasPOPCNT {
		return nil
	}
	avx2 := kernels{"avx2", dotCodes256, dotWide256, dotFloats256, hamming256, expand}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VNNI {
		avx512 := kernels{"avx512vnni", dotCodes512, dotWide512, dotFloats512, avx2.hamming, expand}
		if cpu.X86.HasAVX512VPOPCNTDQ {
			avx512.hamming = hamming512
		}
		all = append(all, avx512)
	}
	return append(all, avx2)
}

func dotCodes512(query []int8, rows []byte, ids []uint32, out []int32) {
	if len(query) == 384 {
		dotCodesVNNI384(&query[0], &rows[0], 384, &ids[0], uint64(len(ids)), &out[0])
	} else {
		dotCodesVNNI(&query[0], &rows[0], uint64(len(query)), &ids[0], uint64(len(ids)), &out[0])
	}
}

func dotCodes256(query []int8, rows []byte, ids []uint32, out []int32) {
	if len(query) == 384 {
		dotCodesAVX2x384(&query[0], &rows[0], 384, &ids[0], uint64(len(ids)), &out[0])
	} else {
		dotCodesAVX2(&query[0], &rows[0], uint64(len(query)), &ids[0], uint64(len(ids)), &out[0])
	}
}

func dotWide512(query []int16, rows []byte, ids []uint32, out []int32) {
	dotWideVNNI(&query[0], &rows[0], uint64(len(query)), &ids[0], uint64(len(ids)), &out[0])
}

func dotWide256(query []int16, rows []byte, ids []uint32, out []int32) {
	dotWideAVX2(&query[0], &rows[0], uint64(len(query)), &ids[0], uint64(len(ids)), &out[0])
}

func dotFloats512(query, rows []float32, ids []uint32, out []float32) {
	dotFloatsAVX512(&query[0], &rows[0], uint64(len(query))*4, &ids[0], uint64(len(ids)), &out[0])
}

func dotFloats256(query, rows []float32, ids []uint32, out []float32) {
	dotFloatsAVX2(&query[0], &rows[0], uint64(len(query))*4, &ids[0], uint64(len(ids)), &out[0])
}

func hamming512(query, rows []uint64, ids []uint32, out []int32) {
	hammingVPOPCNT(&query[0], &rows[0], uint64(len(query))*8, &ids[0], uint64(len(ids)), &out[0])
}

func hamming256(query, rows []uint64, ids []uint32, out []int32) {
	hammingAVX2(&query[0], &rows[0], uint64(len(query))*8, &ids[0], uint64(len(ids)), &out[0])
}
