package metadata

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"embedd/internal/testkit"
)

// facetsOf is the slow truth of Facets.
func facetsOf(papers map[uint64]Fields, field string, set *Set, n int) Facets {
	counts, out := map[Value]int{}, Facets{Field: quoteName(field)}
	for o := range set.Ordinals() {
		values := papers[o].of(field)
		if len(values) == 0 {
			out.Without++
		}
		for _, e := range values {
			if e.value.Kind != long {
				counts[e.value]++
			}
		}
	}
	out.Values = len(counts)
	for v, c := range counts {
		out.Top = append(out.Top, Facet{v, c})
	}
	slices.SortFunc(out.Top, func(a, b Facet) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return compareValues(a.Value, b.Value)
	})
	out.Top = out.Top[:min(n, len(out.Top))]
	return out
}

// compareFacets compares Facets with a count.
func compareFacets(t *testing.T, x *Index, papers map[uint64]Fields, set *Set) {
	t.Helper()
	for _, f := range x.Fields() {
		field := strings.ReplaceAll(f.Name, `"`, "")
		whole := facetsOf(papers, field, set, 1000)
		for _, n := range []int{0, 5, 1000} {
			for _, alone := range []bool{false, true} {
				want := whole
				want.Top = whole.Top[:min(n, len(whole.Top))]
				got, err := x.Facets(t.Context(), field, set, n, alone)
				if err != nil || got.Field != want.Field || !slices.Equal(got.Top, want.Top) || got.Values != want.Values || got.Without != want.Without {
					t.Fatalf("facets of %s, alone %v: %+v, %v, want %+v", field, alone, got, err, want)
				}
			}
		}
	}
}

// Papers come, change and go; what is remembered of them is as they are.
func TestFacets(t *testing.T) {
	rng := testkit.Rand(t)
	x, papers := New(), map[uint64]Fields{}
	for range 12 {
		for range 150 {
			o := uint64(rng.IntN(900))
			if rng.IntN(4) == 0 {
				x.Remove(o)
				delete(papers, o)
				continue
			}
			papers[o] = fields(t, randomPaper(rng, rng.IntN(1000)))
			if err := x.Add(o, papers[o]); err != nil {
				t.Fatal(err)
			}
		}
		all, err := x.Select(nil)
		if err != nil {
			t.Fatal(err)
		}
		compareFacets(t, x, papers, all)
		f, err := Parse(randomFilter(rng, 2))
		if err != nil {
			t.Fatal(err)
		}
		if set, err := x.Select(f); err == nil { // otherwise there are too few papers for each field to have each kind of value
			compareFacets(t, x, papers, set)
		}
		check(t, x)
	}
	// A column whose values have gone is begun anew: numbers do not grow with what comes and goes.
	for i := range 3000 {
		papers[7] = fields(t, Paper{ID: fmt.Sprint("another ", i)})
		if err := x.Add(7, papers[7]); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			all, _ := x.Select(nil)
			if _, err := x.Facets(t.Context(), "id", all, 1, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if k := x.fields["id"].column; len(k.terms) > 2*len(papers)+1024+128 {
		t.Errorf("%d values are numbered, of %d papers", len(k.terms), len(papers))
	}
	if before := x.Bytes(); before < x.fields["id"].column.bytes() {
		t.Errorf("Bytes are %d, without what is remembered", before)
	}
	for o := range papers {
		x.Remove(o)
	}
	check(t, x)
}

// While papers change, each counts once, as it was at some moment.
func TestFacetsBesideWriters(t *testing.T) {
	const n = 3000
	x := New()
	kinds := make([]Fields, 5)
	for i := range kinds {
		kinds[i] = fields(t, Paper{ID: fmt.Sprint("p", i), Metadata: []byte(fmt.Sprintf(`{"kind":"k%d"}`, i))})
	}
	for o := range uint64(n) {
		if err := x.Add(o, kinds[o%5]); err != nil {
			t.Fatal(err)
		}
	}
	rng := testkit.Rand(t)
	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; !stop.Load(); i++ {
			k := kinds[rng.IntN(len(kinds))]
			if i%50 == 0 { // values that come and go
				k = fields(t, Paper{ID: "x", Metadata: []byte(fmt.Sprintf(`{"kind":"once %d"}`, i))})
			}
			if err := x.Add(rng.Uint64N(n), k); err != nil {
				t.Error(err)
			}
		}
	})
	var readers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() {
			all, err := x.Select(nil)
			if err != nil {
				t.Error(err)
				return
			}
			for range 60 {
				f, err := x.Facets(t.Context(), "metadata.kind", all, n, r == 0)
				sum, twice := 0, map[Value]bool{}
				for _, v := range f.Top {
					sum += v.Count
					if twice[v.Value] {
						t.Errorf("%v is there twice", v)
					}
					twice[v.Value] = true
				}
				if err != nil || sum != n || f.Without != 0 || f.Values != len(f.Top) {
					t.Errorf("%d papers have a kind and %d have none, want %d and 0; %d values, %v", sum, f.Without, n, f.Values, err)
					return
				}
			}
		})
	}
	readers.Wait()
	stop.Store(true)
	writer.Wait()
	check(t, x)
}

func TestFacetsEnd(t *testing.T) {
	x := New()
	for o := range uint64(300) {
		if err := x.Add(o, fields(t, Paper{ID: fmt.Sprint(o)})); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := x.Select(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, alone := range []bool{false, true} {
		if _, err := x.Facets(ctx, "id", all, 3, alone); !errors.Is(err, context.Canceled) {
			t.Errorf("alone %v: %v", alone, err)
		}
	}
	// The last ordinal there is, and a set with papers that are gone.
	if err := x.Add(1<<32-1, fields(t, Paper{ID: "last"})); err != nil {
		t.Fatal(err)
	}
	whole, _ := x.Select(nil)
	x.Remove(5)
	for _, alone := range []bool{false, true} {
		f, err := x.Facets(t.Context(), "id", whole, 1, alone)
		if err != nil || f.Values != 300 || f.Without != 1 || f.Top[0] != (Facet{Value{Text: "0"}, 1}) {
			t.Errorf("alone %v: %+v, %v", alone, f, err)
		}
	}
	if f, err := x.Facets(t.Context(), "venue", whole, 1, false); err != nil || f.Without != 301 || len(f.Top) != 0 {
		t.Errorf("a field of the papers' own that none has: %+v, %v", f, err)
	}
}

func TestFieldName(t *testing.T) {
	x := New()
	for i, m := range []string{`{"c":"in","a b":{"c":1}}`, `{"c":"out","secret":1,"id":2}`} {
		if err := x.Add(uint64(i), fields(t, Paper{ID: "a", Metadata: []byte(m)})); err != nil {
			t.Fatal(err)
		}
	}
	scope, err := Parse("c = in")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name        string
		scope       *Filter
		want, wrong string
	}{
		{"year", nil, "year", ""},
		{"year", scope, "year", ""},
		{"c", nil, "metadata.c", ""},
		{"id", nil, "id", ""},
		{"metadata.id", nil, "metadata.id", ""},
		{"metadata.id", scope, "", "no paper has a field metadata.id"},
		{`"a b".c`, scope, "metadata.a b.c", ""},
		{"secre", nil, "", "no paper has a field metadata.secre; is it metadata.secret"},
		{"secret", scope, "", "no paper has a field metadata.secret"},
		{"nosuch", scope, "", "no paper has a field metadata.nosuch"},
		{"", nil, "", "is not the name of a field"},
		{"title", nil, "", "is not the name of a field"},
		{"year:* AND c", nil, "", "is not the name of a field"},
		{"c = 1 OR c", nil, "", "is not the name of a field"},
		{"*", nil, "", "no paper has a field"},
		{strings.Repeat("x", 1<<20), nil, "", "is not the name of a field"},
	} {
		got, err := x.FieldName(test.name, test.scope)
		if got != test.want || (err == nil) != (test.wrong == "") {
			t.Errorf("%.20q is %q, %v", test.name, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), test.wrong) || test.scope != nil && strings.Contains(err.Error(), "is it")) {
			t.Errorf("%.20q: %v, want %q", test.name, err, test.wrong)
		}
	}
}

// The first value of a field is the paper's first, however values are ordered.
func TestFirsts(t *testing.T) {
	rng := testkit.Rand(t)
	x, papers := New(), map[uint64]Fields{}
	first := map[uint64]string{}
	for o := range uint64(700) {
		p := randomPaper(rng, int(o))
		papers[o] = fields(t, p)
		if len(p.Authors) > 0 {
			first[o] = p.Authors[0]
		}
		if err := x.Add(o, papers[o]); err != nil {
			t.Fatal(err)
		}
	}
	check(t, x)
	ordinals := append(slices.Sorted(maps.Keys(papers)), 5000, 1<<40)
	for i, got := range x.Firsts("authors", ordinals) {
		o := ordinals[i]
		if got != first[o] || got != papers[o].First("authors") {
			t.Fatalf("the first author of %d is %q, and by its fields %q; want %q", o, got, papers[o].First("authors"), first[o])
		}
	}
	f := fields(t, Paper{ID: "a", Metadata: []byte(`{"m":[3,1,"b","a",true],"e":[""],"l":["` + strings.Repeat("x", 2000) + `","y"]}`)})
	for field, want := range map[string]string{"metadata.m": "3", "metadata.e": "", "metadata.l": "", "metadata.no": "", "id": "a", "year": ""} {
		if got := f.First(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}
