package distil

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkLearn learns from 10,000 queries of a pair each, among 20,000 papers of 384 values.
func BenchmarkLearn(b *testing.B) {
	const d, papers, queries = 384, 20_000, 10_000
	rng := rand.New(rand.NewPCG(1, 1))
	s := &Set{Dimension: d, Papers: make([]float32, papers*d)}
	for i := range s.Papers {
		s.Papers[i] = float32(rng.NormFloat64())
	}
	normalize(s.Papers, d, nil)
	for range queries {
		q := Query{Vector: make([]float32, d), Paper: -1, Judged: []Judgment{{rng.IntN(papers), 1}}}
		for k, x := range s.paper(q.Judged[0].Paper) {
			q.Vector[k] = x
			if k >= 32 { // the noise that is to be found
				q.Vector[k] += float32(rng.NormFloat64()) * 0.3
			}
		}
		normalize(q.Vector, d, nil)
		s.Queries = append(s.Queries, q)
	}
	for b.Loop() {
		r := learn(b, s, nil)
		b.ReportMetric(float64(r.Rounds), "rounds")
		b.ReportMetric(r.All.Before, "before")
		b.ReportMetric(r.All.After, "after")
	}
}
