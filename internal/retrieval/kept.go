package retrieval

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync/atomic"

	"embedd/internal/store"
)

// kept is something derived that has a snapshot in the data directory. There is one: without it, it is made of the papers again, behind the start.
// Who never asks for it, and writes nothing, does not read it.
type kept struct {
	derived
	file  string        // the snapshot's name; while it is written, file.*.new
	has   string        // what papers have of it, for messages
	index keptIndex     // what it is
	at    atomic.Uint64 // revision of the snapshot on disk, 0 for none

	note func(io.Reader) ([]byte, error)            // reads the note of a snapshot
	open func(io.Reader) (keptIndex, []byte, error) // reads a snapshot
	take func(keptIndex)                            // puts what was read in the place of index; nil is nothing
}

// keptIndex is what the indexes that are kept have in common.
type keptIndex interface {
	Len() int
	Contains(ordinal uint64) bool
	Ordinals() []uint64
	Check() error
	SnapshotSize() int64
	WriteSnapshot(w io.Writer, note []byte) error
}

// init prepares it, index being empty.
func (k *kept) init(what, has, file string, index keptIndex) {
	k.what, k.has, k.file, k.index = what, has, file, index
	k.made, k.skips, k.saved = make(chan struct{}), true, k.useSaved
}

// allKept are those of a collection.
func (c *Collection) allKept() []*kept { return []*kept{&c.words.kept, &c.works.kept} }

// keptFiles are the names of the snapshots of all that is kept, and the patterns of those that are being written.
func keptFiles() (files, making []string) {
	for _, file := range []string{wordsSnapshotName, worksSnapshotName} {
		files, making = append(files, file), append(making, file+".*.new")
	}
	return files, making
}

// find looks which snapshot there is, and reads nothing of it but the note: what is kept is taken from it when it is asked for.
func (k *kept) find(c *Collection) {
	if c.store.Count() == 0 {
		k.there()
		return
	}
	f, err := openKeptFile(c.root, k.file)
	if err != nil {
		return // which is said when it is asked for
	}
	defer f.Close()
	if text, err := k.note(f); err == nil {
		if note, err := checkKeptNote(text, c.store); err == nil {
			k.at.Store(note.Revision)
		}
	}
}

// useSaved takes what is kept from its snapshot, where that fits, and brings it up to the store. Otherwise it is made of the papers.
func (k *kept) useSaved(c *Collection, ctx context.Context) bool {
	index, note, err := readKept(ctx, c.root, c.store, k.file, k.open)
	if err == nil {
		k.replace(index)
		err = k.catchUp(ctx, c, note.Revision)
	}
	if err == nil {
		return true
	}
	if ctx.Err() != nil { // by Close: it stays of use
		return false
	}
	if !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("the snapshot of "+k.what+" is not used; they are read from the papers again", "reason", err)
	}
	k.at.Store(0)
	k.replace(nil)
	return false
}

// replace puts another index in the place of what there is. What is changed meanwhile is in the change log, or is put after it.
func (k *kept) replace(index keptIndex) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.take(index)
}

// openKeptFile opens the file of a snapshot.
func openKeptFile(root *os.Root, name string) (*os.File, error) {
	if info, err := root.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() { // opening a pipe would wait for somebody to write into it
		return nil, errors.New("it is no plain file")
	}
	return root.Open(name)
}

// readKept reads a snapshot and proves that it is whole, and of this store.
func readKept[T any](ctx context.Context, root *os.Root, s *store.Store, name string, open func(io.Reader) (T, []byte, error)) (index T, note snapshotNote, err error) {
	f, err := openKeptFile(root, name)
	if err != nil {
		return index, note, err
	}
	defer f.Close()
	index, text, err := open(bufio.NewReaderSize(endingReader{ctx, f}, 1<<20))
	if err != nil {
		return index, note, err
	}
	note, err = checkKeptNote(text, s)
	return index, note, err
}

// endingReader ends with a context.
type endingReader struct {
	ctx context.Context
	io.Reader
}

func (r endingReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

func checkKeptNote(text []byte, s *store.Store) (note snapshotNote, err error) {
	switch err := json.Unmarshal(text, &note); {
	case err != nil:
		return note, fmt.Errorf("its note: %w", err)
	case note.Store != s.UUID():
		return note, errors.New("it was made from another store")
	case note.Revision > s.Revision():
		return note, fmt.Errorf("it is of revision %d, the store is at %d", note.Revision, s.Revision())
	}
	return note, nil
}

// catchUp brings what has everything up to a revision up to the store. A paper that is under the same ordinal still may have another title or
// other ids: its text alone is the same.
func (k *kept) catchUp(ctx context.Context, c *Collection, from uint64) error {
	touched := map[uint64]struct{}{}
	err := c.store.Changes(from, func(_ uint64, changes []store.Change) error {
		for _, change := range changes {
			touched[change.Ordinal] = struct{}{}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if err := k.bringSome(ctx, c, slices.Collect(maps.Keys(touched))); err != nil || k.index.Len() == c.store.Count() {
		return err
	}
	// A write is under way, or the snapshot lacks what the log does not tell.
	stray := map[uint64]struct{}{}
	for _, ordinal := range k.index.Ordinals() {
		stray[ordinal] = struct{}{}
	}
	err = c.store.Ordinals(func(ordinal uint64) error {
		if _, there := stray[ordinal]; there {
			delete(stray, ordinal)
		} else {
			stray[ordinal] = struct{}{}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return k.bringSome(ctx, c, slices.Collect(maps.Keys(stray)))
}

// bringSome brings what is kept of some papers to what is stored.
func (k *kept) bringSome(ctx context.Context, c *Collection, ordinals []uint64) error {
	for some := range slices.Chunk(ordinals, derivedAtOnce) {
		if err := ctx.Err(); err != nil {
			return err
		}
		k.mu.Lock()
		err := k.bring(c, some)
		k.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// changesNeeded is the revision up to which nobody will ask the change log, where the index's snapshots need what comes after revision.
func (c *Collection) changesNeeded(revision uint64) uint64 {
	if after := c.keepLog.Load(); after != nil {
		revision = min(revision, *after)
	}
	for _, k := range c.allKept() {
		if at := k.at.Load(); at > 0 {
			revision = min(revision, at)
		}
	}
	return revision
}

// keep writes the snapshots of all that is kept. Without one the next start reads the papers again.
func (c *Collection) keep() {
	for _, k := range c.allKept() {
		if err := k.save(c); err != nil {
			c.log.Warn("no snapshot of "+k.what+" was written; after the next start they are read from the papers again", "error", err)
		}
	}
}

// save writes the snapshot, where there is something new to write.
func (k *kept) save(c *Collection) error {
	revision := c.version.load()
	if !k.ready() || k.at.Load() == revision {
		return nil
	}
	if err := c.store.Room(k.index.SnapshotSize()); err != nil {
		return err
	}
	note, err := json.Marshal(snapshotNote{Store: c.store.UUID(), Fingerprint: c.store.Identity().Fingerprint, Revision: revision})
	if err != nil {
		return err
	}
	making, err := writeNew(c.root, k.file+".*.new", func(out io.Writer) error { return k.index.WriteSnapshot(out, note) })
	if err != nil {
		return err
	}
	if err := c.root.Rename(making, k.file); err != nil {
		return errors.Join(err, c.root.Remove(making))
	}
	k.at.Store(revision)
	return syncFolder(c.root, ".")
}

// check proves that what is kept is of the stored papers.
func (k *kept) check(c *Collection) error {
	if err := k.failed(); err != nil || !k.ready() {
		return err // or not all are there
	}
	n := 0
	err := c.store.Ordinals(func(ordinal uint64) error {
		n++
		if !k.index.Contains(ordinal) {
			return fmt.Errorf("invariant 3: paper %d is stored, and is without %s", ordinal, k.has)
		}
		return nil
	})
	if err == nil && n != k.index.Len() {
		err = fmt.Errorf("invariant 3: %d papers are stored, %d have %s", n, k.index.Len(), k.has)
	}
	return errors.Join(err, k.index.Check())
}

// opens makes an open of a kept index out of that of its package.
func opens[T keptIndex](open func(io.Reader) (T, []byte, error)) func(io.Reader) (keptIndex, []byte, error) {
	return func(r io.Reader) (keptIndex, []byte, error) {
		index, note, err := open(r)
		if err != nil {
			return nil, nil, err
		}
		return index, note, nil
	}
}
