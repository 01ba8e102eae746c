package eval

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// near: nothing but rounding is between two sets of metrics.
func near(a, b Metrics) bool {
	const tolerance = 1e-12
	return math.Abs(a.NDCG10-b.NDCG10) < tolerance && math.Abs(a.Recall100-b.Recall100) < tolerance &&
		math.Abs(a.MRR10-b.MRR10) < tolerance && math.Abs(a.MAP100-b.MAP100) < tolerance && a.Queries == b.Queries
}

// ranked makes a list whose first document is the best.
func ranked(ids ...string) []Scored {
	list := make([]Scored, len(ids))
	for i, id := range ids {
		list[i] = Scored{id, -float32(i)}
	}
	return list
}

// filler makes n documents that nobody has judged.
func filler(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("x%03d", i)
	}
	return ids
}

// The values are computed by hand. With d(i) = 1/log2(i+1):
//
//	d(1) = 1           d(2) = 0.630929754  d(3) = 0.5          d(4) = 0.430676558  d(5) = 0.386852807
//	d(6) = 0.356207187 d(7) = 0.333333333  d(8) = 0.315464877  d(9) = 0.301029996  d(10) = 0.289064826
//	d(1)+…+d(10) = 4.543559338
func TestEvaluate(t *testing.T) {
	graded := map[string]int{"a": 3, "b": 2, "c": 1, "zero": 0, "minus": -2}
	// Ideal: 3×d(1) + 2×d(2) + 1×d(3) = 3 + 1.261859507 + 0.5 = 4.761859507.
	const gradedIdeal = 4.761859507142915
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, test := range []struct {
		name string
		q    Qrels
		run  map[string][]Scored
		want Metrics
	}{
		{"ideal", Qrels{"q": graded}, map[string][]Scored{"q": ranked("a", "b", "c")}, Metrics{1, 1, 1, 1, 1}},
		{
			// Ranks: b 1, zero 2, a 3, minus 4, c 5. Minus counts as 0, not -2.
			// nDCG: (2×1 + 3×0.5 + 1×0.386852807) / 4.761859507 = 3.886852807 / 4.761859507 = 0.816246866
			// MAP: (1/1 + 2/3 + 3/5) / 3 = 0.755555556
			"graded", Qrels{"q": graded}, map[string][]Scored{"q": ranked("b", "zero", "a", "minus", "c")},
			Metrics{3.8868528072345416 / gradedIdeal, 1, 1, (1 + 2./3 + 3./5) / 3, 1},
		},
		{
			// Only c is found, at rank 2. nDCG: 0.630929754 / 4.761859507 = 0.132496424; recall 1/3; MRR 1/2; MAP (1/2)/3.
			"two missing", Qrels{"q": graded}, map[string][]Scored{"q": ranked("x", "c")},
			Metrics{0.6309297535714575 / gradedIdeal, 1. / 3, 1. / 2, 1. / 6, 1},
		},
		{"nothing relevant found", Qrels{"q": graded}, map[string][]Scored{"q": ranked("x", "zero", "minus")}, Metrics{Queries: 1}},
		{"the order of the list is nothing, the score all", Qrels{"q": {"a": 1}},
			map[string][]Scored{"q": {{"x", 0.1}, {"y", -1}, {"a", 0.2}}}, Metrics{1, 1, 1, 1, 1}},
		{
			// Equal scores: z 1, b 2, a 3. nDCG of b alone: 0.630929754.
			"ties, by identifier downwards", Qrels{"q": {"b": 1}}, map[string][]Scored{"q": {{"a", 1}, {"b", 1}, {"z", 1}}},
			Metrics{0.6309297535714575, 1, 1. / 2, 1. / 2, 1},
		},
		{
			// Byte order: é (0xC3…) 1, a 2, Z 3, 9 4, 10 5.
			"ties, by bytes", Qrels{"q": {"10": 1}}, map[string][]Scored{"q": {{"10", 1}, {"9", 1}, {"Z", 1}, {"a", 1}, {"é", 1}}},
			Metrics{0.38685280723454163, 1, 1. / 5, 1. / 5, 1},
		},
		{"zeros are equal", Qrels{"q": {"b": 1}}, map[string][]Scored{"q": {{"a", 0}, {"b", float32(math.Copysign(0, -1))}}},
			Metrics{1, 1, 1, 1, 1}},
		{"NaN is last, infinity first", Qrels{"q": {"i": 1, "n": 1}},
			map[string][]Scored{"q": {{"n", nan}, {"x", 7}, {"i", inf}, {"y", -inf}}},
			// i 1, x 2, y 3, n 4. nDCG: (1 + 0.430676558) / (1 + 0.630929754) = 0.877215; MAP: (1/1 + 2/4) / 2.
			Metrics{(1 + 0.43067655807339306) / 1.6309297535714575, 1, 1, 0.75, 1}},
		{
			// x is listed twice, with 9 and 5; a is listed twice, with 7 and 1. Ranks: x 1, a 2, b 3.
			// nDCG: (0.630929754 + 0.5) / 1.630929754 = 0.693426; recall 2/2; MAP: (1/2 + 2/3) / 2 = 0.583333333
			"double documents", Qrels{"q": {"a": 1, "b": 1}},
			map[string][]Scored{"q": {{"x", 5}, {"a", 1}, {"x", 9}, {"a", 7}, {"b", 3}}},
			Metrics{1.1309297535714575 / 1.6309297535714575, 1, 1. / 2, (1./2 + 2./3) / 2, 1},
		},
		{
			// Rank 10 is the last for nDCG and MRR. nDCG: 0.289064826.
			"rank 10", Qrels{"q": {"a": 1}}, map[string][]Scored{"q": ranked(append(filler(9), "a")...)},
			Metrics{0.2890648263178879, 1, 1. / 10, 1. / 10, 1},
		},
		{"rank 11", Qrels{"q": {"a": 1}}, map[string][]Scored{"q": ranked(append(filler(10), "a")...)},
			Metrics{0, 1, 0, 1. / 11, 1}},
		{"rank 100", Qrels{"q": {"a": 1}}, map[string][]Scored{"q": ranked(append(filler(99), "a")...)},
			Metrics{0, 1, 0, 1. / 100, 1}},
		{"rank 101", Qrels{"q": {"a": 1}}, map[string][]Scored{"q": ranked(append(filler(100), "a")...)}, Metrics{Queries: 1}},
		{
			// A double is taken out before ranks are given: a comes to rank 100.
			"rank 101 less a double", Qrels{"q": {"a": 1}},
			map[string][]Scored{"q": append(ranked(append(filler(100)[:99], "x000", "a")...), Scored{"x001", -50})},
			Metrics{0, 1, 0, 1. / 100, 1},
		},
		{
			// 12 relevant ones, ranks 1 to 12: the ideal is cut at 10 as well. MAP: 12 × 1 / 12.
			"more than 10 relevant", Qrels{"q": judged1(filler(12))}, map[string][]Scored{"q": ranked(filler(12)...)},
			Metrics{1, 1, 1, 1, 1},
		},
		{
			// 12 relevant ones, of which one is found, at rank 1. nDCG: 1 / 4.543559338 = 0.220091764
			"1 of more than 10", Qrels{"q": judged1(filler(12))}, map[string][]Scored{"q": ranked("x000")},
			Metrics{1 / 4.543559338088346, 1. / 12, 1, 1. / 12, 1},
		},
		{
			// 150 relevant ones, all found, 100 of them within 100. MAP: 100 × 1 / 150, for R is 150, not 100.
			"more than 100 relevant", Qrels{"q": judged1(filler(150))}, map[string][]Scored{"q": ranked(filler(150)...)},
			Metrics{1, 100. / 150, 1, 100. / 150, 1},
		},
		{
			// Means over p, q and r. q: perfect. p: rank 2. r: not in the run, 0. s has nothing relevant, t is not judged.
			// nDCG: (1 + 0.630929754 + 0) / 3 = 0.543643251; MRR and MAP: (1 + 1/2 + 0) / 3 = 1/2
			"several queries", Qrels{"p": {"a": 1}, "q": {"a": 2}, "r": {"a": 1}, "s": {"a": 0}, "u": {}},
			map[string][]Scored{"q": ranked("a"), "p": ranked("b", "a"), "s": ranked("a"), "t": ranked("a")},
			Metrics{1.6309297535714575 / 3, 2. / 3, 1. / 2, 1. / 2, 3},
		},
		{"empty run", Qrels{"q": {"a": 1}}, nil, Metrics{Queries: 1}},
		{"no judgments", nil, map[string][]Scored{"q": ranked("a")}, Metrics{}},
		{"none relevant", Qrels{"q": {"a": 0, "b": -1}}, map[string][]Scored{"q": ranked("a")}, Metrics{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := make(map[string][]Scored)
			for id, list := range test.run {
				before[id] = slices.Clone(list)
			}
			got := Evaluate(test.q, test.run)
			if !near(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			for id, list := range test.run {
				if fmt.Sprint(list) != fmt.Sprint(before[id]) { // NaN is not equal to itself
					t.Errorf("the run was changed: %v, was %v", list, before[id])
				}
			}
		})
	}
}

// judged1 judges all documents 1.
func judged1(ids []string) map[string]int {
	m := make(map[string]int)
	for _, id := range ids {
		m[id] = 1
	}
	return m
}

// random makes judgments and a run of many sizes, with ties, doubles, unjudged, unanswered and negative ones.
func random(rng *rand.Rand) (Qrels, map[string][]Scored) {
	q, run := make(Qrels), make(map[string][]Scored)
	for i := range 1 + rng.IntN(20) {
		id := fmt.Sprintf("q%d", i)
		documents := 1 + rng.IntN(400)
		q[id] = make(map[string]int)
		for range rng.IntN(documents) {
			q[id][fmt.Sprintf("d%d", rng.IntN(documents))] = rng.IntN(7) - 2
		}
		if rng.IntN(10) == 0 {
			continue
		}
		for range rng.IntN(300) {
			run[id] = append(run[id], Scored{fmt.Sprintf("d%d", rng.IntN(documents)), float32(rng.IntN(50)) / 8})
		}
	}
	return q, run
}

// slow computes the metrics from the ranks of the relevant documents, each counted by itself: 1 + the number of documents
// that are better. It shares nothing with Evaluate.
func slow(q Qrels, run map[string][]Scored) Metrics {
	var sum Metrics
	for query, judgments := range q {
		best := make(map[string]float32)
		for _, s := range run[query] {
			if b, ok := best[s.ID]; !ok || s.Score > b {
				best[s.ID] = s.Score
			}
		}
		rankOf := func(id string) int {
			score, ok := best[id]
			if !ok {
				return math.MaxInt
			}
			r := 1
			for other, s := range best {
				if s > score || s == score && other > id {
					r++
				}
			}
			return r
		}
		var all []int
		var ranks []int
		var dcg float64
		for id, r := range judgments {
			if r <= 0 {
				continue
			}
			all = append(all, r)
			at := rankOf(id)
			ranks = append(ranks, at)
			if at <= 10 {
				dcg += float64(r) * math.Ln2 / math.Log(float64(at)+1)
			}
		}
		if len(all) == 0 {
			continue
		}
		slices.Sort(all)
		slices.Sort(ranks)
		var ideal float64
		for i := 1; i <= 10 && i <= len(all); i++ {
			ideal += float64(all[len(all)-i]) * math.Ln2 / math.Log(float64(i)+1)
		}
		sum.Queries++
		sum.NDCG10 += dcg / ideal
		if ranks[0] <= 10 {
			sum.MRR10 += 1 / float64(ranks[0])
		}
		for i, at := range ranks {
			if at <= 100 {
				sum.Recall100 += 1 / float64(len(all))
				sum.MAP100 += float64(i+1) / float64(at) / float64(len(all))
			}
		}
	}
	if n := float64(sum.Queries); n > 0 {
		sum.NDCG10, sum.Recall100, sum.MRR10, sum.MAP100 = sum.NDCG10/n, sum.Recall100/n, sum.MRR10/n, sum.MAP100/n
	}
	return sum
}

func TestEvaluateSlow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 300 {
		q, run := random(rng)
		got, want := Evaluate(q, run), slow(q, run)
		if !near(got, want) {
			t.Fatalf("seed %d, round %d: got %+v, slow %+v", seed, i, got, want)
		}
		if again := Evaluate(q, run); again != got {
			t.Fatalf("seed %d, round %d: got %+v, then %+v", seed, i, got, again)
		}
	}
}

// The values are trec_eval's own, of 9.0 by way of Python's pytrec_eval-terrier 0.5.11, for what this seed makes. (Doubles
// were taken out of the run and recip_rank was given the first 10 beforehand.)
func TestEvaluateTrecEval(t *testing.T) {
	rng := rand.New(rand.NewPCG(2026, 1))
	for i, want := range []Metrics{
		{0.11863098390072375, 0.44368758614700987, 0.4083333333333333, 0.12868553339040195, 10},
		{0.1677883642942886, 0.39947413595566267, 0.5, 0.15061949141208472, 3},
		{0.12532332042205402, 0.27313135853214227, 0.37, 0.06920840597518615, 10},
		{0.13618357390944213, 0.46154942645074226, 0.3324404761904762, 0.08146138951419347, 8},
		{0.127758326173973, 0.4275852399242858, 0.26541353383458643, 0.12011000981900655, 19},
	} {
		if got := Evaluate(random(rng)); !near(got, want) {
			t.Errorf("round %d: got %+v, want %+v", i, got, want)
		}
	}
}

// The names in JSON are the field's.
func TestMetricsJSON(t *testing.T) {
	got, err := json.Marshal(Metrics{0.5, 0.25, 1, 0.125, 3})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"ndcg@10":0.5,"recall@100":0.25,"mrr@10":1,"map@100":0.125,"queries":3}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	q, run := make(Qrels), make(map[string][]Scored)
	for i := range 300 {
		id := fmt.Sprint(i)
		q[id] = map[string]int{"d7": 1, "d8": 2}
		for j := range 1000 {
			run[id] = append(run[id], Scored{fmt.Sprint("d", j), rng.Float32()})
		}
	}
	for b.Loop() {
		Evaluate(q, run)
	}
}
