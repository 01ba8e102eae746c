//go:build !purego

package vec

import "golang.org/x/sys/cpu"

// native gives the kernels in assembly that this machine can run, the fastest first.
func native() []implementation {
	var all []implementation
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VNNI {
		all = append(all, implementation{"avx512vnni", func(query []int8, rows []byte, ids []uint32, out []int32) {
			if len(query) == 384 {
				dotCodesVNNI384(&query[0], &rows[0], 384, &ids[0], uint64(len(ids)), &out[0])
			} else {
				dotCodesVNNI(&query[0], &rows[0], uint64(len(query)), &ids[0], uint64(len(ids)), &out[0])
			}
		}})
	}
	if cpu.X86.HasAVX2 {
		all = append(all, implementation{"avx2", func(query []int8, rows []byte, ids []uint32, out []int32) {
			dotCodesAVX2(&query[0], &rows[0], uint64(len(query)), &ids[0], uint64(len(ids)), &out[0])
		}})
	}
	return all
}
