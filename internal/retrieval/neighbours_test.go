package retrieval

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"embedd/ann"
	"embedd/internal/testkit"
)

// openKeeping opens a collection that keeps neighbours.
func openKeeping(t *testing.T, dir string, n int) *Collection {
	t.Helper()
	c, err := Open(t.Context(), dir, wideBag(), &Options{Settings: Settings{Neighbours: n}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	return c
}

// Kept lists are those that a search would give, while papers come, change and go, and after a start.
func TestKeptNeighbours(t *testing.T) {
	rng := testkit.Rand(t)
	dir := t.TempDir()
	c := openKeeping(t, dir, 12)
	all := words(t, 900)
	put(t, c, all[:500]...)
	same := func(when string) {
		t.Helper()
		if err := c.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.checkNeighbours(); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		found, wanted, kept := 0, 0, 0
		for range 150 {
			id := all[rng.IntN(len(all))].ID
			k := 1 + rng.IntN(12)
			got, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: id}, K: &k})
			if KindOf(err) == NotFound {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Materialised != nil {
				kept++
			}
			want, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: id}, K: &k, Exact: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Hits) != len(want.Hits) || slices.Contains(ids(got.Hits), id) || len(slices.Compact(slices.Sorted(slices.Values(ids(got.Hits))))) != len(got.Hits) {
				t.Fatalf("%s: %s has %v, want %v", when, id, ids(got.Hits), ids(want.Hits))
			}
			for _, h := range got.Hits {
				wanted++
				if len(want.Hits) > 0 && h.Score >= want.Hits[len(want.Hits)-1].Score-1e-5 {
					found++
				}
			}
		}
		if kept == 0 || float64(found) < 0.98*float64(wanted) {
			t.Errorf("%s: %d answers were kept ones, with %d of %d of the exact ones", when, kept, found, wanted)
		}
	}
	same("at first")
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 500 + w; i < len(all); i += 4 {
				if _, _, err := c.Upsert(t.Context(), []Paper{all[i]}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	same("with more")
	for range 100 {
		if _, _, _, err := c.Delete(t.Context(), []string{all[rng.IntN(len(all))].ID}); err != nil {
			t.Fatal(err)
		}
		put(t, c, paper(all[rng.IntN(len(all))].ID, fmt.Sprintf("w%d w%d w%d", rng.IntN(60), rng.IntN(60), rng.IntN(60))))
	}
	same("with changes")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openKeeping(t, dir, 12)
	same("after a start")
}

// Searches of another kind are not answered by kept lists, and who asks for what is there now is not either.
func TestWhatIsNotKept(t *testing.T) {
	c := openKeeping(t, t.TempDir(), 5)
	put(t, c, words(t, 100)...)
	if err := c.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	filter, err := ParseFilter("", "year >= 0 OR id:*")
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]struct {
		with func(*SearchRequest)
		kept bool
	}{
		"plain":     {func(*SearchRequest) {}, true},
		"five":      {func(r *SearchRequest) { r.K = ptr(5) }, true},
		"six":       {func(r *SearchRequest) { r.K = ptr(6) }, false},
		"live":      {func(r *SearchRequest) { r.Live = true }, false},
		"exact":     {func(r *SearchRequest) { r.Exact = true }, false},
		"recall":    {func(r *SearchRequest) { r.Recall = ptr(0.999) }, false},
		"hybrid":    {func(r *SearchRequest) { r.Mode = Hybrid }, false},
		"a filter":  {func(r *SearchRequest) { r.Which.Filter = filter }, false},
		"diversity": {func(r *SearchRequest) { r.Diversity = 0.1 }, false},
		"a text":    {func(r *SearchRequest) { r.Input = Input{Text: ptr("w1")} }, false},
	} {
		r := SearchRequest{Input: Input{PaperID: "p0001"}, K: ptr(3)}
		of.with(&r)
		res, err := c.Search(t.Context(), r)
		if err != nil || (res.Materialised != nil) != of.kept {
			t.Errorf("%s: kept is %v, want %v; %v", name, res.Materialised, of.kept, err)
		}
	}
}

// A paper at the edge of a dense cluster has the cluster nearest, and may be nearest to one outside of it: it is put into that one's list all the same.
func TestANeighbourAtTheEdgeOfACluster(t *testing.T) {
	rng := testkit.Rand(t)
	enc, err := newOwnVectors(16)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(t.Context(), t.TempDir(), enc, &Options{Settings: Settings{OwnVectors: true, Dimension: 16, Neighbours: 5}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	at := func(x, y, noise float64) []float32 {
		v := make([]float32, 16)
		v[0], v[1] = float32(x), float32(y)
		for i := 2; i < len(v); i++ {
			v[i] = float32(noise * rng.NormFloat64())
		}
		return v
	}
	put(t, c, Paper{ID: "x", Title: "x", Vector: at(1, 0, 0)})
	for i := range 60 {
		put(t, c, Paper{ID: fmt.Sprint("c", i), Title: "c", Vector: at(0.5, 0.866, 0.02)})
	}
	put(t, c, Paper{ID: "n", Title: "n", Vector: at(0.6, 0.8, 0)})
	res, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "x"}, K: ptr(1), SameWork: true})
	if err != nil || res.Materialised == nil || len(res.Hits) != 1 || res.Hits[0].Paper.ID != "n" {
		t.Errorf("nearest to x: %+v, %v", res, err)
	}
}

// What is kept of a paper is the beginning of what is searched for beyond it, and what the search has that the list lacks comes into the list.
func TestKeptNeighboursComeFirst(t *testing.T) {
	c := openKeeping(t, t.TempDir(), 12)
	all := words(t, 400)
	put(t, c, all...)
	if err := c.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	related := func(id string, k int) []string {
		t.Helper()
		res, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: id}, K: &k, SameWork: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Hits) != k {
			t.Errorf("%s: %d hits, want %d", id, len(res.Hits), k)
		}
		return ids(res.Hits)
	}
	for i := range 60 {
		id := all[i].ID
		ordinal, err := c.store.Ordinal(id)
		if err != nil {
			t.Fatal(err)
		}
		whole := related(id, 12)
		// As if the third had been missed, and another one were last in its place.
		c.neighbours.mu.Lock()
		list := c.neighbours.lists[ordinal]
		missed := list.near[2]
		next := thirteenth(t, c, id)
		list.near = append(slices.Delete(list.near, 2, 3), next)
		c.neighbours.mu.Unlock()
		few, many := related(id, 10), related(id, 50)
		if !slices.Equal(many[:10], few) || slices.Contains(many, whole[2]) {
			t.Errorf("%s: for 50 %v, for 10 %v; it lacks %s", id, many, few, whole[2])
		}
		if again := related(id, 12); !slices.Equal(again, whole) || !slices.ContainsFunc(c.neighbours.lists[ordinal].near, func(x neighbour) bool { return x.ordinal == missed.ordinal }) {
			t.Errorf("%s: %v after the search, want %v", id, again, whole)
		}
	}
	if err := c.checkNeighbours(); err != nil {
		t.Error(err)
	}
}

// thirteenth is the thirteenth neighbour of a paper.
func thirteenth(t *testing.T, c *Collection, id string) neighbour {
	t.Helper()
	v, self, err := c.vectorOf("id", id)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.index.Search(v, ann.Query{K: 14, Plan: ann.Scan})
	if err != nil {
		t.Fatal(err)
	}
	near := slices.DeleteFunc(answer.Neighbors, func(x ann.Neighbor) bool { return x.Label == self })
	return neighbour{uint32(near[12].Label), near[12].Distance}
}
