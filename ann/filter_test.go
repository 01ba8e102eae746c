package ann

import (
	"slices"
	"testing"
)

// Whatever the filter lets pass, at random or far from the query, and whatever the plan: as many as there are are found, all of them
// pass, and recall is high.
func TestFilters(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 24, some(5000))
	x := bulk(t, vectors, 0, nil)
	for label := range uint64(100) {
		x.Delete(label * 7)
	}
	for _, pass := range []int{5000, 2500, 500, 50, 9, 1, 0} {
		for _, far := range []bool{false, true} {
			found, all := 0, 0
			for range some(100) { // of fewer, recall is as much chance as it is the index
				q := clustered(r, 24, 1)[0]
				order := labels(exact(t, x, q, len(vectors)))
				if far {
					slices.Reverse(order)
				} else {
					r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
				}
				filter := NewFilter(slices.Values(order[:min(pass, len(order))]))
				want, err := x.ExactOf(q, 10, filter)
				if err != nil {
					t.Fatal(err)
				}
				if len(want) != min(10, filter.Len()) {
					t.Fatalf("%d pass, exact search finds %d", filter.Len(), len(want))
				}
				for _, plan := range []Plan{Auto, Graph, Scan} {
					got, err := x.Search(q, Query{K: 10, Ef: 64, Filter: filter, Plan: plan})
					if err != nil {
						t.Fatal(err)
					}
					if len(got.Neighbors) != len(want) {
						t.Errorf("%d pass, far %v, plan %v: %d are found", filter.Len(), far, plan, len(got.Neighbors))
					}
					for _, n := range got.Neighbors {
						if !filter.Contains(n.Label) {
							t.Errorf("label %d does not pass", n.Label)
						}
						if slices.Contains(want, n) && plan != Graph {
							found++
						}
					}
					if plan != Graph { // which alone promises nothing where a filter keeps it from its goal
						all += len(want)
					}
				}
			}
			if recall := float64(found) / float64(max(1, all)); all > 0 && recall < 0.99 {
				t.Errorf("%d pass, far %v: recall %.3f", pass, far, recall)
			}
		}
	}
}

func TestFilterIsASet(t *testing.T) {
	f := NewFilter(slices.Values([]uint64{5, 700, 5, 64}))
	if f.Len() != 3 || !f.Contains(64) || f.Contains(63) || f.Contains(1<<40) {
		t.Errorf("%+v", f)
	}
}
