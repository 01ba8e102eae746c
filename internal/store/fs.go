package store

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// strictFS is the file system as Pebble relies on it.
//
// It keeps the names of a directory in order. Pebble makes a MANIFEST, then a marker that points to it, and syncs the directory once,
// after both. POSIX lets a power cut keep the second name without the first, and Pebble does not open then. So the directory is
// synced before each marker too.
//
// And it ends the process where the directory cannot be synced, and once the store is open where the log cannot be written, synced or
// begun. Pebble panics there with its locks half taken, which ends the process as well, in many lines that help nobody.
type strictFS struct {
	vfs.FS
	log   *logger
	syncs *durations // of the log
	open  atomic.Bool
}

// Unwrap gives what is added to.
func (f *strictFS) Unwrap() vfs.FS { return f.FS }

// fatal ends the process for an error once the store is open.
func (f *strictFS) fatal(doing, name string, err error) error {
	if err != nil && f.open.Load() {
		f.log.Fatalf("%s %s: %v", doing, name, err)
	}
	return err
}

func isLog(name string) bool { return filepath.Ext(name) == ".log" }

func (f *strictFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(f.PathBase(name), "marker.") {
		if err := syncDir(f, f.PathDir(name)); err != nil {
			return nil, err
		}
		// gofail: var beforeManifestSwap struct{}
	}
	if !isLog(name) {
		return f.FS.Create(name, category)
	}
	return f.begin(name, func() (vfs.File, error) { return f.FS.Create(name, category) })
}

func (f *strictFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !isLog(name) {
		return f.FS.ReuseForWrite(old, name, category)
	}
	return f.begin(name, func() (vfs.File, error) { return f.FS.ReuseForWrite(old, name, category) })
}

// begin makes a log. A process that has as many files open as it may, as with many connections, gets a while to close some.
func (f *strictFS) begin(name string, create func() (vfs.File, error)) (vfs.File, error) {
	file, err := create()
	for deadline := time.Now().Add(5 * time.Second); f.open.Load() && (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
		file, err = create()
	}
	if err != nil {
		return nil, f.fatal("make", name, err)
	}
	return &strictFile{file, f, name}, nil
}

func (f *strictFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &strictDir{file, f, name}, nil
}

// strictDir is a directory.
type strictDir struct {
	vfs.File
	fs   *strictFS
	name string
}

func (d *strictDir) Sync() error {
	err := d.File.Sync()
	if err != nil {
		d.fs.log.Fatalf("sync %s: %v", d.name, err)
	}
	return err
}

// strictFile is a log.
type strictFile struct {
	vfs.File
	fs   *strictFS
	name string
}

func (f *strictFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.fs.fatal("write", f.name, err)
}

func (f *strictFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *strictFile) SyncData() error { return f.sync(f.File.SyncData) }
func (f *strictFile) Close() error    { return f.fs.fatal("close", f.name, f.File.Close()) }

// sync takes the time: Pebble's own histogram of the same is read only with its metrics, which take its locks.
func (f *strictFile) sync(sync func() error) error {
	begin := time.Now()
	err := sync()
	f.fs.syncs.add(time.Since(begin))
	return f.fs.fatal("sync", f.name, err)
}

func (f *strictFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.fs.fatal("sync", f.name, err)
}

func (f *strictFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	return info, f.fs.fatal("stat", f.name, err)
}
