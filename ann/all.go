package ann

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// AllNeighbors finds the k nearest others of each live vector, and then hands them out, one vector after the other from one goroutine, in
// an order of the index's own; near is valid until yield returns. For each vector a list of ef others is kept: a longer one is slower and
// nearer to exact. ef 0 chooses one for a recall of about 0.99, or 0.9 with codes of bits, and less than k needs is raised; where
// comparing each with each is not slower, it is done, and exact. Until the end it takes, for each vector, a second code, 16 bytes for
// each place of its list, and 80. The result does not depend on threads, of which 0 is one a core. An error of yield, the end of ctx, or
// Close (ErrClosed) ends it. Vectors that come or go meanwhile may be missing, or not.
//
// Two vectors that are near to each other have, nearly always, a third that is near to both. So nobody searches: all links of a slot are
// compared with each other, where one row in the cache serves as many comparisons as there are links, and each comparison both its ends.
// Then, as often as that finds something, those that have a slot in their list, or are in its own, are compared: NN-descent (Dong, Moses,
// Li: Efficient k-nearest neighbor graph construction for generic similarity measures, WWW 2011), but from a graph that is good already.
func (x *Index) AllNeighbors(ctx context.Context, k, ef, threads int, yield func(label uint64, near []Neighbor) error) (err error) {
	if k < 1 || k > maxSlots || ef < 0 {
		return fmt.Errorf("%w: K is %d, must be at least 1; Ef is %d, must be at least 1, or 0", ErrQuery, k, ef)
	}
	ef = min(max(ef, x.opt.Code.joined(k)), maxSlots)
	if joinedPairs*ef*ef >= x.Len() {
		return x.eachNear(ctx, x.tour(), threads, func(s *searcher, w view, slot uint32, near []Neighbor) []Neighbor {
			return x.exactAround(s, w, slot, k, near)
		}, yield)
	}
	j, err := newJoin(x, ef, threads)
	defer func() { err = errors.Join(err, j.close()) }()
	if err != nil {
		return err
	}
	if err := j.run(ctx); err != nil {
		return err
	}
	return x.eachNear(ctx, j.tour, threads, func(s *searcher, w view, slot uint32, near []Neighbor) []Neighbor {
		return j.around(s, w, slot, k, near)
	}, yield)
}

// joinedPairs times the square of ef is about how many pairs are compared for each vector.
const joinedPairs = 3

// joined is the shortest list in which the k nearest are found.
func (c Code) joined(k int) int {
	if c == Bit {
		return max(64, 8*k)
	}
	return max(18, c.near(k)+3)
}

// near is how many of a list are compared by their vectors for the k nearest.
func (c Code) near(k int) int {
	if c == Bit {
		return c.joined(k)
	}
	return k + 4 + k/8
}

// eachNear hands out for each live vector what around appends to near.
func (x *Index) eachNear(ctx context.Context, tour []uint32, threads int, around func(s *searcher, w view, slot uint32, near []Neighbor) []Neighbor,
	yield func(label uint64, near []Neighbor) error) error {
	var block [tourBlock]struct {
		live  bool
		label uint64
		near  []Neighbor
	}
	return x.eachBlock(ctx, tour, threads, func(s *searcher, w view, slot uint32, i int) {
		b := &block[i]
		if b.live = hasBit(w.live, slot); b.live {
			b.label, b.near = w.labels[slot], around(s, w, slot, b.near[:0])
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

// around appends to near the k nearest others of a slot, of those in its list.
func (j *join) around(s *searcher, w view, slot uint32, k int, near []Neighbor) []Neighbor {
	rank := int(j.rank[slot])
	if stride := j.x.stride; !bytes.Equal(j.codes[rank*stride:][:stride], w.codes[int(slot)*stride:][:stride]) {
		return j.x.exactAround(s, w, slot, k, near) // it is another vector's by now
	}
	s.best = s.best[:0]
	for _, e := range j.list(uint32(rank)) {
		if other := j.tour[e.slot()]; len(s.best) < j.x.opt.Code.near(k) && hasBit(w.live, other) {
			s.best = append(s.best, other)
		}
	}
	s.vector = j.x.decode(w.arrays, slot, s.vector)
	s.probe.again(j.x, s.vector, largest(s.vector))
	for i, d := range s.probe.distances(j.x, w.arrays, s.best) {
		if label := w.labels[s.best[i]]; label != w.labels[slot] { // which may have been inserted again
			near = append(near, Neighbor{label, d})
		}
	}
	if len(near) < min(k, j.x.Len()-1) { // a graph of few links
		return j.x.exactAround(s, w, slot, k, near[:0])
	}
	near = once(near)
	return near[:min(k, len(near))]
}

// exactAround appends to near the k nearest others of a slot.
func (x *Index) exactAround(s *searcher, w view, slot uint32, k int, near []Neighbor) []Neighbor {
	s.vector = x.decode(w.arrays, slot, s.vector)
	s.probe.ofVector(x, s.vector)
	for _, n := range x.exact(s, w, s.vector, k+1, nil) {
		if n.Label != w.labels[slot] && len(near) < k {
			near = append(near, n)
		}
	}
	return near
}
