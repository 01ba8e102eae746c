package retrieval

import (
	"bufio"
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

// openWords takes the words from their snapshot, where it fits, and brings them up to the store by the change log. Otherwise they are made
// when they are asked for.
func (c *Collection) openWords() {
	if c.store.Count() == 0 {
		c.words.there()
		return
	}
	index, note, err := readWords(c.root, c.store)
	if err == nil {
		c.words.index = index
		err = c.catchUpWords(note.Revision)
	}
	switch {
	case err == nil:
		c.words.at.Store(note.Revision)
		c.words.there()
	case errors.Is(err, fs.ErrNotExist):
	default:
		c.log.Warn("the snapshot of the papers' words is not used; they are read from the papers again", "reason", err)
	}
	if err != nil {
		c.words.index = lexical.New()
	}
}

// readWords reads the snapshot and proves that it is whole, and of this store.
func readWords(root *os.Root, s *store.Store) (_ *lexical.Index, note snapshotNote, err error) {
	if info, err := root.Stat(wordsSnapshotName); err != nil {
		return nil, note, err
	} else if !info.Mode().IsRegular() { // opening a pipe would wait for somebody to write into it
		return nil, note, fmt.Errorf("%w: it is no plain file", lexical.ErrSnapshot)
	}
	f, err := root.Open(wordsSnapshotName)
	if err != nil {
		return nil, note, err
	}
	defer f.Close()
	index, text, err := lexical.Open(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, note, err
	}
	switch err := json.Unmarshal(text, &note); {
	case err != nil:
		return nil, note, fmt.Errorf("its note: %w", err)
	case note.Store != s.UUID():
		return nil, note, errors.New("it was made from another store")
	case note.Revision > s.Revision():
		return nil, note, fmt.Errorf("it is of revision %d, the store is at %d", note.Revision, s.Revision())
	}
	return index, note, nil
}

// catchUpWords brings the words, which have everything up to a revision, up to the store. A paper that is under the same ordinal still may have
// another title: its text alone is the same.
func (c *Collection) catchUpWords(from uint64) error {
	w := &c.words
	touched := map[uint64]struct{}{}
	err := c.store.Changes(from, func(_ uint64, changes []store.Change) error {
		for _, change := range changes {
			touched[change.Ordinal] = struct{}{}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(slices.Collect(maps.Keys(touched)), derivedAtOnce) {
		if err := w.bring(c, some); err != nil {
			return err
		}
	}
	if n, want := w.index.Len(), c.store.Count(); n != want {
		return fmt.Errorf("with what has changed since it has %d papers, the store %d", n, want)
	}
	return nil
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
