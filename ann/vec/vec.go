package vec

import (
	"fmt"
	"sync/atomic"
)

// Block is what a row is a multiple of, in bytes: a cache line.
const Block = 64

// kernels are the functions of one implementation. Their arguments are those of the exported functions; all sizes have been
// checked, and there is at least one id or link.
type kernels struct {
	name      string
	dotCodes  func(query []int8, rows []byte, ids []uint32, out []int32)
	dotWide   func(query []int16, rows []byte, ids []uint32, out []int32)
	dotFloats func(query, rows []float32, ids []uint32, out []float32)
	hamming   func(query, rows []uint64, ids []uint32, out []int32)
	expand    func(links []uint32, visited []uint64, n uint32, fresh []uint32, rows []byte, stride int) int
}

// plain are the kernels in Go: the truth that the others are tested against.
var plain = kernels{"go", dotCodesGo, dotWideGo, dotFloatsGo, hammingGo, expandGo}

// implementations are those that this machine can run, the fastest first; the last is Go's.
var implementations = append(native(), plain)

var current atomic.Pointer[kernels]

func init() { current.Store(&implementations[0]) }

// Implementation is the name of the kernels that are in use: avx512vnni, avx2, neondot, neon or go.
func Implementation() string { return current.Load().name }

// Implementations are the names of those that this machine can run, the fastest first.
func Implementations() []string {
	var names []string
	for _, im := range implementations {
		names = append(names, im.name)
	}
	return names
}

// Use switches to an implementation by its name, for tests and comparisons. It must not be called while others compute.
func Use(name string) error {
	for i := range implementations {
		if implementations[i].name == name {
			current.Store(&implementations[i])
			return nil
		}
	}
	return fmt.Errorf("vec: no implementation %q on this machine; there are %v", name, Implementations())
}

// check panics unless stride is a positive multiple of step, there is room for a result of each id, and each id's row lies
// within length.
func check(stride, step, length int, ids []uint32, room int) {
	if stride == 0 || stride%step != 0 || room < len(ids) {
		panic(fmt.Sprintf("vec: a query of %d values, not a multiple of %d, or %d ids with room for %d results", stride, step, len(ids), room))
	}
	var last uint32
	for _, id := range ids {
		last = max(last, id)
	}
	if len(ids) > 0 && (uint64(last)+1)*uint64(stride) > uint64(length) {
		panic(fmt.Sprintf("vec: row %d of %d", last, length/stride))
	}
}
