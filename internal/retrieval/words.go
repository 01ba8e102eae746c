package retrieval

import (
	"runtime"
	"sync"
	"sync/atomic"

	"embedd/internal/lexical"
	"embedd/internal/store"
)

// wordsSnapshotName is the snapshot of the words in a data directory.
const wordsSnapshotName = "words.snapshot"

// lexicon has the papers' words, in memory, for searches by words.
type lexicon struct {
	kept
	index *lexical.Index
}

func (w *lexicon) init() {
	w.index = lexical.New()
	w.kept.init("the papers' words", "words", wordsSnapshotName, w.index)
	w.note, w.open = lexical.Note, opens(lexical.Open)
	w.take = func(from keptIndex) {
		index, ok := from.(*lexical.Index)
		if !ok {
			index = lexical.New()
		}
		w.index.Take(index)
	}
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
