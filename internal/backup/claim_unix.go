//go:build unix

package backup

import (
	"os"

	"golang.org/x/sys/unix"
)

// claim tells whether nobody else has claimed a folder, and claims it until it is closed or the process ends.
func claim(folder *os.File) bool {
	return unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
