//go:build unix

package store

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks a file against other processes, until it is closed. It does not wait.
func lockFile(f *os.File) error {
	return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
}
