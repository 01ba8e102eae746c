//go:build unix && !purego

package ann

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reservations are how many addresses a mapping takes: the first number that the system gives, which may have a limit for a process.
// Addresses cost nothing; memory is taken as it grows.
var reservations = []int{128 << 30, 16 << 30, 2 << 30, 256 << 20}

// hugePage is the size of a huge page, to which a mapping is aligned.
const hugePage = 2 << 20

// mapping is a range of addresses of which the first committed bytes are memory.
type mapping struct {
	reserved  []byte // as mmap gave it
	base      uintptr
	limit     int // bytes of addresses from base on
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
	if size > m.limit {
		return nil, false, fmt.Errorf("an array has %d bytes of addresses; is there a limit on the address space of the process?", m.limit)
	}
	// In steps of an eighth, so that the kernel is seldom asked; small ones by single pages.
	page := unix.Getpagesize()
	want := min(roundUp(max(size, m.committed+m.committed/8), page), m.limit)
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
	var err error
	for _, m.limit = range reservations {
		// Not by Mmap, whose memory can be given back only as a whole: see settle.
		var p unsafe.Pointer
		if p, err = unix.MmapPtr(-1, 0, nil, uintptr(m.limit+hugePage), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|mapNoReserve); err == nil {
			m.reserved = unsafe.Slice((*byte)(p), m.limit+hugePage)
			break
		}
	}
	if err != nil {
		return fmt.Errorf("reserve addresses (is there a limit on those of the process, ulimit -v?): %w", err)
	}
	b := m.reserved
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
		errs = append(errs, unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b))))
	}
	if f != nil {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// load maps size bytes of a file, privately: changes go to copies of pages.
func (m *mapping) load(f *os.File, at int64, size int, keep bool) (unsafe.Pointer, error) {
	page := unix.Getpagesize()
	if err := m.reserve(); err != nil {
		return nil, err
	}
	if page > sectionAlign || size > m.limit {
		return nil, fmt.Errorf("pages have %d bytes, an array %d of addresses: %w", page, m.limit, errors.ErrUnsupported)
	}
	length := roundUp(size, page)
	if _, err := unix.MmapPtr(int(f.Fd()), at, m.pointer(0), uintptr(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED); err != nil {
		return nil, err
	}
	m.committed = length
	if !keep {
		m.mapped = length
		clear(m.bytes(size, length)) // what the file has there would be that of elements which are added
	}
	return m.pointer(0), nil
}
