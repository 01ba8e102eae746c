package retrieval

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"embedd/ann"
)

// bag is an encoder without a model: a text is the sum of a pseudo-random direction for each of its words, so texts that
// share words are near. It reads 8 words.
type bag struct {
	model   Model
	encoded atomic.Int64 // texts
}

func newBag() *bag {
	return &bag{model: Model{ID: "bag", Fingerprint: strings.Repeat("b", 64), Dimension: 32, MaxTokens: 8}}
}

func (b *bag) Model() Model { return b.model }

// parts are a text's sentences: each part before a break, and each that ends in a stop and a space.
func (b *bag) parts(p Passage) (places [][2]int) {
	begin := 0
	add := func(end int) {
		if strings.TrimSpace(p.Text[begin:end]) != "" {
			places = append(places, [2]int{begin, end})
		}
		begin = end
	}
	for i := range p.Text {
		if slices.Contains(p.Breaks, i) || i >= 2 && p.Text[i-2:i] == ". " {
			add(i)
		}
	}
	add(len(p.Text))
	return places
}

func (b *bag) Sentences(ctx context.Context, lane Lane, texts []Passage) ([][]Part, error) {
	out := make([][]Part, len(texts))
	for i, p := range texts {
		for _, at := range b.parts(p) {
			enc, err := b.Encode(ctx, lane, Document, []string{p.Text[at[0]:at[1]]})
			var about *TextError
			if errors.As(err, &about) && about.Blank {
				continue
			}
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], Part{at[0], at[1], enc[0].Vector})
		}
	}
	return out, nil
}

// Passages are of MaxTokens words each, and overlap by one.
func (b *bag) Passages(ctx context.Context, lane Lane, texts []Passage, most int) ([][]Part, error) {
	out := make([][]Part, len(texts))
	for i, p := range texts {
		var places [][2]int // of words
		for at := 0; at < len(p.Text); {
			end := at + strings.IndexByte(p.Text[at:]+" ", ' ')
			if end > at {
				places = append(places, [2]int{at, end})
			}
			at = end + 1
		}
		for from := 0; len(places) > b.model.MaxTokens && len(out[i]) < most && from < len(places)-1; from += b.model.MaxTokens - 1 {
			begin, end := places[from][0], places[min(len(places), from+b.model.MaxTokens)-1][1]
			enc, err := b.Encode(ctx, lane, Document, []string{p.Text[begin:end]})
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], Part{begin, end, enc[0].Vector})
		}
	}
	return out, nil
}

// Explain gives the first sentence the whole score.
func (b *bag) Explain(ctx context.Context, query Asked, texts []Passage) ([]*Explanation, error) {
	sentences := func(p Passage, share float64) (all []Sentence) {
		for i, at := range b.parts(p) {
			all = append(all, Sentence{Begin: at[0], End: at[1], Read: true})
			if i == 0 {
				all[0].Share = share
			}
		}
		return all
	}
	out := make([]*Explanation, len(texts))
	for i, text := range texts {
		enc, err := b.Encode(ctx, Bulk, Document, []string{text.Text})
		if err != nil {
			return out, err
		}
		x := &Explanation{Shares: true}
		for j, v := range enc[0].Vector {
			x.Score += float64(v) * float64(query.Vector[j])
		}
		x.Sentences = sentences(text, x.Score)
		if query.Text != nil {
			x.Query, x.Pair = sentences(*query.Text, x.Score), true
		}
		out[i] = x
	}
	return out, nil
}

func (b *bag) Encode(ctx context.Context, _ Lane, _ Role, texts []string) ([]Encoding, error) {
	out := make([]Encoding, len(texts))
	for i, text := range texts {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		words := strings.Fields(strings.ToLower(text))
		if len(words) == 0 || words[0] == "\u200b" {
			return nil, &TextError{Index: i, Blank: true, Err: errors.New("no words")}
		}
		out[i].Tokens, out[i].Truncated = len(words), len(words) > b.model.MaxTokens
		sum := make([]float32, b.model.Dimension)
		for _, w := range words[:min(len(words), b.model.MaxTokens)] {
			h := fnv.New64a()
			h.Write([]byte(w))
			r := rand.New(rand.NewPCG(h.Sum64(), 1))
			for j := range sum {
				sum[j] += float32(r.NormFloat64())
			}
		}
		v, err := unit("text", sum, len(sum))
		if err != nil {
			return nil, err
		}
		out[i].Vector = v
		b.encoded.Add(1)
	}
	return out, nil
}

// open opens a collection whose invariants are checked at the end of the test.
func open(t *testing.T, dir string, enc Encoder) *Collection {
	t.Helper()
	c, err := Open(t.Context(), dir, enc, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	return c
}

func shut(t *testing.T, c *Collection) {
	t.Helper()
	if KindOf(c.Check()) == Unavailable {
		return // closed by the test
	}
	if err := c.Check(); err != nil {
		t.Errorf("check: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func paper(id, title string) Paper { return Paper{ID: id, Title: title} }

func put(t *testing.T, c *Collection, papers ...Paper) (results []UpsertResult) {
	t.Helper()
	for some := range slices.Chunk(papers, MaxPapersPerCall) {
		r, _, err := c.Upsert(t.Context(), some)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, r...)
	}
	return results
}

func ids(hits []Hit) []string {
	out := []string{}
	for _, h := range hits {
		out = append(out, h.Paper.ID)
	}
	return out
}

func related(t *testing.T, c *Collection, id string, k int) []string {
	t.Helper()
	r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: id}, K: &k})
	if err != nil {
		t.Fatal(err)
	}
	return ids(r.Hits)
}

func ptr[T any](v T) *T { return &v }

// words gives papers of random words, with the seed in the test's output.
func words(t *testing.T, n int) []Paper {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	papers := make([]Paper, n)
	for i := range papers {
		papers[i] = paper(fmt.Sprintf("p%04d", i), fmt.Sprintf("w%d w%d w%d w%d", r.IntN(60), r.IntN(60), r.IntN(60), r.IntN(60)))
	}
	return papers
}

func TestUpsertSearchGetListDelete(t *testing.T) {
	enc := newBag()
	c := open(t, t.TempDir(), enc)
	r := put(t, c, paper("a", "graph neural networks"), paper("b", "graph networks"), paper("c", "protein folding"))
	for _, x := range r {
		if x.Outcome != Created {
			t.Errorf("%s: outcome %d, want Created", x.ID, x.Outcome)
		}
	}
	res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: ptr("graph neural networks")}})
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(res.Hits); len(got) != 3 || got[0] != "a" || got[1] != "b" {
		t.Errorf("search gives %v", got)
	}
	if s := res.Hits[0].Score; math.Abs(float64(s)-1) > 1e-5 {
		t.Errorf("the same text has score %v, want 1", s)
	}
	if res.TextUse == nil || res.TextUse.Tokens != 3 || res.TextUse.Truncated {
		t.Errorf("text use is %v", res.TextUse)
	}
	if got := related(t, c, "a", 10); !slices.Equal(got, []string{"b", "c"}) && !slices.Equal(got, []string{"c", "b"}) {
		t.Errorf("related gives %v: itself is not related to itself", got)
	}
	p, use, err := c.Get(context.Background(), "a", Which{})
	if err != nil || p.Title != "graph neural networks" || use.Tokens != 3 {
		t.Errorf("get gives %v %v %v", p, use, err)
	}
	list, next, err := c.List(t.Context(), "", ptr(2), Which{})
	if err != nil || len(list) != 2 || next != "b" || list[1].ID != "b" {
		t.Errorf("list gives %v %v %v", list, next, err)
	}
	list, next, err = c.List(t.Context(), "b", nil, Which{})
	if err != nil || len(list) != 1 || next != "" || list[0].ID != "c" {
		t.Errorf("the second page is %v %v %v", list, next, err)
	}
	before, _ := c.Info()
	n, missing, version, err := c.Delete(t.Context(), []string{"b", "nobody"})
	if err != nil || n != 1 || !slices.Equal(missing, []string{"nobody"}) || version <= before.Version {
		t.Errorf("delete gives %d %v %d %v", n, missing, version, err)
	}
	if got := related(t, c, "a", 10); !slices.Equal(got, []string{"c"}) {
		t.Errorf("a deleted paper is found: %v", got)
	}
	if _, _, err := c.Get(context.Background(), "b", Which{}); KindOf(err) != NotFound {
		t.Errorf("get of a deleted paper: %v", err)
	}
}

func TestUpsertEncodesOnlyWhatChanged(t *testing.T) {
	enc := newBag()
	c := open(t, t.TempDir(), enc)
	a := Paper{ID: "a", Title: "graph", Abstract: "networks", Year: 2020}
	put(t, c, a)
	for _, step := range []struct {
		name    string
		change  func(p *Paper)
		want    Outcome
		encoded int64
	}{
		{"nothing", func(*Paper) {}, Unchanged, 0},
		{"year", func(p *Paper) { p.Year = 2021 }, Updated, 0},
		{"the border between title and abstract", func(p *Paper) { p.Title, p.Abstract = "graph networks", "" }, Updated, 0},
		{"text", func(p *Paper) { p.Title = "protein folding" }, Updated, 1},
		{"nothing again", func(*Paper) {}, Unchanged, 0},
	} {
		step.change(&a)
		before := enc.encoded.Load()
		version, _ := c.Info()
		r := put(t, c, a, paper("fresh "+step.name, "x"))
		if r[0].Outcome != step.want || enc.encoded.Load()-before-1 != step.encoded {
			t.Errorf("%s: outcome %d with %d encodings, want %d with %d", step.name, r[0].Outcome, enc.encoded.Load()-before-1, step.want, step.encoded)
		}
		if r[0].TextUse.Tokens == 0 {
			t.Errorf("%s: no token count", step.name)
		}
		if after, _ := c.Info(); after.Version <= version.Version {
			t.Errorf("%s: the version stays", step.name)
		}
		if p, _, err := c.Get(context.Background(), "a", Which{}); err != nil || p.Year != a.Year || p.Title != a.Title {
			t.Errorf("%s: stored is %v, %v", step.name, p, err)
		}
	}
	res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: ptr("protein folding")}, K: ptr(1)})
	if err != nil || res.Hits[0].Paper.ID != "a" {
		t.Errorf("the updated text is not found: %v %v", res, err)
	}
	if info, _ := c.Info(); info.Papers != info.Index.Vectors {
		t.Errorf("%d papers, %d vectors: the old vector is still found", info.Papers, info.Index.Vectors)
	}
}

func TestReopenGivesAllBack(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(t *testing.T, snapshot string)
	}{
		{"with its snapshot", func(*testing.T, string) {}},
		{"without", func(t *testing.T, s string) {
			if err := os.Remove(s); err != nil {
				t.Fatal(err)
			}
		}},
		{"with a damaged one", func(t *testing.T, s string) {
			data, err := os.ReadFile(s)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 0x40
			if err := os.WriteFile(s, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"with half of one", func(t *testing.T, s string) {
			if err := os.Truncate(s, 1000); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, enc := t.TempDir(), newBag()
			col := open(t, dir, enc)
			papers := words(t, 300)
			put(t, col, papers...)
			if _, _, _, err := col.Delete(t.Context(), []string{"p0003", "p0200"}); err != nil {
				t.Fatal(err)
			}
			want := map[string][]string{}
			for _, p := range papers[:2] {
				want[p.ID] = related(t, col, p.ID, 20)
			}
			before, _ := col.Info()
			shut(t, col)
			c.harm(t, filepath.Join(dir, snapshotName))
			encoded := enc.encoded.Load()
			col = open(t, dir, enc)
			after, _ := col.Info()
			if after.Papers != before.Papers || after.Index.Vectors != before.Index.Vectors || after.Version != before.Version {
				t.Errorf("%+v before, %+v after", before, after)
			}
			for id, w := range want {
				if got := related(t, col, id, 20); !slices.Equal(got, w) {
					t.Errorf("related to %s: %v before, %v after", id, w, got)
				}
			}
			if enc.encoded.Load() != encoded {
				t.Error("opening encoded something")
			}
		})
	}
}

// A snapshot that is older than the store is brought up to date, deletions included.
func TestOpenCatchesUpFromAnOldSnapshot(t *testing.T) {
	dir, enc := t.TempDir(), newBag()
	c := open(t, dir, enc)
	put(t, c, words(t, 50)...)
	shut(t, c)
	snapshot := filepath.Join(dir, snapshotName)
	old, err := os.ReadFile(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	c = open(t, dir, enc)
	put(t, c, paper("p0001", "something new entirely"), paper("new", "w1 w2"))
	if _, _, _, err := c.Delete(t.Context(), []string{"p0002"}); err != nil {
		t.Fatal(err)
	}
	shut(t, c)
	if err := os.WriteFile(snapshot, old, 0o644); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir, enc) // its Check compares store and index
	if got := related(t, c, "new", 60); len(got) != 49 || slices.Contains(got, "p0002") {
		t.Errorf("%d related, %v", len(got), got)
	}
}

// A snapshot of another store, or of a store that was rolled back, is not used.
func TestOpenRefusesAForeignSnapshot(t *testing.T) {
	enc := newBag()
	dirs := [2]string{t.TempDir(), t.TempDir()}
	for i, dir := range dirs {
		c := open(t, dir, enc)
		put(t, c, words(t, 20+i)...)
		shut(t, c)
	}
	data, err := os.ReadFile(filepath.Join(dirs[0], snapshotName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dirs[1], snapshotName), data, 0o644); err != nil {
		t.Fatal(err)
	}
	c := open(t, dirs[1], enc)
	if got := related(t, c, "p0020", 100); len(got) != 20 {
		t.Errorf("%d related papers, want the 20 of this store", len(got))
	}
}

// A snapshot of a graph with other parameters is not passed off as one with these.
func TestOpenRebuildsWithOtherParameters(t *testing.T) {
	dir, enc := t.TempDir(), newBag()
	c := open(t, dir, enc)
	put(t, c, words(t, 50)...)
	shut(t, c)
	for range 2 { // the second time from the new snapshot
		var err error
		if c, err = Open(t.Context(), dir, enc, &Options{Index: ann.Options{M: 5}}); err != nil {
			t.Fatal(err)
		}
		if got := c.index.Options().M; got != 5 || c.index.Len() != 50 {
			t.Errorf("M is %d, want 5; %d vectors", got, c.index.Len())
		}
		shut(t, c)
	}
	if _, err := Open(t.Context(), dir, enc, &Options{Index: ann.Options{M: 500}}); KindOf(err) != Invalid {
		t.Errorf("M 500: %v, want Invalid", err)
	}
}

// A paper whose vector is gone is damage that is reported; the search for it does not go on for ever.
func TestSearchByAPaperWithoutVectorEnds(t *testing.T) {
	dir, enc := t.TempDir(), newBag()
	c := open(t, dir, enc)
	put(t, c, paper("a", "graph"), paper("b", "networks"))
	shut(t, c)
	db, err := pebble.Open(filepath.Join(dir, storeName), &pebble.Options{Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	key := binary.BigEndian.AppendUint64([]byte("v/"), 1)
	if err := errors.Join(db.Delete(key, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	if c, err = Open(t.Context(), dir, enc, nil); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "a"}, Exact: true}); KindOf(err) != DataLoss || err == nil {
		t.Errorf("%v, want DataLoss", err)
	}
	if err := c.Check(); err == nil {
		t.Error("Check does not see it")
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)         {}
func (quiet) Errorf(string, ...any)        {}
func (quiet) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

func TestOpenRefusesAnotherModelAndASecondProcess(t *testing.T) {
	dir, enc := t.TempDir(), newBag()
	c := open(t, dir, enc)
	put(t, c, paper("a", "graph"))
	if _, err := Open(t.Context(), dir, enc, nil); KindOf(err) != FailedPrecondition {
		t.Errorf("a second open: %v, want FailedPrecondition", err)
	}
	shut(t, c)
	other := newBag()
	other.model.ID, other.model.Fingerprint = "other", strings.Repeat("c", 64)
	_, err := Open(t.Context(), dir, other, nil)
	if KindOf(err) != FailedPrecondition || !strings.Contains(err.Error(), "bag") || !strings.Contains(err.Error(), "other") {
		t.Errorf("another model: %v, want FailedPrecondition naming both", err)
	}
	open(t, dir, enc) // and nothing was harmed
}

func TestRefusals(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, paper("a", "graph networks"))
	zero, nan, inf, short := make([]float32, 32), make([]float32, 32), make([]float32, 32), make([]float32, 31)
	nan[5], inf[6], short[0] = float32(math.NaN()), float32(math.Inf(-1)), 1
	up := func(p ...Paper) func() error {
		return func() error { _, _, err := c.Upsert(context.Background(), p); return err }
	}
	search := func(r SearchRequest) func() error {
		return func() error { _, err := c.Search(context.Background(), r); return err }
	}
	encode := func(texts ...string) func() error {
		return func() error { _, err := c.Encode(context.Background(), Bulk, Query, texts); return err }
	}
	remove := func(ids ...string) func() error {
		return func() error { _, _, _, err := c.Delete(context.Background(), ids); return err }
	}
	many := make([]Paper, MaxPapersPerCall+1)
	for i := range many {
		many[i] = paper(fmt.Sprint(i), "x")
	}
	text := Input{Text: ptr("graph")}
	for _, x := range []struct {
		call  func() error
		kind  Kind
		field string
		say   string
	}{
		{up(), Invalid, "papers", "1000"},
		{up(many...), Invalid, "papers", "1001 papers; the limit is 1000"},
		{up(paper("b", "x"), paper("", "x")), Invalid, "papers[1].id", "512"},
		{up(paper(strings.Repeat("i", 513), "x")), Invalid, "papers[0].id", "512"},
		{up(paper("a\x00b", "x")), Invalid, "papers[0].id", "control"},
		{up(paper("a\nb", "x")), Invalid, "papers[0].id", "control"},
		{up(paper("a\xffb", "x")), Invalid, "papers[0].id", "UTF-8"},
		{up(paper(" a", "x")), Invalid, "papers[0].id", "white space"},
		{up(paper("b", "x"), paper("c", "y"), paper("b", "z")), Invalid, "papers[2].id", "papers[0]"},
		{up(paper("b", "")), Invalid, "papers[0]", "blank"},
		{up(Paper{ID: "b", Title: " \n", Abstract: "\t"}), Invalid, "papers[0]", "blank"},
		{up(paper("b", "\u200b")), Invalid, "papers[0]", "no word"},
		{up(paper("b", "x\x00y")), Invalid, "papers[0].title", "NUL character at byte 1"},
		{up(Paper{ID: "b", Title: "x", Abstract: "\xff"}), Invalid, "papers[0].abstract", "UTF-8"},
		{up(paper("b", strings.Repeat("x", MaxTextBytes+1))), Invalid, "papers[0].title", "262144"},
		{up(Paper{ID: "b", Title: "x", Authors: []string{"ok", "\xff"}}), Invalid, "papers[0].authors[1]", "UTF-8"},
		{up(Paper{ID: "b", Title: "x", Year: -5}), Invalid, "papers[0].year", "-5"},
		{up(Paper{ID: "b", Title: "x", Metadata: []byte(`[1]`)}), Invalid, "papers[0].metadata", "object"},
		{up(Paper{ID: "b", Title: "x", Metadata: []byte(`{"a":"` + strings.Repeat("x", MaxMetadataBytes) + `"}`)}), Invalid, "papers[0].metadata", "65536"},
		{search(SearchRequest{Input: text, K: ptr(0)}), Invalid, "k", "1 to 1000"},
		{search(SearchRequest{Input: text, K: ptr(-1)}), Invalid, "k", "1 to 1000"},
		{search(SearchRequest{Input: text, K: ptr(1001)}), Invalid, "k", "1 to 1000"},
		{search(SearchRequest{Input: text, Ef: ptr(0)}), Invalid, "ef", "1 to 10000"},
		{search(SearchRequest{Input: text, Ef: ptr(10001)}), Invalid, "ef", "1 to 10000"},
		{search(SearchRequest{Input: text, Recall: ptr(0.4)}), Invalid, "recall", "is 0.4; must be 0.5 to 0.9999"},
		{search(SearchRequest{Input: text, Recall: ptr(1.0)}), Invalid, "recall", "0.5 to 0.9999"},
		{search(SearchRequest{Input: text, Recall: ptr(math.NaN())}), Invalid, "recall", "0.5 to 0.9999"},
		{search(SearchRequest{Input: text, Recall: ptr(0.9), Ef: ptr(20)}), Invalid, "recall", "give ef or recall"},
		{search(SearchRequest{Input: text, Plan: Scan + 1}), Invalid, "plan", "not a plan"},
		{search(SearchRequest{Input: text, Plan: Graph, Exact: true}), Invalid, "plan", "give plan or exact"},
		{search(SearchRequest{Input: Input{Text: ptr("")}, Field: "query"}), Invalid, "query.text", "blank"},
		{search(SearchRequest{Input: Input{Text: ptr("\u200b")}}), Invalid, "text", "no word"},
		{search(SearchRequest{Input: Input{Text: ptr("a\x00")}}), Invalid, "text", "NUL"},
		{search(SearchRequest{Input: Input{Vector: short}, Field: "query"}), Invalid, "query.vector", "31 values; the model's dimension is 32"},
		{search(SearchRequest{Input: Input{Vector: []float32{}}}), Invalid, "vector", "0 values"},
		{search(SearchRequest{Input: Input{Vector: zero}}), Invalid, "vector", "zero vector"},
		{search(SearchRequest{Input: Input{Vector: nan}}), Invalid, "vector", "value 5 is NaN"},
		{search(SearchRequest{Input: Input{Vector: inf}}), Invalid, "vector", "value 6 is -Inf"},
		{search(SearchRequest{Input: Input{PaperID: "nobody"}}), NotFound, "id", `"nobody"`},
		{search(SearchRequest{Input: Input{PaperID: "nobody"}, Field: "query"}), NotFound, "query.paper_id", `"nobody"`},
		{search(SearchRequest{}), Invalid, "id", "empty"},
		{encode(), Invalid, "texts", "1 to 1000"},
		{encode(make([]string, 1001)...), Invalid, "texts", "1001 texts; the limit is 1000"},
		{encode("a", " "), Invalid, "texts[1]", "blank"},
		{encode("a", "\u200b"), Invalid, "texts[1]", "no word"},
		{func() error {
			_, err := c.Encode(context.Background(), Interactive, Query, make([]string, MaxInteractiveTexts+1))
			return err
		}, Invalid, "lane", "at most 16 texts"},
		{remove(), Invalid, "ids", "1000"},
		{remove("a", ""), Invalid, "ids[1]", "empty"},
		{remove("x", "x"), Invalid, "ids[1]", "ids[0]"},
		{func() error { _, _, err := c.Get(context.Background(), "", Which{}); return err }, Invalid, "id", "empty"},
		{func() error { _, _, err := c.List(t.Context(), "", ptr(0), Which{}); return err }, Invalid, "page_size", "1 to 1000"},
		{func() error { _, _, err := c.List(t.Context(), "", ptr(1001), Which{}); return err }, Invalid, "page_size", "1 to 1000"},
	} {
		err := x.call()
		var e *Error
		if !errors.As(err, &e) || e.Kind != x.kind || e.Field != x.field || !strings.Contains(e.Message, x.say) {
			t.Errorf("%v; want kind %d, field %q, saying %q", err, x.kind, x.field, x.say)
		}
	}
	if info, _ := c.Info(); info.Papers != 1 {
		t.Errorf("%d papers: a refused call stored something", info.Papers)
	}
}

// The answers for k are the first k of those for more, at the same ef, and the same each time.
func TestExplain(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	papers := []Paper{{ID: "a", Title: " state space models ", Abstract: "read long sequences"}, {ID: "b", Abstract: "long sequences only"}}
	if _, _, err := c.Upsert(t.Context(), papers); err != nil {
		t.Fatal(err)
	}
	text := "long sequences"
	x, err := c.Explain(t.Context(), ExplainRequest{Input: Input{Text: &text}, Field: "query", PaperID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if s := x.Sentences; len(s) != 2 || s[0].Text != "state space models" || s[0].Field != "title" || strings.TrimSpace(s[1].Text) != "read long sequences" || s[1].Field != "abstract" || len(x.Query) != 1 || x.Query[0].Text != text || x.Query[0].Field != "text" {
		t.Errorf("%+v", x)
	}
	x, err = c.Explain(t.Context(), ExplainRequest{Input: Input{PaperID: "b"}, Field: "query", PaperID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Query) != 1 || x.Query[0].Text != "long sequences only" || x.Query[0].Field != "abstract" {
		t.Errorf("%+v", x)
	}
	for _, r := range []struct {
		ExplainRequest
		field string
		kind  Kind
	}{
		{ExplainRequest{Input: Input{PaperID: "b"}, PaperID: "nobody"}, "id", NotFound},
		{ExplainRequest{Input: Input{PaperID: "nobody"}, PaperID: "a"}, "query.paper_id", NotFound},
		{ExplainRequest{Input: Input{Vector: []float32{1}}, PaperID: "a"}, "query.vector", Invalid},
		{ExplainRequest{Input: Input{PaperID: "b"}, PaperID: ""}, "id", Invalid},
	} {
		r.Field = "query"
		_, err := c.Explain(t.Context(), r.ExplainRequest)
		var e *Error
		if !errors.As(err, &e) || e.Field != r.field || e.Kind != r.kind {
			t.Errorf("%+v: %v", r.ExplainRequest, err)
		}
	}
}

func TestOrderIsStable(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	papers := words(t, 400)
	for i := range 20 { // equal scores
		papers = append(papers, paper(fmt.Sprintf("same%02d", i), "w1 w2 w3"))
	}
	put(t, c, papers...)
	for _, exact := range []bool{false, true} {
		for _, q := range []string{"w1 w2 w3", "w5", "w7 w8"} {
			var longest []string
			for _, k := range []int{100, 30, 10, 3, 1, 100} {
				res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &q}, K: &k, Ef: ptr(200), Exact: exact})
				if err != nil {
					t.Fatal(err)
				}
				got := ids(res.Hits)
				if longest == nil {
					longest = got
				}
				if len(got) != k || !slices.Equal(got, longest[:k]) {
					t.Errorf("%q exact %v k %d: %v is not the beginning of %v", q, exact, k, got, longest)
				}
			}
		}
	}
}

// While papers are changed and removed, each search gives k different papers, and none that was deleted before it.
func TestSearchWhilePapersChange(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	papers := words(t, 200)
	put(t, c, papers...)
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for round := range 15 {
				var batch []Paper
				for i := w; i < 100; i += 2 { // each writer has papers of its own; 100 to 199 stay
					p := papers[i]
					p.Title = fmt.Sprintf("%s v%d", p.Title, round)
					batch = append(batch, p)
				}
				if _, _, err := c.Upsert(context.Background(), batch); err != nil {
					t.Error(err)
				}
				id := fmt.Sprintf("gone %d %d", w, round)
				if _, _, err := c.Upsert(context.Background(), []Paper{paper(id, "w1 w2")}); err != nil {
					t.Error(err)
				}
				if _, _, _, err := c.Delete(context.Background(), []string{id}); err != nil {
					t.Error(err)
				}
				if got, err := c.Search(context.Background(), SearchRequest{Input: Input{Text: ptr("w1 w2")}, K: ptr(200), Exact: true}); err != nil || slices.Contains(ids(got.Hits), id) {
					t.Errorf("%s is found after its deletion, or %v", id, err)
				}
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := c.Search(context.Background(), SearchRequest{Input: Input{PaperID: "p0150"}, K: ptr(50)})
				if err != nil {
					t.Error(err)
					return
				}
				got := ids(res.Hits)
				sorted := slices.Clone(got)
				slices.Sort(sorted)
				if len(slices.Compact(sorted)) != 50 || slices.Contains(got, "p0150") {
					t.Errorf("%d different papers of 50: %v", len(slices.Compact(sorted)), got)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

func TestClosedCollectionIsUnavailable(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: ptr("x")}}); KindOf(err) != Unavailable {
		t.Errorf("%v, want Unavailable", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
}
