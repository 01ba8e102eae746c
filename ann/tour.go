package ann

import (
	"context"
	"slices"
)

// tourBlock is how many slots are worked on at a time.
const tourBlock = 4096

// eachBlock calls do for each slot of a tour, from several goroutines, and after each block of slots done with how many they were.
// Between blocks Consolidate may go on, or Close.
func (x *Index) eachBlock(ctx context.Context, tour []uint32, threads int, do func(s *searcher, w view, slot uint32, i int), done func(n int) error) error {
	for block := range slices.Chunk(tour, tourBlock) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := x.inBlock(block, threads, do); err != nil {
			return err
		}
		if err := done(len(block)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (x *Index) inBlock(block []uint32, threads int, do func(s *searcher, w view, slot uint32, i int)) error {
	defer x.grace.leave(x.grace.enter())
	w := x.look() // from here on Close waits
	if w.cap == 0 {
		return ErrClosed
	}
	parallel(threads, len(block), 32, func(i int) {
		s := x.searcher()
		defer x.searchers.Put(s)
		do(s, w, block[i], i)
	})
	return nil
}

// tour gives all slots in the order of the spanning tree, a slot before those below it: what was brought into the cache for one is of use
// for the next.
func (x *Index) tour() []uint32 {
	defer x.grace.leave(x.grace.enter())
	w := x.look()
	order := make([]uint32, 0, w.n)
	seen := make([]uint64, words(int(w.n)))
	var waiting []uint32
	for start := range w.n { // after the first, those that are free
		waiting = append(waiting, start)
		for len(waiting) > 0 {
			slot := waiting[len(waiting)-1]
			waiting = waiting[:len(waiting)-1]
			if hasBit(seen, slot) {
				continue
			}
			setBit(seen, slot)
			order = append(order, slot)
			for n := range treeEdges(x.list(w.arrays, slot, 0)) {
				if n < w.n {
					waiting = append(waiting, n)
				}
			}
		}
	}
	return order
}
