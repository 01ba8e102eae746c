package store

import (
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// rootFile is a file with what Linux can do beside POSIX.
type rootFile struct {
	*os.File
	path   string
	ranges bool // a part of it can be written out
}

func newRootFile(f *os.File, path string) vfs.File {
	return &rootFile{f, path, writesRanges(f)}
}

// writesRanges tells whether sync_file_range does something. ZFS and others take it and do nothing, so those are asked that are known: ext2 to
// ext4. Some kernels do not have it.
func writesRanges(f *os.File) bool {
	var stat unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &stat) == nil && stat.Type == unix.EXT4_SUPER_MAGIC && unix.SyncFileRange(int(f.Fd()), 0, 0, 0) != unix.ENOSYS
}

// failed is an error with the file's path; nil stays nil.
func (f *rootFile) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}

func (f *rootFile) Stat() (vfs.FileInfo, error) { return statOf(f.File) }

// SyncData spares the file's times; its size, where that has grown, is written too.
func (f *rootFile) SyncData() error { return f.failed("fdatasync", unix.Fdatasync(int(f.Fd()))) }

// SyncTo begins to write a part out and waits for what was begun before, so that little is left for the sync at the end. Where that is not to be
// had all is synced.
func (f *rootFile) SyncTo(length int64) (full bool, err error) {
	if !f.ranges {
		err := f.SyncData()
		return err == nil, err
	}
	return false, f.failed("sync_file_range", unix.SyncFileRange(int(f.Fd()), 0, length, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE))
}

// Preallocate takes blocks, and leaves the size as it is.
func (f *rootFile) Preallocate(offset, length int64) error {
	return f.failed("fallocate", unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, length))
}

func (f *rootFile) Prefetch(offset, length int64) error {
	return f.failed("fadvise", unix.Fadvise(int(f.Fd()), offset, length, unix.FADV_WILLNEED))
}

// GetDiskUsage implements vfs.FS.
func (f *rootFS) GetDiskUsage(name string) (usage vfs.DiskUsage, err error) {
	file, err := f.openFile(name, os.O_RDONLY)
	if err != nil {
		return usage, err
	}
	defer file.Close()
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &stat); err != nil {
		return usage, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	block := uint64(stat.Frsize) // in which the three are counted; Bsize may be another
	return vfs.DiskUsage{AvailBytes: block * stat.Bavail, TotalBytes: block * stat.Blocks, UsedBytes: block * (stat.Blocks - stat.Bfree)}, nil
}
