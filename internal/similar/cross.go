package similar

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"embedd/ann"
)

// crossRecall is the share of the exact neighbours in the other corpus that is wanted.
const crossRecall = 0.995

// nearIn gives of each paper of c the k nearest of another corpus, nearest first: of all papers, or of a sample of so many, in which the others have no list.
func (c *corpus) nearIn(ctx context.Context, o *corpus, k int, exact bool, sample int, threads int, progress func(done, total int)) ([][]neighbour, error) {
	near := make([][]neighbour, len(c.papers))
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	n := min(sample, len(c.papers))
	var next, done atomic.Int64
	var mu sync.Mutex // guards failed, and that progress is told from one goroutine at a time
	var failed error
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				at := i * len(c.papers) / n
				list, err := c.paperIn(o, uint32(at), k, exact)
				if near[at] = list; err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
					return
				}
				if d := int(done.Add(1)); d%1024 == 0 || d == n {
					mu.Lock()
					progress(d, n)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return near, errors.Join(failed, ctx.Err())
}

// paperIn gives of one paper the k nearest of another corpus.
func (c *corpus) paperIn(o *corpus, at uint32, k int, exact bool) ([]neighbour, error) {
	wider := k
	if o.several {
		wider = 2*k + 16
	}
	var list []neighbour
	for _, label := range c.labelsOf(at) {
		v, there := c.index.Vector(label)
		if !there {
			continue // settle has left it out
		}
		var found []ann.Neighbor
		var err error
		if exact {
			found, err = o.index.Exact(v, wider)
		} else {
			var answer ann.Answer
			answer, err = o.index.Search(v, ann.Query{K: wider, Recall: crossRecall})
			found = answer.Neighbors
		}
		if err != nil {
			return nil, err
		}
		for _, n := range found {
			if to, ours := o.position(n.Label); ours {
				list = insert(list, neighbour{to, n.Distance}, k)
			}
		}
	}
	return list, nil
}
