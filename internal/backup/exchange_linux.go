package backup

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// exchange gives each of two folders the other's name, in one step. Where the file system or the kernel cannot do that the error is
// errors.ErrUnsupported, and nothing has changed.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if err == unix.EINVAL { // so says a file system that does not know the flag
		err = errors.ErrUnsupported
	}
	if err != nil {
		return fmt.Errorf("exchange %s and %s: %w", a, b, err)
	}
	return nil
}
