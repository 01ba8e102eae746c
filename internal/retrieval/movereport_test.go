package retrieval

import (
	"fmt"
	"math"
	"testing"
)

func TestKendall(t *testing.T) {
	for _, c := range []struct {
		a, b             string
		overlap, kendall float64
	}{
		{"abcd", "abcd", 1, 1},
		{"abcd", "dcba", 1, -1},
		{"ab", "ba", 1, -1},
		{"", "", 1, 1},
		{"a", "a", 1, 1},
		{"a", "b", 0, -1},
		{"abc", "abd", 2. / 3, 4. / 6}, // of 6 pairs ab, ac, bc, ad, bd are ordered by both or by one alone; cd the other way round
		{"abcd", "", 0, 0},
	} {
		list := func(s string) (out []string) {
			for _, r := range s {
				out = append(out, string(r))
			}
			return out
		}
		a, b := list(c.a), list(c.b)
		if got := overlap(a, b); math.Abs(got-c.overlap) > 1e-9 {
			t.Errorf("overlap of %s and %s: %v, want %v", c.a, c.b, got, c.overlap)
		}
		if got := kendall(a, b); math.Abs(got-c.kendall) > 1e-9 {
			t.Errorf("tau of %s and %s: %v, want %v", c.a, c.b, got, c.kendall)
		}
		if kendall(a, b) != kendall(b, a) {
			t.Errorf("tau of %s and %s is not that of the other way round", c.a, c.b)
		}
	}
}

// Of two models that read alike nothing changes; of others the report shows what.
func TestReportMove(t *testing.T) {
	clock := newClock()
	from := openAt(t, t.TempDir(), newBag(), clock)
	for i := range 300 {
		put(t, from, paper(fmt.Sprintf("p%03d", i), fmt.Sprintf("topic%d kind%d sort%d", i%20, i%7, i%11)))
	}
	to, f := follow(t, from, clock, 0)
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	bridge, err := f.FitAcross(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same, err := ReportMove(t.Context(), from, from, nil, true, 20, []string{"topic3 kind2"}, Dense)
	if err != nil || same.Papers != 20 || same.Overlap != 1 || same.Same != 1 || same.Kendall != 1 {
		t.Errorf("one model compared with itself: %+v, %v", same, err)
	}
	if q := same.Queries[0]; fmt.Sprint(q.Old) != fmt.Sprint(q.New) || len(q.Old) != 10 || q.Mapped != nil {
		t.Errorf("its answers: %+v", q)
	}
	other, err := ReportMove(t.Context(), from, to, bridge, true, 50, []string{"topic3 kind2"}, Hybrid)
	if err != nil || other.Papers != 50 || !(other.Overlap > 0 && other.Overlap < 1) || !(other.Kendall > -1 && other.Kendall < 1) || len(other.Changes) != reportChanges {
		t.Errorf("two models compared: %+v, %v", other, err)
	}
	for i, c := range other.Changes {
		if len(c.Before) != 10 || len(c.After) != 10 || i > 0 && c.Overlap < other.Changes[i-1].Overlap {
			t.Errorf("change %d: %d and %d hits, overlap %v", i, len(c.Before), len(c.After), c.Overlap)
		}
	}
	if q := other.Queries[0]; len(q.Mapped) != 10 || len(q.Bridged) != 10 {
		t.Errorf("answers: %+v", q)
	}
	half, err := ReportMove(t.Context(), from, to, bridge, false, 50, []string{"topic3 kind2"}, Dense)
	if err != nil || half.Papers != 0 || half.Queries[0].New != nil || len(half.Queries[0].Bridged) != 10 {
		t.Errorf("before all have come over: %+v, %v", half, err)
	}
	for _, c := range []struct {
		papers  int
		queries []string
		mode    Mode
		field   string
	}{
		{-1, nil, Dense, "papers"}, {MaxReportPapers + 1, nil, Dense, "papers"}, {1, make([]string, MaxReportQueries+1), Dense, "queries"},
		{1, nil, Lexical, "mode"}, {1, []string{"ok", ""}, Dense, "queries[1].text"},
	} {
		_, err := ReportMove(t.Context(), from, to, nil, true, c.papers, c.queries, c.mode)
		if e, ok := err.(*Error); !ok || e.Kind != Invalid || e.Field != c.field {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
