package vec

import (
	"fmt"
	"sync/atomic"
)

// Block is what a stride is a multiple of, in bytes: a cache line.
const Block = 64

// MaxCode is the largest value of a code.
const MaxCode = 127

// kernel computes out[i] = query · rows[ids[i]*len(query):][:len(query)], for each id. All sizes have been checked.
type kernel func(query []int8, rows []byte, ids []uint32, out []int32)

// implementation is a kernel that this machine can run.
type implementation struct {
	name string
	dot  kernel
}

// implementations are those that this machine can run, the fastest first; the last is Go's.
var implementations = append(native(), implementation{"go", dotCodesGo})

var current atomic.Pointer[implementation]

func init() { current.Store(&implementations[0]) }

// Implementation is the name of the kernels that are in use: avx512vnni, avx2 or go.
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

// DotCodes computes the dot product of a query with each of the rows that ids name: out[i] is that of row ids[i], which begins at
// rows[ids[i]*len(query)]. It panics if len(query) is no positive multiple of Block, out is shorter than ids, or a row lies
// beyond rows.
func DotCodes(query []int8, rows []byte, ids []uint32, out []int32) {
	stride := len(query)
	if stride == 0 || stride%Block != 0 || len(out) < len(ids) {
		panic(fmt.Sprintf("vec: a query of %d bytes, %d ids, room for %d results", stride, len(ids), len(out)))
	}
	n := uint32(len(rows) / stride)
	for _, id := range ids {
		if id >= n {
			panic(fmt.Sprintf("vec: row %d of %d", id, n))
		}
	}
	if len(ids) > 0 {
		current.Load().dot(query, rows, ids, out)
	}
}

// dotCodesGo is the truth that the others are tested against.
func dotCodesGo(query []int8, rows []byte, ids []uint32, out []int32) {
	stride := len(query)
	for i, id := range ids {
		row := rows[int(id)*stride:][:stride]
		var sum int32
		for j, q := range query {
			sum += int32(q) * int32(row[j])
		}
		out[i] = sum
	}
}
