package ann

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"
)

// What Recall may be, and what it is where nothing is said.
const (
	minRecall     = 0.5
	maxRecall     = 0.9999
	DefaultRecall = 0.99
)

// mostEf is the longest list that a recall chooses: beyond it comparing with all is faster up to a million vectors or so.
const mostEf = 10_000

// ladder are the lengths of the candidate list at which recall is measured, and tunedK the numbers of neighbours.
var (
	ladder = [24]int{10, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 2048}
	tunedK = [2]int{10, 100}
)

// missTable is 1 less the recall for each of tunedK at each step of the ladder, falling.
type missTable [len(tunedK)][len(ladder)]float32

func (m *missTable) valid() bool {
	for k := range m {
		for i, v := range m[k] {
			if !(v >= 0 && v <= 1) || i > 0 && v > m[k][i-1] {
				return false
			}
		}
	}
	return true
}

// tuning is what the index knows of its own speed and recall.
type tuning struct {
	// hop and row are the times, in any one unit, of opening a slot in a walk and of comparing a code in a scan.
	hop, row float64
	// n is the number of vectors with which miss was measured.
	n    int
	miss missTable
}

// untuned holds until Calibrate has measured: 118,000 abstracts encoded by all-MiniLM-L6-v2, M 16, EfConstruction 200.
var untuned = &tuning{hop: 45, row: 1, n: 117747, miss: missTable{
	{.27, .23, .17, .135, .11, .09, .078, .058, .045, .036, .03, .021, .0155, .0095, .0064, .0046, .0027, .0018, .0012, .0007, .0005, .0004, .0002, .0001},
	{.5, .45, .4, .35, .32, .29, .27, .24, .21, .19, .175, .145, .125, .092, .07, .056, .039, .028, .022, .014, .0096, .007, .0043, .0013},
}}

// ef is the length of the candidate list that gives the recall for k of n. Between steps, in k and in n it follows powers, as recall
// does on the collections it was tried with.
func (t *tuning) ef(recall float64, k, n int) int {
	small, large := t.at(0, 1-recall), t.at(1, 1-recall)
	ef := small
	if k > tunedK[0] {
		ef *= math.Pow(float64(k)/float64(tunedK[0]), max(0.1, math.Log(large/small)/math.Log(float64(tunedK[1])/float64(tunedK[0]))))
	}
	if n > t.n { // it has grown since
		ef *= math.Pow(float64(n)/float64(t.n), 0.3)
	}
	return max(k, int(math.Ceil(min(ef, mostEf))))
}

// at is the step of the ladder, or a place between two, at which no more than miss is missed.
func (t *tuning) at(k int, miss float64) float64 {
	for i, v := range t.miss[k] {
		if float64(v) > miss {
			continue
		}
		if i == 0 {
			return float64(ladder[0])
		}
		lo, hi := float64(ladder[i-1]), float64(ladder[i])
		a, b := math.Log(float64(t.miss[k][i-1])), math.Log(max(float64(v), 1e-5))
		return lo * math.Pow(hi/lo, min(1, max(0, (a-math.Log(miss))/(a-b))))
	}
	last := len(ladder) - 1 // beyond what was measured, misses fall at least as the list grows
	return float64(ladder[last]) * float64(t.miss[k][last]) / miss
}

// plan tells which way is faster for a list of ef, where total of n slots count, and after how many opened slots the other way is to
// be taken: of the slots that a walk opens, total/n would count if the filter had nothing to do with what is searched for, and fewer do, see
// alikeness. To give up when the scan could have been made costs at most twice the better way.
func (t *tuning) plan(ef, total, n int) (Plan, int) {
	scan := float64(n)*rowShare*t.row + float64(total)*t.row
	walk := float64(ef) * math.Pow(float64(n)/float64(total), alikeness) * t.hop
	if scan <= walk {
		return Scan, 0
	}
	return Graph, int(min(float64(n), scan/t.hop+float64(ef)))
}

// alikeness is 1 for a filter that has nothing to do with what is searched for. Those that people write are about subjects, and what is searched for is
// mostly of another one: with the papers of one category out of 118,747, a quarter of all, a walk for titles of all of them opens three times as many slots.
const alikeness = 1.6

// rowShare is what it costs to see that a slot does not count, in comparisons.
const rowShare = 0.1

// Calibrate measures, with up to 300 of the index's own vectors as queries, the recall at lengths of the candidate list, by which Recall
// of a Query is kept, and the times by which plans are chosen. A query's own slot is left out of the walk, which is then as hard as one
// for a vector from outside. It takes some seconds for 100,000 vectors on one core, and pays after the index has grown by half or so.
// Searches and changes go on meanwhile, and hardly count: a vector that takes a slot of its own after the beginning is not looked at, and one that went is not
// missed. One that takes a free slot after the exact neighbours of a query were found has a place among what the walk finds for it, so that the recall may
// come out a little too low, never too high.
func (x *Index) Calibrate(ctx context.Context) error {
	samples := x.sample(300)
	if len(samples) < 30 { // too few to say anything, and few enough to scan
		return nil
	}
	t := &tuning{n: x.Len()}
	before := x.count.Load() // the slots of what is there now, and those that are free
	if t.n < len(samples) {  // most has gone meanwhile
		return nil
	}
	// The two times are taken by turns: what else the machine does slows both, and the plans depend on their ratio.
	var scans, hops []float64
	const turn, timedEf = 10, 64
	for i := range samples {
		if err := ctx.Err(); err != nil {
			return err
		}
		q := &samples[i]
		begin := time.Now()
		near := x.exactBelow(before, q.vector, tunedK[1]+1)
		scans = append(scans, float64(time.Since(begin))/float64(t.n))
		q.near = slices.DeleteFunc(near, func(n Neighbor) bool { return n.Label == q.label })
		if i%turn < turn-1 {
			continue
		}
		for j := range turn {
			begin := time.Now()
			x.walkWithout(&samples[i-j], timedEf)
			hops = append(hops, float64(time.Since(begin))/timedEf)
		}
	}
	for step, ef := range ladder {
		if step > 0 && t.miss[0][step-1] == 0 && t.miss[1][step-1] == 0 { // there is nothing more to find
			break
		}
		var found, all [len(tunedK)]int
		for i := range samples {
			if err := ctx.Err(); err != nil {
				return err
			}
			q := &samples[i]
			near := x.there(before, x.walkWithout(q, ef))
			q.near = x.there(before, q.near)
			for k, kk := range tunedK {
				want := q.near[:min(kk, len(q.near))]
				all[k] += len(want)
				for _, n := range near[:min(kk, len(near))] {
					if _, ok := slices.BinarySearchFunc(want, n, Neighbor.compare); ok {
						found[k]++
					}
				}
			}
		}
		for k := range tunedK {
			t.miss[k][step] = 1 - float32(found[k])/float32(max(1, all[k]))
			if step > 0 {
				t.miss[k][step] = min(t.miss[k][step], t.miss[k][step-1])
			}
		}
	}
	t.row = median(scans)
	t.hop = median(hops) // of at least 30
	x.tuning.Store(t)
	return nil
}

// median of values, which are put in order; 0 if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// sample is a vector of the index that serves as a query.
type sample struct {
	slot   uint32
	label  uint64
	vector []float32
	near   []Neighbor // its exact neighbours
}

// sample gives up to n live vectors of level 0: those whose labels come first when they are scattered.
func (x *Index) sample(n int) []sample {
	defer x.grace.leave(x.grace.enter())
	w := x.look()
	var slots []uint32
	for slot := range w.n {
		if hasBit(w.live, slot) && w.levels[slot] == 0 {
			slots = append(slots, slot)
		}
	}
	slices.SortFunc(slots, func(a, b uint32) int { return cmp.Compare(mix(w.labels[a]), mix(w.labels[b])) })
	var out []sample
	for _, slot := range slots[:min(n, len(slots))] {
		v := x.vector(w.arrays, slot)
		if x.checkVector(v) == nil { // what is kept may be a little farther from norm 1 than what came
			out = append(out, sample{slot: slot, label: w.labels[slot], vector: v})
		}
	}
	return out
}

// exactBelow gives the k nearest of the vectors in the first slots, as Exact does.
func (x *Index) exactBelow(slots uint32, q []float32, k int) []Neighbor {
	defer x.grace.leave(x.grace.enter())
	w := x.look()
	w.n = min(w.n, slots)
	s := x.searcher()
	defer x.searchers.Put(s)
	s.probe.ofVector(x, q)
	return x.exact(s, w, q, k, nil)
}

// there gives those of the nearest, as many as are compared, that are live in the first slots.
func (x *Index) there(slots uint32, near []Neighbor) []Neighbor {
	out := make([]Neighbor, 0, tunedK[1])
	for _, n := range near {
		if _, slot, live := x.lookup(n.Label); live && slot < slots {
			if out = append(out, n); len(out) == cap(out) {
				break
			}
		}
	}
	return out
}

// walkWithout gives what a walk finds for a sample that does not come upon the sample's slot.
func (x *Index) walkWithout(q *sample, ef int) []Neighbor {
	defer x.grace.leave(x.grace.enter())
	s := x.searcher()
	defer x.searchers.Put(s)
	s.skip = q.slot
	defer func() { s.skip = noLink }()
	s.probe.ofVector(x, q.vector)
	return slices.Clone(x.find(s, x.look(), q.vector, Query{K: 1, Ef: ef, Plan: Graph}).Neighbors)
}
