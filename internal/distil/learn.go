package distil

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Options of Learn; the zero value is what was found best on sets of papers (docs/distil.md).
type Options struct {
	// Seed of all chance.
	Seed uint64
	// HeldOut is the share of the queries that measure, above 0 and at most 0.5; 0 is 0.2.
	HeldOut float64
	// Rounds is how often the queries are gone over at most, 1 to 1,000; 0 is 60. A round is at most 64 batches.
	Rounds int
	// Temperature of the softmax, 0.01 to 1; 0 is 0.05.
	Temperature float64
	// Rate of Adam, above 0 and at most 0.01; 0 is 0.0001.
	Rate float64
	// Progress, where it is not nil, is told how many rounds are done, of how many at most; less than that where learning ends before.
	Progress func(done, total int)
}

// Result is an adapter and what it is good for.
type Result struct {
	// Matrix is W, row by row: of dimension times dimension values.
	Matrix []float32 `json:"-"`
	// Trained, Validated and HeldOut are how many queries learned, said when to end, and measured. Those that say when to end learn at last, too.
	Trained   int `json:"trained"`
	Validated int `json:"validated"`
	HeldOut   int `json:"held_out"`
	// Pairs that were learned from.
	Pairs int `json:"pairs"`
	// Papers that lists are of.
	Papers int `json:"papers"`
	// Rounds after which the validating queries were best; 0 where they never got better, and then the matrix is the identity.
	Rounds int `json:"rounds"`
	// Validation is the validating queries' nDCG@10 before and at its best.
	Validation [2]float64 `json:"validation"`
	// Distance is the Frobenius norm of W - I.
	Distance float64 `json:"distance"`
	// All is measured by all held-out queries, New by those of whose relevant papers no judgment that was learned from speaks.
	All Measured `json:"all"`
	New Measured `json:"new"`
	// Seconds that it took.
	Seconds float64 `json:"seconds"`
}

// ErrNoGain: the held-out queries do not show that the adapter is any good.
var ErrNoGain = errors.New("no gain is shown")

// Gains returns nil where the adapter gains, or ErrNoGain with the reason: the interval of all held-out queries must be above 0, and that of queries about
// new papers, where there are ten or more, must not be below 0.
func (r *Result) Gains() error {
	switch {
	case r.Rounds == 0:
		return fmt.Errorf("%w: the queries that validate got no better in any round, so that nothing was learned", ErrNoGain)
	case r.All.Queries < fewHeldOut:
		return fmt.Errorf("%w: %d queries are held out; with fewer than %d nothing can be said", ErrNoGain, r.All.Queries, fewHeldOut)
	case !(r.All.Low > 0):
		return fmt.Errorf("%w: on %d held-out queries nDCG@10 changes by %+.4f, and the interval of 95 %%, %+.4f to %+.4f, has 0 in it or is below", ErrNoGain, r.All.Queries, r.All.Gain, r.All.Low, r.All.High)
	case r.New.Queries >= fewFresh && r.New.High < 0:
		return fmt.Errorf("%w: it ranks papers that no judgment speaks of worse: on %d held-out queries about such papers nDCG@10 changes by %+.4f, from %+.4f to %+.4f in 95 of 100 cases", ErrNoGain, r.New.Queries, r.New.Gain, r.New.Low, r.New.High)
	}
	return nil
}

// What is not for others to choose.
const (
	batchQueries     = 64
	batchesOfRound   = 64
	positives        = 16     // of a query in a batch
	negatives        = 8      // hard ones of a query in a batch
	hardest          = 100    // papers that these are drawn from
	poolPapers       = 20_000 // that hard ones and validation are found in, and those that are judged
	mostValidating   = 500
	fewHeldOut       = 10 // queries that measure: with fewer no gain is claimed
	fewFresh         = 10 // queries about new papers: with fewer nothing is said by them
	patience         = 6  // rounds without a better one, after which learning ends, where a round is whole
	patienceOfShort  = 12 // and where it is less
	validationShare  = 0.2
	beta1, beta2     = 0.9, 0.999 // Adam (Kingma and Ba, 2015, arXiv:1412.6980)
	adamEpsilon      = 1e-8
	masked           = -1e4 // a score that no softmax sees
	defaultHeldOut   = 0.2
	defaultRounds    = 60
	defaultSoftmax   = 0.05
	defaultAdamsRate = 1e-4
)

// with gives the options with their defaults, or an error that names the first that is out of its range.
func (o *Options) with() (Options, error) {
	var w Options
	if o != nil {
		w = *o
	}
	for _, f := range []struct {
		name      string
		value     *float64
		usual     float64
		low, high float64
	}{
		{"held out", &w.HeldOut, defaultHeldOut, 0.01, 0.5}, {"temperature", &w.Temperature, defaultSoftmax, 0.01, 1}, {"rate", &w.Rate, defaultAdamsRate, 1e-9, 0.01},
	} {
		if *f.value == 0 {
			*f.value = f.usual
		}
		if !(*f.value >= f.low && *f.value <= f.high) {
			return w, fmt.Errorf("%s: is %v; must be %v to %v", f.name, *f.value, f.low, f.high)
		}
	}
	if w.Rounds == 0 {
		w.Rounds = defaultRounds
	}
	if w.Rounds < 1 || w.Rounds > 1000 {
		return w, fmt.Errorf("rounds: is %d; must be 1 to 1000", w.Rounds)
	}
	if w.Progress == nil {
		w.Progress = func(int, int) {}
	}
	return w, nil
}

// Learn finds the matrix. Errors: what is wrong with the set or the options, ErrTooFew, and the end of ctx, which it heeds within a tenth of a second or so.
// That nothing is gained is no error of Learn: see Result.Gains.
func Learn(ctx context.Context, s *Set, options *Options) (*Result, error) {
	began := time.Now()
	o, err := options.with()
	if err != nil {
		return nil, err
	}
	useful, err := s.check()
	if err != nil {
		return nil, err
	}
	if n := len(s.groups(useful)); n < MinQueries {
		return nil, fmt.Errorf("%w: %d of %d queries have %s, and differ from each other; it takes %d", ErrTooFew, n, len(s.Queries), s.wanted(), MinQueries)
	}
	// Each part of the chance has a source of its own, so that none depends on how often another was asked.
	chance := func(part uint64) *rand.Rand { return rand.New(rand.NewPCG(o.Seed, part)) }
	rest, held := s.split(useful, o.HeldOut, chance(1))
	train, validate := s.split(rest, validationShare, chance(2))
	r := &Result{Trained: len(train), Validated: len(validate), HeldOut: len(held), Papers: len(s.Papers) / s.Dimension}

	near := s.near(chance(3))
	l := &learner{set: s, o: &o, near: near, gone: s.themselves(validate, held)}
	if err := l.begin(ctx, train, chance(4)); err != nil {
		return nil, err
	}
	judges := validate[:min(len(validate), mostValidating)]
	before, err := near.ndcg(ctx, judges, nil)
	if err != nil {
		return nil, err
	}
	fresh := l.fresh(judges)
	best := mean(judges, before)
	r.Validation = [2]float64{best, best}
	for round := 1; round <= o.Rounds && round-r.Rounds <= l.patience(); round++ {
		if err := l.round(ctx); err != nil {
			return nil, err
		}
		now, err := near.ndcg(ctx, judges, l.turn)
		if err != nil {
			return nil, err
		}
		if m := mean(judges, now); m > best && !worse(fresh, before, now) {
			best, r.Rounds = m, round
		}
		o.Progress(round, o.Rounds)
	}
	r.Validation[1] = best
	r.Matrix = identity(s.Dimension)
	if r.Rounds > 0 {
		// Once more, with those that said when to end.
		l = &learner{set: s, o: &o, near: near, gone: s.themselves(held)}
		if err := l.begin(ctx, rest, chance(4)); err != nil {
			return nil, err
		}
		for range r.Rounds {
			if err := l.round(ctx); err != nil {
				return nil, err
			}
		}
		transpose(r.Matrix, l.turn, s.Dimension)
	}
	for i, x := range r.Matrix {
		if x-x != 0 {
			return nil, fmt.Errorf("learning left the finite numbers at value %d of the matrix; try a lower rate than %v", i, o.Rate)
		}
	}
	r.Pairs, r.Distance = l.pairs, distance(r.Matrix, s.Dimension)
	if err := r.measure(ctx, s, held, l, chance); err != nil {
		return nil, err
	}
	o.Progress(o.Rounds, o.Rounds)
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// wanted is what a query must have to be learned from.
func (s *Set) wanted() string {
	if s.Teacher {
		return "scores that differ"
	}
	return "a judgment above 0"
}

// measure compares the held-out queries' lists among all papers.
func (r *Result) measure(ctx context.Context, s *Set, held []int, l *learner, chance func(uint64) *rand.Rand) error {
	all := &pool{set: s, rows: make([]int, r.Papers)}
	for i := range all.rows {
		all.rows[i] = i
	}
	before, err := all.ndcg(ctx, held, nil)
	if err != nil {
		return err
	}
	after := before
	if r.Rounds > 0 {
		if after, err = all.ndcg(ctx, held, l.turn); err != nil {
			return err
		}
	}
	groups := s.groups(held)
	r.All = compare(groups, before, after, chance(5))
	fresh := make([][]int, 0, len(groups))
	for _, g := range groups {
		g = l.fresh(g)
		if len(g) > 0 {
			fresh = append(fresh, g)
		}
	}
	r.New = compare(fresh, before, after, chance(6))
	return nil
}

// near is the pool in which hard negatives are found, and which validates: the papers that are judged, and others by chance.
func (s *Set) near(rng *rand.Rand) *pool {
	papers := len(s.Papers) / s.Dimension
	in := make([]bool, papers)
	for _, q := range s.Queries {
		if q.Paper >= 0 {
			in[q.Paper] = true
		}
		for _, j := range q.Judged {
			in[j.Paper] = true
		}
	}
	p := &pool{set: s}
	for _, i := range rng.Perm(papers)[:min(papers, poolPapers)] {
		in[i] = true
	}
	for i, is := range in {
		if is {
			p.rows = append(p.rows, i)
		}
	}
	return p
}

// learner is a matrix on its way.
type learner struct {
	set  *Set
	o    *Options
	near *pool
	gone map[int]bool // papers that have no part: they are queries that do not learn
	rng  *rand.Rand

	queries []int              // those that learn
	targets map[int][]Judgment // of each of them, of sum 1
	hard    map[int][]int      // papers that are near each of them
	known   map[int]bool       // papers that a target speaks of
	pairs   int                // targets in all
	order   []int              // the queries, shuffled, that are left of this time over
	turn    []float32          // W on its side: rows times it are turned
	adam    struct{ m, v []float64 }
	steps   int

	work buffers
}

// buffers are a batch's memory, for as many rows as there were at most.
type buffers struct {
	x, u, g, side, scores, slope, weight, a, b []float32
	norms                                      []float32
}

// begin sets the learner to the identity, and finds what the queries learn from.
func (l *learner) begin(ctx context.Context, queries []int, rng *rand.Rand) error {
	s, d := l.set, l.set.Dimension
	l.rng, l.turn = rng, identity(d)
	l.adam.m, l.adam.v = make([]float64, d*d), make([]float64, d*d)
	l.targets, l.hard, l.known = map[int][]Judgment{}, map[int][]int{}, map[int]bool{}
	for _, i := range queries {
		t := s.targets(&s.Queries[i], func(paper int) bool { return l.gone[paper] })
		if len(t) == 0 {
			continue
		}
		l.queries = append(l.queries, i)
		l.targets[i] = t
		l.pairs += len(t)
		for _, j := range t {
			l.known[j.Paper] = true
		}
	}
	if len(l.queries) == 0 {
		return fmt.Errorf("%w: without the judgments about queries that are held out none is left", ErrTooFew)
	}
	if s.Teacher { // it has scored what there is to learn from
		return nil
	}
	live := &pool{set: s, rows: slices.DeleteFunc(slices.Clone(l.near.rows), func(row int) bool { return l.gone[row] })}
	lists, err := live.search(ctx, l.queries, nil, hardest)
	if err != nil {
		return err
	}
	for i, list := range lists {
		for _, found := range list {
			l.hard[l.queries[i]] = append(l.hard[l.queries[i]], found.paper)
		}
	}
	return nil
}

// fresh are those queries of whose relevant papers no target speaks.
func (l *learner) fresh(queries []int) []int {
	return slices.DeleteFunc(slices.Clone(queries), func(q int) bool {
		for paper := range l.set.gains(&l.set.Queries[q]) {
			if l.known[paper] {
				return true
			}
		}
		return false
	})
}

// round goes over the queries once, or over as many as make a round.
func (l *learner) round(ctx context.Context) error {
	for range l.batches() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(l.order) == 0 {
			l.order = slices.Clone(l.queries)
			l.rng.Shuffle(len(l.order), func(i, j int) { l.order[i], l.order[j] = l.order[j], l.order[i] })
		}
		n := min(batchQueries, len(l.order))
		l.move(l.gradient(l.draw(l.order[:n])))
		l.order = l.order[n:]
	}
	return nil
}

// patience is after how many rounds without a better one learning ends.
func (l *learner) patience() int {
	if l.batches() < batchesOfRound {
		return patienceOfShort
	}
	return patience
}

// batches of a round.
func (l *learner) batches() int {
	return min(batchesOfRound, (len(l.queries)+batchQueries-1)/batchQueries)
}

// batch is what a step learns from.
type batch struct {
	queries []int
	papers  []int       // rows, ascending
	place   map[int]int // of a row among papers
}

// draw chooses the papers of a batch.
func (l *learner) draw(queries []int) *batch {
	b := &batch{queries: queries, place: map[int]int{}}
	for _, q := range queries {
		t := l.targets[q]
		for _, k := range l.rng.Perm(len(t))[:min(positives, len(t))] {
			b.place[t[k].Paper] = 0
		}
		h := l.hard[q]
		for range min(negatives, len(h)) {
			b.place[h[l.rng.IntN(len(h))]] = 0
		}
	}
	for row := range b.place {
		b.papers = append(b.papers, row)
	}
	slices.Sort(b.papers)
	for i, row := range b.papers {
		b.place[row] = i
	}
	return b
}

// gradient of the cross-entropy between the targets of a batch and the softmax of its cosines, the mean over queries, by each value of turn. It is good until the next.
func (l *learner) gradient(b *batch) []float32 {
	s, d, w, queries := l.set, l.set.Dimension, &l.work, b.queries
	nq, np := len(queries), len(b.papers)
	n := nq + np
	w.room(n, nq*np, d)

	// x: queries, then papers; u: as they are turned, at norm 1.
	x := w.x[:0]
	for _, q := range queries {
		x = append(x, s.Queries[q].Vector...)
	}
	for _, row := range b.papers {
		x = append(x, s.paper(row)...)
	}
	u := product(w.u, x, l.turn, d)
	normalize(u, d, w.norms)
	asked, papers := u[:nq*d], u[nq*d:]

	scores := product(w.scores, asked, transpose(w.side, papers, np), d)
	slope := w.slope[:nq*np] // of the loss, by score
	for i, q := range queries {
		l.slopes(slope[i*np:(i+1)*np], scores[i*np:(i+1)*np], b, q, 1/(float64(nq)*l.o.Temperature))
	}
	g := w.g[:n*d]
	copy(g, product(w.a, slope, papers, np))
	copy(g[nq*d:], product(w.a, transpose(w.weight, slope, nq), asked, nq))
	// Through the norm: what points along u changes nothing.
	for i := range n {
		row, along := g[i*d:(i+1)*d], u[i*d:(i+1)*d]
		var dot float32
		for k, y := range row {
			dot += y * along[k]
		}
		for k := range row {
			row[k] = (row[k] - dot*along[k]) / w.norms[i]
		}
	}
	return product(w.b, transpose(w.side, x, n), g, n)
}

// slopes writes what the loss of a query changes by with each score: softmax - target, times a factor.
func (l *learner) slopes(slope, scores []float32, b *batch, query int, factor float64) {
	q := &l.set.Queries[query]
	clear(slope)
	if l.set.Teacher {
		for i := range slope {
			slope[i] = masked
		}
		for _, j := range l.targets[query] {
			if at, there := b.place[j.Paper]; there {
				slope[at] = 0
			}
		}
	} else if at, there := b.place[q.Paper]; there {
		slope[at] = masked
	}
	highest := float32(masked)
	for i, score := range scores {
		if slope[i] == masked {
			continue
		}
		slope[i] = score / float32(l.o.Temperature)
		highest = max(highest, slope[i])
	}
	var sum float64
	for i, x := range slope {
		if x != masked {
			e := math.Exp(float64(x - highest))
			sum += e
			slope[i] = float32(e)
		} else {
			slope[i] = 0
		}
	}
	for i := range slope {
		slope[i] = float32(float64(slope[i]) / sum * factor)
	}
	var all float64 // of the targets that were drawn
	for _, j := range l.targets[query] {
		if _, there := b.place[j.Paper]; there {
			all += j.Grade
		}
	}
	for _, j := range l.targets[query] {
		if at, there := b.place[j.Paper]; there {
			slope[at] -= float32(j.Grade / all * factor)
		}
	}
}

// move is a step of Adam against the gradient.
func (l *learner) move(gradient []float32) {
	l.steps++
	m1, v1 := 1-math.Pow(beta1, float64(l.steps)), 1-math.Pow(beta2, float64(l.steps))
	m, v := l.adam.m, l.adam.v
	for i, x := range gradient {
		g := float64(x)
		m[i] = beta1*m[i] + (1-beta1)*g
		v[i] = beta2*v[i] + (1-beta2)*g*g
		l.turn[i] -= float32(l.o.Rate * (m[i] / m1) / (math.Sqrt(v[i]/v1) + adamEpsilon))
	}
}

// room makes the buffers large enough for n rows, and so many scores.
func (w *buffers) room(n, scores, d int) {
	for _, b := range []*[]float32{&w.x, &w.u, &w.g, &w.side, &w.a} {
		*b = slices.Grow((*b)[:0], n*d)
	}
	for _, b := range []*[]float32{&w.scores, &w.slope, &w.weight} {
		*b = slices.Grow((*b)[:0], scores)
	}
	w.b = slices.Grow(w.b[:0], d*d)
	w.norms = slices.Grow(w.norms[:0], n)[:n]
}
