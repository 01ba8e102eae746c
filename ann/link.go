package ann

import (
	"slices"
	"sync/atomic"

	"embedd/ann/vec"
)

// kept marks an entry of a list of candidates for links whose edge must stay, since it belongs to the spanning tree. (In a pool
// the same bit says that an entry counts; the two never meet.)
const kept = counted

// linkOf is the link that an entry becomes.
func (e entry) link() uint32 {
	if e&kept != 0 {
		return e.slot() | treeLink
	}
	return e.slot()
}

// choose returns up to room links out of candidates, nearest first, by the paper's heuristic (algorithm 4): a candidate that is
// nearer to one that was chosen than to the base itself, by a little, is left out, since it is reached through that one. The dot of a candidate is
// its similarity to the base. Those that are marked as kept are all chosen, each in its turn. The result is the searcher's memory.
func (x *Index) choose(s *searcher, a *arrays, candidates []entry, room int) []uint32 {
	for _, c := range candidates {
		if c&kept != 0 {
			room--
		}
	}
	s.chosen, s.links, s.sums = s.chosen[:0], s.links[:0], s.sums[:0]
	for _, c := range candidates {
		if c&kept == 0 {
			if room == 0 {
				continue // the places that are left belong to kept ones that come later
			}
			if x.shadowed(s, a, c) {
				continue
			}
			room--
		}
		s.pick(a, c.slot())
		s.links = append(s.links, c.link())
	}
	return s.links
}

// pick adds a slot to those that were chosen, with which shadowed compares.
func (s *searcher) pick(a *arrays, slot uint32) {
	s.chosen = append(s.chosen, slot)
	s.sums = append(s.sums, centre*a.sums[slot])
}

// nearer is by how much nearer than to the base, which is at a distance, a candidate must be to a chosen slot to be left out. A few
// percent give longer lists, with which less has to be compared for the same recall; as in Vamana, where it is called alpha (Jayaram
// Subramanya et al.: DiskANN, NeurIPS 2019). Copies are at no distance, and always left out.
func nearer(distance int32) int32 { return max(0, distance) / 32 }

// shadowed tells whether a candidate is nearer, by enough, to one of the chosen slots than to the base. It is most of what choosing costs:
// codes are compared as they lie, and the products of what is added to their values taken off after,
//
//	(c+64)·(d+64) = c·d + 64·Σc + 64·Σd + 64²·stride
func (x *Index) shadowed(s *searcher, a *arrays, c entry) bool {
	if len(s.chosen) == 0 {
		return false
	}
	const some = 8 // most are shadowed by the first few
	if x.opt.Code == Bit {
		s.pair.ofSlot(x, a, c.slot())
		limit := c.dot() + nearer(0-c.dot())
		for i := 0; i < len(s.chosen); i += some {
			if slices.Max(s.pair.compare(a, s.chosen[i:min(i+some, len(s.chosen))])) >= limit {
				return true
			}
		}
		return false
	}
	code := a.codes[int(c.slot())*x.stride:][:x.stride]
	added := centre*a.sums[c.slot()] + centre*centre*int32(x.stride)
	dots := s.eight[:]
	s.self[0] = c.slot()
	vec.DotCodes(asSigned(code), a.codes, s.self[:], dots)
	self := dots[0] - added - centre*a.sums[c.slot()]
	limit := c.dot() + nearer(self-c.dot()) + added
	for i := 0; i < len(s.chosen); i += some {
		part := s.chosen[i:min(i+some, len(s.chosen))]
		vec.DotCodes(asSigned(code), a.codes, part, dots)
		for j := range part {
			if dots[j]-s.sums[i+j] >= limit {
				return true
			}
		}
	}
	return false
}

// gather makes candidates of a slot's links and of newcomers, which may be among them: nearest first, with their similarity to the
// slot, each once.
func (x *Index) gather(s *searcher, w view, slot uint32, list, newcomers []uint32) []entry {
	s.links = s.links[:0]
	for i := range list {
		l := atomic.LoadUint32(&list[i])
		if l == noLink {
			break
		}
		s.links = append(s.links, l)
	}
	s.links = append(s.links, newcomers...)
	s.fresh = s.fresh[:0]
	for _, l := range s.links {
		s.fresh = append(s.fresh, l&slotMask)
	}
	s.pair.ofSlot(x, w.arrays, slot)
	s.near = s.near[:0]
	for i, dot := range s.pair.compare(w.arrays, s.fresh) {
		e := entryOf(s.pair.similarity(dot), s.fresh[i])
		if s.links[i]&treeLink != 0 {
			e |= kept
		}
		s.near = append(s.near, e)
	}
	slices.Sort(s.near)
	// Twins stand side by side, the marked one last.
	out := s.near[:0]
	for _, e := range s.near {
		if n := len(out); n > 0 && out[n-1].slot() == e.slot() {
			out[n-1] |= e
		} else {
			out = append(out, e)
		}
	}
	s.near = out
	return out
}

// add links a slot to newcomers on a level; marks of the spanning tree come with them. Where the list has no room for all, it is
// chosen anew. The caller holds the slot's stripe, or nobody else changes links.
func (x *Index) add(s *searcher, w view, slot uint32, level int, newcomers ...uint32) {
	list := x.list(w.arrays, slot, level)
	n := 0
	for n < len(list) && atomic.LoadUint32(&list[n]) != noLink {
		n++
	}
	for i, l := range newcomers {
		at := slices.IndexFunc(list[:n], func(o uint32) bool { return o&slotMask == l&slotMask })
		switch {
		case at >= 0:
			atomic.StoreUint32(&list[at], list[at]|l)
		case n < len(list):
			atomic.StoreUint32(&list[n], l)
			n++
		default:
			near := x.gather(s, w, slot, list, newcomers[i:])
			write(list, x.choose(s, w.arrays, near, len(list)))
			return
		}
	}
}

// degree is how many edges of the spanning tree a slot has.
func (x *Index) degree(a *arrays, slot uint32) int {
	n := 0
	for range treeEdges(x.list(a, slot, 0)) {
		n++
	}
	return n
}

// maxDegree is how many edges of the spanning tree a slot may have: the rest of its list is the heuristic's.
func (x *Index) maxDegree() int { return x.opt.M + 1 }

// roomBelow finds a slot with room for another edge of the tree, going along the tree from one that has none: a tree always has
// leaves. It is needed where all slots that a search found are full, as among thousands of copies of one vector.
func (x *Index) roomBelow(a *arrays, full uint32, room func(slot uint32) bool) uint32 {
	seen := map[uint32]bool{full: true}
	for queue := []uint32{full}; len(queue) > 0; queue = queue[1:] {
		for n := range treeEdges(x.list(a, queue[0], 0)) {
			if !seen[n] {
				if room(n) {
					return n
				}
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
	return noLink
}

// stripe is the lock of a slot's lists.
func (x *Index) stripe(slot uint32) *stripe {
	return &x.stripes[mix(uint64(slot))%uint64(len(x.stripes))]
}

// A mask that is not vec's does not compile.
var _ = [1]struct{}{}[slotMask-vec.Mask]
