package embed

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"embedd/embed/lane"
)

// Bare measures the limit: the time that the session alone takes for texts that are tokenised beforehand, run in groups of
// so many by as many goroutines as there are workers, without pooling, queue or results. Texts of a group are of about a
// length, and padded to its longest.
func (e *Encoder) Bare(ctx context.Context, texts []string, group int) (time.Duration, error) {
	if err := e.enter(); err != nil {
		return 0, err
	}
	defer e.leave()
	all := make([]lane.Text, len(texts))
	for i, text := range texts {
		var err error
		if all[i].IDs, _, err = e.tokenize(e.prompt(Document)+text, Document); err != nil {
			return 0, &TextError{Index: i, Err: err}
		}
	}
	if group > 1 {
		slices.SortFunc(all, func(a, b lane.Text) int { return len(a.IDs) - len(b.IDs) })
	}
	batches := make(chan []lane.Text, len(all))
	for batch := range slices.Chunk(all, max(1, group)) {
		batches <- batch
	}
	close(batches)
	errs := make([]error, e.workers)
	memory := make([]buffers, e.workers)
	for w := range memory {
		e.session.reserve(&memory[w], max(1, group), max(1, group)*e.manifest.MaxTokens)
	}
	begin := time.Now()
	var wg sync.WaitGroup
	for w := range e.workers {
		wg.Go(func() {
			for batch := range batches {
				if errs[w] = ctx.Err(); errs[w] != nil {
					return
				}
				if errs[w] = e.session.run(&memory[w], batch, longest(batch)); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin), errors.Join(errs...)
}
