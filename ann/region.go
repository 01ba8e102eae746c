package ann

import (
	"fmt"
	"os"
	"unsafe"
)

// region is a growing array outside of Go's heap, where the platform has it: its pages are taken as it grows, it does not
// move, the garbage collector neither scans it nor counts it, and the kernel may back it by huge pages. Elsewhere, and in the
// purego build, where the race detector must see it, it is a slice that moves when it grows.
//
// One goroutine changes a region at a time. Others may use the slices that data gave before.
type region[T any] struct {
	data []T
	m    mapping
}

// size of an element in bytes.
func (r *region[T]) size() int {
	var zero T
	return int(unsafe.Sizeof(zero))
}

// grow makes room for n elements in all; new ones are 0. It tells whether the old ones were moved, so that what is written to
// slices of before is lost.
func (r *region[T]) grow(n int) (moved bool, err error) {
	if n <= len(r.data) {
		return false, nil
	}
	p, moved, err := r.m.grow(n*r.size(), unsafe.Pointer(unsafe.SliceData(r.data)), len(r.data)*r.size())
	if err != nil {
		return false, fmt.Errorf("%w: %d bytes more: %w", ErrMemory, (n-len(r.data))*r.size(), err)
	}
	r.data = unsafe.Slice((*T)(p), n)
	return moved, nil
}

// load fills an empty region with n elements of a file. With keep, they stay where they are in the file, as far as the platform can.
func (r *region[T]) load(f *os.File, at int64, n int, keep bool) error {
	p, err := r.m.load(f, at, n*r.size(), keep)
	if err != nil {
		return err
	}
	r.data = unsafe.Slice((*T)(p), n)
	return nil
}

// settle takes what was loaded, and not kept in the file, into memory. Others may read it meanwhile, nobody may change it.
func (r *region[T]) settle() error { return r.m.settle() }

// bytes is how much memory the elements take.
func (r *region[T]) bytes() int64 { return int64(len(r.data) * r.size()) }

// free gives the memory back. Nobody may use it any more.
func (r *region[T]) free() error {
	r.data = nil
	return r.m.free()
}

// roundUp is the next multiple of step.
func roundUp(n, step int) int { return (n + step - 1) / step * step }
