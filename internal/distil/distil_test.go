package distil

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"embedd/internal/eval"
	"embedd/internal/testkit"
)

// planted is a set whose truth is known: what papers and queries are about stands in the first few values, and louder noise in the others. The
// best diagonal matrix takes the noise away. Without truth, judgments are drawn by chance.
func planted(rng *rand.Rand, queries, papers int, truth bool) *Set {
	const d, about, relevant = 24, 6, 3
	vector := func() []float32 {
		v := make([]float32, d)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
			if i >= about {
				v[i] *= 1.2
			}
		}
		normalize(v, d, nil)
		return v
	}
	s := &Set{Dimension: d}
	for range papers {
		s.Papers = append(s.Papers, vector()...)
	}
	for range queries {
		q := Query{Vector: vector(), Paper: -1}
		rows := rng.Perm(papers)
		if truth {
			near := func(row int) float64 { return cosine(q.Vector[:about], s.paper(row)[:about]) }
			slices.SortFunc(rows, func(a, b int) int { return int(math.Copysign(1, near(b)-near(a))) })
		}
		for i, row := range rows[:relevant] {
			q.Judged = append(q.Judged, Judgment{row, float64(relevant - i)})
		}
		s.Queries = append(s.Queries, q)
	}
	return s
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i, x := range a {
		ab += float64(x) * float64(b[i])
		aa += float64(x) * float64(x)
		bb += float64(b[i]) * float64(b[i])
	}
	return ab / math.Sqrt(aa*bb)
}

// quick are options by which a small set is learned in a moment.
func quick(seed uint64) *Options { return &Options{Seed: seed, Rate: 0.005, Rounds: 60} }

func learn(t testing.TB, s *Set, o *Options) *Result {
	t.Helper()
	r, err := Learn(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What is planted is found: the values that say what a paper is about become louder than the noise, and queries that had no part in it gain, those about new
// papers too.
func TestLearnFindsWhatIsPlanted(t *testing.T) {
	s := planted(rand.New(rand.NewPCG(1, 1)), 400, 1500, true)
	r := learn(t, s, quick(1))
	t.Logf("%d rounds, %+v, new %+v", r.Rounds, r.All, r.New)
	if err := r.Gains(); err != nil {
		t.Fatal(err)
	}
	if r.All.Gain < 0.2 || r.New.Queries < 10 || r.New.Low <= 0 {
		t.Errorf("all %+v, new %+v; what is planted would give far more", r.All, r.New)
	}
	loud := func(from, to int) (sum float64) {
		for i := from; i < to; i++ {
			sum += math.Abs(float64(r.Matrix[i*s.Dimension+i])) / float64(to-from)
		}
		return sum
	}
	if signal, noise := loud(0, 6), loud(6, s.Dimension); signal < 1.5*noise {
		t.Errorf("the matrix has %.2f for the signal and %.2f for the noise", signal, noise)
	}
	if r.Trained+r.Validated+r.HeldOut != 400 || r.HeldOut != 80 || r.Validated != 64 {
		t.Errorf("%d queries learn, %d validate, %d are held out", r.Trained, r.Validated, r.HeldOut)
	}
}

// Judgments by chance teach nothing, and no gain is claimed; one of eight may be a chance hit.
func TestNoGainIsClaimedOfChance(t *testing.T) {
	claimed := 0
	for seed := range uint64(8) {
		r := learn(t, planted(rand.New(rand.NewPCG(seed, 2)), 150, 400, false), quick(seed))
		switch err := r.Gains(); {
		case err == nil:
			claimed++
			t.Logf("seed %d: %+v", seed, r.All)
		case !errors.Is(err, ErrNoGain):
			t.Error(err)
		}
	}
	if claimed > 1 {
		t.Errorf("a gain is claimed for %d of 8 sets of judgments by chance", claimed)
	}
}

// Where papers are judged for papers, a pair stands in the judgments twice, once from each side. Relations by chance can only be learned by heart; if the other
// side of a held-out pair had a part in learning, the held-out queries would gain.
func TestTheOtherSideOfAPairIsHeldOutToo(t *testing.T) {
	claimed := 0
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 3))
		const d, papers = 96, 240
		s := &Set{Dimension: d}
		for range papers * d {
			s.Papers = append(s.Papers, float32(rng.NormFloat64()))
		}
		normalize(s.Papers, d, nil)
		for row := range papers {
			s.Queries = append(s.Queries, Query{Vector: s.paper(row), Paper: row})
		}
		for a := range papers {
			b := (a + 1 + rng.IntN(papers-1)) % papers
			if !slices.ContainsFunc(s.Queries[a].Judged, func(j Judgment) bool { return j.Paper == b }) {
				s.Queries[a].Judged = append(s.Queries[a].Judged, Judgment{b, 1})
				s.Queries[b].Judged = append(s.Queries[b].Judged, Judgment{a, 1})
			}
		}
		r := learn(t, s, quick(seed))
		if r.Gains() == nil {
			claimed++
			t.Logf("seed %d: %+v", seed, r.All)
		}
	}
	if claimed > 1 {
		t.Errorf("a gain is claimed for %d of 6 relations by chance", claimed)
	}
}

// A teacher that knows what is planted is learned from, whatever the scale of its scores.
func TestLearnFromATeacher(t *testing.T) {
	for _, scale := range []float64{0.01, 1000} {
		s := planted(rand.New(rand.NewPCG(4, 4)), 300, 800, true)
		near, err := Nearest(t.Context(), s, 20)
		if err != nil {
			t.Fatal(err)
		}
		s.Teacher = true
		for i := range s.Queries {
			q := &s.Queries[i]
			q.Judged = nil
			for _, row := range near[i] {
				q.Judged = append(q.Judged, Judgment{row, scale * (cosine(q.Vector[:6], s.paper(row)[:6]) - 5)})
			}
		}
		r := learn(t, s, quick(1))
		if err := r.Gains(); err != nil || r.All.Gain < 0.05 {
			t.Errorf("scale %v: %+v, %v", scale, r.All, err)
		}
	}
}

// The same set and seed give the same matrix to the bit, on one core or several, and the set stays as it is.
func TestLearnIsDeterministic(t *testing.T) {
	make := func() *Set { return planted(rand.New(rand.NewPCG(5, 5)), 120, 3000, true) }
	s := make()
	o := quick(9)
	o.Rounds = 6
	first := learn(t, s, o)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	again := learn(t, s, o)
	if !slices.Equal(first.Matrix, again.Matrix) || first.All != again.All {
		t.Errorf("%+v, and again %+v", first.All, again.All)
	}
	other := learn(t, s, &Options{Seed: 10, Rate: o.Rate, Rounds: 6})
	if slices.Equal(first.Matrix, other.Matrix) {
		t.Error("another seed gives the same matrix")
	}
	if fresh := make(); !slices.Equal(s.Papers, fresh.Papers) || !slices.Equal(s.Queries[3].Judged, fresh.Queries[3].Judged) {
		t.Error("the set has changed")
	}
}

// The gradient is that of the loss, by finite differences of the formula in float64, for judgments, with a query that is a paper of its batch, and for a teacher.
func TestGradient(t *testing.T) {
	for _, teacher := range []bool{false, true} {
		rng := testkit.Rand(t)
		s := planted(rng, 40, 60, true)
		s.Teacher = teacher
		s.Queries[0].Paper = (s.Queries[0].Judged[0].Paper + 1) % 60
		s.Queries[0].Judged = s.Queries[0].Judged[:1]
		copy(s.Queries[0].Vector, s.paper(s.Queries[0].Paper))
		if teacher {
			s.Queries[0].Judged = append(s.Queries[0].Judged, Judgment{(s.Queries[0].Judged[0].Paper + 2) % 60, 0.5})
		}
		o, err := (&Options{Temperature: 0.2}).with()
		if err != nil {
			t.Fatal(err)
		}
		l := &learner{set: s, o: &o, near: s.near(rng)}
		if err := l.begin(t.Context(), []int{0, 1, 2, 3, 4}, rng); err != nil {
			t.Fatal(err)
		}
		for i := range l.turn {
			l.turn[i] += float32(rng.NormFloat64()) * 0.1
		}
		b := l.draw(l.queries)
		if !teacher && s.Queries[0].Paper >= 0 { // the query itself is in the batch, and in no softmax
			if _, there := b.place[s.Queries[0].Paper]; !there {
				b.papers = append(b.papers, s.Queries[0].Paper)
				slices.Sort(b.papers)
				for i, row := range b.papers {
					b.place[row] = i
				}
			}
		}
		got := slices.Clone(l.gradient(b))
		turn := make([]float64, len(l.turn))
		for i, x := range l.turn {
			turn[i] = float64(x)
		}
		for range 40 {
			i := rng.IntN(len(turn))
			const h = 1e-5
			turn[i] += h
			up := loss(l, b, turn)
			turn[i] -= 2 * h
			down := loss(l, b, turn)
			turn[i] += h
			if want := (up - down) / (2 * h); math.Abs(want-float64(got[i])) > 1e-4+1e-3*math.Abs(want) {
				t.Fatalf("teacher %v: by value %d the gradient is %v, want %v", teacher, i, got[i], want)
			}
		}
	}
}

// loss is the cross-entropy as its formula says, in float64.
func loss(l *learner, b *batch, turn []float64) (sum float64) {
	s, d := l.set, l.set.Dimension
	turned := func(v []float32) []float64 {
		u, n := make([]float64, d), 0.0
		for j := range u {
			for i, x := range v {
				u[j] += float64(x) * turn[i*d+j]
			}
			n += u[j] * u[j]
		}
		for j := range u {
			u[j] /= math.Sqrt(n)
		}
		return u
	}
	for _, q := range b.queries {
		asked := turned(s.Queries[q].Vector)
		target, all := map[int]float64{}, 0.0
		for _, j := range l.targets[q] {
			if _, there := b.place[j.Paper]; there {
				target[j.Paper] = j.Grade
				all += j.Grade
			}
		}
		scores, z := map[int]float64{}, 0.0
		for _, row := range b.papers {
			if _, own := target[row]; row == s.Queries[q].Paper || s.Teacher && !own {
				continue
			}
			for j, x := range turned(s.paper(row)) {
				scores[row] += x * asked[j] / l.o.Temperature
			}
			z += math.Exp(scores[row])
		}
		for row, share := range target {
			sum += share / all * (math.Log(z) - scores[row]) / float64(len(b.queries))
		}
	}
	return sum
}

// Lists are those of a plain search, and nDCG@10 is that of package eval.
func TestMeasuresAreThoseOfEval(t *testing.T) {
	rng := testkit.Rand(t)
	s := planted(rng, 30, 2*blockPapers+77, true)
	s.Queries[0].Paper = 5
	copy(s.Queries[0].Vector, s.paper(5))
	at := identity(s.Dimension)
	for i := range at {
		at[i] += float32(rng.NormFloat64()) * 0.05
	}
	all := &pool{set: s}
	queries := make([]int, len(s.Queries))
	for i := range len(s.Papers) / s.Dimension {
		all.rows = append(all.rows, i)
	}
	for i := range queries {
		queries[i] = i
	}
	got, err := all.ndcg(t.Context(), queries, at)
	if err != nil {
		t.Fatal(err)
	}
	id := func(row int) string { return fmt.Sprintf("%09d", len(all.rows)-row) }
	for _, i := range queries {
		q := &s.Queries[i]
		asked := turned(slices.Clone(q.Vector), s.Dimension, at)
		qrels := eval.Qrels{"q": {}}
		for row, g := range s.gains(q) {
			qrels["q"][id(row)] = int(g)
		}
		var run []eval.Scored
		for _, row := range all.rows {
			if row != q.Paper {
				run = append(run, eval.Scored{ID: id(row), Score: float32(cosine(asked, turned(slices.Clone(s.paper(row)), s.Dimension, at)))})
			}
		}
		if want := eval.Evaluate(qrels, map[string][]eval.Scored{"q": run}).NDCG10; math.Abs(got[i]-want) > 1e-9 {
			t.Errorf("query %d: nDCG@10 is %v, package eval says %v", i, got[i], want)
		}
	}
}

func TestBootstrap(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	before, after := map[int]float64{}, map[int]float64{}
	var groups [][]int
	for i := range 400 {
		before[i], after[i] = 0.5, 0.5+rng.NormFloat64()*0.1
		groups = append(groups, []int{i})
	}
	m := compare(groups, before, after, rng)
	// The standard error is 0.1/20, and the interval reaches 1.96 of them to both sides.
	if m.Queries != 400 || math.Abs(m.High-m.Low-2*1.96*0.005) > 0.003 || m.Low > m.Gain || m.High < m.Gain {
		t.Errorf("%+v", m)
	}
	// One query asked a hundred times says no more than once.
	same := compare([][]int{make([]int, 100), {1}}, map[int]float64{0: 0, 1: 0}, map[int]float64{0: 1, 1: -1}, rng)
	if same.Low != -1 || same.High != 1 {
		t.Errorf("%+v", same)
	}
	// So is a gain of a few.
	r := &Result{Rounds: 1, All: Measured{Queries: 9, Gain: 1, Low: 1, High: 1}}
	if err := r.Gains(); !errors.Is(err, ErrNoGain) {
		t.Errorf("by 9 queries: %v", err)
	}
	r.All.Queries = 10
	if err := r.Gains(); err != nil {
		t.Error(err)
	}
	// And what harms new papers is none, whatever it gives for others.
	r.New = Measured{Queries: 10, Gain: -0.1, Low: -0.2, High: -0.01}
	if err := r.Gains(); !errors.Is(err, ErrNoGain) || !strings.Contains(err.Error(), "no judgment speaks of") {
		t.Errorf("that harms new papers: %v", err)
	}
	if m := compare(nil, before, after, rng); m != (Measured{}) {
		t.Errorf("of no queries: %+v", m)
	}
}

func TestLearnRefuses(t *testing.T) {
	good := func() *Set { return planted(rand.New(rand.NewPCG(7, 7)), 60, 100, true) }
	for _, c := range []struct {
		name string
		set  func(s *Set)
		o    Options
		want string
	}{
		{"one query", func(s *Set) { s.Queries = s.Queries[:1] }, Options{}, "1 of 1 queries have a judgment above 0"},
		{"no query", func(s *Set) { s.Queries = nil }, Options{}, "0 of 0 queries"},
		{"one query many times", func(s *Set) {
			for i := range s.Queries {
				s.Queries[i].Vector = s.Queries[0].Vector
			}
		}, Options{}, "1 of 60 queries"},
		{"all grades 0", func(s *Set) {
			for i := range s.Queries {
				for j := range s.Queries[i].Judged {
					s.Queries[i].Judged[j].Grade = 0
				}
			}
		}, Options{}, "0 of 60 queries have a judgment above 0"},
		{"a teacher that likes all alike", func(s *Set) {
			s.Teacher = true
			for i := range s.Queries {
				for j := range s.Queries[i].Judged {
					s.Queries[i].Judged[j].Grade = 3
				}
			}
		}, Options{}, "0 of 60 queries have scores that differ"},
		{"NaN in a paper", func(s *Set) { s.Papers[30] = float32(math.NaN()) }, Options{}, "papers[1]: the vector's norm is NaN"},
		{"infinity in a query", func(s *Set) { s.Queries[2].Vector[0] = float32(math.Inf(1)) }, Options{}, "queries[2]: the vector's norm is +Inf"},
		{"a zero vector", func(s *Set) { clear(s.Papers[:24]) }, Options{}, "papers[0]: the vector's norm is 0"},
		{"NaN in a grade", func(s *Set) { s.Queries[4].Judged[0].Grade = math.NaN() }, Options{}, "queries[4]: the grade of paper"},
		{"a huge grade", func(s *Set) { s.Queries[4].Judged[0].Grade = 1e300 }, Options{}, "at most 1000000 either way"},
		{"an unknown row", func(s *Set) { s.Queries[4].Judged[0].Paper = 100 }, Options{}, "queries[4]: judges paper 100; must be a row of 100 papers"},
		{"a row below 0", func(s *Set) { s.Queries[4].Judged[0].Paper = -1 }, Options{}, "queries[4]: judges paper -1"},
		{"a paper twice", func(s *Set) { s.Queries[4].Judged[1].Paper = s.Queries[4].Judged[0].Paper }, Options{}, "twice"},
		{"itself", func(s *Set) { s.Queries[4].Paper = s.Queries[4].Judged[0].Paper }, Options{}, "queries[4]: judges itself"},
		{"a paper that is not there", func(s *Set) { s.Queries[4].Paper = 100 }, Options{}, "queries[4]: paper is 100"},
		{"another length", func(s *Set) { s.Queries[4].Vector = s.Queries[4].Vector[:5] }, Options{}, "queries[4]: vector has 5 values, the dimension is 24"},
		{"half a paper", func(s *Set) { s.Papers = s.Papers[:len(s.Papers)-1] }, Options{}, "papers have 2399 values"},
		{"no dimension", func(s *Set) { s.Dimension = 0 }, Options{}, "dimension is 0"},
		{"too few", func(s *Set) { s.Queries = s.Queries[:49] }, Options{}, "49 of 49 queries have a judgment above 0, and differ from each other; it takes 50"},
		{"rounds", func(*Set) {}, Options{Rounds: -1}, "rounds: is -1; must be 1 to 1000"},
		{"rate", func(*Set) {}, Options{Rate: math.NaN()}, "rate: is NaN"},
		{"held out", func(*Set) {}, Options{HeldOut: 0.6}, "held out: is 0.6; must be 0.01 to 0.5"},
		{"temperature", func(*Set) {}, Options{Temperature: 2}, "temperature: is 2"},
	} {
		s := good()
		c.set(s)
		if _, err := Learn(t.Context(), s, &c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// An end of the context ends learning, wherever it is.
func TestLearnEndsWithItsContext(t *testing.T) {
	s := planted(rand.New(rand.NewPCG(8, 8)), 200, 500, true)
	for _, at := range []int{0, 1, 3} {
		ctx, cancel := context.WithCancel(t.Context())
		o := quick(1)
		o.Progress = func(done, _ int) {
			if done >= at {
				cancel()
			}
		}
		if at == 0 {
			cancel()
		}
		if _, err := Learn(ctx, s, o); !errors.Is(err, context.Canceled) {
			t.Errorf("after %d rounds: %v", at, err)
		}
		cancel()
	}
}
