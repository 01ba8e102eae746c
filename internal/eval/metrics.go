package eval

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
)

// Scored is a document of a result list. More is better.
type Scored struct {
	ID    string
	Score float32
}

// Metrics are means over queries, each from 0 to 1. The package comment defines them.
type Metrics struct {
	NDCG10    float64 `json:"ndcg@10"`
	Recall100 float64 `json:"recall@100"`
	MRR10     float64 `json:"mrr@10"`
	MAP100    float64 `json:"map@100"`
	// Queries is the number of queries that the means are over: those with a relevant document.
	Queries int `json:"queries"`
}

// depth is the rank beyond which no metric looks.
const depth = 100

// Evaluate measures a run, which holds the documents found for each query, by its identifier. Queries without a relevant
// document are passed over. Without any query, the Metrics are 0.
func Evaluate(q Qrels, run map[string][]Scored) Metrics {
	var sum Metrics
	// In a fixed order, for sums of floating point to be the same each time.
	for _, id := range slices.Sorted(maps.Keys(q)) {
		if !relevantAny(q[id]) {
			continue
		}
		m := evaluate(q[id], rank(run[id]))
		sum.NDCG10 += m.NDCG10
		sum.Recall100 += m.Recall100
		sum.MRR10 += m.MRR10
		sum.MAP100 += m.MAP100
		sum.Queries++
	}
	if sum.Queries == 0 {
		return Metrics{}
	}
	n := float64(sum.Queries)
	return Metrics{sum.NDCG10 / n, sum.Recall100 / n, sum.MRR10 / n, sum.MAP100 / n, sum.Queries}
}

// relevantAny tells whether one of a query's judgments is relevant.
func relevantAny(judgments map[string]int) bool {
	for _, r := range judgments {
		if r > 0 {
			return true
		}
	}
	return false
}

// rank returns the identifiers of the best documents, the best first. It leaves list as it is.
func rank(list []Scored) []string {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Scored) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(b.ID, a.ID))
	})
	var ranked []string
	seen := make(map[string]bool)
	for _, s := range list {
		if len(ranked) == depth {
			break
		}
		if !seen[s.ID] {
			seen[s.ID] = true
			ranked = append(ranked, s.ID)
		}
	}
	return ranked
}

// evaluate measures one query, which has a relevant document. Queries is left 0.
func evaluate(judgments map[string]int, ranked []string) Metrics {
	var ideal []int // the relevant judgments
	for _, r := range judgments {
		if r > 0 {
			ideal = append(ideal, r)
		}
	}
	slices.SortFunc(ideal, func(a, b int) int { return cmp.Compare(b, a) })
	relevant := float64(len(ideal))

	var m Metrics
	var dcg, found float64
	for i, id := range ranked {
		r := judgments[id]
		if r <= 0 {
			continue
		}
		found++
		m.MAP100 += found / float64(i+1)
		if i >= 10 {
			continue
		}
		dcg += gain(r, i)
		if found == 1 {
			m.MRR10 = 1 / float64(i+1)
		}
	}
	var idealDCG float64
	for i, r := range ideal[:min(10, len(ideal))] {
		idealDCG += gain(r, i)
	}
	m.NDCG10 = dcg / idealDCG
	m.Recall100 = found / relevant
	m.MAP100 /= relevant
	return m
}

// gain is what a document of relevance r adds to DCG at index i, which is rank i+1.
func gain(r, i int) float64 { return float64(r) / math.Log2(float64(i+2)) }
