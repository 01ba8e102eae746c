package retrieval

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"embedd/internal/testkit"
)

// filtered is a filter that must be one.
func filtered(t testing.TB, text string) *Filter {
	t.Helper()
	f, err := ParseFilter("filter", text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func idsOf(papers []Paper) (all []string) {
	for _, p := range papers {
		all = append(all, p.ID)
	}
	return all
}

func hitIDs(r *SearchResult) (all []string) {
	for _, h := range r.Hits {
		all = append(all, h.Paper.ID)
	}
	slices.Sort(all)
	return all
}

// A filter narrows each way to papers, and so does a scope, outside of which there are none.
func TestWhichPapers(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	papers := []Paper{
		{ID: "a", Title: "one fish", Year: 2019, Metadata: json.RawMessage(`{"categories": ["cs.CL", "cs.IR"]}`)},
		{ID: "b", Title: "two fish", Year: 2021, Metadata: json.RawMessage(`{"categories": ["cs.CL"]}`)},
		{ID: "c", Title: "red fish", Year: 2023, Metadata: json.RawMessage(`{"categories": ["cs.CV"]}`)},
		{ID: "d", Title: "blue fish", Year: 2023},
	}
	if _, _, err := c.Upsert(t.Context(), papers); err != nil {
		t.Fatal(err)
	}
	text := "fish"
	for _, test := range []struct{ filter, scope, want string }{
		{"", "", "a b c d"},
		{"categories:cs.CL", "", "a b"},
		{"year >= 2021", "", "b c d"},
		{"NOT categories:*", "", "d"},
		{"", "categories:cs.CL", "a b"},
		{"year >= 2021", "categories:cs.CL", "b"},
		{"year >= 2021", "categories:cs.IR", ""},
	} {
		w := Which{Filter: filtered(t, test.filter), Field: "filter", Scope: filtered(t, test.scope)}
		for _, exact := range []bool{false, true} {
			res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Field: "query", Exact: exact, Which: w})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(hitIDs(res), " "); got != test.want {
				t.Errorf("search by %q within %q, exact %v: %q, want %q", test.filter, test.scope, exact, got, test.want)
			}
		}
		list, next, err := c.List(t.Context(), "", nil, w)
		if got := strings.Join(idsOf(list), " "); err != nil || got != test.want || next != "" {
			t.Errorf("list by %q within %q: %q %q %v, want %q", test.filter, test.scope, got, next, err, test.want)
		}
	}

	scope := Which{Scope: filtered(t, "categories:cs.CL")}
	if _, _, err := c.Get(context.Background(), "a", scope); err != nil {
		t.Errorf("in scope: %v", err)
	}
	for what, call := range map[string]func() error{
		"get": func() error { _, _, err := c.Get(context.Background(), "c", scope); return err },
		"related": func() error {
			_, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "c"}, Which: scope})
			return err
		},
		"explain": func() error {
			_, err := c.Explain(t.Context(), ExplainRequest{Input: Input{Text: &text}, Field: "query", PaperID: "c", Which: scope})
			return err
		},
		"explain by paper": func() error {
			_, err := c.Explain(t.Context(), ExplainRequest{Input: Input{PaperID: "c"}, Field: "query", PaperID: "a", Which: scope})
			return err
		},
	} {
		if err := call(); KindOf(err) != NotFound {
			t.Errorf("%s of a paper that is out of scope: %v, want NotFound", what, err)
		}
	}
	// A paper that does not meet the caller's own filter may be what is asked with.
	if res, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "c"}, Which: Which{Filter: filtered(t, "categories:cs.CL")}}); err != nil || len(res.Hits) != 2 {
		t.Errorf("%v %v", res, err)
	}

	// What changes is filtered as it is now.
	papers[0].Metadata = json.RawMessage(`{"categories": ["cs.CV"]}`)            // the text stays
	papers[1].Title, papers[1].Metadata = "two more fish", json.RawMessage(`{}`) // it does not
	if _, _, err := c.Upsert(t.Context(), papers[:2]); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := c.Delete(t.Context(), []string{"c"}); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string]string{"categories:cs.CV": "a", "NOT categories:*": "b d"} {
		list, _, err := c.List(t.Context(), "", nil, Which{Filter: filtered(t, filter)})
		if got := strings.Join(idsOf(list), " "); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", filter, got, err, want)
		}
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

// What is wrong with a filter is said, but not of a key's.
func TestFiltersThatAreNone(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	if _, _, err := c.Upsert(t.Context(), []Paper{{ID: "a", Title: "x", Metadata: json.RawMessage(`{"venue_type": "journal"}`)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseFilter("filter", "a = ("); KindOf(err) != Invalid || !strings.Contains(err.Error(), "filter") {
		t.Errorf("%v", err)
	}
	text := "x"
	search := func(w Which) error {
		_, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Field: "query", Which: w})
		return err
	}
	if err := search(Which{Filter: filtered(t, `venue_typ = "journal"`), Field: "filter"}); KindOf(err) != Invalid || !strings.Contains(err.Error(), "venue_type") {
		t.Errorf("an unknown field: %v, want the one that is meant", err)
	}
	if err := search(Which{Scope: filtered(t, `secret = "x"`)}); KindOf(err) != FailedPrecondition || strings.Contains(err.Error(), "secret") {
		t.Errorf("a key's filter: %v, want an error without it", err)
	}
	if _, _, err := c.Upsert(t.Context(), []Paper{{ID: "b", Title: "x", Metadata: json.RawMessage(`{"a": ` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`)}}); KindOf(err) != Invalid || !strings.Contains(err.Error(), "papers[0].metadata") {
		t.Errorf("metadata that cannot be filtered by: %v", err)
	}
}

// The fields are those of the papers, whatever is written while they are made and afterwards.
func TestFieldsBesideWriters(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, newBag())
	seed := testkit.Rand(t).Uint64()
	var first []Paper
	for i := range 500 {
		first = append(first, Paper{ID: fmt.Sprint("p", i), Title: fmt.Sprint("paper ", i), Metadata: json.RawMessage(`{"n": 0}`)})
	}
	for batch := range slices.Chunk(first, 100) {
		if _, _, err := c.Upsert(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := range 200 {
				id := r.IntN(500)
				p := Paper{ID: fmt.Sprint("p", id), Title: fmt.Sprint("paper ", id), Metadata: json.RawMessage(fmt.Sprintf(`{"n": %d}`, w*1000+i))}
				if r.IntN(4) == 0 {
					p.Title += " again"
				}
				if _, _, err := c.Upsert(context.Background(), []Paper{p}); err != nil {
					t.Error(err)
				}
				if r.IntN(5) == 0 {
					if _, _, _, err := c.Delete(context.Background(), []string{fmt.Sprint("p", r.IntN(500))}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	c.LoadDerived()
	wg.Wait()
	<-c.fields.made
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	list, _, err := c.List(t.Context(), "", ptr(MaxPageSize), Which{})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range list {
		if i%10 != 0 {
			continue
		}
		var m struct{ N int }
		if err := json.Unmarshal(p.Metadata, &m); err != nil {
			t.Fatal(err)
		}
		of, _, err := c.List(t.Context(), "", ptr(MaxPageSize), Which{Filter: filtered(t, fmt.Sprint("n = ", m.N))})
		set, e := c.chosen(t.Context(), Which{Filter: filtered(t, fmt.Sprint("n = ", m.N))})
		if err != nil || e != nil || !slices.Contains(idsOf(of), p.ID) || set.Len() != len(of) {
			t.Fatalf("papers with n %d: %v, %d in the set, %v %v", m.N, idsOf(of), set.Len(), err, e)
		}
	}
}
