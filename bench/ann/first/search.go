package first

import "slices"

// Search returns the labels of up to k vectors near to the unit vector q, nearest first, ties by label. ef is the length of the
// candidate list. Algorithm 5 of the paper.
func (x *Index) Search(q []float32, k, ef int) []uint32 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.entry == none {
		return nil
	}
	s := x.searcher()
	defer x.searchers.Put(s)
	start := candidate{distance(q, x.vector(x.entry)), x.entry}
	for l := int(x.levels[x.entry]); l > 0; l-- {
		start = x.descend(q, start, l)
	}
	found := x.searchLevel(s, q, []candidate{start}, max(ef, k), 0)
	out := make([]uint32, min(k, len(found)))
	for i := range out {
		out[i] = found[i].slot
	}
	return out
}

// descend walks on a level to the slot that has no link to a nearer one.
func (x *Index) descend(q []float32, at candidate, level int) candidate {
	for {
		best := at
		for _, n := range x.links(at.slot, level) {
			if c := (candidate{distance(q, x.vector(n)), n}); c.less(best) {
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
// the paper.
func (x *Index) searchLevel(s *searcher, q []float32, from []candidate, ef, level int) []candidate {
	s.begin(len(x.levels))
	for _, c := range from {
		s.visit(c.slot)
		s.open.push(c)
		s.found.push(c)
	}
	for len(s.found) > ef {
		s.found.pop()
	}
	for len(s.open) > 0 {
		c := s.open.pop()
		if len(s.found) == ef && s.found[0].less(c) {
			break
		}
		for _, n := range x.links(c.slot, level) {
			if !s.visit(n) {
				continue
			}
			next := candidate{distance(q, x.vector(n)), n}
			if len(s.found) == ef && s.found[0].less(next) {
				continue
			}
			s.open.push(next)
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
