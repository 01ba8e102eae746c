package retrieval

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"embedd/ann"
	"embedd/internal/store"
)

// The snapshots of the index in a data directory: the latest, and the one before it.
const (
	snapshotName    = "index.snapshot"
	oldSnapshotName = "index.snapshot.old"
	newSnapshots    = "index.snapshot.*.new" // while they are written
)

// When a snapshot is written, apart from the end.
const (
	// saveFrom changes, and the saveShare-th part of the vectors, are what a start after a crash should have to catch up with at
	// most: a second or two of work.
	saveFrom  = 5000
	saveShare = 10
	// saveAfter is how old a change may become without a snapshot that has it.
	saveAfter = 10 * time.Minute
)

// snapshots is what is known of those on disk.
type snapshots struct {
	mu sync.Mutex // held while one is written

	at      atomic.Uint64 // revision of the latest, 0 for none
	written atomic.Int64  // when the latest was, in Unix nanoseconds; 0: there is none
	touched atomic.Bool   // the upkeep changed the index since the latest
	wrong   atomic.Bool   // the index lacks what the store has, until the next start
	short   atomic.Bool   // the latest was not written for want of room, and that was logged
	changes atomic.Int64  // vectors that came or went since the latest
	// since is when the first of them was seen, 0 for none; notBefore is when another try may be made after one that failed. In Unix
	// nanoseconds.
	since, notBefore atomic.Int64
}

// snapshotNote ties a snapshot of the index to the store that it was made from. Ordinals are never used again, so a
// snapshot of the same store can be brought up to date by the store's change log, or by the difference of the two sets of ordinals.
type snapshotNote struct {
	Store       string `json:"store"`
	Fingerprint string `json:"fingerprint"`
	Revision    uint64 `json:"revision"`
	// Calibrated is how many vectors there were when recall was last measured.
	Calibrated int64 `json:"calibrated,omitempty"`
}

// checkStoreIsThere refuses to make a store where there has been one.
func checkStoreIsThere(root *os.Root) error {
	if _, err := root.Lstat(storeName); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	kept, _ := keptFiles()
	for _, pattern := range append(kept, snapshotName, oldSnapshotName, "backups/*", "collections/*", "generations/*", storeName+".damaged-*", storeName+".repairing") {
		found, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return internal("look into data directory "+root.Name(), err)
		}
		if len(found) > 0 {
			return &Error{Kind: DataLoss, Message: fmt.Sprintf("the data directory %s has %s and no store: it has lost its papers; restore a backup, or use a new directory", root.Name(), path.Base(found[0]))}
		}
	}
	return nil
}

// tidy removes what a process that was killed has left half done. The store is open: nobody else is doing it.
func (c *Collection) tidy() {
	_, making := keptFiles()
	for _, pattern := range append(making, newSnapshots, "backups/*.making-*") {
		left, err := fs.Glob(c.root.FS(), pattern)
		for _, name := range left {
			err = errors.Join(err, c.root.RemoveAll(name))
		}
		if err != nil {
			c.log.Warn("what an earlier process has left half done stays", "error", err)
		}
	}
}

// fresh gives a name that nothing has: a pattern with a random number in the place of its star.
func fresh(pattern string) string {
	return strings.Replace(pattern, "*", strconv.FormatUint(rand.Uint64(), 10), 1)
}

// useSnapshot puts the latest snapshot that can be used in the place of c.index, which is new, and gives its revision; 0 for none. The
// only error is the end of ctx: an index without its snapshot is made anew.
func (c *Collection) useSnapshot(ctx context.Context) (revision uint64, err error) {
	var reasons []error
	for _, name := range []string{snapshotName, oldSnapshotName} {
		index, note, err := c.openSnapshot(ctx, name)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			reasons = append(reasons, fmt.Errorf("%s: %w", name, err))
			c.start.UnusedSnapshots++
			continue
		}
		if reasons != nil {
			c.log.Warn("the latest snapshot of the index is not used, the one before it is", "reason", errors.Join(reasons...))
			// The next one would push the good one out, and keep this.
			if err := c.root.Remove(snapshotName); err != nil {
				c.log.Warn("a snapshot that is of no use stays", "error", err)
			}
		}
		empty := c.index
		c.index = index
		c.calibrated.Store(note.Calibrated)
		c.snapshots.at.Store(note.Revision)
		if info, err := c.root.Stat(name); err == nil {
			c.snapshots.written.Store(info.ModTime().UnixNano())
		}
		return note.Revision, empty.Close()
	}
	if reasons != nil {
		c.log.Warn("snapshot of the index is not used; the index is rebuilt from the store", "reason", errors.Join(reasons...), "papers", c.store.Count())
	}
	return 0, nil
}

// openSnapshot opens a snapshot and proves that it is whole, made from this store by this model, and of the options of c.index.
func (c *Collection) openSnapshot(ctx context.Context, name string) (_ *ann.Index, note snapshotNote, err error) {
	index, text, err := openIndex(c.root, name)
	if err != nil {
		return nil, note, err
	}
	if err := c.checkSnapshot(ctx, index, text, &note); err != nil {
		return nil, note, errors.Join(err, index.Close())
	}
	return index, note, nil
}

// openIndex opens the snapshot of that name in a folder, and gives its note.
func openIndex(root *os.Root, name string) (*ann.Index, []byte, error) {
	if info, err := root.Stat(name); err != nil {
		return nil, nil, err
	} else if !info.Mode().IsRegular() { // opening a pipe would wait for somebody to write into it
		return nil, nil, fmt.Errorf("%w: it is no plain file", ann.ErrSnapshot)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	return ann.OpenFile(f)
}

func (c *Collection) checkSnapshot(ctx context.Context, index *ann.Index, text []byte, note *snapshotNote) error {
	if err := json.Unmarshal(text, note); err != nil {
		return fmt.Errorf("its note: %w", err)
	}
	id, has, want := c.store.Identity(), index.Options(), c.index.Options()
	switch {
	case note.Store != c.store.UUID():
		return errors.New("it was made from another store")
	case note.Fingerprint != id.Fingerprint || index.Dim() != id.Dimension:
		return errors.New("it was made by another model")
	case has.M != want.M || has.EfConstruction != want.EfConstruction || has.Memory != want.Memory || has.Code != want.Code:
		return fmt.Errorf("it was made with M %d, efConstruction %d, memory %v, codes of a %v; asked for are M %d, efConstruction %d, memory %v, codes of a %v",
			has.M, has.EfConstruction, has.Memory, has.Code, want.M, want.EfConstruction, want.Memory, want.Code)
	case note.Revision > c.store.Revision():
		return fmt.Errorf("it is of revision %d, the store is at %d", note.Revision, c.store.Revision())
	}
	return index.Verify(ctx)
}

// catchUp brings the index, which has everything up to a revision, up to the store: by the change log, or where that does not go back
// so far by the difference of the two sets of ordinals. An ordinal's vector never changes, so equal sets of ordinals are equal contents.
func (c *Collection) catchUp(ctx context.Context, from uint64, progress func(done, total int)) error {
	missing, err := c.behind(ctx, from)
	if errors.Is(err, store.ErrForgotten) {
		missing, err = c.difference(ctx)
	}
	if err != nil {
		return catchUpError(err)
	}
	c.start.Inserted = len(missing)
	// gofail: var duringRecoveryReplay struct{}

	return catchUpError(c.index.InsertAll(ctx, missing, func(i int) ([]float32, error) { return c.store.Vector(missing[i]) }, 0, progress))
}

// behind deletes from the index what the change log says was removed after a revision, and gives what was added since and is not in it.
// For an index that has nothing, of revision 0, all that ever happened would be more than what there is.
func (c *Collection) behind(ctx context.Context, from uint64) (missing []uint64, err error) {
	if from == 0 {
		return nil, store.ErrForgotten
	}
	added := map[uint64]struct{}{}
	err = c.store.Changes(from, func(_ uint64, changes []store.Change) error {
		for _, change := range changes {
			switch change.Op {
			case store.Added:
				added[change.Ordinal] = struct{}{}
			case store.Removed:
				delete(added, change.Ordinal)
				c.index.Delete(change.Ordinal)
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	for ordinal := range added {
		if !c.index.Contains(ordinal) {
			missing = append(missing, ordinal)
		}
	}
	slices.Sort(missing)
	if n := c.index.Len() + len(missing); n != c.store.Count()+c.passages.len() {
		// It cannot be, and would be found by nobody.
		c.log.Warn("the change log and the snapshot of the index do not add up; all ordinals are compared", "vectors", n, "papers", c.store.Count())
		return nil, store.ErrForgotten
	}
	return missing, nil
}

// difference deletes what the index has and the store lacks, and gives what the store has and the index lacks.
func (c *Collection) difference(ctx context.Context) (missing []uint64, err error) {
	live := make(map[uint64]struct{}, c.store.Count())
	err = c.store.Ordinals(func(ordinal uint64) error {
		live[ordinal] = struct{}{}
		if !c.index.Contains(ordinal) {
			missing = append(missing, ordinal)
		}
		return ctx.Err()
	})
	if err == nil {
		err = c.store.Passages(func(ordinal uint64, p store.Passage) error {
			if _, known := live[ordinal]; !known && !c.index.Contains(ordinal) {
				missing = append(missing, ordinal)
			}
			live[ordinal] = struct{}{}
			return ctx.Err()
		})
	}
	if err != nil {
		return nil, err
	}
	for label := range c.index.Labels() {
		if _, ok := live[label]; !ok {
			c.index.Delete(label)
		}
	}
	return missing, nil
}

// catchUpError says what was going on, unless the error says so itself.
func catchUpError(err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return storeError("bring the index up to the store", err)
}

// unsaved tells whether the index is another than in its latest snapshot.
func (c *Collection) unsaved() bool {
	s := &c.snapshots
	return !s.wrong.Load() && (c.version.load() != s.at.Load() || s.touched.Load())
}

// snapshotDue tells whether it is time for a snapshot, and sees to being asked again.
func (c *Collection) snapshotDue() bool {
	s := &c.snapshots
	if !c.unsaved() {
		s.since.Store(0)
		return false
	}
	now := time.Now().UnixNano()
	if s.since.CompareAndSwap(0, now) {
		c.upkeep.timer.Reset(saveAfter)
	}
	old := now-s.since.Load() >= int64(saveAfter)
	return now >= s.notBefore.Load() && (old || s.changes.Load() >= int64(saveFrom+c.index.Len()/saveShare))
}

// saveSnapshot writes the index's snapshot: whole and synced before it takes the latest one's place, which takes that of the one before.
// What nobody will ask the change log for any more is forgotten.
func (c *Collection) saveSnapshot() error {
	s := &c.snapshots
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched.Store(false)
	changes := s.changes.Load()
	var revision uint64
	err := c.store.Room(c.index.SnapshotSize()) // for the store, what is acknowledged comes first
	if err == nil {
		revision, err = c.writeSnapshot(c.root, snapshotName)
	}
	if err != nil {
		s.touched.Store(true)
		s.notBefore.Store(time.Now().Add(saveAfter).UnixNano())
		c.upkeep.timer.Reset(saveAfter)
		return err
	}
	s.short.Store(false)
	s.changes.Add(-changes)
	before := s.at.Swap(revision)
	s.written.Store(time.Now().UnixNano())
	s.since.Store(0)
	c.keep()
	return c.store.Forget(c.changesNeeded(before))
}

// writeSnapshot writes a snapshot into a folder, and gives the revision up to which it surely has everything.
func (c *Collection) writeSnapshot(root *os.Root, name string) (revision uint64, err error) {
	revision = c.version.load()
	note, err := json.Marshal(snapshotNote{Store: c.store.UUID(), Fingerprint: c.store.Identity().Fingerprint, Revision: revision, Calibrated: c.calibrated.Load()})
	if err != nil {
		return 0, err
	}
	making, err := writeNew(root, newSnapshots, func(w io.Writer) error {
		err := c.index.WriteSnapshot(w, note)
		// gofail: var duringIndexSnapshotWrite struct{}

		return err
	})
	if err != nil {
		return 0, err
	}
	defer root.Remove(making) // gone already if all went well
	// gofail: var beforeSnapshotRename struct{}

	if err := root.Rename(name, oldSnapshotName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if err := root.Rename(making, name); err != nil {
		return 0, err
	}
	// gofail: var afterSnapshotRename struct{}

	return revision, syncFolder(root, ".")
}

// writeNew writes a new file, whole and synced, and gives its name, which is of a pattern. There is none where it fails.
func writeNew(root *os.Root, pattern string, write func(io.Writer) error) (name string, err error) {
	name = fresh(pattern)
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = write(w)
	if err := errors.Join(err, w.Flush(), f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, root.Remove(name))
	}
	return name, nil
}

// syncFolder syncs the names in a folder.
func syncFolder(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
