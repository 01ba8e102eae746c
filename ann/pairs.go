package ann

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

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
	var found [tourBlock][]Pair
	err := x.eachBlock(ctx, x.tour(), threads, func(s *searcher, w view, slot uint32, i int) {
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
			if a, b := w.labels[slot], w.labels[s.best[i]]; d <= within && a != b { // the same was inserted again meanwhile
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

// walkFrom walks the graph from a slot, looking for the ef others that are nearest to it.
func (x *Index) walkFrom(s *searcher, w view, slot uint32, ef int) {
	s.probe.ofSlot(x, w.arrays, slot)
	s.pool.begin(ef + 1) // and itself
	x.walk(s, w, slot, 0, admission{all: x.deads.Load() == 0, live: w.live}, int(w.n))
}
