//go:build !linux

package store

import (
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// rootFile is a file that can be synced as a whole only.
type rootFile struct{ *os.File }

func newRootFile(f *os.File, _ string) vfs.File { return rootFile{f} }

func (f rootFile) Stat() (vfs.FileInfo, error)     { return statOf(f.File) }
func (f rootFile) SyncData() error                 { return f.Sync() }
func (rootFile) Preallocate(int64, int64) error    { return nil }
func (rootFile) Prefetch(offset, size int64) error { return nil }

func (f rootFile) SyncTo(int64) (full bool, err error) {
	err = f.Sync()
	return err == nil, err
}

// GetDiskUsage implements vfs.FS. It asks by path: the answer is two numbers, wherever a link leads.
func (f *rootFS) GetDiskUsage(name string) (vfs.DiskUsage, error) {
	if _, err := f.rel("statfs", name); err != nil {
		return vfs.DiskUsage{}, err
	}
	return vfs.Default.GetDiskUsage(name)
}
