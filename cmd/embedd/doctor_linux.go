package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData brings a file's bytes, and no more than it takes to find them again, to the disk, as the store does.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// inMemory tells whether a folder is on a file system that is not on a disk.
func inMemory(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && (int64(s.Type) == unix.TMPFS_MAGIC || int64(s.Type) == unix.RAMFS_MAGIC)
}
