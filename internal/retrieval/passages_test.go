package retrieval

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"embedd/internal/testkit"
)

// openPassages opens a collection that keeps long texts in passages.
func openPassages(t *testing.T, dir string, enc Encoder) *Collection {
	t.Helper()
	c, err := Open(t.Context(), dir, enc, &Options{Settings: Settings{Passages: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	return c
}

// long gives a paper of n words, of which bag reads 8.
func long(rng *rand.Rand, id string, n int) Paper {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("w%d", rng.IntN(300))
	}
	return Paper{ID: id, Title: strings.Join(all[:1], " "), Abstract: strings.Join(all[1:], " "), Year: int32(2000 + n%20)}
}

// A word that stands far behind what the model reads of a text finds its paper, and the hit says where it stands.
func TestPassages(t *testing.T) {
	rng := testkit.Rand(t)
	dir, enc := t.TempDir(), newBag()
	c := openPassages(t, dir, enc)
	papers := []Paper{long(rng, "long", 60), long(rng, "short", 5), long(rng, "endless", 400)}
	fields := strings.Fields(papers[0].Abstract)
	fields[42] = "x1 x2 x3 x4" // the text's words 43 to 46: in one passage
	papers[0].Abstract = strings.Join(fields, " ")
	r := put(t, c, papers...)
	for i, truncated := range []bool{false, false, true} { // 16 passages are not enough for all of the last
		if r[i].TextUse.Truncated != truncated {
			t.Errorf("%s is truncated: %v", papers[i].ID, r[i].TextUse.Truncated)
		}
	}
	look := func(c *Collection) {
		t.Helper()
		if n := c.index.Len(); n != 9+1+16 {
			t.Errorf("%d vectors are in the index", n)
		}
		if info, err := c.Info(); err != nil || info.Papers != 3 || info.Index.Vectors != 3 {
			t.Errorf("%+v, %v", info, err)
		}
		text := "x1 x2 x3 x4"
		for _, mode := range []Mode{Dense, Hybrid, Lexical} {
			res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Mode: mode, Explain: true})
			if err != nil {
				t.Fatal(err)
			}
			if mode == Lexical {
				if len(res.Hits) != 1 || res.Hits[0].Why.Passage != nil {
					t.Errorf("by words: %v, passage %v", ids(res.Hits), res.Hits[0].Why.Passage)
				}
				continue
			}
			if got := slices.Sorted(slices.Values(ids(res.Hits))); !slices.Equal(got, []string{"endless", "long", "short"}) || res.Hits[0].Paper.ID != "long" {
				t.Errorf("mode %v: %v", mode, ids(res.Hits))
			}
			for _, h := range res.Hits {
				if p := h.Why.Passage; (p == nil) != (h.Paper.ID == "short") {
					t.Errorf("%s was found by the passage %v", h.Paper.ID, p)
				}
			}
			p := res.Hits[0].Why.Passage
			if p == nil || !strings.Contains(p.Text, "x2 x3") || p.Index < 4 {
				t.Errorf("mode %v: the passage is %+v", mode, p)
			}
			x := res.Hits[0].Explanation
			var said strings.Builder
			for _, s := range x.Sentences {
				said.WriteString(s.Text)
			}
			if said.String() != p.Text {
				t.Errorf("%q is explained, %q was found", said.String(), p.Text)
			}
			if d := x.Score - float64(*res.Hits[0].Cosine); d > 1e-4 || d < -1e-4 {
				t.Errorf("the explanation's score is %v, the hit's %v", x.Score, *res.Hits[0].Cosine)
			}
		}
		x, err := c.Explain(t.Context(), ExplainRequest{Input: Input{Text: &text}, Field: "query", PaperID: "long"})
		if err != nil || !strings.Contains(x.Sentences[len(x.Sentences)-1].Text, "x2") {
			t.Errorf("%+v, %v", x, err)
		}
	}
	look(c)
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if x, err := Inspect(t.Context(), dir, nil); err != nil || x.Violated() {
		t.Errorf("%+v, %v", x, err)
	}
	c = openPassages(t, dir, enc) // by the snapshot
	if c.start.Inserted != 0 {
		t.Errorf("%d vectors were inserted beside the snapshot", c.start.Inserted)
	}
	look(c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, snapshotName)); err != nil {
		t.Fatal(err)
	}
	c = openPassages(t, dir, enc) // from the store
	look(c)
	before := enc.encoded.Load()
	if r := put(t, c, papers...); r[0].Outcome != Unchanged || enc.encoded.Load() != before {
		t.Errorf("outcome %v, %d texts were encoded", r[0].Outcome, enc.encoded.Load()-before)
	}
	put(t, c, long(rng, "long", 12), long(rng, "endless", 3))
	if n := c.index.Len(); n != 2+1+1 {
		t.Errorf("%d vectors are in the index after two texts changed", n)
	}
	if _, _, _, err := c.Delete(t.Context(), []string{"long", "short", "endless"}); err != nil {
		t.Fatal(err)
	}
	if n, m := c.index.Len(), c.passages.len(); n != 0 || m != 0 {
		t.Errorf("%d vectors are in the index, and %d passages known, of no paper", n, m)
	}
}

// An exact search has each paper where its best passage is, whatever the filter, and k of them while there are as many.
func TestAPaperCountsByItsBestPassage(t *testing.T) {
	rng := testkit.Rand(t)
	enc := newBag()
	c := openPassages(t, t.TempDir(), enc)
	var papers []Paper
	for i := range 60 {
		papers = append(papers, long(rng, fmt.Sprintf("p%02d", i), 1+rng.IntN(150)))
	}
	put(t, c, papers...)
	filter, err := ParseFilter("filter", "year >= 2010")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		text := fmt.Sprintf("w%d w%d", rng.IntN(300), rng.IntN(300))
		q, err := enc.Encode(t.Context(), Interactive, Query, []string{text})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []*Filter{nil, filter} {
			type scored struct {
				id   string
				best float64
			}
			var want []scored
			for i := range papers {
				if f != nil && papers[i].Year < 2010 {
					continue
				}
				parts, err := enc.Passages(t.Context(), Bulk, []Passage{passageOf(&papers[i])}, 16)
				if err != nil {
					t.Fatal(err)
				}
				if len(parts[0]) < 2 {
					whole, err := enc.Encode(t.Context(), Bulk, Document, []string{PaperText(&papers[i])})
					if err != nil {
						t.Fatal(err)
					}
					parts[0] = []Part{{Vector: whole[0].Vector}}
				}
				s := scored{papers[i].ID, -2}
				for _, p := range parts[0] {
					var sum float64
					for j, v := range p.Vector {
						sum += float64(v) * float64(q[0].Vector[j])
					}
					s.best = max(s.best, sum)
				}
				want = append(want, s)
			}
			slices.SortFunc(want, func(a, b scored) int { return cmp.Compare(b.best, a.best) })
			for _, k := range []int{1, 10, 40, 100} {
				res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Mode: Dense, Exact: true, K: &k, Which: Which{Filter: f}})
				if err != nil {
					t.Fatal(err)
				}
				if len(res.Hits) != min(k, len(want)) {
					t.Fatalf("%d hits of %d for k = %d", len(res.Hits), len(want), k)
				}
				for i, h := range res.Hits {
					if d := float64(h.Score) - want[i].best; d > 1e-3 || d < -1e-3 {
						t.Errorf("k %d, hit %d: %s with %v, want %s with %v", k, i, h.Paper.ID, h.Score, want[i].id, want[i].best)
					}
				}
			}
		}
	}
}

// Writers put, change and remove papers, long and short, while others search: no answer has a paper twice, and at the end the index has what the
// store has. shut checks that.
func TestPassagesWhilePapersChange(t *testing.T) {
	rng := testkit.Rand(t)
	c := openPassages(t, t.TempDir(), newBag())
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 1))
		writers.Go(func() {
			for range 60 {
				id := fmt.Sprintf("p%d", rng.IntN(6)) // often the same as another writer's
				var err error
				if rng.IntN(3) == 0 {
					_, _, _, err = c.Delete(t.Context(), []string{id})
				} else {
					_, _, err = c.Upsert(t.Context(), []Paper{long(rng, id, 1+rng.IntN(60))})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			text := fmt.Sprintf("w%d w%d", len(done), 7)
			res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}})
			if err != nil {
				t.Error(err)
				return
			}
			if got := ids(res.Hits); len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(got) {
				t.Errorf("a paper is there twice: %v", got)
			}
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
}
