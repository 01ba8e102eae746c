package ann

import (
	"cmp"
	"fmt"
	"slices"

	"embedd/ann/vec"
)

// Neighbor is one vector of an answer.
type Neighbor struct {
	Label uint64
	// Distance is the cosine distance of the vectors as they are kept, 0 to 2 up to rounding; less is nearer.
	Distance float32
}

// compare orders by distance, ties by label.
func (n Neighbor) compare(o Neighbor) int {
	return cmp.Or(cmp.Compare(n.Distance, o.Distance), cmp.Compare(n.Label, o.Label))
}

// Plan is a way to answer a query.
type Plan uint8

const (
	// Auto takes the plan that is expected to be faster.
	Auto Plan = iota
	// Graph walks the graph.
	Graph
	// Scan compares with all that may be in the answer, as Exact does: the answer is the exact one.
	Scan
)

func (p Plan) String() string { return [...]string{"auto", "graph", "scan"}[min(p, Scan)] }

// Query says what a search looks for.
type Query struct {
	// K is how many neighbours are wanted, at least 1.
	K int
	// Ef is the length of the candidate list: more is slower and nearer to exact. 0 chooses it by Recall. Less than K needs is
	// raised: see Answer.Ef.
	Ef int
	// Recall is the share of the exact answer that is wanted on average, 0.5 to 0.9999, where Ef is 0; 0 is DefaultRecall of 128 neighbours or K. It
	// holds for queries like the vectors of the index, as far as Calibrate has measured it.
	Recall float64
	// Filter, when it is not nil, has the labels that may be in the answer.
	Filter *Filter
	// Plan forces a way, for measurements.
	Plan Plan
	// Done, when it is not nil, is closed when nobody waits for the answer any more, as that of a context. Search then gives up within a
	// millisecond or two, with ErrGivenUp.
	Done <-chan struct{}
}

// Answer is what a search found.
type Answer struct {
	// Neighbors, nearest first, ties in the order of labels. There are fewer than K only where fewer live and pass the filter.
	Neighbors []Neighbor
	// Ef is the length of the candidate list that was used, 0 for a scan.
	Ef int
	// Plan is the way that was taken.
	Plan Plan
}

// reranked is how many of ef candidates are compared again by the vectors as they are kept. It does not depend on K, so that the
// answer for K is the beginning of the answer for more.
func (c Code) reranked(ef int) int {
	if c == Bit {
		return ef
	}
	return min(ef, 16+ef/2)
}

// enough is the least ef with which k candidates are compared again.
func (c Code) enough(k int) int {
	if k <= 32 || c == Bit {
		return k
	}
	return 2 * (k - 16)
}

// Search returns the live vectors near to the unit vector v. For all K that one Ef is enough for, the shorter answers are the
// beginnings of the longer ones. Algorithm 5 of the paper, on codes; what it finds is compared again by the vectors.
func (x *Index) Search(v []float32, q Query) (Answer, error) {
	if err := x.checkQuery(v, &q); err != nil {
		return Answer{}, err
	}
	defer x.grace.leave(x.grace.enter())
	s := x.searcher()
	defer x.searchers.Put(s)
	s.probe.ofVector(x, v)
	s.done = q.Done
	defer func() { s.done = nil }()
	answer := x.find(s, x.look(), v, q)
	if s.over() {
		return Answer{}, ErrGivenUp
	}
	answer.Neighbors = slices.Clone(answer.Neighbors[:min(q.K, len(answer.Neighbors))])
	return answer, nil
}

// oneEf is the K up to which queries that say neither Ef nor Recall have one Ef, that of it, so that their answers are beginnings of each other: with the
// Ef of 10 one answer in ten was none of that for 100.
const oneEf = 128

// checkQuery checks a query and fills in its Ef.
func (x *Index) checkQuery(v []float32, q *Query) error {
	if q.K < 1 || q.K > maxSlots {
		return fmt.Errorf("%w: K is %d, must be at least 1", ErrQuery, q.K)
	}
	if q.Ef < 0 {
		return fmt.Errorf("%w: Ef is %d, must be at least 1, or 0 to choose it by Recall", ErrQuery, q.Ef)
	}
	if q.Recall != 0 && !(q.Recall >= minRecall && q.Recall <= maxRecall) {
		return fmt.Errorf("%w: Recall is %v, must be %v to %v", ErrQuery, q.Recall, minRecall, maxRecall)
	}
	if q.Plan > Scan {
		return fmt.Errorf("%w: Plan is %d, must be Auto, Graph or Scan", ErrQuery, q.Plan)
	}
	if err := x.checkVector(v); err != nil {
		return err
	}
	switch {
	case q.Ef != 0:
	case q.Recall != 0:
		q.Ef = x.tuning.Load().ef(q.Recall, q.K, x.Len())
	default:
		q.Ef = x.tuning.Load().ef(DefaultRecall, max(q.K, oneEf), x.Len())
	}
	q.Ef = max(min(q.Ef, maxSlots), x.opt.Code.enough(q.K))
	return nil
}

// find answers a query for the searcher's probe, which is of v, with all neighbours that were compared by their vectors, in the
// searcher's memory.
func (x *Index) find(s *searcher, w view, v []float32, q Query) Answer {
	total := x.Len()
	if q.Filter != nil {
		total = min(total, q.Filter.Len())
	}
	answer := Answer{Ef: q.Ef, Plan: q.Plan}
	if total == 0 || w.entry == noEntry {
		return answer
	}
	budget := int(w.n)
	if answer.Plan == Auto {
		answer.Plan, budget = x.tuning.Load().plan(q.Ef, total, int(w.n))
	}
	if answer.Plan == Graph {
		admit := admission{all: q.Filter == nil && x.deads.Load() == 0, live: w.live, filter: q.Filter}
		s.pool.begin(q.Ef)
		slot, level := uint32(w.entry), int(w.entry>>32)
		for ; level > 0; level-- {
			slot = x.descend(s, w, slot, level)
		}
		x.walk(s, w, slot, 0, admit, budget)
		if !s.tired && s.pool.count >= min(q.K, total) {
			answer.Neighbors = x.rerank(s, w)
			return answer
		}
		answer.Plan = Scan // a filter can keep a walk from what it looks for
	}
	answer.Ef = 0
	answer.Neighbors = x.exact(s, w, v, q.K, q.Filter)
	return answer
}

// admission tells which slots count.
type admission struct {
	all    bool // every slot
	live   []uint64
	filter *Filter
}

func (f *admission) admits(w *view, slot uint32) bool {
	return f.all || hasBit(f.live, slot) && (f.filter == nil || f.filter.Contains(w.labels[slot]))
}

// descend walks on a level above 0 to the slot that has no link to a nearer one.
func (x *Index) descend(s *searcher, w view, slot uint32, level int) uint32 {
	s.fresh = append(s.fresh[:0], slot)
	best := entryOf(s.probe.compare(w.arrays, s.fresh)[0], slot)
	for {
		at := best
		s.fresh = read(x.list(w.arrays, at.slot(), level), w.n, s.fresh[:0])
		for i, dot := range s.probe.compare(w.arrays, s.fresh) {
			best = min(best, entryOf(dot, s.fresh[i]))
		}
		if best == at {
			return at.slot()
		}
	}
}

// beam is how many slots are opened before their links are compared, in one call: what is waited for of the one comes while the other is
// worked on. Recall is a little higher at the same ef.
const beam = 2

// givingUp is how many slots are opened before it is asked whether somebody still waits.
const givingUp = 64

// over tells whether nobody waits for the answer any more.
func (s *searcher) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// walk fills the searcher's pool, which has begun, with the nearest slots that it finds on a level from one: algorithm 2 of the
// paper. Slots that do not count are passed through. It opens budget slots, or a few more, at most, and fewer if it sees on its way that
// it will not come to an end; s.tired tells that there would have been others. With a budget of all slots it never gives up.
func (x *Index) walk(s *searcher, w view, from uint32, level int, admit admission, budget int) {
	s.begin(int(w.n))
	s.tired = false
	if s.skip != noLink {
		s.visited[s.skip/64] |= 1 << (s.skip % 64)
	}
	width := x.width(level)
	s.fresh = resize(s.fresh, beam*width)
	s.fresh[0] = from
	s.visited[from/64] |= 1 << (from % 64)
	found := 1
	review := budget // how many are opened when it sees how far it has come
	if budget < int(w.n) {
		review = budget / 4
	}
	for opened := 0; ; {
		if found > 0 {
			fresh := s.fresh[:found]
			if slot, ok := s.pool.peek(); ok { // the next to be opened, unless one of these is nearer
				vec.Fetch(x.list(w.arrays, slot, level))
			}
			for i, dot := range s.probe.compare(w.arrays, fresh) {
				e := entryOf(dot, fresh[i])
				if e >= s.pool.worst {
					continue
				}
				if admit.all || admit.admits(&w, fresh[i]) {
					e |= counted
				}
				s.pool.insert(e)
			}
		}
		if opened%givingUp < beam && s.over() {
			return
		}
		if opened >= review {
			if opened >= budget || s.pool.count < s.pool.ef*opened/(2*budget) { // half as many as it should have
				_, s.tired = s.pool.open()
				return
			}
			review += budget / 4
		}
		found = 0
		for i := range beam {
			slot, ok := s.pool.open()
			if !ok {
				if i == 0 {
					return
				}
				break
			}
			opened++
			found += vec.Expand(x.list(w.arrays, slot, level), s.visited, w.n, s.fresh[found:], w.codes, x.stride)
		}
	}
}

// once puts neighbours in order, each label once: one that was changed while a search went on may have been met in both its slots.
func once(near []Neighbor) []Neighbor {
	slices.SortFunc(near, Neighbor.compare)
	return slices.CompactFunc(near, func(a, b Neighbor) bool { return a.Label == b.Label })
}

// rerank compares the best of the pool again, by the vectors as they are kept.
func (x *Index) rerank(s *searcher, w view) []Neighbor {
	s.best = s.best[:0]
	room := x.opt.Code.reranked(s.pool.ef)
	for _, e := range s.pool.list {
		if e&counted != 0 && hasBit(w.live, e.slot()) { // or else its vector has gone meanwhile, or has another slot now
			if s.best = append(s.best, e.slot()); len(s.best) == room {
				break
			}
		}
	}
	s.out = resize(s.out, len(s.best))
	for i, d := range s.probe.distances(x, w.arrays, s.best) {
		s.out[i] = Neighbor{w.labels[s.best[i]], d}
	}
	return once(s.out)
}

// searcher is the memory of one search, used again by later ones.
type searcher struct {
	probe   probe    // what is searched for
	pair    probe    // of the heuristic
	pool    pool     // candidates
	visited []uint64 // a bit a slot
	fresh   []uint32 // links of a slot that were not visited yet
	best    []uint32 // what is compared again
	out     []Neighbor
	dots    []int32 // of an exact search
	vector  []float32
	tired   bool            // the last walk ended before its time
	skip    uint32          // a slot that walks do not come to; noLink: none
	done    <-chan struct{} // of the query

	// Of a join.
	seen  []uint64 // a bit a slot, all 0 between uses
	least []int32
	hits  []hit

	// Of choosing links.
	near      []entry
	chosen    []uint32
	sums      []int32 // of the chosen, times centre
	eight     [8]int32
	self      [1]uint32
	links     []uint32
	newcomers []uint32
	gone      []uint32
}

func (x *Index) searcher() *searcher {
	if s, ok := x.searchers.Get().(*searcher); ok {
		return s
	}
	return &searcher{skip: noLink}
}

// begin forgets what was visited.
func (s *searcher) begin(slots int) {
	if n := words(slots); cap(s.visited) < n {
		s.visited = make([]uint64, n, n+n/4)
	} else {
		s.visited = s.visited[:n]
		clear(s.visited)
	}
}
