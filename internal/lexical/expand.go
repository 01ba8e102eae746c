package lexical

import (
	"cmp"
	"slices"
	"strings"
)

// Expand adds to a query up to n words that some papers have: those of the largest inverse document frequency times the share of the papers
// that have them. A word that is in one of several papers alone is none that they have in common. An added word weighs as much as its share
// times weight, a word of the query 1 each time it is there.
func (x *Index) Expand(q Query, papers []uint64, n int, weight float64) Query {
	x.mu.RLock()
	defer x.mu.RUnlock()
	have := map[string]int{} // by word, how many of the papers have it
	there := 0
	for _, ordinal := range papers {
		p, ok := x.places[ordinal]
		if !ok {
			continue
		}
		there++
		c := x.chunks[p.chunk()]
		for list := range unpack(c.has[p.at()]) {
			have[c.names[list]]++
		}
	}
	asked := map[string]bool{}
	for _, t := range q.counts {
		asked[t.term] = true
	}
	type added struct {
		term  string
		share float64
		worth float64
	}
	var all []added
	for term, m := range have {
		if asked[term] || there > 1 && m < 2 {
			continue
		}
		share := float64(m) / float64(there)
		all = append(all, added{term, share, share * idf(len(x.places), x.df(term))})
	}
	slices.SortFunc(all, func(a, b added) int {
		return cmp.Or(cmp.Compare(b.worth, a.worth), strings.Compare(a.term, b.term))
	})
	out := Query{counts: slices.Clone(q.counts)}
	for _, a := range all[:min(n, len(all))] {
		out.counts = append(out.counts, wanted{term: a.term, weight: weight * a.share})
	}
	return out
}
