package lexical

import (
	"math"
	"slices"

	"github.com/viterin/vek/vek32"
)

const (
	// smallest is below every score.
	smallest = 1e-30
	// block is how many places have a maximum.
	block = 64
)

// ranking keeps the k best, and some more.
type ranking struct {
	k      int
	within Set     // nil: all
	found  []Match // up to twice k
	least  float32 // what a paper must reach to be among the k best
}

// worse orders papers, the best last.
func worse(a, b Match) bool {
	return a.Score < b.Score || a.Score == b.Score && a.Ordinal > b.Ordinal
}

// compare puts the best first.
func compare(a, b Match) int {
	switch {
	case worse(b, a):
		return -1
	case worse(a, b):
		return 1
	}
	return 0
}

// few tells whether the rest of the words is sooner looked up for those papers that they can bring among the best than added up for all.
func (r *ranking) few(s *sums) bool {
	if r.k == 0 {
		return true
	}
	if r.within != nil || r.k > len(s.blocks()) { // the maxima say nothing about who is among the best
		return false
	}
	before, rest, postings := 0.0, 0.0, 0
	for i := range s.words {
		before += float64(s.words[i].weight)
	}
	for i := range s.rest {
		rest += float64(s.rest[i].weight)
		postings += len(s.rest[i].list)
	}
	if before -= rest; rest > before/2 { // then they can bring most papers there
		return false
	}
	s.maximise()
	need, blocks := s.need(max(r.least, r.highest(s))), 0
	for _, most := range s.blocks() {
		if most >= need {
			blocks++
		}
	}
	// The papers lie in no order, so that the share of blocks without one of them tells how many they are.
	share := float64(blocks) / float64(len(s.blocks()))
	papers := -math.Log(1-share) * float64(len(s.blocks())) // infinite for all blocks
	return float64(blocks*lookThrough)+papers*float64(lookUp*(1+len(s.rest))) < float64(postings)
}

// What it takes to look through a block, and to look up a word of a paper, in postings that are added up in the same time.
const lookThrough, lookUp = 20, 6

// need is the least sum of a place that the rest of the words can bring to a score: each gives less than its weight. Sums are rounded.
func (s *sums) need(score float32) float32 {
	sum := 0.0
	for i := range s.rest {
		sum += float64(s.rest[i].weight)
	}
	return float32(float64(score)*(1-1e-6*float64(1+len(s.rest))) - sum)
}

// maximise finds the highest of each block.
func (s *sums) maximise() {
	for i := range s.blocks() {
		s.maxima[i] = vek32.Max(s.of[i*block : (i+1)*block])
	}
}

func (s *sums) blocks() []float32 { return s.maxima[:(len(s.chunk.ordinals)+block-1)/block] }

// from looks through a chunk. Most blocks of it are passed over by their maxima.
func (r *ranking) from(s *sums) {
	if r.found == nil {
		r.found = make([]Match, 0, min(2*r.k, chunkSize))
	}
	high := r.least
	if r.within == nil && r.k <= len(s.blocks()) {
		high = max(high, r.highest(s))
	}
	r.between(s, high, float32(math.Inf(1)))
	if len(s.rest) > 0 {
		r.cut() // the best are there for the most part, and raise what others need
		r.between(s, s.need(max(r.least, high)), high)
	}
}

// between looks at the papers whose sums are in a range, which begins above 0.
func (r *ranking) between(s *sums, low, high float32) {
	ordinals := s.chunk.ordinals
	for i, most := range s.blocks() {
		if most < low {
			continue
		}
		begin := i * block
		of := ordinals[begin:min(begin+block, len(ordinals))]
		for j, sum := range s.of[begin : begin+len(of)] {
			if !(sum >= low && sum < high) {
				continue
			}
			score := sum
			if len(s.rest) > 0 {
				score = s.whole(uint32(begin + j))
			}
			if score < r.least {
				continue
			}
			if ordinal := of[j]; ordinal != 0 && (r.within == nil || r.within.Contains(ordinal)) {
				r.put(Match{ordinal, score})
			}
		}
	}
}

// highest gives the k-th highest of the maxima. The k best papers have as much: each of k blocks has one.
func (r *ranking) highest(s *sums) float32 {
	values := s.sorted[:copy(s.sorted[:], s.blocks())]
	part(values, r.k, func(a, b float32) bool { return a > b })
	return values[r.k-1]
}

// part brings the k that come first to the beginning, the k-th of them to its place (Hoare, "Algorithm 65: Find", 1961).
func part[T any](values []T, k int, before func(a, b T) bool) {
	for low, high := 0, len(values)-1; low < high; {
		pivot := values[low+(high-low)/2]
		i, j := low, high
		for i <= j {
			for before(values[i], pivot) {
				i++
			}
			for before(pivot, values[j]) {
				j--
			}
			if i <= j {
				values[i], values[j] = values[j], values[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case k-1 <= j:
			high = j
		case k-1 >= i:
			low = i
		default:
			return
		}
	}
}

// put takes a paper in. Where there are twice as many as are wanted, the worse half goes.
func (r *ranking) put(m Match) {
	if r.found = append(r.found, m); len(r.found) == 2*r.k {
		r.cut()
	}
}

// cut leaves the k best, the worst of them last.
func (r *ranking) cut() {
	if r.k == 0 || len(r.found) < r.k {
		return
	}
	part(r.found, r.k, func(a, b Match) bool { return worse(b, a) })
	r.found = r.found[:r.k]
	r.least = max(r.least, r.found[r.k-1].Score)
}

// best empties the ranking.
func (r *ranking) best() []Match {
	r.cut()
	slices.SortFunc(r.found, compare)
	return r.found
}
