// Package vec has the arithmetic of package ann's inner loop: one query against many rows that lie anywhere in one array, and the
// hop over a list of links. It knows nothing of graphs.
//
// A row is a multiple of 64 bytes long, with zeros behind its last value; so is a query, in as many values. Rows are codes (unsigned
// bytes of 7 bits, 0 to 127), signed bytes, floats, or bits. Every implementation gives the same results, to the last bit: with
// integers nothing is rounded or saturates, and floats are added in one order. The implementations are AVX-512 VNNI and
// AVX2 on amd64, NEON with and without SDOT on arm64, and Go.
//
// All functions may run at the same time. Kernels read rows as they are: who changes a row meanwhile gets the product of a mixture.
// A goroutine cannot be preempted within a call, so a call is best of some hundreds of ids at most.
//
// The assembly for amd64 is written by the program in _asm (go generate), that for arm64 by hand; the build tag purego leaves both
// out.
package vec

//go:generate go -C _asm run . -out ../kernels_amd64.s -stubs ../kernels_amd64.go -pkg vec
