package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// OpenRoot opens a folder for Options.Root. It is the caller's how the folder is come by, a link included; what is below it does not lead
// out of it.
func OpenRoot(dir string) (*os.Root, error) {
	// Messages have the one name that the folder has, whatever the working directory becomes.
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return nil, err
	}
	return os.OpenRoot(real)
}

// MakeRoot is OpenRoot for a folder that is made where it is missing, so that it survives power loss.
func MakeRoot(dir string) (*os.Root, error) {
	if err := prepareRoot(dir); err != nil {
		return nil, err
	}
	return OpenRoot(dir)
}

func prepareRoot(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeDir(vfs.Default, dir)
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New("it is a file, not a directory")
	}
	return nil
}

// rootFS is the machine's file system below one folder, for Pebble. Names are full paths, for messages; a name outside of the folder is
// refused, and so is one that a link takes there. It gives what vfs.Default does; that opens by path, and follows every link.
type rootFS struct {
	root *os.Root
	base string // the root's full path
}

func newRootFS(root *os.Root) (*rootFS, error) {
	base, err := filepath.Abs(root.Name())
	return &rootFS{root, base}, err
}

// errOutside is about a name; what a link leads to is refused by os.Root in words of its own.
var errOutside = errors.New("the path leads out of the directory")

// rel is the name that root knows a full path by.
func (f *rootFS) rel(op, name string) (string, error) {
	rel, err := filepath.Rel(f.base, name)
	if err != nil || !filepath.IsLocal(rel) {
		return "", &fs.PathError{Op: op, Path: name, Err: errOutside}
	}
	return rel, nil
}

// with calls do with the name that root knows a full path by. The full path is in the error.
func (f *rootFS) with(op, name string, do func(rel string) error) error {
	rel, err := f.rel(op, name)
	if err != nil {
		return err
	}
	err = do(rel)
	if path, ok := err.(*fs.PathError); ok {
		path.Path = name
	}
	return err
}

// between is with for two names.
func (f *rootFS) between(op, from, to string, do func(from, to string) error) error {
	a, err := f.rel(op, from)
	if err != nil {
		return err
	}
	b, err := f.rel(op, to)
	if err != nil {
		return err
	}
	err = do(a, b)
	if link, ok := err.(*os.LinkError); ok {
		link.Old, link.New = from, to
	}
	return err
}

func (f *rootFS) openFile(name string, flag int) (file *os.File, err error) {
	err = f.with("open", name, func(rel string) (err error) {
		file, err = f.root.OpenFile(rel, flag, 0o666)
		return err
	})
	return file, err
}

// open opens a file for Pebble.
func (f *rootFS) open(name string, flag int, options ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.openFile(name, flag)
	if err != nil {
		return nil, err
	}
	wrapped := newRootFile(file, name)
	for _, o := range options {
		o.Apply(wrapped)
	}
	return wrapped, nil
}

// Create implements vfs.FS. A file that is there loses its name and is not written over: backups have tables under names of their own.
func (f *rootFS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	for {
		file, err := f.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
		if err := f.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// Open implements vfs.FS.
func (f *rootFS) Open(name string, options ...vfs.OpenOption) (vfs.File, error) {
	return f.open(name, os.O_RDONLY, options...)
}

// OpenReadWrite implements vfs.FS.
func (f *rootFS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, options ...vfs.OpenOption) (vfs.File, error) {
	return f.open(name, os.O_RDWR|os.O_CREATE, options...)
}

// ReuseForWrite implements vfs.FS.
func (f *rootFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.Rename(from, to); err != nil {
		return nil, err
	}
	return f.OpenReadWrite(to, category)
}

// OpenDir implements vfs.FS.
func (f *rootFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.openFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return rootDir{file}, nil
}

// Link implements vfs.FS.
func (f *rootFS) Link(from, to string) error { return f.between("link", from, to, f.root.Link) }

// Rename implements vfs.FS.
func (f *rootFS) Rename(from, to string) error { return f.between("rename", from, to, f.root.Rename) }

// Remove implements vfs.FS.
func (f *rootFS) Remove(name string) error { return f.with("remove", name, f.root.Remove) }

// RemoveAll implements vfs.FS.
func (f *rootFS) RemoveAll(name string) error { return f.with("remove", name, f.root.RemoveAll) }

// MkdirAll implements vfs.FS.
func (f *rootFS) MkdirAll(name string, perm os.FileMode) error {
	return f.with("mkdir", name, func(rel string) error { return f.root.MkdirAll(rel, perm) })
}

// List implements vfs.FS.
func (f *rootFS) List(name string) ([]string, error) {
	dir, err := f.openFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	return names, errors.Join(err, dir.Close())
}

// Stat implements vfs.FS.
func (f *rootFS) Stat(name string) (info vfs.FileInfo, err error) {
	err = f.with("stat", name, func(rel string) error {
		stat, err := f.root.Stat(rel)
		if err == nil {
			info = rootInfo{stat}
		}
		return err
	})
	return info, err
}

// PathBase implements vfs.FS, and so do PathJoin and Unwrap.
func (*rootFS) PathBase(name string) string     { return filepath.Base(name) }
func (*rootFS) PathJoin(parts ...string) string { return filepath.Join(parts...) }
func (*rootFS) Unwrap() vfs.FS                  { return nil }

// PathDir implements vfs.FS. Nothing is above the root, as nothing is above /: Pebble syncs the folders that a store's is in.
func (f *rootFS) PathDir(name string) string {
	if filepath.Clean(name) == f.base {
		return f.base
	}
	return filepath.Dir(name)
}

// rootInfo is a file's.
type rootInfo struct{ os.FileInfo }

// DeviceID implements vfs.FileInfo. Only vfs can make one, and Pebble asks for none.
func (rootInfo) DeviceID() (none vfs.DeviceID) { return none }

// rootDir is a directory, which is synced.
type rootDir struct{ *os.File }

func (d rootDir) Stat() (vfs.FileInfo, error)     { return statOf(d.File) }
func (d rootDir) SyncData() error                 { return d.Sync() }
func (rootDir) SyncTo(int64) (bool, error)        { return false, nil }
func (rootDir) Preallocate(int64, int64) error    { return nil }
func (rootDir) Prefetch(offset, size int64) error { return nil }

func statOf(f *os.File) (vfs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return rootInfo{info}, nil
}

// locks are the files that this process has locked. The system's lock is one between processes, and goes with the first file of the
// locked one's that the process closes: it must not be opened a second time.
var locks struct {
	mu   sync.Mutex
	held []os.FileInfo
}

// Lock implements vfs.FS.
func (f *rootFS) Lock(name string) (io.Closer, error) {
	locks.mu.Lock()
	defer locks.mu.Unlock()
	if info, err := f.Stat(name); err == nil {
		for _, held := range locks.held {
			if os.SameFile(held, info.(rootInfo).FileInfo) {
				return nil, fmt.Errorf("%s is locked by this process", name)
			}
		}
	}
	file, err := f.openFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	err = lockFile(file)
	var info os.FileInfo
	if err == nil {
		info, err = file.Stat()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	locks.held = append(locks.held, info)
	return &rootLock{file, info}, nil
}

type rootLock struct {
	file *os.File
	info os.FileInfo
}

func (l *rootLock) Close() error {
	locks.mu.Lock()
	defer locks.mu.Unlock()
	for i, held := range locks.held {
		if os.SameFile(held, l.info) {
			locks.held = append(locks.held[:i], locks.held[i+1:]...)
			break
		}
	}
	return l.file.Close()
}
