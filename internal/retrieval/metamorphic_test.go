package retrieval

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"embedd/ann"
	"embedd/internal/testkit"
)

var configurations = flag.Int("configurations", 6, "under how many configurations TestConfigurationsAgree runs a history; 32 or more say something")

// configuration is how a history of writes is brought into a collection. None of it may be seen in what the collection then answers.
type configuration struct {
	M, EfConstruction int
	Memory            ann.Memory
	Goroutines        int
	Batch             int  // papers of a call, at most
	Snapshot, Restart int  // after so many writes; 0: never
	Forgetful         bool // a restart finds no snapshot of its own time: it is closed without one
}

func randomConfiguration(rng *rand.Rand) configuration {
	return configuration{
		M: 4 + rng.IntN(29), EfConstruction: 50 + rng.IntN(300), Memory: []ann.Memory{ann.Residual, ann.Fast, ann.Lean}[rng.IntN(3)],
		Goroutines: 1 + rng.IntN(16), Batch: 1 + rng.IntN(50),
		Snapshot: []int{0, 100, 700}[rng.IntN(3)], Restart: []int{0, 300, 900}[rng.IntN(3)], Forgetful: rng.IntN(2) == 0,
	}
}

// write is one entry of a history: the paper is stored, or where it has no title deleted.
type write = Paper

// randomHistory is of a few hundred papers, which change, go and come back. No two have the same text.
func randomHistory(rng *rand.Rand, n int) (history []write) {
	for i := range n {
		p := Paper{ID: fmt.Sprintf("p%03d", rng.IntN(400)), Year: int32(rng.IntN(2000))}
		if rng.IntN(5) > 0 {
			p.Title = fmt.Sprintf("w%d w%d w%d w%d only%d", rng.IntN(60), rng.IntN(60), rng.IntN(60), rng.IntN(60), i)
		}
		history = append(history, p)
	}
	return history
}

// TestConfigurationsAgree brings one history into collections of random configurations. All of them give the same papers, and
// answer exact searches by the products of their vectors; searches by the graph find as many of the exact answer, to a hundredth.
func TestConfigurationsAgree(t *testing.T) {
	rng := testkit.Rand(t)
	history := randomHistory(rng, *historyOps)
	var queries [][]float32
	for range 50 {
		enc, err := wideBag().Encode(t.Context(), Interactive, Query, []string{fmt.Sprintf("w%d w%d w%d w%d", rng.IntN(60), rng.IntN(60), rng.IntN(60), rng.IntN(60))})
		if err != nil {
			t.Fatal(err)
		}
		queries = append(queries, enc[0].Vector)
	}
	var papers []Paper
	var exact []truth
	var vectors map[string][]float32
	least, most := 1.0, 0.0
	for range fewer(*configurations) {
		o := randomConfiguration(rng)
		got := o.run(t, history, queries)
		if papers == nil {
			papers = got.papers
			exact, vectors = truths(t, papers, queries)
		}
		if !slices.EqualFunc(papers, got.papers, func(a, b Paper) bool { return samePaper(&a, &b) }) {
			t.Errorf("%+v: the papers are others", o)
		}
		for i, q := range queries {
			if w := exact[i].wrong(got.exact[i], func(id string) float64 { return slack(o.Memory, q, vectors[id]) }); w != "" {
				t.Errorf("%+v: an exact search: %s:\n%v", o, w, got.exact[i])
				break
			}
		}
		least, most = min(least, got.recall), max(most, got.recall)
	}
	if most-least > 0.01 {
		t.Errorf("searches by the graph find %.4f to %.4f of the exact answer", least, most)
	}
	t.Logf("%d papers; recall %.4f to %.4f", len(papers), least, most)
}

// wideBag gives as many values as the default model: what the residual mode rounds is then as small as users have it.
func wideBag() *bag {
	b := newBag()
	b.model.Dimension = 384
	return b
}

// truth is what an exact search for one query goes by, for each paper: the product of the vectors as the encoder gave them.
type truth map[string]float64

// truths are those of all queries, and the vectors of the papers.
func truths(t *testing.T, papers []Paper, queries [][]float32) ([]truth, map[string][]float32) {
	vectors := map[string][]float32{}
	for i := range papers {
		enc, err := wideBag().Encode(t.Context(), Bulk, Document, []string{PaperText(&papers[i])})
		if err != nil {
			t.Fatal(err)
		}
		vectors[papers[i].ID] = enc[0].Vector
	}
	all := make([]truth, len(queries))
	for i, q := range queries {
		all[i] = truth{}
		for id, v := range vectors {
			for j := range v {
				all[i][id] += float64(q[j]) * float64(v[j])
			}
		}
	}
	return all, vectors
}

// slack is how far the score of a vector with a query may be from the truth.
func slack(m ann.Memory, q, v []float32) float64 {
	const sums = 2e-6 // of float32
	if m != ann.Residual {
		return sums
	}
	// The mode rounds each value to a whole number of steps, a query's to 16 bits (ann/quantize.go). Roundings of n values are as good as
	// independent: together they are a step times √(1/12) times the norm, 1, and six times that is as good as never.
	largest := func(v []float32) (most float64) {
		for _, f := range v {
			most = max(most, math.Abs(float64(f)))
		}
		return most
	}
	holds := 4 / math.Sqrt(float64(len(v)))
	step := max(holds/63/2, largest(v)-holds) / 127
	return sums + 6*math.Hypot(step, largest(q)/32767)/math.Sqrt(12)
}

// wrong says what is wrong with an answer to an exact search; "" for nothing.
func (x truth) wrong(hits []Hit, slack func(id string) float64) string {
	if len(hits) != min(DefaultK, len(x)) {
		return fmt.Sprintf("it has %d papers", len(hits))
	}
	for i, h := range hits {
		if off := math.Abs(float64(h.Score) - x[h.Paper.ID]); !(off <= slack(h.Paper.ID)) {
			return fmt.Sprintf("the score of %s is off by %.2g, more than %.2g", h.Paper.ID, off, slack(h.Paper.ID))
		}
		if i > 0 && h.Score > hits[i-1].Score {
			return fmt.Sprintf("%s stands behind one that is not as near", h.Paper.ID)
		}
	}
	got, last := ids(hits), float64(hits[len(hits)-1].Score)
	for id, score := range x {
		if score-slack(id) > last && !slices.Contains(got, id) {
			return fmt.Sprintf("%s, of score %.6f, is not in it", id, score)
		}
	}
	return ""
}

// answers are what a collection says in the end.
type answers struct {
	papers []Paper
	exact  [][]Hit
	recall float64
}

func (o configuration) run(t *testing.T, history []write, queries [][]float32) *answers {
	dir := t.TempDir()
	reopen := func() *Collection {
		c, err := Open(t.Context(), dir, wideBag(), &Options{Index: ann.Options{M: o.M, EfConstruction: o.EfConstruction, Memory: o.Memory}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := reopen()
	for i := 0; i < len(history); {
		end := len(history)
		for _, every := range []int{o.Snapshot, o.Restart} {
			if every > 0 {
				end = min(end, (i/every+1)*every)
			}
		}
		o.bring(t, c, history[i:end])
		i = end
		if o.Snapshot > 0 && i%o.Snapshot == 0 {
			if err := c.saveSnapshot(); err != nil {
				t.Fatal(err)
			}
		}
		if o.Restart > 0 && i%o.Restart == 0 {
			c.snapshots.wrong.Store(o.Forgetful) // then Close writes none
			shut(t, c)
			c = reopen()
		}
	}
	a := &answers{}
	var err error
	if a.papers, _, err = c.List(t.Context(), "", ptr(MaxPageSize), Which{}); err != nil {
		t.Fatal(err)
	}
	for i := range a.papers {
		if p, _, err := c.Get(context.Background(), a.papers[i].ID, Which{}); err != nil || !samePaper(&p, &a.papers[i]) {
			t.Errorf("Get gives %v, %v; List %v", p, err, a.papers[i])
		}
	}
	found := 0
	for _, q := range queries {
		exact, err := c.Search(t.Context(), SearchRequest{Input: Input{Vector: q}, Exact: true})
		if err != nil {
			t.Fatal(err)
		}
		a.exact = append(a.exact, exact.Hits)
		near, err := c.Search(t.Context(), SearchRequest{Input: Input{Vector: q}, Ef: ptr(300), Plan: Graph})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids(near.Hits) {
			if slices.Contains(ids(exact.Hits), id) {
				found++
			}
		}
	}
	a.recall = float64(found) / float64(len(queries)*DefaultK)
	shut(t, c)
	return a
}

// bring makes a part of the history happen: each goroutine has papers of its own, and keeps their order.
func (o configuration) bring(t *testing.T, c *Collection, part []write) {
	var wg sync.WaitGroup
	for g := range o.Goroutines {
		var own []write
		for _, p := range part {
			var number int
			fmt.Sscanf(p.ID, "p%d", &number)
			if number%o.Goroutines == g {
				own = append(own, p)
			}
		}
		wg.Go(func() {
			for len(own) > 0 {
				n := sameKind(own, o.Batch)
				var err error
				if own[0].Title == "" {
					var gone []string
					for _, p := range own[:n] {
						gone = append(gone, p.ID)
					}
					_, _, _, err = c.Delete(t.Context(), gone)
				} else {
					_, _, err = c.Upsert(t.Context(), own[:n])
				}
				if err != nil {
					t.Error(err)
					return
				}
				own = own[n:]
			}
		})
	}
	wg.Wait()
}

// sameKind is how many of the first writes, at most so many, can be made in one call: all upserts or all deletes, and no paper twice.
func sameKind(writes []write, most int) int {
	seen := map[string]bool{}
	for i, p := range writes {
		if i == most || seen[p.ID] || (p.Title == "") != (writes[0].Title == "") {
			return i
		}
		seen[p.ID] = true
	}
	return len(writes)
}
