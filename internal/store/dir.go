package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The mark is the file that makes a directory ours. It has the first name while the store is being made, the second
// once it is whole.
const (
	makingName = "EMBEDD-STORE.new"
	madeName   = "EMBEDD-STORE"
	markText   = "This directory is a store of embedd. Its files belong together: do not edit, move or delete one of them.\n"
)

// lockName is the file that Pebble locks.
const lockName = "LOCK"

// pebbleNames are the patterns of the files that are made before a store is whole: Pebble's, and the mark.
var pebbleNames = []string{"MANIFEST-*", "OPTIONS-*", "marker.*", "temporary.*.dbtmp", "*.log", "*.sst", markName, markName + ".new"}

// prepareDir makes sure that dir is a directory, and ours or empty.
func prepareDir(fsys vfs.FS, dir string) error {
	info, err := fsys.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeDir(fsys, dir); err != nil {
			return err
		}
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New("it is a file, not a directory")
	}
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	if slices.Contains(names, madeName) || slices.Contains(names, makingName) {
		return nil
	}
	// The lock may be there alone: of an Open that was killed before it could write the mark.
	names = slices.DeleteFunc(names, func(name string) bool { return name == lockName })
	if slices.Contains(names, markName) {
		return fmt.Errorf("%w: the file %s is missing: restore a backup", ErrCorrupt, madeName)
	}
	if len(names) > 0 {
		return fmt.Errorf("the directory is neither empty nor a store of embedd (it has %s and no %s): use a new directory",
			slices.Min(names), madeName)
	}
	return nil
}

// makeDir makes dir and its parents, so that they survive power loss.
func makeDir(fsys vfs.FS, dir string) error {
	var parents []string // of every directory to be made
	for d := dir; ; {
		parent := fsys.PathDir(d)
		parents = append(parents, parent)
		if _, err := fsys.Stat(parent); err == nil || parent == d {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		d = parent
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := syncDir(fsys, parent); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func lockDir(fsys vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fsys)
	if err == nil {
		return lock, nil
	}
	// Not being able to make the file is a *PathError, of the system, not of another process. A lock held by another
	// process is one of two numbers, by choice of the system; one held by this process has no number.
	var path *fs.PathError
	var errno syscall.Errno
	if !errors.As(err, &path) && (!errors.As(err, &errno) || errno == syscall.EAGAIN || errno == syscall.EACCES) {
		return nil, fmt.Errorf("%w: another embedd process has it open", ErrLocked)
	}
	return nil, fmt.Errorf("it cannot be written: %w", err)
}

// isMade tells whether the directory has a whole store; if not, none was ever opened there. The directory is locked.
func isMade(fsys vfs.FS, dir string) (bool, error) {
	_, err := fsys.Stat(fsys.PathJoin(dir, madeName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// beginMaking makes the directory ours, before anything else of ours is in it, and takes away what an Open that did not
// get to its end has left. Pebble does not always open what a power cut has left of its own making.
func beginMaking(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.ContainsFunc(pebbleNames, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }) {
			if err := fsys.Remove(fsys.PathJoin(dir, name)); err != nil {
				return err
			}
		}
	}
	f, err := fsys.Create(fsys.PathJoin(dir, makingName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(markText))
	return errors.Join(err, f.Sync(), f.Close(), syncDir(fsys, dir))
}

// endMaking notes that the store is whole.
func endMaking(fsys vfs.FS, dir string) error {
	err := fsys.Rename(fsys.PathJoin(dir, makingName), fsys.PathJoin(dir, madeName))
	return errors.Join(err, syncDir(fsys, dir))
}
