package ann

import (
	"context"
	"slices"
)

// sweepQueries are the vectors that are compared with all others together: what is brought into the cache of the others' codes serves them all.
const sweepQueries = 48

// ExactNeighbors finds the k nearest others of the vectors of some labels, nil for all, exactly, as Exact does, and hands them out in the order of the
// labels, ascending where they are nil, from one goroutine; near is valid until yield returns. Labels that are not live are passed over. For each of
// n vectors it compares n codes: it is the truth that AllNeighbors is measured against, and takes about ten times as long for 100,000. threads 0 is one a core. An error of yield, the end of
// ctx, or Close (ErrClosed) ends it. Vectors that come or go meanwhile may be missing, or not.
func (x *Index) ExactNeighbors(ctx context.Context, labels []uint64, k, threads int, yield func(label uint64, near []Neighbor) error) error {
	if q := (Query{K: k, Ef: 1}); k < 1 {
		return x.checkQuery(make([]float32, x.dim), &q)
	}
	if labels == nil {
		labels = slices.Sorted(x.Labels())
	}
	const block = 32 * sweepQueries
	found := make([][]Neighbor, block)
	for some := range slices.Chunk(labels, block) {
		if err := ctx.Err(); err != nil {
			return err
		}
		groups := (len(some) + sweepQueries - 1) / sweepQueries
		if err := x.sweeps(threads, groups, func(w view, g int) {
			from, to := g*sweepQueries, min((g+1)*sweepQueries, len(some))
			x.sweep(w, some[from:to], k, found[from:to])
		}); err != nil {
			return err
		}
		for i, label := range some {
			if found[i] == nil {
				continue
			}
			if err := yield(label, found[i]); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// sweeps calls do for each group, from several goroutines. Between two calls of it Close may go on.
func (x *Index) sweeps(threads, groups int, do func(w view, g int)) error {
	defer x.grace.leave(x.grace.enter())
	w := x.look() // from here on Close waits
	if w.cap == 0 {
		return ErrClosed
	}
	parallel(threads, groups, 1, func(g int) { do(w, g) })
	return nil
}

// sweep finds the k nearest others of a few labels; nil for one that is not live.
func (x *Index) sweep(w view, labels []uint64, k int, found [][]Neighbor) {
	all := make([]*searcher, len(labels))
	for i, label := range labels {
		found[i] = nil
		x.mu.RLock()
		slot, ok := x.mem.table.get(w.arrays, label)
		x.mu.RUnlock()
		if !ok || slot >= w.n || !hasBit(w.live, slot) {
			continue
		}
		s := x.searcher()
		defer x.searchers.Put(s)
		s.vector = x.decode(w.arrays, slot, s.vector)
		s.probe.ofVector(x, s.vector)
		all[i] = s
	}
	first := slices.IndexFunc(all, func(s *searcher) bool { return s != nil })
	if first < 0 {
		return
	}
	slots := slices.Clone(x.matching(all[first], w, nil))
	if x.opt.Code != Bit {
		for _, s := range all {
			if s != nil {
				s.scan(slots, k+1)
			}
		}
		for from := 0; from < len(slots); from += scanRows {
			for _, s := range all {
				if s != nil {
					s.scanned(w, slots, from)
				}
			}
		}
	}
	for i, s := range all {
		if s == nil {
			continue
		}
		var near []Neighbor
		if x.opt.Code == Bit { // signs give no bounds to speak of
			near = x.nearest(s, w, slots, k+1)
		} else {
			near = x.settle(s, w, s.vector, slots, k+1)
		}
		near = slices.DeleteFunc(near, func(n Neighbor) bool { return n.Label == labels[i] })
		found[i] = near[:min(k, len(near))]
		if found[i] == nil {
			found[i] = []Neighbor{}
		}
	}
}
