package retrieval

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"embedd/internal/testkit"
)

// Who may see only some papers is answered as if there were no others, in every mode: the same hits with the same scores, whatever is beside them.
func TestNothingBeyondTheScopeShows(t *testing.T) {
	rng := testkit.Rand(t)
	c, alone := open(t, t.TempDir(), newBag()), open(t, t.TempDir(), newBag())
	all := words(t, 240)
	for i := range all {
		in := "out"
		if i%3 == 0 {
			in = "in"
		}
		all[i].Metadata = json.RawMessage(fmt.Sprintf(`{"part": %q, "n": %d}`, in, i))
	}
	scope := Which{Scope: filtered(t, "part = in")}
	for round := range 3 {
		for i := range all {
			if i%3 == 0 {
				put(t, alone, all[i])
			}
		}
		put(t, c, all...)
		for range 12 {
			text := all[rng.IntN(len(all))].Title + " " + all[rng.IntN(len(all))].Title
			for _, r := range []SearchRequest{
				{Input: Input{Text: &text}},
				{Input: Input{Text: &text}, Mode: Lexical},
				{Input: Input{Text: &text}, Mode: Dense},
				{Input: Input{Text: &text}, Mode: Hybrid, Fusion: RRF},
				{Input: Input{PaperID: all[3*rng.IntN(len(all)/3)].ID}, Mode: Hybrid},
				{Input: Input{PaperID: all[3*rng.IntN(len(all)/3)].ID}, Mode: Lexical, Which: Which{Filter: filtered(t, "n < 100"), Field: "filter"}},
			} {
				r.Exact, r.K = r.Mode != Lexical, ptr(80)
				r.Which.Scope = scope.Scope
				got, err := c.Search(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				want, err := alone.Search(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				same := slices.EqualFunc(got.Hits, want.Hits, func(a, b Hit) bool {
					return a.Paper.ID == b.Paper.ID && a.Score == b.Score && (a.BM25 == nil) == (b.BM25 == nil) && (a.BM25 == nil || *a.BM25 == *b.BM25)
				})
				if !same || len(got.Hits) == 0 && r.Input.Text != nil {
					t.Fatalf("round %d, %v by %+v: %v; where there are no other papers %v", round, r.Mode, r.Input, ids(got.Hits), ids(want.Hits))
				}
				if got.Version != 0 || got.Ef != 0 || got.Plan != Auto {
					t.Errorf("the answer tells of all papers: %+v", got)
				}
			}
		}
		for range 40 { // others come, change and go, and some change sides
			i := rng.IntN(len(all))
			all[i].Title += " " + all[rng.IntN(len(all))].Title
		}
		if _, _, _, err := c.Delete(t.Context(), []string{all[1+3*round].ID}); err != nil {
			t.Fatal(err)
		}
		all[2+3*round].Abstract = "once more"
	}
}
