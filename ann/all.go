package ann

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// allBlock is how many vectors AllNeighbors searches for before it hands out their neighbours.
const allBlock = 4096

// AllNeighbors finds the k nearest others of each live vector, and hands them out, one vector after the other from one goroutine, in
// an order of the index's own; near is valid until yield returns. Each search begins at the vector itself, so that a shorter list than for
// an outside query gives the same recall; ef 0 chooses one for about 0.99, and less than k needs is raised. threads 0 is one a core. An
// error of yield, or the end of ctx, ends it. Vectors that come or go meanwhile may be missing, or not.
func (x *Index) AllNeighbors(ctx context.Context, k, ef, threads int, yield func(label uint64, near []Neighbor) error) error {
	if k < 1 || k > maxSlots || ef < 0 {
		return fmt.Errorf("%w: K is %d, must be at least 1; Ef is %d, must be at least 1, or 0", ErrQuery, k, ef)
	}
	if ef == 0 {
		ef = k + k/2
		if x.opt.Code == Bit {
			ef *= 8
		}
	}
	ef = max(ef, k)
	var block [allBlock]struct {
		live  bool
		label uint64
		near  []Neighbor
	}
	return x.eachBlock(ctx, threads, func(s *searcher, w view, slot uint32, i int) {
		b := &block[i]
		if b.live = hasBit(w.live, slot); b.live {
			b.label, b.near = w.labels[slot], x.around(s, w, slot, ef, k, b.near[:0])
		}
	}, func(n int) error {
		for _, b := range block[:n] {
			if b.live {
				if err := yield(b.label, b.near); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// eachBlock calls do for each slot, from several goroutines, and after each block of slots done with how many they were. Between blocks
// Consolidate may go on.
func (x *Index) eachBlock(ctx context.Context, threads int, do func(s *searcher, w view, slot uint32, i int), done func(n int) error) error {
	for block := range slices.Chunk(x.tour(), allBlock) {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := x.grace.enter()
		w := x.look()
		parallel(threads, len(block), 32, func(i int) {
			s := x.searcher()
			defer x.searchers.Put(s)
			do(s, w, block[i], i)
		})
		x.grace.leave(e)
		if err := done(len(block)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// tour gives all slots in an order in which each is near to the one before, as far as links go: what one search has brought into the
// cache serves the next.
func (x *Index) tour() []uint32 {
	defer x.grace.leave(x.grace.enter())
	w := x.look()
	order := make([]uint32, 0, w.n)
	seen := make([]uint64, words(int(w.n)))
	var back []uint32 // slots that may have links left
	var links []uint32
	for start := range w.n { // after the first, those that are free
		if seen[start/64]>>(start%64)&1 == 1 {
			continue
		}
		for at := start; ; {
			if seen[at/64]>>(at%64)&1 == 0 {
				seen[at/64] |= 1 << (at % 64)
				order = append(order, at)
				back = append(back, at)
			}
			links = read(x.list(w.arrays, at, 0), w.n, links[:0])
			next := slices.IndexFunc(links, func(l uint32) bool { return seen[l/64]>>(l%64)&1 == 0 })
			if next >= 0 {
				at = links[next]
				continue
			}
			back = back[:len(back)-1]
			if len(back) == 0 {
				break
			}
			at = back[len(back)-1]
		}
	}
	return order
}

// around appends to out the k nearest others of a slot, found by a walk that begins at the slot with a list of ef others.
func (x *Index) around(s *searcher, w view, slot uint32, ef, k int, out []Neighbor) []Neighbor {
	x.walkFrom(s, w, slot, ef)
	s.best = s.best[:0]
	for _, e := range s.pool.list {
		if e&counted != 0 && e.slot() != slot && len(s.best) < x.opt.Code.reranked(k+16) {
			s.best = append(s.best, e.slot())
		}
	}
	s.vector = x.decode(w.arrays, slot, s.vector)
	s.probe.again(x, s.vector, largest(s.vector))
	for i, d := range s.probe.distances(x, w.arrays, s.best) {
		out = append(out, Neighbor{w.labels[s.best[i]], d})
	}
	slices.SortFunc(out, Neighbor.compare)
	return out[:min(k, len(out))]
}

// walkFrom walks the graph from a slot, looking for the ef others that are nearest to it.
func (x *Index) walkFrom(s *searcher, w view, slot uint32, ef int) {
	s.probe.ofSlot(x, w.arrays, slot)
	s.pool.begin(ef + 1) // and itself
	x.walk(s, w, slot, 0, admission{all: x.deads.Load() == 0, live: w.live}, int(w.n))
}

// Pair is two vectors that are near to each other. A is less than B.
type Pair struct {
	A, B     uint64
	Distance float32
}

func (p Pair) compare(o Pair) int {
	return cmp.Or(cmp.Compare(p.Distance, o.Distance), cmp.Compare(p.A, o.A), cmp.Compare(p.B, o.B))
}

// ErrTooMany: there are more pairs than were allowed.
var ErrTooMany = fmt.Errorf("too many pairs")

// Pairs finds the pairs of live vectors whose distance is at most within, nearest first, each once. From each vector it walks the graph
// until it has passed what is within reach, so how complete it is does not depend on how many neighbours a vector has; a pair is missed
// only where neither walk comes upon the other. More than most pairs are ErrTooMany. threads 0 is one a core.
func (x *Index) Pairs(ctx context.Context, within float32, most, threads int) ([]Pair, error) {
	if !(within >= 0 && within <= 2) || most < 1 {
		return nil, fmt.Errorf("%w: the distance is %v, must be 0 to 2; at most %d pairs are allowed, must be at least 1", ErrQuery, within, most)
	}
	var pairs []Pair
	var found [allBlock][]Pair
	err := x.eachBlock(ctx, threads, func(s *searcher, w view, slot uint32, i int) {
		if found[i] = found[i][:0]; hasBit(w.live, slot) {
			found[i] = x.within(s, w, slot, within, most, found[i])
		}
	}, func(n int) error {
		for _, f := range found[:n] {
			pairs = append(pairs, f...)
		}
		if len(pairs) > 2*most { // each may be there from both sides
			if pairs = distinct(pairs); len(pairs) > most {
				return fmt.Errorf("%w: more than %d within %v", ErrTooMany, most, within)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if pairs = distinct(pairs); len(pairs) > most {
		return nil, fmt.Errorf("%w: more than %d within %v", ErrTooMany, most, within)
	}
	return pairs, nil
}

// within appends the pairs of a slot. The list grows until its farthest entry is out of reach, or it has most.
func (x *Index) within(s *searcher, w view, slot uint32, within float32, most int, out []Pair) []Pair {
	s.vector = x.decode(w.arrays, slot, s.vector)
	for ef := 16; ; ef *= 4 {
		x.walkFrom(s, w, slot, ef)
		s.probe.again(x, s.vector, largest(s.vector))
		s.best = s.best[:0]
		for _, e := range s.pool.list {
			if e&counted != 0 && e.slot() != slot {
				s.best = append(s.best, e.slot())
			}
		}
		near := out
		reached := false
		for i, d := range s.probe.distances(x, w.arrays, s.best) {
			if d <= within {
				a, b := w.labels[slot], w.labels[s.best[i]]
				near = append(near, Pair{min(a, b), max(a, b), d})
				reached = reached || i >= len(s.best)/2 // the farther half of the list is still within
			}
		}
		if !reached || len(s.best) < ef || len(near) > most {
			return near
		}
	}
}

// distinct puts pairs in order, each once.
func distinct(pairs []Pair) []Pair {
	// The two sides of a pair may differ in the last digits: the nearer one stays.
	slices.SortFunc(pairs, func(p, o Pair) int {
		return cmp.Or(cmp.Compare(p.A, o.A), cmp.Compare(p.B, o.B), cmp.Compare(p.Distance, o.Distance))
	})
	pairs = slices.CompactFunc(pairs, func(p, o Pair) bool { return p.A == o.A && p.B == o.B })
	slices.SortFunc(pairs, Pair.compare)
	return pairs
}
