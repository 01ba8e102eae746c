package vec

import (
	"testing"

	"golang.org/x/sys/unix"
)

// huge gives n bytes of memory in huge pages where the system has them, as the index has its rows.
func huge(b *testing.B, n int) []byte {
	m, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := unix.Munmap(m); err != nil {
			b.Error(err)
		}
	})
	_ = unix.Madvise(m, unix.MADV_HUGEPAGE) // without them it is slower, no more
	return m
}
