package lexical

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// Match is a paper that has words of a query.
type Match struct {
	Ordinal uint64
	// Score by BM25, above 0.
	Score float32
}

// Set is a set of ordinals.
type Set interface {
	Contains(ordinal uint64) bool
}

// sums are the places of a chunk, added up.
type sums [chunkSize]float32

var free = sync.Pool{New: func() any { return new(sums) }}

// Search gives the k papers with the highest scores, the highest first and equal ones by their ordinals; less where fewer have any word of the
// query. Where within is not nil, only those in it are asked for. of gives the scores of some papers besides: 0 where there is none. The error is the
// end of ctx.
func (x *Index) Search(ctx context.Context, q Query, k int, within Set, of []uint64) (best []Match, scores []float32, err error) {
	scores = make([]float32, len(of))
	if q.Empty() {
		return nil, scores, ctx.Err()
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.places) == 0 {
		return nil, scores, ctx.Err()
	}
	weights, lists := x.weigh(q)
	top := ranking{k: k, least: smallest}
	acc := free.Get().(*sums)
	defer free.Put(acc)
	mean := float64(x.length) / float64(len(x.places))
	for i, c := range x.chunks {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		sum := acc[:len(c.ordinals)]
		clear(sum)
		for t, w := range weights {
			c.score(acc, lists[t][i], w, mean)
		}
		for j, ordinal := range of {
			if p, ok := x.places[ordinal]; ok && p.chunk() == i {
				scores[j] = sum[p.at()]
			}
		}
		if k > 0 {
			top.from(sum, c.ordinals, within)
		}
	}
	return top.best(), scores, nil
}

// weigh gives the weights of a query's words that some paper has, and their lists by chunk.
func (x *Index) weigh(q Query) (weights []float32, lists [][][]posting) {
	for _, t := range q.counts {
		df := 0
		of := make([][]posting, len(x.chunks))
		for i, c := range x.chunks {
			if at, ok := c.terms[t.term]; ok {
				of[i] = c.lists[at]
				df += len(of[i])
			}
		}
		if df > 0 {
			weights, lists = append(weights, float32(t.weight*idf(len(x.places), df)*(k1+1))), append(lists, of)
		}
	}
	return weights, lists
}

// score adds what one word gives to each paper that has it. Arrays as long as a place can say need no check of bounds.
func (c *chunk) score(sum *sums, list []posting, weight float32, mean float64) {
	base, slope := float32(k1*(1-b)), float32(k1*b/max(mean, 1e-9))
	lengths := (*[chunkSize]uint32)(c.lengths[:chunkSize])
	for _, p := range list {
		f, at := float32(int32(p.count())), uint16(p>>16)
		sum[at] += weight * f / (f + base + slope*float32(int32(lengths[at])))
	}
}

// smallest is below every score.
const smallest = 1e-30

// ranking keeps the k best.
type ranking struct {
	k     int
	heap  []Match // the worst first
	least float32 // what a paper must reach to be looked at
}

// worse orders the heap.
func worse(a, b Match) bool {
	return a.Score < b.Score || a.Score == b.Score && a.Ordinal > b.Ordinal
}

// from looks through the sums of a chunk.
func (r *ranking) from(sum []float32, ordinals []uint64, within Set) {
	for at, score := range sum {
		if score < r.least {
			continue
		}
		ordinal := ordinals[at]
		if ordinal == 0 || within != nil && !within.Contains(ordinal) {
			continue
		}
		r.put(Match{ordinal, score})
	}
}

func (r *ranking) put(m Match) {
	if len(r.heap) < r.k {
		r.heap = append(r.heap, m)
		for i := len(r.heap) - 1; i > 0; {
			up := (i - 1) / 2
			if !worse(r.heap[i], r.heap[up]) {
				break
			}
			r.heap[i], r.heap[up] = r.heap[up], r.heap[i]
			i = up
		}
	} else if worse(r.heap[0], m) {
		r.heap[0] = m
		for i := 0; ; {
			least := i
			for _, down := range []int{2*i + 1, 2*i + 2} {
				if down < len(r.heap) && worse(r.heap[down], r.heap[least]) {
					least = down
				}
			}
			if least == i {
				break
			}
			r.heap[i], r.heap[least] = r.heap[least], r.heap[i]
			i = least
		}
	} else {
		return
	}
	if len(r.heap) == r.k {
		r.least = r.heap[0].Score
	}
}

// best empties the ranking.
func (r *ranking) best() []Match {
	slices.SortFunc(r.heap, func(a, b Match) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Ordinal, b.Ordinal))
	})
	return r.heap
}
