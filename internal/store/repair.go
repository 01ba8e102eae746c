package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Lock keeps others from opening the store in dir, a path in root, until it is closed, or says ErrLocked. It is for who moves the directory.
func Lock(root *os.Root, dir string) (io.Closer, error) {
	fsys, err := newRootFS(root)
	if err != nil {
		return nil, err
	}
	dir = fsys.PathJoin(fsys.base, dir)
	lock, err := lockDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return lock, nil
}

// Repaired says what Repair has made of a store.
type Repaired struct {
	// Papers are left; Lost are not, as far as that is known.
	Papers, Lost int
	// Damaged is where the store as it was is kept, a path in the root.
	Damaged string
}

// repairBatch is how many papers are put at once.
const repairBatch = 500

// Repair makes a new store of the papers of the one in dir, a path in root, that are whole, and puts it in its place; the old one is kept beside it. The
// new one has another UUID and other ordinals, so that nothing derived from the old one passes for its own. It needs the store's identity and
// Pebble's MANIFEST: where these are damaged there is only a backup.
func Repair(root *os.Root, dir string, log *slog.Logger) (r Repaired, err error) {
	fsys, err := newRootFS(root)
	if err != nil {
		return r, err
	}
	path := fsys.PathJoin(fsys.base, dir)
	old, err := Open(dir, Identity{}, &Options{Root: root, ReadOnly: true, Log: log, asItIs: true})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	making := path + ".repairing"
	if err := fsys.RemoveAll(making); err != nil {
		return r, err
	}
	fresh, err := Open(filepath.Clean(dir)+".repairing", old.id, &Options{Root: root, Log: log})
	if err != nil {
		return r, err
	}
	err = old.rescue(fresh)
	r.Papers = fresh.Count()
	if err = errors.Join(err, fresh.Close()); err != nil {
		return r, errors.Join(err, fsys.RemoveAll(making))
	}
	had := old.Count()
	if m, err := readMark(fsys, path); err == nil {
		had = max(had, int(m.Count))
	}
	r.Lost = max(0, had-r.Papers)
	damaged := ".damaged-" + time.Now().UTC().Format("20060102T150405.000Z")
	r.Damaged = filepath.Clean(dir) + damaged
	// The lock is on the old directory, and goes with it.
	return r, errors.Join(fsys.Rename(path, path+damaged), fsys.Rename(making, path), syncDir(fsys, filepath.Dir(path)))
}

// rescue puts every paper that is whole into another store. It asks for each ordinal alone: a damaged block ends a scan.
func (s *Store) rescue(into *Store) error {
	next := s.applied.next
	if m, err := readMark(s.disk.fs, s.dir); err == nil {
		next = max(next, m.Next)
	}
	var writes []Write
	put := func() error {
		_, _, err := into.Put(writes)
		writes = writes[:0]
		return err
	}
	for ordinal := uint64(1); ordinal < next; ordinal++ {
		r, _, err := getRecord(s.db, ordinal)
		var v []float32
		if err == nil {
			v, err = s.getVector(s.db, ordinal)
		}
		if err == nil {
			if e, e1 := getEntry(s.db, r.Paper.ID); e1 == nil && e.ordinal != ordinal {
				continue // the paper has another place
			}
			err = errors.Join(checkVector(v, s.id.Dimension), checkPaper(&r.Paper))
		}
		if err != nil {
			if fromOutside(err) && !pebble.IsCorruptionError(err) {
				return err
			}
			continue
		}
		for i := range writes { // of a damaged entry there may be two: the later counts
			if writes[i].Record.Paper.ID == r.Paper.ID {
				if err := put(); err != nil {
					return err
				}
				break
			}
		}
		sentences, err := s.getSentences(ordinal) // a paper without them is still one
		if err != nil && !errors.Is(err, ErrNotFound) && fromOutside(err) && !pebble.IsCorruptionError(err) {
			return err
		}
		passages, err := s.getPassages(ordinal) // likewise
		if err != nil && fromOutside(err) && !pebble.IsCorruptionError(err) {
			return err
		}
		w := Write{Record: r, Vector: v, Sentences: sentences, Passages: passages}
		if err != nil || s.checkPassages(&w) != nil { // what was in them is not in its vectors any more
			w.Passages, w.Record.Truncated = nil, true
		}
		if writes = append(writes, w); len(writes) == repairBatch {
			if err := put(); err != nil {
				return err
			}
		}
	}
	return put()
}
