package ann

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"unsafe"

	"embedd/ann/vec"
)

const (
	// mostRounds is how many rounds there are at most. One is the last if fewer than one in enoughFound places of the lists changed.
	mostRounds  = 8
	enoughFound = 40
	// mostReverse is how many of those that have a slot in their lists are joined: some slots are near to thousands.
	mostReverse = 128
)

// unjoined marks an entry of a list that was in no round yet. (Entries of a list are not opened.)
const unjoined = opened

// join holds for each slot the nearest others that were found so far. It knows slots by their rank, which is their place in the tour, so
// that what is near lies together, also here. What is in a list depends on the pairs that were compared, and not on their order: the
// result does not depend on the threads.
type join struct {
	x       *Index
	threads int
	slots   []uint32 // all, in the order of a tour
	tour    []uint32 // those that were live when it began, by rank
	rank    []uint32 // by slot; noLink if it was not live
	codes   []byte   // by rank, as all that follows
	spots   []spot
	ef      int
	lists   []entry // ef for each, nearest first by the similarity of codes; places that are left are 0
	locks   [1024]sync.Mutex

	// Of the lists as they were when the round began, four parts for each rank: the new ones in its list, the new ones of those that have
	// it in theirs, and the old ones of both.
	edges []uint32
	begin []int // of each part, and the end of the last
	next  []int // of each part, while edges are made
	taken []func() error
}

// spot is what a comparison needs besides a code.
type spot struct {
	sum   int32 // of its code, times centre
	least int32 // the similarity that another must have to come into its list
}

// newJoin makes empty lists of ef for the slots that there are. It must be closed, also after an error.
func newJoin(x *Index, ef, threads int) (*join, error) {
	j := &join{x: x, threads: threads, slots: x.tour(), ef: ef}
	defer x.grace.leave(x.grace.enter()) // what is live now is not overwritten before that
	w := x.look()
	if w.cap == 0 && len(j.slots) > 0 {
		return j, ErrClosed
	}
	j.rank = make([]uint32, len(j.slots))
	for _, slot := range j.slots {
		j.rank[slot] = noLink
		if hasBit(w.live, slot) {
			j.rank[slot] = uint32(len(j.tour))
			j.tour = append(j.tour, slot)
		}
	}
	n := len(j.tour)
	if err := errors.Join(
		take(j, &j.codes, n*x.stride), take(j, &j.spots, n), take(j, &j.lists, n*ef),
		take(j, &j.edges, 2*n*ef), take(j, &j.begin, 4*n+1), take(j, &j.next, 4*n+1),
	); err != nil {
		return j, err
	}
	for rank, slot := range j.tour {
		copy(j.codes[rank*x.stride:][:x.stride], w.codes[int(slot)*x.stride:])
		j.spots[rank].least = math.MinInt32
		if x.opt.Code != Bit {
			j.spots[rank].sum = centre * w.sums[slot]
		}
	}
	return j, nil
}

// take makes an array of n zeros, until close, which is not in Go's heap: random places of it are read, and huge pages serve that well.
func take[T any](j *join, array *[]T, n int) error {
	r := new(region[T])
	_, err := r.grow(n)
	j.taken = append(j.taken, r.free)
	*array = r.data
	return err
}

// close gives the memory back.
func (j *join) close() error {
	var errs []error
	for _, free := range j.taken {
		errs = append(errs, free())
	}
	return errors.Join(errs...)
}

// run fills the lists.
func (j *join) run(ctx context.Context) error {
	if err := j.links(ctx); err != nil {
		return err
	}
	for range mostRounds {
		found, err := j.round(ctx)
		if err != nil {
			return err
		}
		if found < len(j.lists)/enoughFound {
			break
		}
	}
	return nil
}

// list gives the entries of a rank.
func (j *join) list(rank uint32) []entry {
	list := j.lists[int(rank)*j.ef:][:j.ef]
	n := len(list)
	for n > 0 && list[n-1] == 0 {
		n--
	}
	return list[:n]
}

// links joins each slot and its links.
func (j *join) links(ctx context.Context) error {
	n := uint32(len(j.slots))
	return j.x.eachBlock(ctx, j.slots, j.threads, func(s *searcher, w view, slot uint32, _ int) {
		s.links = read(j.x.list(w.arrays, slot, 0), n, append(s.links[:0], slot))
		s.fresh = s.fresh[:0]
		for _, l := range s.links {
			if rank := j.rank[l]; rank != noLink {
				s.fresh = append(s.fresh, rank)
			}
		}
		j.join(s, s.fresh, len(s.fresh))
	}, nothing)
}

// round joins for each slot those in its list and those in whose list it is, but the old ones only with new ones. It tells how many
// entries of the lists are new.
func (j *join) round(ctx context.Context) (int, error) {
	j.collect()
	err := j.x.eachBlock(ctx, j.tour, j.threads, func(s *searcher, _ view, slot uint32, _ int) {
		begin := j.begin[4*j.rank[slot]:][:5]
		fresh, old := j.edges[begin[0]:begin[2]], j.edges[begin[2]:begin[4]]
		if len(fresh) == 0 {
			return
		}
		// Each once, though two may be in each other's lists.
		s.seen = resize(s.seen, words(len(j.tour)))
		s.fresh = s.fresh[:0]
		add := func(edges []uint32) {
			for _, o := range edges {
				if s.seen[o/64]>>(o%64)&1 == 0 {
					s.seen[o/64] |= 1 << (o % 64)
					s.fresh = append(s.fresh, o)
				}
			}
		}
		add(fresh)
		first := len(s.fresh)
		add(old)
		for _, o := range s.fresh {
			s.seen[o/64] = 0
		}
		j.join(s, s.fresh, first)
	}, nothing)
	found := 0 // not how many came in, of which some may have been pushed out again: that depends on the order
	for _, e := range j.lists {
		found += int(e & unjoined)
	}
	return found, err
}

func nothing(int) error { return nil }

// collect makes edges of the lists, which are old after that.
func (j *join) collect() {
	// First the length of each part, then where it begins, then the parts.
	clear(j.begin)
	j.eachEdge(func(part int, _ uint32) { j.begin[part]++ })
	at := 0
	for i, n := range j.begin {
		j.begin[i], at = at, at+n
	}
	copy(j.next, j.begin)
	j.eachEdge(func(part int, rank uint32) {
		j.edges[j.next[part]] = rank
		j.next[part]++
	})
	for i := range j.lists {
		j.lists[i] &^= unjoined
	}
}

// eachEdge calls do with each edge's part and its other end.
func (j *join) eachEdge(do func(part int, rank uint32)) {
	n := uint32(len(j.tour))
	reverse := make([][2]uint8, n) // how many of each there are
	for rank := range n {
		for _, e := range j.list(rank) {
			old, other := int(e&unjoined^unjoined), e.slot()
			do(4*int(rank)+2*old, other)
			if count := &reverse[other][old]; *count < mostReverse {
				*count++
				do(4*int(other)+2*old+1, rank)
			}
		}
	}
}

// join compares each of the first of a set of ranks with all that come after it, and offers each to the other.
func (j *join) join(s *searcher, set []uint32, first int) {
	x := j.x
	s.sums, s.least = resize(s.sums, len(set)), resize(s.least, len(set))
	s.dots, s.hits = resize(s.dots, len(set)), resize(s.hits, len(set))
	for i, rank := range set {
		s.sums[i], s.least[i] = j.spots[rank].sum, atomic.LoadInt32(&j.spots[rank].least)
		j.fetch(rank)
	}
	for i, rank := range set[:first] {
		rest := set[i+1:]
		if len(rest) == 0 {
			break
		}
		base := s.sums[i]
		if code := j.codes[int(rank)*x.stride:][:x.stride]; x.opt.Code == Bit {
			vec.Hamming(words64(code), words64(j.codes), rest, s.dots)
			for k, d := range s.dots[:len(rest)] {
				s.dots[k] = -d
			}
		} else {
			vec.DotCodes(asSigned(code), j.codes, rest, s.dots) // as they lie: see shadowed
			base += centre * centre * int32(x.stride)
		}
		// First those that are near enough are put together, without a branch that would be guessed wrong.
		own, least, sums := s.least[i], s.least[i+1:][:len(rest)], s.sums[i+1:][:len(rest)]
		n := 0
		for k, dot := range s.dots[:len(rest)] {
			similarity := dot - base - sums[k]
			s.hits[n] = hit{uint32(k), similarity}
			more := 0
			if similarity >= min(own, least[k]) {
				more = 1
			}
			n += more
		}
		for _, h := range s.hits[:n] {
			if h.similarity >= least[h.k] {
				j.offer(rest[h.k], entryOf(h.similarity, rank), &least[h.k])
			}
			if h.similarity >= own {
				j.offer(rank, entryOf(h.similarity, rest[h.k]), &own)
			}
		}
	}
}

// hit is a comparison that may change a list.
type hit struct {
	k          uint32
	similarity int32
}

// asSigned is a code as a query: its values have 7 bits.
func asSigned(code []byte) []int8 {
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(code))), len(code))
}

// fetch has a list brought into the cache.
func (j *join) fetch(rank uint32) {
	list := unsafe.Slice((*uint32)(unsafe.Pointer(&j.lists[int(rank)*j.ef])), 2*j.ef)
	for len(list) > 0 {
		vec.Fetch(list)
		list = list[min(32, len(list)):]
	}
}

// offer puts an entry into a list, if it is near enough and not in there, and sets least to the similarity that the next must have.
func (j *join) offer(rank uint32, e entry, least *int32) {
	lock := &j.locks[rank%uint32(len(j.locks))]
	lock.Lock()
	list := j.lists[int(rank)*j.ef:][:j.ef]
	at := 0
	for _, o := range list { // all of them: no branch is guessed wrong
		less := 0
		if o-1 < e-1 { // 0 is beyond all
			less = 1
		}
		at += less
	}
	if at < len(list) && list[at]&^unjoined != e {
		copy(list[at+1:], list[at:])
		list[at] = e | unjoined
		if last := list[len(list)-1]; last != 0 {
			*least = last.dot()
			atomic.StoreInt32(&j.spots[rank].least, *least)
		}
	}
	lock.Unlock()
}
