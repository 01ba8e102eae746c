package retrieval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"embedd/internal/store"
	"embedd/internal/testkit"
)

// openSentences opens a collection that keeps sentences.
func openSentences(t *testing.T, dir string, enc Encoder) *Collection {
	t.Helper()
	c, err := Open(t.Context(), dir, enc, &Options{Settings: Settings{Sentences: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	return c
}

// prose gives papers of random words, with abstracts of up to 6 sentences.
func prose(rng *rand.Rand, n int) []Paper {
	sentence := func() string {
		var b strings.Builder
		for i := range 2 + rng.IntN(5) {
			if i > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(&b, "w%d", rng.IntN(80))
		}
		return b.String()
	}
	papers := make([]Paper, n)
	for i := range papers {
		var abstract []string
		for range rng.IntN(7) {
			abstract = append(abstract, sentence())
		}
		papers[i] = Paper{ID: fmt.Sprintf("p%04d", i), Title: sentence(), Abstract: strings.Join(abstract, ". ")}
	}
	return papers
}

// bestOf is the slow truth of bestSentences: the cosines with the vectors as they were encoded.
func bestOf(t *testing.T, enc *bag, query []float32, p *Paper) float64 {
	t.Helper()
	parts, err := enc.Sentences(t.Context(), Bulk, []Passage{passageOf(p)})
	if err != nil {
		t.Fatal(err)
	}
	best := math.Inf(-1)
	for _, part := range parts[0] {
		var sum float64
		for j, v := range part.Vector {
			sum += float64(v) * float64(query[j])
		}
		best = max(best, sum)
	}
	return best
}

// codeError is how far a cosine by codes of a byte may be off, with vectors of 32 values.
const codeError = 0.01

func TestBestSentences(t *testing.T) {
	rng := testkit.Rand(t)
	for _, dim := range []int{32, 64, 100} { // rows are padded, or not
		enc := newBag()
		enc.model.Dimension = dim
		c := openSentences(t, t.TempDir(), enc)
		papers := prose(rng, 60)
		put(t, c, papers...)
		q, err := enc.Encode(t.Context(), Interactive, Query, []string{"w1 w2 w3"})
		if err != nil {
			t.Fatal(err)
		}
		ordinals := []uint64{1 << 40} // nobody's
		for i := range papers {
			ordinal, err := c.store.Ordinal(papers[i].ID)
			if err != nil {
				t.Fatal(err)
			}
			ordinals = append(ordinals, ordinal)
		}
		best, err := c.bestSentences(t.Context(), q[0].Vector, ordinals)
		if err != nil {
			t.Fatal(err)
		}
		if best[0] == best[0] {
			t.Errorf("what is not stored has a best sentence of %v", best[0])
		}
		for i := range papers {
			if want := bestOf(t, enc, q[0].Vector, &papers[i]); !(math.Abs(float64(best[i+1])-want) < codeError) {
				t.Errorf("dimension %d, %s: %v, want %v", dim, papers[i].ID, best[i+1], want)
			}
		}
	}
}

// A dense search with sentences is in the order of half the cosine and half that of the best sentence, for the first hundred; the others follow, and
// scores never grow. The answer for k is the beginning of that for more.
func TestSearchBySentences(t *testing.T) {
	rng := testkit.Rand(t)
	enc := newBag()
	c := openSentences(t, t.TempDir(), enc)
	papers := prose(rng, 300)
	put(t, c, papers...)
	search := func(r SearchRequest) *SearchResult {
		t.Helper()
		res, err := c.Search(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for i := range res.Hits[1:] {
			if res.Hits[i].Score < res.Hits[i+1].Score {
				t.Errorf("%+v: hit %d has the score %v, the next %v", r, i, res.Hits[i].Score, res.Hits[i+1].Score)
			}
		}
		return res
	}
	text := "w1 w2 w3 w4"
	q, err := enc.Encode(t.Context(), Interactive, Query, []string{text})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []Input{{Text: &text}, {PaperID: "p0007"}, {Vector: q[0].Vector}} {
		for _, mode := range []Mode{Dense, Hybrid} {
			if mode == Hybrid && in.Vector != nil {
				continue
			}
			for _, fusion := range []Fusion{UsualFusion, RRF} {
				if fusion == RRF && mode != Hybrid {
					continue
				}
				r := SearchRequest{Input: in, Mode: mode, Fusion: fusion, Exact: true, K: ptr(300), Sentences: ptr(true)}
				whole := search(r)
				if !whole.Sentences {
					t.Error("sentences were not used")
				}
				if in.PaperID != "" && slices.Contains(ids(whole.Hits), in.PaperID) {
					t.Error("invariant 8: the paper recommends itself")
				}
				if mode == Dense {
					r.Sentences = new(bool)
					plain := search(r)
					if plain.Sentences || plain.Hits[0].Why.Sentence != nil {
						t.Error("sentences were used, and were not to be")
					}
					if a, b := ids(plain.Hits[:rescored]), ids(whole.Hits[:rescored]); !sameSet(a, b) {
						t.Errorf("other papers than the first %d were scored anew", rescored)
					}
					if a, b := ids(plain.Hits[rescored:]), ids(whole.Hits[rescored:]); !slices.Equal(a, b) {
						t.Error("the others have another order")
					}
					r.Sentences = ptr(true)
				}
				for i, h := range whole.Hits {
					if (h.Why.Sentence != nil) != (i < rescored) && mode == Dense {
						t.Errorf("hit %d has the sentence %v", i, h.Why.Sentence)
					}
					if h.Why.Sentence != nil && mode == Dense && math.Abs(float64(h.Score)-float64(*h.Cosine+*h.Why.Sentence)/2) > 1e-6 {
						t.Errorf("hit %d: score %v of cosine %v and sentence %v", i, h.Score, *h.Cosine, *h.Why.Sentence)
					}
				}
				for _, k := range []int{1, 10, 100} {
					r.K = &k
					if some := search(r); !slices.Equal(ids(some.Hits), ids(search(SearchRequest{Input: in, Mode: mode, Fusion: fusion, Exact: true, K: ptr(100), Sentences: ptr(true)}).Hits[:k])) {
						t.Errorf("mode %v: the answer for %d is not the beginning of that for 100", mode, k)
					}
				}
			}
		}
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// Sentences are there after a restart, go with the paper, come back with a changed text, and stay with one of which only the title's end moved.
func TestSentencesComeAndGo(t *testing.T) {
	dir, enc := t.TempDir(), newBag()
	c := openSentences(t, dir, enc)
	put(t, c, Paper{ID: "a", Title: "w1 w2", Abstract: "w3 w4. w5 w6"}, Paper{ID: "b", Title: "w1 w2"}, Paper{ID: "c", Title: "w7"})
	kept := func(id string) *store.Sentences {
		t.Helper()
		ordinal, err := c.store.Ordinal(id)
		if err != nil {
			t.Fatal(err)
		}
		all, err := c.store.Sentences([]uint64{ordinal})
		if err != nil {
			t.Fatal(err)
		}
		return all[0]
	}
	if n := kept("a").Len(); n != 3 {
		t.Errorf("a has %d sentences, want 3", n)
	}
	old, err := c.store.Ordinal("a")
	if err != nil {
		t.Fatal(err)
	}
	before := enc.encoded.Load()
	put(t, c, Paper{ID: "a", Title: "w1", Abstract: "w2 w3 w4. w5 w6"}) // the same text
	if n := kept("a").Len(); n != 3 || enc.encoded.Load() != before {
		t.Errorf("a has %d sentences, want 3; %d texts were encoded", n, enc.encoded.Load()-before)
	}
	put(t, c, Paper{ID: "a", Title: "w1", Abstract: "w8 w9"})
	if n := kept("a").Len(); n != 2 {
		t.Errorf("a has %d sentences, want 2", n)
	}
	gone, err := c.store.Sentences([]uint64{old})
	if err != nil || gone[0] != nil {
		t.Errorf("the sentences of a's old text are %v, %v", gone[0], err)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openSentences(t, dir, enc)
	if n := kept("b").Len(); n != 1 {
		t.Errorf("b has %d sentences after a restart, want 1", n)
	}
	if _, _, _, err := c.Delete(t.Context(), []string{"a", "b", "c"}); err != nil {
		t.Fatal(err)
	}
}

// A paper that should have sentences and has none, as a repair may leave it, keeps its cosine in a search, and gets them when it is written again.
func TestAPaperWithoutSentences(t *testing.T) {
	dir, enc := t.TempDir(), newBag()
	plain := open(t, dir, enc)
	papers := []Paper{{ID: "a", Title: "w1 w2", Abstract: "w3 w4"}, {ID: "b", Title: "w1 w9", Abstract: "w8 w7"}}
	put(t, plain, papers...)
	if err := plain.Close(); err != nil {
		t.Fatal(err)
	}
	c := openSentences(t, dir, enc)
	text := "w1 w2"
	res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Mode: Dense, Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range res.Hits {
		if h.Why.Sentence != nil || h.Score != *h.Cosine || h.Explanation == nil || !h.Explanation.Shares {
			t.Errorf("%+v", h)
		}
	}
	if r := put(t, c, papers...); r[0].Outcome != Updated {
		t.Errorf("outcome %v, want Updated", r[0].Outcome)
	}
	if res, err = c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Mode: Dense}); err != nil || res.Hits[0].Why.Sentence == nil {
		t.Errorf("%+v, %v", res, err)
	}
	if r := put(t, c, papers...); r[0].Outcome != Unchanged {
		t.Errorf("outcome %v, want Unchanged", r[0].Outcome)
	}
}

func TestSentencesAreRefused(t *testing.T) {
	plain, kept := open(t, t.TempDir(), newBag()), openSentences(t, t.TempDir(), newBag())
	text := "w1"
	for _, x := range []struct {
		c    *Collection
		r    SearchRequest
		kind Kind
	}{
		{plain, SearchRequest{Input: Input{Text: &text}, Sentences: ptr(true)}, FailedPrecondition},
		{kept, SearchRequest{Input: Input{Text: &text}, Sentences: ptr(true), Mode: Lexical}, Invalid},
		{kept, SearchRequest{Input: Input{Examples: &Examples{Text: &text, Strategy: BestScore}}, Sentences: ptr(true)}, Invalid},
	} {
		_, err := x.c.Search(t.Context(), x.r)
		var e *Error
		if !errors.As(err, &e) || e.Kind != x.kind || e.Field != "sentences" {
			t.Errorf("%+v: %v", x.r, err)
		}
	}
}

// Hits are explained: by the sentences that are kept, without reading a paper, or by reading them.
func TestExplainHits(t *testing.T) {
	rng := testkit.Rand(t)
	papers := prose(rng, 40)
	text := papers[3].Title + ". " + papers[4].Title
	for _, keeps := range []bool{false, true} {
		enc := newBag()
		c, err := Open(t.Context(), t.TempDir(), enc, &Options{Settings: Settings{Sentences: keeps}})
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, c)
		put(t, c, papers...)
		for _, in := range []Input{{Text: &text}, {PaperID: papers[3].ID}, {Vector: slices.Repeat([]float32{0.5}, 32)}} {
			before := enc.encoded.Load()
			res, err := c.Search(t.Context(), SearchRequest{Input: in, Explain: true, K: ptr(15)})
			if err != nil {
				t.Fatal(err)
			}
			if keeps && in.Text == nil && enc.encoded.Load() != before {
				t.Errorf("%d texts were read to explain what is kept", enc.encoded.Load()-before)
			}
			if len(res.LeftOut) != 0 {
				t.Errorf("%v were left out", res.LeftOut)
			}
			for i, h := range res.Hits {
				x := h.Explanation
				if (x != nil) != (i < MaxExplained) {
					t.Fatalf("hit %d is explained: %v", i, x != nil)
				}
				if x == nil {
					continue
				}
				if x.Shares == keeps || math.Abs(x.Score-float64(*h.Cosine)) > 1e-4 || x.Pair != (in.Vector == nil) || len(x.Sentences) == 0 {
					t.Errorf("hit %d, cosine %v: score %v, shares %v, pair %v, %d sentences", i, *h.Cosine, x.Score, x.Shares, x.Pair, len(x.Sentences))
				}
				if keeps && h.Why.Sentence != nil {
					best := slices.MaxFunc(x.Sentences, func(a, b Sentence) int { return cmp.Compare(a.Score, b.Score) })
					if math.Abs(best.Score-float64(*h.Why.Sentence)) > 1e-6 {
						t.Errorf("hit %d: the best sentence has %v, and it was scored by %v", i, best.Score, *h.Why.Sentence)
					}
				}
				checkTerms(t, c, in, text, papers, &h.Paper, x)
			}
		}
	}
}

// checkTerms proves that the terms of an explanation are those of a slow comparison, and stand where they are said to.
func checkTerms(t *testing.T, c *Collection, in Input, text string, papers []Paper, p *Paper, x *Explanation) {
	t.Helper()
	fields := map[string]string{"text": text}
	switch {
	case in.Vector != nil:
		if x.Terms != nil {
			t.Errorf("a vector shares %v", x.Terms)
		}
		return
	case in.PaperID != "":
		i := slices.IndexFunc(papers, func(p Paper) bool { return p.ID == in.PaperID })
		fields = map[string]string{"title": papers[i].Title, "abstract": papers[i].Abstract}
	}
	words := func(fields map[string]string) map[string]bool {
		out := map[string]bool{}
		for _, f := range fields {
			for _, w := range strings.FieldsFunc(f, func(r rune) bool { return r == ' ' || r == '.' }) {
				out[w] = true
			}
		}
		return out
	}
	theirs, own := words(fields), words(map[string]string{"title": p.Title, "abstract": p.Abstract})
	want := 0
	for w := range own {
		if theirs[w] {
			want++
		}
	}
	if len(x.Terms) != min(want, maxTerms) {
		t.Errorf("%d terms, want %d: %v", len(x.Terms), want, x.Terms)
	}
	for i, term := range x.Terms {
		if i > 0 && term.Weight > x.Terms[i-1].Weight || term.Weight <= 0 {
			t.Errorf("%v is out of order", x.Terms)
		}
		for _, s := range term.Query {
			if got := fields[s.Field][s.Begin:s.End]; got != term.Term {
				t.Errorf("%q stands where %q should, in the query", got, term.Term)
			}
		}
		for _, s := range term.Paper {
			if got := map[string]string{"title": p.Title, "abstract": p.Abstract}[s.Field][s.Begin:s.End]; got != term.Term {
				t.Errorf("%q stands where %q should, in the paper", got, term.Term)
			}
		}
		if len(term.Query) == 0 || len(term.Paper) == 0 {
			t.Errorf("%q stands nowhere", term.Term)
		}
	}
}

// Who has a key with a filter is not told of the weights of words.
func TestExplainInScopeHasNoTerms(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, Paper{ID: "a", Title: "w1 w2", Year: 2020}, Paper{ID: "b", Title: "w1 w3", Year: 2020})
	scope, err := ParseFilter("filter", "year = 2020")
	if err != nil {
		t.Fatal(err)
	}
	text := "w1"
	for _, w := range []Which{{}, {Scope: scope}} {
		x, err := c.Explain(t.Context(), ExplainRequest{Input: Input{Text: &text}, Field: "query", PaperID: "a", Which: w})
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Which: w, Explain: true})
		if err != nil {
			t.Fatal(err)
		}
		if told := w.Scope == nil; (x.Terms != nil) != told || (res.Hits[0].Explanation.Terms != nil) != told {
			t.Errorf("scope %v: %v, %v", w.Scope, x.Terms, res.Hits[0].Explanation.Terms)
		}
	}
}

// slow is an encoder whose explanations take until the end of the call.
type slow struct{ *bag }

func (s slow) Explain(ctx context.Context, query Asked, texts []Passage) ([]*Explanation, error) {
	all, err := s.bag.Explain(ctx, query, texts[:1])
	if err != nil {
		return nil, err
	}
	<-ctx.Done()
	return append(all, make([]*Explanation, len(texts)-1)...), ctx.Err()
}

// What is not explained in time is left out, and the answer is there all the same.
func TestExplainLeavesOutWhatIsLate(t *testing.T) {
	c := open(t, t.TempDir(), slow{newBag()})
	put(t, c, Paper{ID: "a", Title: "w1 w2"}, Paper{ID: "b", Title: "w1 w3"})
	text := "w1"
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	res, err := c.Search(ctx, SearchRequest{Input: Input{Text: &text}, Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Hits) != 2 || !slices.Equal(res.LeftOut, []Stage{StageExplain}) || res.Hits[0].Explanation == nil || res.Hits[1].Explanation != nil {
		t.Errorf("%+v, left out %v", res.Hits, res.LeftOut)
	}
}
