package ann

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
)

// scanRows is how many codes one call of a kernel compares: enough that the call costs nothing, few enough that the runtime is not
// held up.
const scanRows = 256

// matching gives the slots that are live and pass a filter, in the searcher's memory.
func (x *Index) matching(s *searcher, w view, filter *Filter) []uint32 {
	s.fresh = s.fresh[:0]
	if filter != nil && filter.Len() < int(w.n)/fewShare {
		x.mu.RLock()
		for label := range filter.Labels() {
			if slot, ok := x.mem.table.get(w.arrays, label); ok && slot < w.n && hasBit(w.live, slot) {
				s.fresh = append(s.fresh, slot)
			}
		}
		x.mu.RUnlock()
		return s.fresh
	}
	for i := range words(int(w.n)) {
		for live := atomic.LoadUint64(&w.live[i]); live != 0; live &= live - 1 {
			slot := uint32(64*i + bits.TrailingZeros64(live))
			if slot < w.n && (filter == nil || filter.Contains(w.labels[slot])) {
				s.fresh = append(s.fresh, slot)
			}
		}
	}
	return s.fresh
}

// fewShare: of fewer than one in so many slots, each is looked up by its label; of more, all slots are gone through.
const fewShare = 16

// Exact returns the k live vectors nearest to the unit vector q, nearest first, by the vectors as they are kept: it is the truth that
// Search is measured against. It compares codes, and then all vectors that by the bounds of what codes leave out could be among the k.
func (x *Index) Exact(q []float32, k int) ([]Neighbor, error) {
	return x.ExactOf(q, k, nil)
}

// ExactOf is Exact among the labels of a filter.
func (x *Index) ExactOf(q []float32, k int, filter *Filter) ([]Neighbor, error) {
	query := Query{K: k, Ef: 1, Filter: filter}
	if err := x.checkQuery(q, &query); err != nil {
		return nil, err
	}
	defer x.grace.leave(x.grace.enter())
	w := x.look()
	s := x.searcher()
	defer x.searchers.Put(s)
	s.probe.ofVector(x, q)
	return x.exact(s, w, q, k, filter), nil
}

// Distances gives the distance of the unit vector v from the vector of each label, as those of an answer, and NaN where the label is not
// live.
func (x *Index) Distances(v []float32, labels []uint64) ([]float32, error) {
	if err := x.checkVector(v); err != nil {
		return nil, err
	}
	defer x.grace.leave(x.grace.enter())
	w := x.look()
	s := x.searcher()
	defer x.searchers.Put(s)
	s.probe.ofVector(x, v)
	out, where := make([]float32, len(labels)), make([]int, 0, len(labels))
	s.best = s.best[:0]
	x.mu.RLock()
	for i, label := range labels {
		out[i] = float32(math.NaN())
		if slot, ok := x.mem.table.get(w.arrays, label); ok && slot < w.n && hasBit(w.live, slot) {
			s.best, where = append(s.best, slot), append(where, i)
		}
	}
	x.mu.RUnlock()
	for j, d := range s.probe.distances(x, w.arrays, s.best) {
		out[where[j]] = d
	}
	return out, nil
}

// exact finds the k nearest for the searcher's probe, which is of q.
//
// Where v is a vector as it is kept and c what its code stands for, q' what the probe stands for, by Cauchy and Schwarz
//
//	|q·v - q'·c| ≤ |q|·|v-c| + |q-q'|·|c|
//
// so that a code gives bounds for the distance of its vector. First the k nearest by the codes are compared by the vectors; the
// farthest of them is no nearer than the k-th of the answer. Then all others whose lower bound is not beyond it are.
func (x *Index) exact(s *searcher, w view, q []float32, k int, filter *Filter) []Neighbor {
	slots := x.matching(s, w, filter)
	if x.opt.Code == Bit { // signs give no bounds to speak of
		return x.nearest(s, w, slots, k)
	}
	s.scan(slots, k)
	for from := 0; from < len(slots); from += scanRows {
		if s.over() {
			return nil
		}
		s.scanned(w, slots, from)
	}
	return x.settle(s, w, q, slots, k)
}

// scan begins to compare with slots, for the k nearest by the codes.
func (s *searcher) scan(slots []uint32, k int) {
	s.pool.begin(max(1, min(k, len(slots))))
	s.dots = resize(s.dots, len(slots))
}

// scanned compares with the slots from one on, scanRows of them.
func (s *searcher) scanned(w view, slots []uint32, from int) {
	chunk := slots[from:min(from+scanRows, len(slots))]
	for i, dot := range s.probe.compare(w.arrays, chunk) {
		s.dots[from+i] = dot
		if e := entryOf(dot, chunk[i]); e < s.pool.worst {
			s.pool.insert(e | counted)
		}
	}
}

// settle gives the k nearest of slots that have all been scanned.
func (x *Index) settle(s *searcher, w view, q []float32, slots []uint32, k int) []Neighbor {
	s.best = s.best[:0]
	for _, e := range s.pool.list {
		s.best = append(s.best, e.slot())
	}
	if len(s.best) == 0 {
		return nil
	}
	farthest := float64(slices.Max(s.probe.distances(x, w.arrays, s.best)))
	unit, missing := s.probe.units(x, q)
	s.best = s.best[:0]
	for i, dot := range s.dots {
		left := float64(w.errs[slots[i]])
		bound := (1+normTolerance)*left + missing*(1+normTolerance+left)
		if 1-unit*float64(dot-s.probe.offset)-bound-rounding <= farthest {
			s.best = append(s.best, slots[i])
		}
	}
	return x.nearest(s, w, s.best, k)
}

// nearest compares with slots by the vectors as they are kept, and gives the k nearest in order.
func (x *Index) nearest(s *searcher, w view, slots []uint32, k int) []Neighbor {
	var out []Neighbor
	for chunk := range slices.Chunk(slots, scanRows) {
		if s.over() {
			return nil
		}
		for i, d := range s.probe.distances(x, w.arrays, chunk) {
			out = append(out, Neighbor{w.labels[chunk[i]], d})
		}
		if len(out) >= 4*k+scanRows {
			slices.SortFunc(out, Neighbor.compare)
			out = out[:k]
		}
	}
	out = once(out)
	return out[:min(k, len(out))]
}

// rounding is more than what the second comparison is off: it rounds each value of q to 16 bits, and sums to float32.
const rounding = 1e-4

// units gives the cosine that a unit of the probe's centred products stands for, and how far what the probe stands for is from q.
func (p *probe) units(x *Index, q []float32) (unit, missing float64) {
	size := float64(largest(q) / mostQuery)
	for j, f := range q {
		d := float64(f) - size*float64(p.q[j])
		missing += d * d
	}
	return size * float64(x.scale), math.Sqrt(missing)
}
