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
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"embedd/internal/lexical"
	"embedd/internal/store"
)

// wordsSnapshot is the snapshot of the words in a data directory. There is one: without it they are read from the papers again, behind the start.
// Who never searches by words, and writes nothing, does not read it.
const (
	wordsSnapshotName = "words.snapshot"
	newWordsSnapshots = "words.snapshot.*.new" // while they are written
)

// lexicon has the papers' words, in memory, for searches by words.
type lexicon struct {
	derived
	index *lexical.Index
	at    atomic.Uint64 // revision of the snapshot on disk, 0 for none
}

func (w *lexicon) init() {
	w.index, w.what, w.made, w.skips = lexical.New(), "the papers' words", make(chan struct{}), true
	w.saved = (*Collection).savedWords
	w.put = func(ordinals []uint64, records []store.Record, present []bool) error {
		docs := make([]lexical.Doc, len(ordinals))
		analyze := func(i int) {
			if present[i] {
				docs[i] = lexical.Analyze(records[i].Paper.Title, records[i].Paper.Abstract)
			}
		}
		inParallel(len(ordinals), analyze)
		for i, ordinal := range ordinals {
			if present[i] {
				w.index.Add(ordinal, docs[i])
			} else {
				w.index.Remove(ordinal)
			}
		}
		return nil
	}
}

// inParallel calls fn for 0 to n-1, on as many cores as pays for work of a tenth of a millisecond.
func inParallel(n int, fn func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n/8)
	if workers < 2 {
		for i := range n {
			fn(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				fn(i)
			}
		})
	}
	wg.Wait()
}

// findWords looks which snapshot of the words there is, and reads none of the words: they are taken from it when they are asked for.
func (c *Collection) findWords() {
	if c.store.Count() == 0 {
		c.words.there()
		return
	}
	f, err := openWordsFile(c.root)
	if err != nil {
		return // which is said when they are asked for
	}
	defer f.Close()
	if text, err := lexical.Note(f); err == nil {
		if note, err := checkWordsNote(text, c.store); err == nil {
			c.words.at.Store(note.Revision)
		}
	}
}

// savedWords takes the words from their snapshot, where it fits, and brings them up to the store. Otherwise they are read from the papers.
func (c *Collection) savedWords(ctx context.Context) bool {
	w := &c.words
	index, note, err := readWords(ctx, c.root, c.store)
	if err == nil {
		w.take(index)
		err = c.catchUpWords(ctx, note.Revision)
	}
	if err == nil {
		return true
	}
	if ctx.Err() != nil { // by Close: it stays of use
		return false
	}
	if !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("the snapshot of the papers' words is not used; they are read from the papers again", "reason", err)
	}
	w.at.Store(0)
	w.take(lexical.New())
	return false
}

// take puts other words in the place of those there are. What is changed meanwhile is in the change log, or is put after it.
func (w *lexicon) take(index *lexical.Index) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index.Take(index)
}

// openWordsFile opens the file of the snapshot.
func openWordsFile(root *os.Root) (*os.File, error) {
	if info, err := root.Stat(wordsSnapshotName); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() { // opening a pipe would wait for somebody to write into it
		return nil, fmt.Errorf("%w: it is no plain file", lexical.ErrSnapshot)
	}
	return root.Open(wordsSnapshotName)
}

// readWords reads the snapshot and proves that it is whole, and of this store.
func readWords(ctx context.Context, root *os.Root, s *store.Store) (_ *lexical.Index, note snapshotNote, err error) {
	f, err := openWordsFile(root)
	if err != nil {
		return nil, note, err
	}
	defer f.Close()
	index, text, err := lexical.Open(bufio.NewReaderSize(endingReader{ctx, f}, 1<<20))
	if err != nil {
		return nil, note, err
	}
	note, err = checkWordsNote(text, s)
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

func checkWordsNote(text []byte, s *store.Store) (note snapshotNote, err error) {
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

// catchUpWords brings the words, which have everything up to a revision, up to the store. A paper that is under the same ordinal still may have
// another title: its text alone is the same.
func (c *Collection) catchUpWords(ctx context.Context, from uint64) error {
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
	if err := c.bringWords(ctx, slices.Collect(maps.Keys(touched))); err != nil || c.words.index.Len() == c.store.Count() {
		return err
	}
	// A write is under way, or the snapshot lacks what the log does not tell.
	stray := map[uint64]struct{}{}
	for _, ordinal := range c.words.index.Ordinals() {
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
	return c.bringWords(ctx, slices.Collect(maps.Keys(stray)))
}

// bringWords brings the words of some papers to what is stored.
func (c *Collection) bringWords(ctx context.Context, ordinals []uint64) error {
	w := &c.words
	for some := range slices.Chunk(ordinals, derivedAtOnce) {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.mu.Lock()
		err := w.bring(c, some)
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// changesNeeded is the revision up to which nobody will ask the change log, where the index's snapshots need what comes after revision.
func (c *Collection) changesNeeded(revision uint64) uint64 {
	if at := c.words.at.Load(); at > 0 {
		return min(revision, at)
	}
	return revision
}

// keepWords writes the snapshot of the words. Without it the next start reads them from the papers again.
func (c *Collection) keepWords() {
	if err := c.saveWords(); err != nil {
		c.log.Warn("no snapshot of the papers' words was written; after the next start they are read from the papers again", "error", err)
	}
}

// saveWords writes their snapshot, where there is something new to write.
func (c *Collection) saveWords() error {
	w := &c.words
	revision := c.version.load()
	if !w.ready() || w.at.Load() == revision {
		return nil
	}
	if err := c.store.Room(w.index.SnapshotSize()); err != nil {
		return err
	}
	note, err := json.Marshal(snapshotNote{Store: c.store.UUID(), Fingerprint: c.store.Identity().Fingerprint, Revision: revision})
	if err != nil {
		return err
	}
	making, err := writeNew(c.root, newWordsSnapshots, func(out io.Writer) error { return w.index.WriteSnapshot(out, note) })
	if err != nil {
		return err
	}
	if err := c.root.Rename(making, wordsSnapshotName); err != nil {
		return errors.Join(err, c.root.Remove(making))
	}
	w.at.Store(revision)
	return syncFolder(c.root, ".")
}

// checkWords proves that the words are those of the stored papers.
func (c *Collection) checkWords() error {
	w := &c.words
	if err := w.failed(); err != nil || !w.ready() {
		return err // or not all are there
	}
	n := 0
	err := c.store.Ordinals(func(ordinal uint64) error {
		n++
		if !w.index.Contains(ordinal) {
			return fmt.Errorf("invariant 3: paper %d is stored, and has no words", ordinal)
		}
		return nil
	})
	if err == nil && n != w.index.Len() {
		err = fmt.Errorf("invariant 3: %d papers are stored, %d have words", n, w.index.Len())
	}
	return errors.Join(err, w.index.Check())
}
