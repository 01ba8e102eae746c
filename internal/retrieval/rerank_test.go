package retrieval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"embedd/internal/testkit"
)

// judge is a cross-encoder without a model: it has a logit for each text.
type judge struct {
	name   string
	logits map[string]float32
	before func(ctx context.Context) error
	// What it was asked last.
	query string
	texts []string
}

func (j *judge) Name() string { return j.name }

func (j *judge) Score(ctx context.Context, query string, texts []string) ([]Judged, error) {
	j.query, j.texts = query, texts
	if j.before != nil {
		if err := j.before(ctx); err != nil {
			return nil, err
		}
	}
	out := make([]Judged, len(texts))
	for i, text := range texts {
		logit, ok := j.logits[text]
		if !ok {
			return nil, &TextError{Index: i, Err: fmt.Errorf("no logit for %q", text)}
		}
		out[i].Logit = logit
	}
	return out, nil
}

func judged(j ...Reranker) *Collection { return &Collection{rerankers: j} }

// found are hits whose titles are their ids, with descending scores.
func foundHits(n int) (hits []Hit) {
	for i := range n {
		hits = append(hits, Hit{Paper: paper(fmt.Sprint(i), fmt.Sprint("t", i)), Score: 1 - float32(i)/1000})
	}
	return hits
}

var nan = float32(math.NaN())

func TestRerank(t *testing.T) {
	for _, k := range []struct {
		name       string
		logits     []float32 // of the first hits
		hits       int
		candidates int
		want       string // ids
	}{
		{"none", nil, 0, 20, "[]"},
		{"the best comes first", []float32{-1, 3, 0.5}, 3, 20, "[1 2 0]"},
		{"equal ones keep their order", []float32{1, 2, 1, 2, 1}, 5, 20, "[1 3 0 2 4]"},
		{"those after the candidates stay behind", []float32{-9, -8}, 5, 2, "[1 0 2 3 4]"},
		{"what cannot be read is behind what is", []float32{nan, -5, nan, -4}, 6, 4, "[3 1 0 2 4 5]"},
		{"nothing can be read", []float32{nan, nan}, 3, 2, "[0 1 2]"},
		{"large logits", []float32{90, 100, -200, 95}, 4, 20, "[1 3 0 2]"},
	} {
		j := &judge{name: "judge", logits: map[string]float32{}}
		for i, logit := range k.logits {
			j.logits[fmt.Sprint("t", i)] = logit
		}
		hits := foundHits(k.hits)
		got, err := judged(j).rerank(t.Context(), "what", hits, Rerank{Candidates: k.candidates, Model: "judge"})
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
			continue
		}
		if s := fmt.Sprint(ids(got)); s != k.want {
			t.Errorf("%s: %s, want %s", k.name, s, k.want)
		}
		checkReranked(t, k.name, hits, got, k.logits)
		if len(j.texts) != min(k.hits, k.candidates) || k.hits > 0 && j.query != "what" {
			t.Errorf("%s: %q was compared with %q", k.name, j.query, j.texts)
		}
	}
}

// checkReranked proves what scores promise: they do not ascend; those of the cross-encoder are the logistic of its logits, 0 to 1, and the others are
// below 0. The hits that were given are as they were.
func checkReranked(t *testing.T, name string, before, after []Hit, logits []float32) {
	t.Helper()
	for i, h := range before {
		if h.Why.CrossEncoder != nil || h.Score != 1-float32(i)/1000 {
			t.Errorf("%s: the hits that were given have changed", name)
		}
	}
	for i, h := range after {
		var at int
		fmt.Sscan(h.Paper.ID, &at)
		switch read := at < len(logits) && logits[at] == logits[at]; {
		case i > 0 && h.Score > after[i-1].Score:
			t.Errorf("%s: score %v after %v", name, h.Score, after[i-1].Score)
		case read && (h.Why.CrossEncoder == nil || *h.Why.CrossEncoder != logits[at] || h.Score < 0 || h.Score != float32(1/(1+math.Exp(-float64(logits[at]))))):
			t.Errorf("%s: hit %s has score %v and logit %v", name, h.Paper.ID, h.Score, h.Why.CrossEncoder)
		case !read && (h.Why.CrossEncoder != nil || h.Score >= 0 || h.Score < -1 || i > 0 && h.Score == after[i-1].Score):
			t.Errorf("%s: hit %s has score %v and was not read", name, h.Paper.ID, h.Score)
		}
	}
}

// The order is that of a stable sort by a slow truth.
func TestRerankAtRandom(t *testing.T) {
	r := testkit.Rand(t)
	for range 300 {
		hits := foundHits(r.IntN(MaxK + 1))
		o := Rerank{Candidates: 1 + r.IntN(MaxRerank), Model: "judge"}
		n := min(o.Candidates, len(hits))
		j, logits := &judge{name: "judge", logits: map[string]float32{}}, make([]float32, n)
		for i := range logits {
			if logits[i] = float32(r.IntN(8) - 4); r.IntN(10) == 0 {
				logits[i] = nan
			}
			j.logits[fmt.Sprint("t", i)] = logits[i]
		}
		got, err := judged(j).rerank(t.Context(), "what", hits, o)
		if err != nil {
			t.Fatal(err)
		}
		places := make([]int, len(hits))
		for i := range places {
			places[i] = i
		}
		class := func(i int) (int, float64) {
			switch {
			case i >= n:
				return 2, 0
			case logits[i] != logits[i]:
				return 1, 0
			}
			return 0, -float64(logits[i])
		}
		slices.SortFunc(places, func(a, b int) int {
			ca, la := class(a)
			cb, lb := class(b)
			return cmp.Or(cmp.Compare(ca, cb), cmp.Compare(la, lb), cmp.Compare(a, b))
		})
		for i, at := range places {
			if got[i].Paper.ID != fmt.Sprint(at) {
				t.Fatalf("place %d has %s, want %d", i, got[i].Paper.ID, at)
			}
		}
		checkReranked(t, "at random", hits, got, logits)
	}
}

func TestCheckRerank(t *testing.T) {
	c := judged(&judge{name: "one"}, &judge{name: "two"})
	for _, k := range []struct {
		o    Rerank
		want Rerank
	}{
		{Rerank{}, Rerank{DefaultRerank, "one"}},
		{Rerank{100, "two"}, Rerank{100, "two"}},
		{Rerank{1, "one"}, Rerank{1, "one"}},
	} {
		if got, err := c.checkRerank(k.o, true); err != nil || got != k.want {
			t.Errorf("%v: %v, %v, want %v", k.o, got, err, k.want)
		}
	}
	for _, k := range []struct {
		c        *Collection
		o        Rerank
		readable bool
		kind     Kind
		field    string
	}{
		{c, Rerank{Candidates: -1}, true, Invalid, "rerank.candidates"},
		{c, Rerank{Candidates: 101}, true, Invalid, "rerank.candidates"},
		{c, Rerank{Model: "three"}, true, Invalid, "rerank.model"},
		{c, Rerank{}, false, Invalid, "rerank"},
		{judged(), Rerank{}, true, FailedPrecondition, "rerank"},
	} {
		_, err := k.c.checkRerank(k.o, k.readable)
		var e *Error
		if !errors.As(err, &e) || e.Kind != k.kind || e.Field != k.field {
			t.Errorf("%v: %v, want kind %d of %s", k.o, err, k.kind, k.field)
		}
	}
}

// A deadline that is too near leaves the stage out, and the hits as they were, with time left to answer. Other errors are errors.
func TestRerankIsLeftOut(t *testing.T) {
	slow := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	busy := func(wait time.Duration) func(context.Context) error {
		return func(context.Context) error { return &BusyError{Wait: wait, Err: errors.New("full")} }
	}
	for _, k := range []struct {
		name     string
		deadline time.Duration
		before   func(context.Context) error
		left     bool
		kind     Kind
	}{
		{"slow", time.Second, slow, true, 0},
		{"no room before the deadline", time.Second, busy(time.Minute), true, 0},
		{"no room", time.Hour, busy(time.Second), false, Exhausted},
		{"no room, no deadline", 0, busy(time.Second), false, Exhausted},
		{"a defect", time.Hour, func(context.Context) error { return errors.New("a defect") }, false, Internal},
	} {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if k.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, k.deadline)
					defer cancel()
				}
				hits := foundHits(3)
				got, err := judged(&judge{name: "judge", before: k.before}).rerank(ctx, "what", hits, Rerank{Candidates: 2, Model: "judge"})
				switch {
				case k.left && (!errors.Is(err, errLeftOut) || ctx.Err() != nil):
					t.Errorf("%v, and the call's context: %v", err, ctx.Err())
				case k.left && fmt.Sprint(ids(got)) != "[0 1 2]":
					t.Errorf("hits %v", ids(got))
				case !k.left && (errors.Is(err, errLeftOut) || err == nil || KindOf(err) != k.kind):
					t.Errorf("%v, want kind %d", err, k.kind)
				}
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := judged(&judge{name: "judge", before: slow}).rerank(ctx, "what", foundHits(1), Rerank{Candidates: 2, Model: "judge"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Texts that no cross-encoder reads to their end are cut before they are handed over, at a whole character.
func TestRerankCutsLongTexts(t *testing.T) {
	long := strings.Repeat("ä", MaxRerankBytes)
	j := &judge{name: "judge", before: func(context.Context) error { return errors.New("seen") }}
	if _, err := judged(j).rerank(t.Context(), "x"+long, []Hit{{Paper: paper("a", long)}}, Rerank{Candidates: 1, Model: "judge"}); err == nil {
		t.Fatal("no error")
	}
	for _, text := range append(j.texts, j.query) {
		if len(text) > MaxRerankBytes || len(text) < MaxRerankBytes-3 || !utf8.ValidString(text) {
			t.Errorf("%d bytes, valid: %v", len(text), utf8.ValidString(text))
		}
	}
}

// reader is a judge who likes long titles, and counts what it reads.
type reader struct {
	pairs int
	calls int
	query string
	slow  bool
}

func (*reader) Name() string { return "reader" }

func (r *reader) Score(_ context.Context, query string, texts []string) ([]Judged, error) {
	r.query, r.calls, r.pairs = query, r.calls+1, r.pairs+len(texts)
	if r.slow {
		return nil, context.DeadlineExceeded
	}
	out := make([]Judged, len(texts))
	for i, text := range texts {
		out[i] = Judged{float32(len(text)), TextUse{Tokens: len(text), Truncated: len(text) > 100}}
	}
	return out, nil
}

func openReranked(t *testing.T, r Reranker) *Collection {
	t.Helper()
	c, err := Open(t.Context(), t.TempDir(), newBag(), &Options{Rerankers: []Reranker{r}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	return c
}

// A search finds as many as are to be re-ranked, whatever is wanted of them; the answer for k is the beginning of that for more.
func TestASearchIsReranked(t *testing.T) {
	r := &reader{}
	c := openReranked(t, r)
	if got := fmt.Sprint(c.Rerankers()); got != "[reader]" {
		t.Errorf("rerankers %s", got)
	}
	for i := range 60 { // the nearest are the shortest
		put(t, c, Paper{ID: fmt.Sprintf("%02d", i), Title: "graph" + strings.Repeat(" w", i), Venue: fmt.Sprint(i / 30)})
	}
	text := "graph"
	for _, k := range []struct {
		name  string
		r     SearchRequest
		query string
	}{
		{"text", SearchRequest{Input: Input{Text: &text}, Field: "query"}, "graph"},
		{"text, by vectors", SearchRequest{Input: Input{Text: &text}, Field: "query", Mode: Dense}, "graph"},
		{"text, by words", SearchRequest{Input: Input{Text: &text}, Field: "query", Mode: Lexical}, "graph"},
		{"paper", SearchRequest{Input: Input{PaperID: "01"}, Field: "query"}, "graph w"},
		{"a paper that is not known", SearchRequest{Input: Input{Paper: &Paper{Title: "graph", Abstract: "theory"}}, Field: "query"}, "graph theory"},
		{"examples with a text", SearchRequest{Input: Input{Examples: &Examples{Text: &text, Positive: []Example{{Input: Input{PaperID: "01"}}}}}, Field: "query"}, "graph"},
	} {
		k.r.Rerank = &Rerank{}
		all, few := 40, 3
		k.r.K = &all
		plain := k.r
		plain.Rerank = nil
		found, err := c.Search(t.Context(), plain)
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
			continue
		}
		*r = reader{}
		res, err := c.Search(t.Context(), k.r)
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
			continue
		}
		first, rest := ids(found.Hits)[:DefaultRerank], ids(found.Hits)[DefaultRerank:]
		slices.SortStableFunc(first, func(a, b string) int { return strings.Compare(b, a) }) // the longest
		if got, want := ids(res.Hits), append(first, rest...); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", k.name, got, want)
		}
		if r.query != k.query || r.calls != 1 || r.pairs != DefaultRerank || *res.Rerank != (Rerank{DefaultRerank, "reader"}) || len(res.LeftOut) > 0 {
			t.Errorf("%s: %q read in %d calls with %d papers, as %v, without %v", k.name, r.query, r.calls, r.pairs, res.Rerank, res.LeftOut)
		}
		if !slices.ContainsFunc(res.Stages, func(s StageTime) bool { return s.Stage == StageRerank }) {
			t.Errorf("%s: stages %v", k.name, res.Stages)
		}
		k.r.K = &few
		short, err := c.Search(t.Context(), k.r)
		if err != nil || !slices.Equal(ids(short.Hits), ids(res.Hits)[:few]) {
			t.Errorf("%s: the first %d are %v, %v", k.name, few, short, err)
		}
	}
	// Where a search begins again to fill its groups, it pays for no pair twice.
	*r = reader{}
	ten := 10
	if _, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, K: &ten, Group: &Group{Field: "venue"}, Rerank: &Rerank{Candidates: 30}}); err != nil || r.pairs > 30 {
		t.Errorf("%d pairs, %v", r.pairs, err)
	}
	_, err := c.Search(t.Context(), SearchRequest{Input: Input{Vector: make32(1)}, Rerank: &Rerank{}})
	var e *Error
	if !errors.As(err, &e) || e.Field != "rerank" {
		t.Errorf("a vector: %v", err)
	}
	if _, err := c.Search(t.Context(), SearchRequest{Input: Input{Examples: &Examples{Positive: []Example{{Input: Input{PaperID: "01"}}}}}, Rerank: &Rerank{}}); !errors.As(err, &e) || e.Field != "rerank" {
		t.Errorf("examples without a text: %v", err)
	}
	// With a deadline that is too near, the answer is the one without it, and says so.
	plain, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}})
	if err != nil {
		t.Fatal(err)
	}
	*r = reader{slow: true}
	late, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Rerank: &Rerank{}})
	if err != nil || !slices.Equal(late.LeftOut, []Stage{StageRerank}) || !slices.Equal(ids(late.Hits), ids(plain.Hits)) {
		t.Errorf("late: %v, %v", late, err)
	}
}
