//go:build unix && !purego

package ann

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reservation is how many addresses a mapping takes at first. Addresses cost nothing; memory is taken as it grows.
const reservation = 128 << 30

// hugePage is the size of a huge page, to which a mapping is aligned.
const hugePage = 2 << 20

// mapping is a range of addresses of which the first committed bytes are memory.
type mapping struct {
	reserved  []byte // as mmap gave it
	base      uintptr
	committed int
	mapped    int // bytes at the beginning that are a file's, until they are settled

	dir  string   // not empty: memory that is added lies in a file of this folder, which has no name any more
	file *os.File // that file
	from int      // where it begins
}

// grow commits size bytes. Old memory is where it was.
func (m *mapping) grow(size int, _ unsafe.Pointer, _ int) (unsafe.Pointer, bool, error) {
	if err := m.reserve(); err != nil {
		return nil, false, err
	}
	if size > reservation {
		return nil, false, errors.New("more than an index can address")
	}
	// In steps of an eighth, so that the kernel is seldom asked; small ones by single pages.
	page := unix.Getpagesize()
	want := min(roundUp(max(size, m.committed+m.committed/8), page), reservation)
	if want >= hugePage {
		want = roundUp(want, hugePage)
	}
	if want > m.committed {
		if err := m.commit(want); err != nil {
			return nil, false, err
		}
		m.committed = want
	}
	return m.pointer(0), false, nil
}

// commit makes memory of the addresses up to want.
func (m *mapping) commit(want int) error {
	if m.dir != "" {
		return m.commitFile(want)
	}
	if err := unix.Mprotect(m.bytes(m.committed, want), unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return err
	}
	if want > hugePage {
		adviseHuge(m.bytes(0, want))
	}
	return nil
}

// commitFile makes a file of the addresses up to want. Its bytes are written once, so that a full disk is an error here and not a fault
// later.
func (m *mapping) commitFile(want int) error {
	if m.file == nil {
		f, err := os.CreateTemp(m.dir, "embedd-vectors-*")
		if err != nil {
			return err
		}
		if err := os.Remove(f.Name()); err != nil {
			return errors.Join(err, f.Close())
		}
		m.file, m.from = f, m.committed
	}
	zeros := make([]byte, min(1<<20, want-m.committed))
	for at := m.committed; at < want; at += len(zeros) {
		if _, err := m.file.WriteAt(zeros[:min(len(zeros), want-at)], int64(at-m.from)); err != nil {
			return err
		}
	}
	_, err := unix.MmapPtr(int(m.file.Fd()), int64(m.committed-m.from), m.pointer(m.committed), uintptr(want-m.committed), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
	return err
}

// reserve takes the addresses.
func (m *mapping) reserve() error {
	if m.reserved != nil {
		return nil
	}
	b, err := unix.Mmap(-1, 0, reservation+hugePage, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|mapNoReserve)
	if err != nil {
		return err
	}
	m.reserved = b
	m.base = uintptr(roundUp(int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), hugePage))
	return nil
}

// pointer is the address of a byte.
func (m *mapping) pointer(at int) unsafe.Pointer {
	first := unsafe.Pointer(unsafe.SliceData(m.reserved))
	return unsafe.Add(first, int(m.base-uintptr(first))+at)
}

// bytes are those from one place to another.
func (m *mapping) bytes(from, to int) []byte {
	return unsafe.Slice((*byte)(m.pointer(from)), to-from)
}

func (m *mapping) free() error {
	b, f := m.reserved, m.file
	*m = mapping{}
	var errs []error
	if b != nil {
		errs = append(errs, unix.Munmap(b))
	}
	if f != nil {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// load maps size bytes of a file, privately: changes go to copies of pages.
func (m *mapping) load(f *os.File, at int64, size int, keep bool) (unsafe.Pointer, error) {
	page := unix.Getpagesize()
	if page > sectionAlign || size > reservation {
		return nil, errors.ErrUnsupported
	}
	if err := m.reserve(); err != nil {
		return nil, err
	}
	length := roundUp(size, page)
	if _, err := unix.MmapPtr(int(f.Fd()), at, m.pointer(0), uintptr(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED); err != nil {
		return nil, err
	}
	m.committed = length
	if !keep {
		m.mapped = length
	}
	return m.pointer(0), nil
}
