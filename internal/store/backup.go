package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Backup makes a copy of the store, as of the revision that it returns, in dir, which must not exist; its parent must. dir is a path in
// Options.Root: without one there is no place for a copy. The copy is a
// store of its own, with the same UUID. Where the file system can, tables are linked and not copied: the copy is made in a moment and takes
// next to no room, and damage of the disk to one is damage to the other, until the copy is brought elsewhere. Writes wait meanwhile.
func (s *Store) Backup(dir string) (revision uint64, err error) {
	if err := s.calls.enter(); err != nil {
		return 0, err
	}
	defer s.calls.leave()
	if f, ok := s.disk.fs.(*rootFS); ok {
		dir = f.PathJoin(f.base, dir)
	}
	if revision, err = s.backup(dir); err != nil {
		return 0, fmt.Errorf("back up store %s to %s: %w", s.dir, dir, err)
	}
	return revision, nil
}

// BackupSize is how many bytes a Backup into a folder would take now: next to nothing where tables can be linked, which is tried. The
// folder, a path in Options.Root, must be there.
func (s *Store) BackupSize(into string) (size int64, err error) {
	if err := s.calls.enter(); err != nil {
		return 0, err
	}
	defer s.calls.leave()
	fsys := s.disk.fs
	if f, ok := fsys.(*rootFS); ok {
		into = f.PathJoin(f.base, into)
	}
	probe := fsys.PathJoin(into, "link")
	links := fsys.Link(fsys.PathJoin(s.dir, madeName), probe) == nil
	if links {
		if err := fsys.Remove(probe); err != nil {
			return 0, err
		}
	}
	names, err := fsys.List(s.dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if name == ballastName || links && filepath.Ext(name) == ".sst" {
			continue
		}
		info, err := fsys.Stat(fsys.PathJoin(s.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // Pebble has put another in its place
		}
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return size, nil
}

func (s *Store) backup(dir string) (uint64, error) {
	s.write.Lock()
	st := s.applied
	err := s.db.Checkpoint(dir, pebble.WithFlushedWAL())
	s.write.Unlock()
	if err != nil {
		return 0, err
	}
	// gofail: var duringBackup struct{}

	fsys := s.disk.fs
	k, err := openMarker(fsys, dir, mark{Revision: st.revision, Next: st.next, Count: st.count, Digest: st.digest})
	if err != nil {
		return 0, err
	}
	if err := errors.Join(k.write(st, false), k.file.Close()); err != nil {
		return 0, err
	}
	f, err := fsys.Create(fsys.PathJoin(dir, madeName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, err
	}
	_, err = f.Write([]byte(markText))
	return st.revision, errors.Join(err, f.Sync(), f.Close(), syncDir(fsys, dir))
}
