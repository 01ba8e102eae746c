package distil

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
)

// split parts queries into those that are kept and those that are taken out, about share of them, by chance. Queries of the same vector or the same paper
// stay together.
func (s *Set) split(queries []int, share float64, rng *rand.Rand) (kept, out []int) {
	groups := s.groups(queries)
	rng.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	most := int(math.Round(share * float64(len(queries))))
	for _, g := range groups {
		if len(out) < most {
			out = append(out, g...)
		} else {
			kept = append(kept, g...)
		}
	}
	return kept, out
}

// groups are the queries that are one and the same, in the order of the first of each.
func (s *Set) groups(queries []int) [][]int {
	at := map[string]int{}
	var groups [][]int
	for _, i := range queries {
		q := &s.Queries[i]
		key := fmt.Sprint(q.Paper)
		if q.Paper < 0 {
			raw := make([]byte, 0, 4*len(q.Vector))
			for _, x := range q.Vector {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
			}
			key = string(raw)
		}
		g, there := at[key]
		if !there {
			g = len(groups)
			at[key] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

// themselves are the papers that queries are.
func (s *Set) themselves(queries ...[]int) map[int]bool {
	papers := map[int]bool{}
	for _, list := range queries {
		for _, i := range list {
			if p := s.Queries[i].Paper; p >= 0 {
				papers[p] = true
			}
		}
	}
	return papers
}
