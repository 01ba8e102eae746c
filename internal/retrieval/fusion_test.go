package retrieval

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"embedd/internal/lexical"
	"embedd/internal/testkit"
)

// TestHybridAgainstTruth computes what a hybrid search must find from the scores of all papers.
func TestHybridAgainstTruth(t *testing.T) {
	rng := testkit.Rand(t)
	c := open(t, t.TempDir(), newBag())
	all := words(t, 700)
	put(t, c, all...)
	at := map[string]int{}
	for i, p := range all {
		at[p.ID] = i
	}
	for range 30 {
		text := all[rng.IntN(len(all))].Title + " " + all[rng.IntN(len(all))].Title
		search := func(r SearchRequest) *SearchResult {
			t.Helper()
			r.Input = Input{Text: &text}
			res, err := c.Search(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		dense := search(SearchRequest{Mode: Dense, Exact: true, K: ptr(len(all))}).Hits
		byWords := search(SearchRequest{Mode: Lexical, K: ptr(len(all))}).Hits
		for _, weight := range []float64{0, 0.3, 0.5, 1} {
			for _, fusion := range []Fusion{Convex, RRF} {
				type side struct{ cosine, bm25, byVector, byWords float64 } // scores, and ranks from 1
				sides := make([]side, len(all))
				for i, h := range dense {
					sides[at[h.Paper.ID]].cosine = float64(h.Score)
					if i < poolSize {
						sides[at[h.Paper.ID]].byVector = float64(i + 1)
					}
				}
				for i, h := range byWords {
					sides[at[h.Paper.ID]].bm25 = float64(h.Score)
					if i < poolSize {
						sides[at[h.Paper.ID]].byWords = float64(i + 1)
					}
				}
				var want []float64
				of := map[string]float64{}
				for i, s := range sides {
					if s.byVector == 0 && s.byWords == 0 {
						continue
					}
					score := 0.0
					if fusion == RRF {
						if s.byVector > 0 {
							score += 2 * weight / (60 + s.byVector)
						}
						if s.byWords > 0 {
							score += 2 * (1 - weight) / (60 + s.byWords)
						}
					} else {
						top, floor := float64(dense[0].Score), float64(dense[floorRank-1].Score)
						score = weight*min(1, max(0, (s.cosine-floor)/(top-floor))) + (1-weight)*s.bm25/float64(byWords[0].Score)
					}
					want, of[all[i].ID] = append(want, score), score
				}
				slices.SortFunc(want, func(a, b float64) int { return int(math.Copysign(1, b-a)) })
				var before []string
				for _, k := range []int{1, 3, 10, 100} {
					res := search(SearchRequest{Mode: Hybrid, Fusion: fusion, DenseWeight: &weight, Exact: true, K: &k})
					got := ids(res.Hits)
					if len(got) != min(k, len(want)) || !slices.Equal(got[:len(before)], before) {
						t.Fatalf("the answer for %d is %v, and for less %v", k, got, before)
					}
					before = got
					for i, h := range res.Hits {
						if math.Abs(float64(h.Score)-want[i]) > 1e-5 || math.Abs(of[h.Paper.ID]-want[i]) > 1e-5 {
							t.Fatalf("weight %v, fusion %v: hit %d is %s with %v, want a score of %v", weight, fusion, i, h.Paper.ID, h.Score, want[i])
						}
						if s := sides[at[h.Paper.ID]]; math.Abs(float64(*h.Cosine)-s.cosine) > 1e-6 || math.Abs(float64(*h.BM25)-s.bm25) > 1e-5 {
							t.Fatalf("hit %d is said to have the cosine %v and BM25 %v, want %v", i, *h.Cosine, *h.BM25, s)
						}
					}
				}
			}
		}
	}
}

// What a mode is of, and what each says of its hits.
func TestModes(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, Paper{ID: "a", Title: "red fish"}, Paper{ID: "b", Title: "blue fish", Abstract: "fishes"}, Paper{ID: "c", Title: "the"})
	none, text, stop := Input{Vector: make([]float32, 32)}, Input{Text: ptr("fishing")}, Input{Text: ptr("the")}
	none.Vector[0] = 1
	for _, test := range []struct {
		r    SearchRequest
		want string // hits, or the error
	}{
		{SearchRequest{Input: text, Mode: Lexical}, "b a"},
		{SearchRequest{Input: stop, Mode: Lexical}, ""},
		{SearchRequest{Input: stop}, "c b a"},
		{SearchRequest{Input: Input{PaperID: "a"}, Mode: Lexical}, "b"},
		{SearchRequest{Input: Input{PaperID: "a"}, Mode: Hybrid}, "b c"},
		{SearchRequest{Input: Input{PaperID: "x"}, Mode: Lexical}, `no paper has the id "x"`},
		{SearchRequest{Input: none, Mode: Hybrid}, "mode: is hybrid, which needs words"},
		{SearchRequest{Input: none, Mode: Lexical}, "mode: is lexical, which needs words"},
		{SearchRequest{Input: text, Mode: 9}, "mode: 9 is not a mode"},
		{SearchRequest{Input: text, Fusion: 9}, "fusion: 9 is not a fusion"},
		{SearchRequest{Input: text, Mode: Lexical, Ef: ptr(10)}, "ef: is given, and the mode is lexical"},
		{SearchRequest{Input: text, Mode: Lexical, Recall: ptr(0.9)}, "recall: is given, and the mode is lexical"},
		{SearchRequest{Input: text, Mode: Lexical, Plan: Scan}, "plan: is given, and the mode is lexical"},
		{SearchRequest{Input: text, Mode: Lexical, Exact: true}, "exact: is given, and the mode is lexical"},
		{SearchRequest{Input: text, Mode: Dense, Fusion: RRF}, "fusion: is given, and the mode is dense"},
		{SearchRequest{Input: text, Mode: Lexical, DenseWeight: ptr(0.5)}, "dense_weight: is given, and the mode is lexical"},
		{SearchRequest{Input: text, DenseWeight: ptr(1.5)}, "dense_weight: is 1.5; must be 0 to 1"},
		{SearchRequest{Input: text, DenseWeight: ptr(math.NaN())}, "dense_weight: is NaN"},
	} {
		res, err := c.Search(t.Context(), test.r)
		switch {
		case err != nil && !strings.Contains(err.Error(), test.want), err != nil && test.want == "":
			t.Errorf("%+v: %v, want %q", test.r, err, test.want)
		case err == nil && strings.Join(ids(res.Hits), " ") != test.want:
			t.Errorf("%+v: %v, want %q", test.r, ids(res.Hits), test.want)
		}
	}
	// Which sides a hit has.
	for mode, has := range map[Mode][2]bool{Dense: {true, false}, Lexical: {false, true}, Hybrid: {true, true}} {
		res, err := c.Search(t.Context(), SearchRequest{Input: text, Mode: mode})
		if err != nil || res.Mode != mode || (mode == Hybrid) != (res.Fusion == Convex && res.DenseWeight == DefaultDenseWeight) {
			t.Fatalf("%v: %+v, %v", mode, res, err)
		}
		for _, h := range res.Hits {
			if (h.Cosine != nil) != has[0] || (h.BM25 != nil) != has[1] {
				t.Errorf("%v: cosine %v, BM25 %v", mode, h.Cosine, h.BM25)
			}
		}
	}
	// With a scope the modes are the same.
	scope := Which{Scope: filtered(t, "NOT year:*")}
	for mode, want := range map[Mode]Mode{UsualMode: Hybrid, Dense: Dense, Lexical: Lexical, Hybrid: Hybrid} {
		res, err := c.Search(t.Context(), SearchRequest{Input: text, Mode: mode, Which: scope})
		if err != nil || res.Mode != want {
			t.Errorf("with a scope, %v: %+v, %v", mode, res, err)
		}
	}
}

// The input paper is not the measure of the others, whether or not the filter lets it pass; and papers that no side sets apart are in the order of
// their vectors.
func TestHybridByPaper(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	all := words(t, 900)
	put(t, c, all...)
	search := func(r SearchRequest) []Hit {
		t.Helper()
		r.Mode, r.Exact = Hybrid, true
		res, err := c.Search(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return res.Hits
	}
	for _, p := range all[:20] {
		for _, fusion := range []Fusion{Convex, RRF} {
			got := search(SearchRequest{Input: Input{PaperID: p.ID}, K: ptr(50), Fusion: fusion})
			without := search(SearchRequest{Input: Input{PaperID: p.ID}, K: ptr(50), Fusion: fusion, Which: Which{Filter: filtered(t, "NOT id = "+p.ID), Field: "filter"}})
			if !slices.Equal(ids(got), ids(without)) || got[0].Score != without[0].Score {
				t.Fatalf("%v; where a filter leaves out the input alone: %v", ids(got), ids(without))
			}
		}
		got := search(SearchRequest{Input: Input{PaperID: p.ID}, K: ptr(600)})
		if len(got) != 600 || slices.Contains(ids(got), p.ID) {
			t.Fatalf("%d hits", len(got))
		}
		for i := range got[1:] {
			if got[i].Score == got[i+1].Score && *got[i].Cosine < *got[i+1].Cosine {
				t.Fatalf("hits %d and %d have the same score, and the farther one comes first", i, i+1)
			}
		}
	}
}

// A paper whose text changes between the two halves of a search is not found by itself.
func TestTheInputMoves(t *testing.T) {
	for _, mode := range []Mode{Dense, Lexical, Hybrid} {
		c := open(t, t.TempDir(), newBag())
		put(t, c, paper("a", "red fish"), paper("b", "red fish"))
		r := SearchRequest{Input: Input{PaperID: "a"}, Mode: mode}
		l, err := r.look(10)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.resolve(t.Context(), r, l, &SearchResult{}); err != nil {
			t.Fatal(err)
		}
		put(t, c, paper("a", "blue red fish"))
		hits, err := c.nearest(t.Context(), l, r, &SearchResult{K: 10})
		if err != nil || !slices.Equal(ids(hits), []string{"b"}) {
			t.Errorf("%v: found %v, %v", mode, ids(hits), err)
		}
	}
}

// Searches by words do not wait for writers.
func TestSearchesPassWriters(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, paper("a", "red fish"))
	c.words.mu.Lock() // as while papers are read and put
	defer c.words.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.Search(ctx, SearchRequest{Input: Input{Text: ptr("fish")}}); err != nil {
		t.Error(err)
	}
}

// The words are kept over a start, however it ended, and follow what has changed since.
func TestWordsAreKept(t *testing.T) {
	dir := t.TempDir()
	c, _ := openLogged(t, dir, Options{})
	all := words(t, 300)
	put(t, c, all...)
	if err := c.saveSnapshot(); err != nil {
		t.Fatal(err)
	}
	put(t, c, paper("new", "entirely novel"), Paper{ID: all[0].ID, Title: strings.Fields(all[0].Title)[0], Abstract: strings.Join(strings.Fields(all[0].Title)[1:], " ")}) // the same text, less of it a title
	if _, _, _, err := c.Delete(t.Context(), []string{all[1].ID}); err != nil {
		t.Fatal(err)
	}
	find := func(c *Collection, text string) []string {
		t.Helper()
		res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Mode: Lexical, K: ptr(300)})
		if err != nil {
			t.Fatal(err)
		}
		return ids(res.Hits)
	}
	score := func(c *Collection) float32 {
		t.Helper()
		ordinal, err := c.store.Ordinal(all[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		_, scores, err := c.words.index.Search(t.Context(), lexical.ParseQuery(all[0].Title), 0, nil, []uint64{ordinal})
		if err != nil {
			t.Fatal(err)
		}
		return scores[0]
	}
	want, wantScore := find(c, all[1].Title), score(c)
	if slices.Contains(want, all[1].ID) {
		t.Error("a paper that was deleted is found")
	}
	for _, how := range []string{"as it was", "closed", "without a snapshot"} {
		t.Run(how, func(t *testing.T) {
			copied := killed(t, dir)
			if how == "without a snapshot" {
				if _, err := DropDerived(copied); err != nil {
					t.Fatal(err)
				}
			}
			again, log := openLogged(t, copied, Options{})
			if how == "closed" {
				shut(t, again)
				again, log = openLogged(t, copied, Options{})
			}
			if again.words.begun || (again.words.at.Load() != 0) != (how != "without a snapshot") {
				t.Errorf("the words are read at the start: %v; the snapshot is of revision %d; %s", again.words.begun, again.words.at.Load(), log)
			}
			if got := find(again, all[1].Title); !slices.Equal(got, want) {
				t.Errorf("found %v, want %v", got, want)
			}
			if got := find(again, "novels"); !slices.Equal(got, []string{"new"}) {
				t.Errorf("found %v", got)
			}
			if at := again.words.at.Load(); (at != 0) != (how != "without a snapshot") {
				t.Errorf("the words were taken of a snapshot of revision %d; %s", at, log)
			}
			if got := score(again); got != wantScore {
				t.Errorf("the paper whose title is shorter now has the score %v, want %v", got, wantScore)
			}
			shut(t, again)
		})
	}
	shut(t, c)
}

// What a collection that never searches by words leaves of their snapshot is still of use, and so is one that is cut short while it reads it.
func TestWordsThatNobodyAsksFor(t *testing.T) {
	dir := t.TempDir()
	c, _ := openLogged(t, dir, Options{})
	all := words(t, 200)
	put(t, c, all[:100]...)
	shut(t, c)
	for round := range 4 {
		c, log := openLogged(t, dir, Options{})
		if c.words.begun {
			t.Fatal("the words are read by who asks for none")
		}
		put(t, c, all[100+round*20:120+round*20]...) // begins to read them
		if round%2 == 0 {
			c.upkeep.cancel() // as Close does, perhaps while they are read
		}
		if err := c.saveSnapshot(); err != nil { // which forgets changes
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(log.String(), "is not used") {
			t.Fatalf("round %d: %s", round, log)
		}
	}
	c, log := openLogged(t, dir, Options{})
	text := all[170].Title
	res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Mode: Lexical})
	if err != nil || !slices.Contains(ids(res.Hits), all[170].ID) || strings.Contains(log.String(), "is not used") {
		t.Errorf("%v, %v, %s", res, err, log)
	}
	if b := c.DerivedBytes(); b["fields"] <= 0 || b["words"] <= 0 || b["works"] < 0 {
		t.Errorf("what is derived takes %v", b)
	}
	shut(t, c)
}

// Words that change while their snapshot is read are those of the papers in the end.
func TestWordsBesideWriters(t *testing.T) {
	dir := t.TempDir()
	c, _ := openLogged(t, dir, Options{})
	all := words(t, 400)
	put(t, c, all[:300]...)
	shut(t, c)
	c, log := openLogged(t, dir, Options{})
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for i := w; i < 100; i += 3 {
				p := all[300+i]
				if i%2 == 0 {
					p.ID = all[i].ID
				}
				if _, _, err := c.Upsert(context.Background(), []Paper{p}); err != nil {
					t.Error(err)
				}
				if i%5 == 0 {
					if _, _, _, err := c.Delete(context.Background(), []string{all[200+i%100].ID}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	c.LoadDerived()
	writers.Wait()
	<-c.words.made
	if strings.Contains(log.String(), "is not used") {
		t.Error(log)
	}
	shut(t, c) // proves that each paper has words, and no other
}
