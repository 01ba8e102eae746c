//go:build purego || !unix

package ann

import (
	"os"
	"unsafe"
)

// mapping is memory of Go's heap: a slice that moves when it grows.
type mapping struct {
	words []uint64 // aligned for every type of an array
	dir   string   // is not used: there are no mapped files
}

// grow gives memory of size bytes that begins with what lies at old.
func (m *mapping) grow(size int, old unsafe.Pointer, oldSize int) (unsafe.Pointer, bool, error) {
	words := make([]uint64, (size+7)/8)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), oldSize), unsafe.Slice((*byte)(old), oldSize))
	}
	m.words = words
	return unsafe.Pointer(&words[0]), true, nil
}

func (m *mapping) free() error {
	m.words = nil
	return nil
}

// load reads size bytes of a file.
func (m *mapping) load(f *os.File, at int64, size int, _ bool) (unsafe.Pointer, error) {
	m.words = make([]uint64, (size+7)/8)
	p := unsafe.Pointer(&m.words[0])
	_, err := f.ReadAt(unsafe.Slice((*byte)(p), size), at)
	return p, err
}

func (m *mapping) settle() error { return nil }
