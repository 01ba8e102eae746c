//go:build linux && !purego

package ann

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

const mapNoReserve = unix.MAP_NORESERVE

// adviseHuge asks for huge pages: random rows of a million are read up to twice as fast. A kernel that has none says so, and
// nothing is lost.
func adviseHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }

// settleStep is how much is copied at a time.
const settleStep = 16 * hugePage

// settle copies the pages of a file into new memory, and moves that to their place: whoever reads sees the one or the other, which
// are equal.
func (m *mapping) settle() error {
	for at := 0; at < m.mapped; at += settleStep {
		n := min(settleStep, m.mapped-at)
		var fresh mapping
		if _, _, err := fresh.grow(n, nil, 0); err != nil {
			return err
		}
		copy(fresh.bytes(0, n), m.bytes(at, at+n))
		_, err := unix.MremapPtr(fresh.pointer(0), uintptr(n), m.pointer(at), uintptr(n), unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED)
		if err != nil {
			return errors.Join(err, fresh.free())
		}
		if err := fresh.freeAround(n); err != nil {
			return err
		}
	}
	m.mapped = 0
	return nil
}

// freeAround gives the addresses back but for the first n bytes, which were moved away: they may be somebody else's by now.
func (m *mapping) freeAround(n int) error {
	first := unsafe.Pointer(unsafe.SliceData(m.reserved))
	before := int(m.base - uintptr(first))
	after := len(m.reserved) - before - n
	var errs []error
	if before > 0 {
		errs = append(errs, unix.MunmapPtr(first, uintptr(before)))
	}
	if after > 0 {
		errs = append(errs, unix.MunmapPtr(m.pointer(n), uintptr(after)))
	}
	*m = mapping{}
	return errors.Join(errs...)
}
