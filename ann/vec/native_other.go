//go:build (!amd64 && !arm64) || purego

package vec

// native gives the kernels in assembly that this machine can run: none here.
func native() []kernels { return nil }

func fetch([]uint32) {}
