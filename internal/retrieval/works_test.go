package retrieval

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"embedd/internal/testkit"
	"embedd/internal/works"
)

// inLab is a paper whose metadata has a lab, for scopes.
func inLab(p Paper, lab string) Paper {
	p.Metadata = []byte(fmt.Sprintf(`{"lab": %q}`, lab))
	return p
}

func TestAnyOfItsIDs(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c,
		inLab(Paper{ID: "first", Title: "graph networks for molecules", DOI: "10.1000/Mixed", ArxivID: "2104.08821v2"}, "a"),
		inLab(Paper{ID: "second", Title: "protein folding by diffusion", DOI: "10.1000/mixed"}, "b"),
		inLab(Paper{ID: "DOI:10.1000/exact", Title: "sentence embeddings of papers"}, "b"),
		inLab(Paper{ID: "third", Title: "word embeddings of sentences", DOI: "10.1000/exact", URL: "https://aclanthology.org/P19-1410/"}, "a"),
		inLab(Paper{ID: "ARXIV:1908.10084", Title: "a paper by its arxiv id"}, "b"),
		inLab(Paper{ID: "https://arxiv.org/abs/1908.10084", Title: "a paper by a url"}, "a"),
	)
	for _, x := range []struct{ id, all, a, b string }{ // what it stands for, for all, and for who sees one lab
		{"first", "first", "first", ""},
		{"doi:10.1000/MIXED", "first", "first", "second"}, // of several, the first that was stored
		{"https://doi.org/10.1000/mixed", "first", "first", "second"},
		{"2104.08821", "first", "first", ""},
		{"arXiv:2104.08821v2", "first", "first", ""},
		{"arXiv:2104.08821v7", "first", "first", ""},                             // a version that nobody has
		{"DOI:10.1000/exact", "DOI:10.1000/exact", "third", "DOI:10.1000/exact"}, // the very id goes before
		{"10.1000/exact", "DOI:10.1000/exact", "third", "DOI:10.1000/exact"},
		{"ACL:P19-1410", "third", "third", ""},
		{"https://arxiv.org/abs/1908.10084", "https://arxiv.org/abs/1908.10084", "https://arxiv.org/abs/1908.10084", "ARXIV:1908.10084"},
		{"1908.10084", "ARXIV:1908.10084", "https://arxiv.org/abs/1908.10084", "ARXIV:1908.10084"},
		{"10.1000/nobody", "", "", ""},
		{"Second", "", "", ""}, // other ids are compared as they are
	} {
		for scope, want := range map[string]string{"": x.all, "a": x.a, "b": x.b} {
			var w Which
			if scope != "" {
				w.Scope = filtered(t, "metadata.lab = "+scope)
			}
			got, err := c.resolveID(t.Context(), "id", x.id, w)
			if got != want || (err == nil) != (want != "") || err != nil && (KindOf(err) != NotFound || !strings.Contains(err.Error(), fmt.Sprintf("%q", x.id))) {
				t.Errorf("%q in scope %q is %q, %v; want %q", x.id, scope, got, err, want)
			}
			p, _, err := c.Get(t.Context(), x.id, w)
			if p.ID != want || err != nil && KindOf(err) != NotFound {
				t.Errorf("get %q in scope %q gives %q, %v; want %q", x.id, scope, p.ID, err, want)
			}
			for _, mode := range []Mode{Dense, Lexical, Hybrid} {
				if scope != "" && mode != Dense {
					continue
				}
				r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: x.id}, Mode: mode, Which: w, SameWork: true})
				if want == "" {
					if KindOf(err) != NotFound || err == nil {
						t.Errorf("%s search by %q in scope %q: %v", mode, x.id, scope, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				var same []string
				if mode == Dense {
					s, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: want}, Which: w, SameWork: true})
					if err != nil {
						t.Fatal(err)
					}
					same = ids(s.Hits)
					if got := ids(r.Hits); !slices.Equal(got, same) {
						t.Errorf("related to %q in scope %q are %v, to %q %v", x.id, scope, got, want, same)
					}
				}
				if slices.Contains(ids(r.Hits), want) {
					t.Errorf("%s search by %q finds itself", mode, x.id)
				}
			}
			_, err = c.Explain(t.Context(), ExplainRequest{Input: Input{PaperID: x.id}, Field: "query", PaperID: x.id, Which: w})
			if (err == nil) != (want != "") || err != nil && KindOf(err) != NotFound {
				t.Errorf("explain %q in scope %q: %v", x.id, scope, err)
			}
		}
	}
	// An alias goes with its paper, and with a change that does not touch the text.
	put(t, c, inLab(Paper{ID: "first", Title: "graph networks for molecules", DOI: "10.1000/other"}, "a"))
	for id, want := range map[string]string{"10.1000/mixed": "second", "10.1000/other": "first", "2104.08821": ""} {
		if got, err := c.resolveID(t.Context(), "id", id, Which{}); got != want {
			t.Errorf("after a change %q is %q, %v; want %q", id, got, err, want)
		}
	}
	if _, _, _, err := c.Delete(t.Context(), []string{"second"}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.resolveID(t.Context(), "id", "10.1000/mixed", Which{}); KindOf(err) != NotFound || err == nil {
		t.Errorf("the DOI of a deleted paper is %q, %v", got, err)
	}
}

// versions are papers of which some are the same work: v1 and v2 of each of n, with texts of their own.
func versions(n int) (all []Paper) {
	for i := range n {
		title := fmt.Sprintf("On the matter %s of retrieval by vectors", strings.Repeat(string(rune('a'+i%26)), 3+i/26))
		abstract := fmt.Sprintf("We look at matter number%d and find%d that%d it%d is well%d understood%d by those%d who work%d on it.", i, i, i, i, i, i, i, i)
		all = append(all, Paper{ID: fmt.Sprintf("w%02d.v1", i), Title: title, Abstract: abstract, Year: 2001},
			Paper{ID: fmt.Sprintf("w%02d.v2", i), Title: strings.ToUpper(title), Abstract: abstract + " And more.", Year: 2002})
	}
	return all
}

func workOf(id string) string { before, _, _ := strings.Cut(id, "."); return before }

func TestSameWork(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, versions(30)...)
	for _, mode := range []Mode{Dense, Lexical, Hybrid} {
		var last []Hit
		for _, k := range []int{1, 3, 7, 20, 29, 60} {
			r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "w03.v2"}, Mode: mode, K: &k, Exact: mode != Lexical})
			if err != nil {
				t.Fatal(err)
			}
			if want := min(k, 29); len(r.Hits) != want {
				t.Errorf("%s search for %d gives %d hits, want %d", mode, k, len(r.Hits), want)
			}
			seen := map[string]bool{"w03": true}
			for i, h := range r.Hits {
				if seen[workOf(h.Paper.ID)] {
					t.Errorf("%s: %s is there beside another version", mode, h.Paper.ID)
				}
				seen[workOf(h.Paper.ID)] = true
				other := workOf(h.Paper.ID) + map[bool]string{true: ".v2", false: ".v1"}[strings.HasSuffix(h.Paper.ID, ".v1")]
				if !slices.Equal(h.SameWork, []string{other}) {
					t.Errorf("%s: %s stands for %v, want %s", mode, h.Paper.ID, h.SameWork, other)
				}
				if i < len(last) && (last[i].Paper.ID != h.Paper.ID || last[i].Score != h.Score) {
					t.Errorf("%s: hit %d of %d is %s, and was %s", mode, i, k, h.Paper.ID, last[i].Paper.ID)
				}
			}
			last = r.Hits
		}
		r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "w03.v2"}, Mode: mode, K: ptr(100), SameWork: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Hits) != 59 || !slices.Contains(ids(r.Hits), "w03.v1") {
			t.Errorf("%s: with versions there are %d hits", mode, len(r.Hits))
		}
		for _, h := range r.Hits {
			if h.SameWork != nil {
				t.Errorf("%s: with versions %s stands for %v", mode, h.Paper.ID, h.SameWork)
			}
		}
	}
	// What does not meet the filter is not stood for.
	r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "w03.v2"}, K: ptr(5), Which: Which{Filter: filtered(t, "year = 2001")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range r.Hits {
		if h.SameWork != nil || !strings.HasSuffix(h.Paper.ID, ".v1") {
			t.Errorf("%s stands for %v, which does not meet the filter", h.Paper.ID, h.SameWork)
		}
	}
	// Without one of two versions the other stands for itself.
	if _, _, _, err := c.Delete(t.Context(), []string{"w05.v1"}); err != nil {
		t.Fatal(err)
	}
	p, _, err := c.Get(t.Context(), "w05.v2", Which{})
	if err != nil {
		t.Fatal(err)
	}
	if _, same, pending, err := c.Versions(t.Context(), &p, Which{}); same != nil || pending || err != nil {
		t.Errorf("%v, %v, %v are left of a work of one", same, pending, err)
	}
}

func TestExclude(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	all := versions(30)
	all[2*4].DOI, all[2*6].ArxivID = "10.1000/four", "2104.08821v1"
	put(t, c, all...)
	exclude := []string{"nobody", "10.1000/nobody", "https://doi.org/10.1000/FOUR", "2104.08821", "w07.v2", "w07.v2"}
	for _, mode := range []Mode{Dense, Lexical, Hybrid} {
		for _, same := range []bool{false, true} {
			r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "w03.v1"}, Mode: mode, K: ptr(100), Exclude: exclude, SameWork: same})
			if err != nil {
				t.Fatal(err)
			}
			want := 30 - 4
			if same {
				want = 60 - 6 - 1
			}
			if len(r.Hits) != want {
				t.Errorf("%s: %d hits, want %d", mode, len(r.Hits), want)
			}
			for _, h := range r.Hits {
				if slices.Contains([]string{"w04", "w06", "w07"}, workOf(h.Paper.ID)) {
					t.Errorf("%s: %s is excluded", mode, h.Paper.ID)
				}
			}
		}
	}
	// A paper beyond the scope excludes nothing.
	scope := Which{Scope: filtered(t, "year = 2001")}
	r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "w03.v1"}, K: ptr(100), Exclude: []string{"w07.v2", "w08.v1"}, Which: scope})
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(r.Hits); len(got) != 28 || !slices.Contains(got, "w07.v1") || slices.Contains(got, "w08.v1") {
		t.Errorf("in scope there are %v", got)
	}
	for _, x := range []struct {
		exclude []string
		field   string
	}{
		{make([]string, MaxExclude+1), "exclude"},
		{[]string{"a", ""}, "exclude[1]"},
		{[]string{"a", "b", "c\n"}, "exclude[2]"},
		{[]string{strings.Repeat("x", MaxIDBytes+1)}, "exclude[0]"},
	} {
		_, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "w03.v1"}, Exclude: x.exclude})
		if e := new(Error); !asError(err, &e) || e.Kind != Invalid || e.Field != x.field {
			t.Errorf("%d ids: %v, want one about %s", len(x.exclude), err, x.field)
		}
	}
}

// What is kept out of an answer has no rank, in any mode: the others stand as if it had not been found.
func TestWhatIsKeptOutHasNoRank(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, words(t, 60)...)
	for _, mode := range []Mode{Dense, Lexical, Hybrid} {
		search := func(exclude ...string) []Hit {
			t.Helper()
			r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "p0000"}, Mode: mode, K: ptr(MaxK), Exact: mode != Lexical, Exclude: exclude, SameWork: true})
			if err != nil {
				t.Fatal(err)
			}
			return r.Hits
		}
		all := search()
		if len(all) < 3 {
			continue // no other paper has a word of this one
		}
		without := search(all[0].Paper.ID, all[2].Paper.ID)
		if len(without) != len(all)-2 {
			t.Fatalf("%v: %d hits, without two of them %d", mode, len(all), len(without))
		}
		ranks := map[string][]int{}
		for _, h := range without {
			ranks["dense"], ranks["lexical"] = append(ranks["dense"], h.Why.DenseRank), append(ranks["lexical"], h.Why.LexicalRank)
		}
		for side, of := range ranks {
			of = slices.DeleteFunc(of, func(rank int) bool { return rank == 0 })
			slices.Sort(of)
			for i, rank := range of {
				if rank != i+1 {
					t.Errorf("%v: the %s ranks are %v, want all from 1 on", mode, side, of)
					break
				}
			}
		}
	}
}

func asError(err error, e **Error) bool {
	found, ok := err.(*Error)
	if ok {
		*e = found
	}
	return ok
}

// The answer for k is what remains of the whole order when of each work only the first stays, up to k.
func TestSameWorkAgainstTruth(t *testing.T) {
	rng := testkit.Rand(t)
	c := open(t, t.TempDir(), newBag())
	var all []Paper
	for i := range 150 {
		p := inLab(Paper{ID: fmt.Sprintf("p%03d", i), Title: fmt.Sprintf("one of several titles, that of number %d", rng.IntN(60)), Abstract: "word " + fmt.Sprint(rng.IntN(5))}, []string{"a", "b"}[rng.IntN(2)])
		if rng.IntN(3) == 0 {
			p.DOI = fmt.Sprintf("10.1000/%d", rng.IntN(30))
		}
		all = append(all, p)
	}
	put(t, c, all...)
	for range 60 {
		p := all[rng.IntN(len(all))]
		var w Which
		if rng.IntN(2) == 0 {
			w.Scope = filtered(t, "metadata.lab = a")
		}
		if rng.IntN(2) == 0 {
			w.Filter = filtered(t, fmt.Sprintf(`id < "p%03d"`, rng.IntN(200)))
		}
		if w.Scope != nil && !w.Scope.Matches(must(fieldsOf(&p))) {
			continue
		}
		var exclude []string
		for range rng.IntN(10) {
			exclude = append(exclude, all[rng.IntN(len(all))].ID)
		}
		whole, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: p.ID}, K: ptr(MaxK), Exact: true, Which: w, SameWork: true})
		if err != nil {
			t.Fatal(err)
		}
		same := func(id string) map[string]bool { // by walking from paper to paper in scope, as they are alike by themselves
			work := map[string]bool{}
			var walk func(p Paper)
			walk = func(p Paper) {
				if work[p.ID] || w.Scope != nil && !w.Scope.Matches(must(fieldsOf(&p))) {
					return
				}
				work[p.ID] = true
				f := featuresOf(&p)
				for _, q := range all {
					if g := featuresOf(&q); works.Alike(&f, &g) {
						walk(q)
					}
				}
			}
			walk(all[slices.IndexFunc(all, func(p Paper) bool { return p.ID == id })])
			return work
		}
		out := same(p.ID)
		for _, id := range exclude {
			for other := range same(id) {
				out[other] = true
			}
		}
		var want []string
		for _, h := range whole.Hits {
			if out[h.Paper.ID] {
				continue
			}
			want = append(want, h.Paper.ID)
			for other := range same(h.Paper.ID) {
				out[other] = true
			}
		}
		for _, k := range []int{1, 2, 5, 17, 100} {
			r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: p.ID}, K: &k, Exact: true, Which: w, Exclude: exclude})
			if err != nil {
				t.Fatal(err)
			}
			if got := ids(r.Hits); !slices.Equal(got, append([]string{}, want[:min(k, len(want))]...)) {
				t.Fatalf("related to %s without %v, for %d, are %v; want %v", p.ID, exclude, k, got, want)
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// While the works are being read, a search by an id that is stored does not wait for them, and leaves out versions that it finds; another
// form of an id waits. A snapshot is read when they are asked for, and brought up to the store.
func TestWorksBehindTheStart(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, newBag())
	all := versions(20)
	all[0].DOI = "10.1000/zero"
	put(t, c, all...)
	want := related(t, c, "w03.v2", 100)
	shut(t, c)
	if err := os.Remove(filepath.Join(dir, worksSnapshotName)); err != nil {
		t.Fatal(err)
	}

	c = open(t, dir, newBag())
	for _, text := range []bool{false, true} {
		in := Input{PaperID: "w03.v2"}
		if text {
			in = Input{Text: &all[7].Title}
		}
		r, err := c.Search(t.Context(), SearchRequest{Input: in, K: ptr(100), Mode: Dense})
		if err != nil {
			t.Fatal(err)
		}
		if c.works.ready() {
			t.Fatal("the works were waited for")
		}
		if got := ids(r.Hits); !text && !slices.Equal(got, want) {
			t.Errorf("related are %v, want %v", got, want)
		}
		for _, h := range r.Hits {
			if len(h.SameWork) != 1 || workOf(h.SameWork[0]) != workOf(h.Paper.ID) {
				t.Errorf("%s stands for %v", h.Paper.ID, h.SameWork)
			}
		}
		if r, err = c.Search(t.Context(), SearchRequest{Input: in, K: ptr(100), Mode: Dense, SameWork: true}); err != nil || len(r.Hits) < 39 {
			t.Errorf("with versions there are %d hits, %v", len(r.Hits), err)
		}
	}
	p, _, err := c.Get(t.Context(), "w03.v2", Which{})
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Get(gone, "10.1000/zero", Which{}); err != nil && KindOf(err) != Unavailable { // or they are there already
		t.Errorf("who does not wait is told %v", err)
	}
	testkit.Eventually(t, "the works are there", c.works.ready)
	if _, same, pending, err := c.Versions(t.Context(), &p, Which{}); !slices.Equal(same, []string{"w03.v1"}) || pending || err != nil {
		t.Errorf("%v, %v, %v", same, pending, err)
	}
	if got, _, err := c.Get(t.Context(), "10.1000/zero", Which{}); err != nil || got.ID != "w00.v1" {
		t.Errorf("%v, %v", got.ID, err)
	}
	shut(t, c)

	// A snapshot, and what came after it.
	c = open(t, dir, newBag())
	if c.works.at.Load() == 0 {
		t.Fatal("the snapshot is not found")
	}
	put(t, c, Paper{ID: "w03.v3", Title: all[7].Title, Abstract: all[7].Abstract + " Even more."}, Paper{ID: "w04.v1", Title: all[8].Title, Abstract: all[8].Abstract, DOI: "10.1000/four"})
	if _, _, _, err := c.Delete(t.Context(), []string{"w00.v1"}); err != nil {
		t.Fatal(err)
	}
	again, log := openLogged(t, killed(t, dir), Options{})
	again.LoadDerived()
	testkit.Eventually(t, "the works are read from their snapshot", again.works.ready)
	if strings.Contains(log.String(), "is not used") {
		t.Error(log)
	}
	if _, same, _, err := again.Versions(t.Context(), &p, Which{}); !slices.Equal(same, []string{"w03.v1", "w03.v3"}) || err != nil {
		t.Errorf("after a kill %v, %v", same, err)
	}
	for id, want := range map[string]string{"10.1000/four": "w04.v1", "10.1000/zero": ""} {
		if got, _ := again.resolveID(t.Context(), "id", id, Which{}); got != want {
			t.Errorf("after a kill %s is %q, want %q", id, got, want)
		}
	}
}

// A paper that is not stored is the same work as those that are.
func TestWorksOf(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	all := versions(5)
	all[0].DOI = "10.1000/zero"
	put(t, c, all...)
	for _, x := range []struct {
		p    Paper
		w    Which
		want string
	}{
		{Paper{Title: "Another", DOI: "doi:10.1000/ZERO"}, Which{}, "w00.v1 w00.v2"},
		{Paper{ID: "https://doi.org/10.1000/zero"}, Which{}, "w00.v1 w00.v2"},
		{Paper{Title: all[3].Title, Abstract: all[3].Abstract}, Which{}, "w01.v1 w01.v2"},
		{Paper{Title: all[3].Title, Abstract: all[3].Abstract}, Which{Scope: filtered(t, "year = 2002")}, "w01.v2"},
		{Paper{Title: "Another", Abstract: "Something else"}, Which{}, ""},
	} {
		seen, err := c.chosen(t.Context(), x.w)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.works.wait(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		ordinals := c.works.index.SameAs(featuresOf(&x.p), within(seen))
		found, err := c.idsUnder(ordinals, Which{}, "")
		if got := strings.Join(found, " "); got != x.want || err != nil {
			t.Errorf("%v is the same work as %q, want %q; %v", x.p, got, x.want, err)
		}
	}
}

// Writers beside searches: an answer never has two versions that are stored from the beginning to the end.
func TestSameWorkBesideWriters(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	all := versions(20)
	put(t, c, all...)
	rng := rand.New(rand.NewPCG(testkit.Rand(t).Uint64(), 1))
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			p := all[2*rng.IntN(10)] // the first versions of the first ten works get another text, and so another ordinal
			p.Abstract += fmt.Sprint(" Change ", i)
			if _, _, err := c.Upsert(context.Background(), []Paper{p}); err != nil {
				done <- err
				return
			}
		}
	}()
	for range fewer(400) {
		r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "w15.v1"}, K: ptr(40), Exact: true})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, h := range r.Hits {
			if w := workOf(h.Paper.ID); w >= "w10" && seen[w] || w == "w15" {
				t.Fatalf("%s is there beside another version", h.Paper.ID)
			}
			seen[workOf(h.Paper.ID)] = true
		}
		if len(seen) != 19 {
			t.Fatalf("%d works, want 19", len(seen))
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Papers that are given, reading lists and pages keep to it too.
func TestSameWorkOfAnyInput(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	all := versions(30)
	all[2*4].DOI = "10.1000/four"
	put(t, c, all...)
	unknown := Paper{ID: "w05.v9", Title: all[10].Title, Abstract: all[10].Abstract + " And a third version."}
	known := all[8]
	known.ID = "mine" // by its DOI it is stored, with the same text
	for _, x := range []struct {
		name string
		in   Input
		out  []string
	}{
		{"a paper that is not stored", Input{Paper: &unknown}, []string{"w05"}},
		{"a paper that is stored under another id", Input{Paper: &known}, []string{"w04"}},
		{"a DOI", Input{PaperID: "https://doi.org/10.1000/FOUR"}, []string{"w04"}},
		{"a reading list", Input{Examples: &Examples{
			Positive: []Example{{Input: Input{PaperID: "w01.v1"}}, {Input: Input{PaperID: "10.1000/four"}}, {Input: Input{Paper: &unknown}}},
			Negative: []Example{{Input: Input{PaperID: "w07.v2"}}},
		}}, []string{"w01", "w04", "w05", "w07"}},
		{"examples one by one", Input{Examples: &Examples{Strategy: BestScore, Positive: []Example{{Input: Input{PaperID: "w01.v1"}}, {Input: Input{PaperID: "10.1000/four"}}}}}, []string{"w01", "w04"}},
	} {
		seen, page, pages := map[string]bool{}, "", 0
		for {
			r, err := c.Search(t.Context(), SearchRequest{Input: x.in, Field: "query", K: ptr(7), Page: page, Digest: digestOf(1)})
			if err != nil {
				t.Fatalf("%s: %v", x.name, err)
			}
			for _, h := range r.Hits {
				w := workOf(h.Paper.ID)
				if slices.Contains(x.out, w) || seen[w] || len(h.SameWork) != 1 || workOf(h.SameWork[0]) != w {
					t.Errorf("%s: %s, which stands for %v, is the same work as the input or as another hit", x.name, h.Paper.ID, h.SameWork)
				}
				seen[w] = true
			}
			if pages++; r.Next == "" {
				break
			}
			page = r.Next
		}
		if want := 30 - len(x.out); len(seen) != want || pages < 4 {
			t.Errorf("%s: %d works on %d pages, want %d", x.name, len(seen), pages, want)
		}
	}
}

// A paper that has expired has no aliases and is no version, though it is still stored; facts are updated by any id.
func TestAliasesOfWhatExpires(t *testing.T) {
	clock := newClock()
	c := openAt(t, t.TempDir(), newBag(), clock)
	all := versions(3)
	all[0].DOI, all[1].DOI = "10.1000/x", "10.1000/x"
	all[0].Expires = clock.now().Add(time.Hour)
	put(t, c, all...)
	about := func() (id string, same []string) {
		t.Helper()
		p, _, err := c.Get(t.Context(), "doi:10.1000/X", Which{})
		if err != nil {
			t.Fatal(err)
		}
		if _, same, _, err = c.Versions(t.Context(), &p, Which{}); err != nil {
			t.Fatal(err)
		}
		return p.ID, same
	}
	if id, same := about(); id != "w00.v1" || !slices.Equal(same, []string{"w00.v2"}) {
		t.Errorf("at first %q, %v", id, same)
	}
	clock.advance(2 * time.Hour)
	if id, same := about(); id != "w00.v2" || same != nil {
		t.Errorf("after it has expired %q, %v", id, same)
	}
	if own, err := c.resolveID(t.Context(), "id", "w00.v1", Which{}); err == nil {
		t.Errorf("the id of an expired paper is %q", own)
	}
	r, _, err := c.UpdateMetadata(t.Context(), []MetadataUpdate{{ID: "https://doi.org/10.1000/x", Paper: Paper{Year: 2020}, Mask: []string{"year"}}})
	if err != nil || r[0].ID != "w00.v2" {
		t.Errorf("%v, %v", r, err)
	}
	_, _, err = c.UpdateMetadata(t.Context(), []MetadataUpdate{{ID: "w00.v2", Mask: []string{"year"}}, {ID: "10.1000/x", Mask: []string{"year"}}})
	if e := new(Error); !asError(err, &e) || e.Field != "updates[1].id" {
		t.Errorf("a paper by two of its ids: %v", err)
	}
}
