package ann

import (
	"cmp"
	"fmt"
	"slices"
)

// Neighbor is one vector of an answer.
type Neighbor struct {
	Label uint64
	// Distance is the cosine distance, 0 to 2 up to rounding; less is nearer.
	Distance float32
}

// compare orders by distance, ties by label.
func (n Neighbor) compare(o Neighbor) int {
	return cmp.Or(cmp.Compare(n.Distance, o.Distance), cmp.Compare(n.Label, o.Label))
}

// Search returns up to k live vectors near to the unit vector q, nearest first. ef is the length of the candidate list,
// raised to k where it is less: more is slower and nearer to exact. The answer for k is the beginning of the answer for
// any larger k' ≤ ef at the same ef. Algorithm 5 of the paper.
func (x *Index) Search(q []float32, k, ef int) ([]Neighbor, error) {
	if k < 1 {
		return nil, fmt.Errorf("%w: is %d", ErrK, k)
	}
	if err := x.checkVector(q); err != nil {
		return nil, err
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.slots) == 0 {
		return nil, nil
	}
	s := x.searcher()
	defer x.searchers.Put(s)
	s.probe.ofVector(x, q)
	start := x.start(s)
	for l := int(x.levels[x.entry]); l > 0; l-- {
		start = x.descend(s, start, l)
	}
	found := x.searchLevel(s, []candidate{start}, max(ef, k), 0, true)
	out := make([]Neighbor, len(found))
	for i, c := range found { // all of them, so that the order is the same for every k
		out[i] = Neighbor{x.labels[c.slot], distance(q, x.vector(c.slot))}
	}
	slices.SortFunc(out, Neighbor.compare)
	return out[:min(k, len(out))], nil
}

// start is the entry point, seen from the probe.
func (x *Index) start(s *searcher) candidate {
	dots := s.probe.distances(x, []uint32{x.entry})
	return candidate{s.probe.distance(x, x.entry, dots[0]), x.entry}
}

// descend walks on a level to the slot that has no link to a nearer one.
func (x *Index) descend(s *searcher, at candidate, level int) candidate {
	for {
		best := at
		links := x.links(at.slot, level)
		dots := s.probe.distances(x, links)
		for i, n := range links {
			if c := (candidate{s.probe.distance(x, n, dots[i]), n}); c.less(best) {
				best = c
			}
		}
		if best == at {
			return at
		}
		at = best
	}
}

// searchLevel returns the nearest ef slots that it finds on a level from the given ones, nearest first: algorithm 2 of
// the paper. With live, tombstones are passed through but not counted and not returned, so that they cannot crowd out
// living neighbours.
func (x *Index) searchLevel(s *searcher, from []candidate, ef, level int, live bool) []candidate {
	s.begin(len(x.labels))
	for _, c := range from {
		s.visit(c.slot)
		s.open.push(c)
		if !live || !x.dead[c.slot] {
			s.found.push(c)
		}
	}
	for len(s.found) > ef {
		s.found.pop()
	}
	for len(s.open) > 0 {
		c := s.open.pop()
		if len(s.found) == ef && s.found[0].less(c) {
			break
		}
		s.fresh = s.fresh[:0]
		for _, n := range x.links(c.slot, level) {
			if s.visit(n) {
				s.fresh = append(s.fresh, n)
			}
		}
		dots := s.probe.distances(x, s.fresh)
		for i, n := range s.fresh {
			next := candidate{s.probe.distance(x, n, dots[i]), n}
			if len(s.found) == ef && s.found[0].less(next) {
				continue
			}
			s.open.push(next)
			if live && x.dead[n] {
				continue
			}
			s.found.push(next)
			if len(s.found) > ef {
				s.found.pop()
			}
		}
	}
	out := slices.Clone([]candidate(s.found))
	slices.SortFunc(out, candidate.compare)
	return out
}

// searcher is the memory of one search, used again by later ones.
type searcher struct {
	probe   probe         // what is searched for
	other   probe         // of the heuristic
	fresh   []uint32      // links of a slot that were not visited yet
	open    nearestFirst  // slots to look at
	found   farthestFirst // the best so far
	visited []uint32      // by slot: the epoch in which it was visited
	epoch   uint32
}

func (x *Index) searcher() *searcher {
	if s, ok := x.searchers.Get().(*searcher); ok {
		return s
	}
	return &searcher{}
}

// begin forgets the search before.
func (s *searcher) begin(slots int) {
	s.open, s.found = s.open[:0], s.found[:0]
	if len(s.visited) < slots {
		s.visited = slices.Grow(s.visited, slots-len(s.visited))
		s.visited = s.visited[:cap(s.visited)]
	}
	s.epoch++
	if s.epoch == 0 { // once in 2^32 searches
		clear(s.visited)
		s.epoch = 1
	}
}

// visit marks a slot and tells whether it was unmarked.
func (s *searcher) visit(slot uint32) bool {
	if s.visited[slot] == s.epoch {
		return false
	}
	s.visited[slot] = s.epoch
	return true
}
