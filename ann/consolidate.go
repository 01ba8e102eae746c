package ann

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Consolidate takes tombstones out of the graph, so that their slots can be used again, and returns how many. It is one pass over the
// lists: a slot that is linked to a tombstone chooses its links anew among those that are left and those that the tombstone had
// (the delete of FreshDiskANN, Singh et al., arXiv:2105.09613); then what fell off the spanning tree is tied to it again. Searches go on
// meanwhile; inserts wait. When ctx ends before the lists are changed, nothing has happened. Until the next Consolidate a deletion
// costs searches a little time and no recall, so it pays when tombstones are some percent of all.
func (x *Index) Consolidate(ctx context.Context) (int, error) {
	if err := x.ready(); err != nil {
		return 0, err
	}
	x.writers.Lock()
	defer x.writers.Unlock()
	w := x.look()
	dead := make([]uint64, words(int(w.n)))
	for i := range dead {
		dead[i] = atomic.LoadUint64(&w.dead[i])
	}
	c := consolidation{x: x, w: w, dead: dead}
	for slot := range w.n {
		if hasBit(dead, slot) {
			c.gone = append(c.gone, slot)
		} else if hasBit(w.live, slot) || hasBit(w.dead, slot) {
			c.stay = append(c.stay, slot)
		}
	}
	if len(c.gone) == 0 {
		return 0, nil
	}
	if err := c.choose(ctx); err != nil {
		return 0, err
	}
	c.enter()
	c.apply()
	c.span()
	x.grace.wait() // nobody is on a tombstone any more
	c.release()
	return len(c.gone), nil
}

// consolidation is one Consolidate. Slots that are deleted meanwhile are left for the next.
type consolidation struct {
	x          *Index
	w          view
	dead       []uint64
	gone, stay []uint32
	mu         sync.Mutex
	repairs    []repair
}

// repair is a list of links that takes the place of one with tombstones in it.
type repair struct {
	slot  uint32
	level int
	links []uint32
}

// choose makes the repairs, in the order of slots and levels.
func (c *consolidation) choose(ctx context.Context) error {
	x, w := c.x, c.w
	tour := x.tour() // so that what was read for one list is of use for the next
	// It leaves a core to searches: nothing waits for it but inserts.
	parallel(max(1, runtime.GOMAXPROCS(0)-1), len(tour), 64, func(i int) {
		slot := tour[i]
		if ctx.Err() != nil || slot >= w.n || hasBit(c.dead, slot) || !hasBit(w.live, slot) && !hasBit(w.dead, slot) {
			return
		}
		s := x.searcher()
		defer x.searchers.Put(s)
		for level := 0; level <= int(w.levels[slot]); level++ {
			list := x.list(w.arrays, slot, level)
			if !slices.ContainsFunc(list, c.isDead) {
				continue
			}
			links := c.mend(s, slot, level, list)
			c.mu.Lock()
			c.repairs = append(c.repairs, repair{slot, level, links})
			c.mu.Unlock()
		}
	})
	slices.SortFunc(c.repairs, func(a, b repair) int {
		if a.slot != b.slot {
			return int(a.slot) - int(b.slot)
		}
		return a.level - b.level
	})
	return ctx.Err()
}

func (c *consolidation) isDead(link uint32) bool {
	return link != noLink && hasBit(c.dead, link&slotMask)
}

// mendTries is how many candidates are looked at for each place: most are shadowed by links that stay, and farther ones the more so.
const mendTries = 8

// mend gives the links of a list that stay, and in the places of its tombstones those of their links that the heuristic would choose
// beside them: lists keep their length, and what chose them once need not be done again.
func (c *consolidation) mend(s *searcher, slot uint32, level int, list []uint32) []uint32 {
	x, a := c.x, c.w.arrays
	// The links that are left, and those of the tombstones. Where these are too few, as where a whole neighbourhood went, also those of
	// the tombstones that tombstones are linked to, of up to 2·M in all.
	links, offered := make([]uint32, 0, len(list)), s.newcomers[:0]
	gone, length, direct := s.gone[:0], 0, 0
	for next := 0; ; next++ {
		for _, l := range list {
			if l == noLink {
				break
			}
			switch n := l & slotMask; {
			case c.isDead(l):
				if len(gone) < x.width(0) && !slices.Contains(gone, n) {
					gone = append(gone, n)
				}
			case next == 0:
				links = append(links, l) // with its mark
			case n != slot:
				offered = append(offered, n)
			}
			if next == 0 {
				length++
			}
		}
		if next == 0 {
			direct = len(gone)
		}
		if next == len(gone) || next >= direct && len(offered) >= mendTries*(length-len(links)) {
			break
		}
		list = x.list(a, gone[next], level)
	}
	s.newcomers, s.gone = offered, gone
	s.chosen, s.sums = s.chosen[:0], s.sums[:0]
	for _, l := range links {
		s.pick(a, l&slotMask)
	}
	s.near = s.near[:0]
	s.pair.ofSlot(x, a, slot)
	for i, dot := range s.pair.compare(a, offered) {
		if !slices.Contains(s.chosen, offered[i]) {
			s.near = append(s.near, entryOf(s.pair.similarity(dot), offered[i]))
		}
	}
	slices.Sort(s.near)
	s.near = slices.Compact(s.near) // two tombstones may have had the same link
	for _, e := range s.near[:min(len(s.near), mendTries*(length-len(links)))] {
		if len(links) == length {
			break
		}
		if !x.shadowed(s, a, e) {
			links = append(links, e.slot())
			s.pick(a, e.slot())
		}
	}
	return links
}

// enter gives the index another entry point if its own goes.
func (c *consolidation) enter() {
	x := c.x
	if !hasBit(c.dead, uint32(c.w.entry)) {
		return
	}
	entry := uint64(noEntry)
	for _, slot := range c.stay {
		if level := uint64(c.w.levels[slot]); entry == noEntry || level > entry>>32 {
			entry = level<<32 | uint64(slot)
		}
	}
	x.entry.Store(entry)
	c.w.entry = entry
}

// apply writes the repaired lists. Those that are newly linked to get a link back where they have room.
func (c *consolidation) apply() {
	x, w := c.x, c.w
	var back [][]uint64
	for _, r := range c.repairs {
		list := x.list(w.arrays, r.slot, r.level)
		for len(back) <= r.level {
			back = append(back, nil)
		}
		for _, l := range r.links {
			if !slices.ContainsFunc(list, func(o uint32) bool { return o != noLink && o&slotMask == l&slotMask }) {
				back[r.level] = append(back[r.level], uint64(l&slotMask)<<32|uint64(r.slot))
			}
		}
		write(list, r.links)
	}
	for level, edges := range back {
		slices.Sort(edges)
		for _, e := range edges {
			list := x.list(w.arrays, uint32(e>>32), level)
			if list[len(list)-1] == noLink {
				s := x.searcher()
				x.add(s, w, uint32(e>>32), level, uint32(e))
				x.searchers.Put(s)
			}
		}
	}
}

// span ties the parts into which the spanning tree has fallen together again, along links that there are, or else to what a search
// finds.
func (c *consolidation) span() {
	x, w := c.x, c.w
	if len(c.stay) == 0 {
		return
	}
	s := x.searcher()
	defer x.searchers.Put(s)
	part := newParts(int(w.n))
	trees := len(c.stay)
	for _, slot := range c.stay {
		for n := range treeEdges(x.list(w.arrays, slot, 0)) {
			if part.join(slot, n) {
				trees--
			}
		}
	}
	tie := func(a, b uint32) bool {
		if part.of(a) == part.of(b) || x.degree(w.arrays, a) >= x.maxDegree() || x.degree(w.arrays, b) >= x.maxDegree() {
			return false
		}
		x.add(s, w, a, 0, b|treeLink)
		x.add(s, w, b, 0, a|treeLink)
		part.join(a, b)
		trees--
		return true
	}
	var links []uint32
	for _, slot := range c.stay {
		if trees == 1 {
			return
		}
		links = read(x.list(w.arrays, slot, 0), w.n, links[:0])
		for _, n := range links {
			tie(slot, n)
		}
	}
	// Each part has a slot with room, a leaf, and the part of the root too. A slot may be tied to a third part, whose slots that come later
	// may all be full: then it is gone through again.
	root := uint32(w.entry)
	for trees > 1 {
		for _, slot := range c.stay {
			if part.of(slot) == part.of(root) || x.degree(w.arrays, slot) >= x.maxDegree() {
				continue
			}
			d := x.draft(s, w, slot)
			if !slices.ContainsFunc(d.near, func(e entry) bool { return tie(slot, e.slot()) }) && !tie(slot, root) {
				x.roomBelow(w.arrays, root, func(n uint32) bool { return tie(slot, n) })
			}
		}
	}
}

// release gives the slots of tombstones back. No list of another slot has them any more.
func (c *consolidation) release() {
	x, w := c.x, c.w
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, slot := range slices.Backward(c.gone) {
		level := int(w.levels[slot])
		for l := 0; l <= level; l++ {
			write(x.list(w.arrays, slot, l), nil)
		}
		if level > 0 {
			x.spare[level] = append(x.spare[level], w.towers[slot])
		}
		clearBit(w.dead, slot)
		x.free = append(x.free, slot)
	}
	x.deads.Add(-int64(len(c.gone)))
}

// parts are disjoint sets of slots (Galler and Fischer, 1964), with path halving.
type parts []uint32

func newParts(n int) parts {
	p := make(parts, n)
	for i := range p {
		p[i] = uint32(i)
	}
	return p
}

// of gives the slot that stands for the set of one.
func (p parts) of(slot uint32) uint32 {
	for p[slot] != slot {
		p[slot] = p[p[slot]]
		slot = p[slot]
	}
	return slot
}

// join makes one set of two, and tells whether they were two.
func (p parts) join(a, b uint32) bool {
	a, b = p.of(a), p.of(b)
	if a == b {
		return false
	}
	p[max(a, b)] = min(a, b)
	return true
}
