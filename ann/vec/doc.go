// Package vec has the arithmetic of package ann's inner loop: one query against many rows that lie anywhere in one array.
// It knows nothing of graphs.
//
// Rows are codes: unsigned bytes of 7 bits, 0 to 127, with a stride that is a multiple of 64 and zeros behind the last value.
// A query is signed bytes, -127 to 127, zeros behind its last value. So no product of any implementation is rounded or
// saturates, and all give the same integers: AVX-512 VNNI, AVX2, and Go.
//
// The assembly is written by the program in _asm (go generate); the build tag purego leaves it out.
package vec

//go:generate go -C _asm run . -out ../codes_amd64.s -stubs ../codes_amd64.go -pkg vec
