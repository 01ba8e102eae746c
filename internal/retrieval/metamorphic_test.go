package retrieval

import (
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

// TestConfigurationsAgree brings one history into collections of random configurations. All of them give the same papers, and the same
// answers to exact searches; searches by the graph find as many of the exact answer, to a hundredth.
func TestConfigurationsAgree(t *testing.T) {
	rng := testkit.Rand(t)
	history := randomHistory(rng, *historyOps)
	var queries [][]float32
	for range 50 {
		enc, err := newBag().Encode(t.Context(), Interactive, Query, []string{fmt.Sprintf("w%d w%d w%d w%d", rng.IntN(60), rng.IntN(60), rng.IntN(60), rng.IntN(60))})
		if err != nil {
			t.Fatal(err)
		}
		queries = append(queries, enc[0].Vector)
	}
	var first *answers
	least, most := 1.0, 0.0
	for range fewer(*configurations) {
		o := randomConfiguration(rng)
		got := o.run(t, history, queries)
		if first == nil {
			first = got
		}
		if !slices.EqualFunc(first.papers, got.papers, func(a, b Paper) bool { return samePaper(&a, &b) }) {
			t.Errorf("%+v: the papers are others", o)
		}
		for q := range queries {
			if !sameHits(first.exact[q], got.exact[q]) {
				t.Errorf("%+v: an exact search gives\n%v, not\n%v", o, got.exact[q], first.exact[q])
				break
			}
		}
		least, most = min(least, got.recall), max(most, got.recall)
	}
	if most-least > 0.01 {
		t.Errorf("searches by the graph find %.4f to %.4f of the exact answer", least, most)
	}
	t.Logf("%d papers; recall %.4f to %.4f", len(first.papers), least, most)
}

// rounding is how far the ways to keep a vector may be apart in a score.
const rounding = 5e-5

// sameHits tells whether two answers are equal but for roundings, by which papers that are equally near may change places.
func sameHits(a, b []Hit) bool {
	if len(a) != len(b) {
		return false
	}
	last := float64(a[len(a)-1].Score)
	for i := range a {
		if math.Abs(float64(a[i].Score-b[i].Score)) > rounding {
			return false
		}
		in := slices.IndexFunc(b, func(h Hit) bool { return h.Paper.ID == a[i].Paper.ID })
		if in < 0 && float64(a[i].Score)-last > rounding || in >= 0 && math.Abs(float64(b[in].Score-a[i].Score)) > rounding {
			return false
		}
	}
	return true
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
		c, err := Open(t.Context(), dir, newBag(), &Options{Index: ann.Options{M: o.M, EfConstruction: o.EfConstruction, Memory: o.Memory}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
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
	if a.papers, _, err = c.List("", ptr(MaxPageSize)); err != nil {
		t.Fatal(err)
	}
	for i := range a.papers {
		if p, _, err := c.Get(a.papers[i].ID); err != nil || !samePaper(&p, &a.papers[i]) {
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
