package main

import (
	"runtime"

	"golang.org/x/sys/cpu"
)

// simd is the widest kind of vector instructions that this CPU and its operating system offer for a graph's products, and
// that ONNX Runtime takes by itself where it is there.
type simd struct {
	// Level is amx-int8, avx512-vnni, avx-vnni, avx512, avx2, avx, sse2, neon-i8mm, neon-dotprod, neon or none.
	Level string `json:"level"`
	// Int8 says what the level means for an int8 model.
	Int8 string `json:"int8"`
}

// What a level means for int8.
const (
	int8Fast   = "products of int8 are added in 32 bits by one instruction: an int8 model is at its fastest"
	int8Slow   = "products of int8 are added in 16 bits first: an int8 model gains less than with VNNI, and gives the same integers"
	int8Absent = "there are no instructions for products of int8: an int8 model may be slower than float32"
)

// simdLevel finds the level of this machine.
func simdLevel() simd {
	x, arm := &cpu.X86, &cpu.ARM64
	wide := x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL
	for _, s := range []struct {
		there bool
		simd
	}{
		{wide && x.HasAMXTile && x.HasAMXInt8, simd{"amx-int8", int8Fast}},
		{wide && x.HasAVX512VNNI, simd{"avx512-vnni", int8Fast}},
		{x.HasAVX2 && x.HasAVXVNNI, simd{"avx-vnni", int8Fast}},
		{wide, simd{"avx512", int8Slow}},
		{x.HasAVX2 && x.HasFMA, simd{"avx2", int8Slow}},
		{x.HasAVX, simd{"avx", int8Slow}},
		{x.HasSSE2, simd{"sse2", int8Slow}},
		{arm.HasI8MM, simd{"neon-i8mm", int8Fast}},
		{arm.HasASIMDDP, simd{"neon-dotprod", int8Fast}},
		{runtime.GOARCH == "arm64", simd{"neon", int8Slow}},
	} {
		if s.there {
			return s.simd
		}
	}
	return simd{"none", int8Absent}
}
