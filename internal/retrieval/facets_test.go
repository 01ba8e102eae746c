package retrieval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// aFew are papers with fields of every kind; every third one is of cs.CL.
func aFew(n int) []Paper {
	var all []Paper
	for i := range n {
		p := Paper{ID: fmt.Sprintf("p%03d", i), Title: fmt.Sprint("paper ", i), Year: int32(2015 + i%7), Authors: []string{fmt.Sprint("Author ", 9-i%4), fmt.Sprint("Author ", i%5)}}
		categories := []string{"cs.CV"}
		if i%3 == 0 {
			categories = []string{"cs.CL", "cs.AI"}
		}
		m := map[string]any{"categories": categories, "at": fmt.Sprintf("20%02d-%02d", 15+i%7, 1+i%12)}
		if i%3 != 0 {
			m["secret"] = i
		}
		p.Metadata, _ = json.Marshal(m)
		all = append(all, p)
	}
	return all
}

// Facets are of the papers that meet filter and scope, and of no others.
func TestCount(t *testing.T) {
	testkit.Rand(t)
	c := open(t, t.TempDir(), newBag())
	all := aFew(210)
	put(t, c, all...)
	for _, test := range []struct {
		filter, scope string
		meets         func(i int) bool
	}{
		{"", "", func(int) bool { return true }},
		{"year >= 2019", "", func(i int) bool { return all[i].Year >= 2019 }},
		{"", "categories:cs.CL", func(i int) bool { return i%3 == 0 }},
		{"year >= 2019", "categories:cs.CL", func(i int) bool { return i%3 == 0 && all[i].Year >= 2019 }},
		{"year = 1900", "", func(int) bool { return false }},
	} {
		w := Which{Filter: filtered(t, test.filter), Field: "filter", Scope: filtered(t, test.scope)}
		papers, years, authors := 0, map[string]int{}, map[string]int{}
		for i := range all {
			if test.meets(i) {
				papers++
				years[fmt.Sprint(all[i].Year)]++
				authors[all[i].Authors[0]]++
				if all[i].Authors[1] != all[i].Authors[0] {
					authors[all[i].Authors[1]]++
				}
			}
		}
		got, facets, err := c.Count(t.Context(), w, []FacetRequest{{Field: "year", Values: 3}, {Field: "authors"}, {Field: "doi"}})
		if err != nil || got != papers || len(facets) != 3 {
			t.Fatalf("%q within %q: %d papers, %d facets, %v, want %d", test.filter, test.scope, got, len(facets), err, papers)
		}
		for i, want := range []map[string]int{years, authors, {}} {
			f := facets[i]
			if f.Total != len(want) || len(f.Values) != min(len(want), []int{3, 10, 10}[i]) || f.Without != []int{0, 0, papers}[i] {
				t.Errorf("%q within %q: %+v, want %v", test.filter, test.scope, f, want)
			}
			for j, v := range f.Values {
				if v.Papers != want[v.Value] || j > 0 && (f.Values[j-1].Papers < v.Papers || f.Values[j-1].Papers == v.Papers && f.Values[j-1].Value >= v.Value) {
					t.Errorf("%q within %q: value %d of %s is %+v, want %v", test.filter, test.scope, j, f.Field, v, want)
				}
			}
		}
		alone, err := c.facets(t.Context(), w, []FacetRequest{{Field: "year", Values: 3}})
		if err != nil || !slices.Equal(alone[0].Values, facets[0].Values) {
			t.Errorf("%+v, %v, want %+v", alone, err, facets[0])
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.facets(ended, Which{}, []FacetRequest{{Field: "year"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that has ended: %v", err)
	}
	if none, err := c.facets(ended, Which{}, nil); none != nil || err != nil {
		t.Errorf("no facets: %v, %v", none, err)
	}
	scope := Which{Scope: filtered(t, "categories:cs.CL")}
	many := make([]FacetRequest, MaxFacets+1)
	for _, test := range []struct {
		w        Which
		requests []FacetRequest
		field    string
		want     string
	}{
		{Which{}, many, "facets", "has 11 fields; the limit is 10"},
		{Which{}, []FacetRequest{{Field: "year"}, {Field: "yaer"}}, "facets[1].field", "no paper has a field metadata.yaer; is it year"},
		{Which{}, []FacetRequest{{Field: "secre"}}, "facets[0].field", "is it metadata.secret"},
		{scope, []FacetRequest{{Field: "secret"}}, "facets[0].field", "no paper has a field metadata.secret"},
		{scope, []FacetRequest{{Field: "nosuch"}}, "facets[0].field", "no paper has a field metadata.nosuch"},
		{Which{}, []FacetRequest{{Field: "year", Values: 1001}}, "facets[0].values", "is 1001; must be 1 to 1000"},
		{Which{}, []FacetRequest{{Field: "year", Values: -1}}, "facets[0].values", "is -1"},
		{Which{}, []FacetRequest{{Field: "at"}, {Field: "metadata.at"}}, "facets[1].field", "is metadata.at, as is facets[0].field"},
		{Which{}, []FacetRequest{{Field: "abstract"}}, "facets[0].field", "is not the name of a field"},
	} {
		_, _, err := c.Count(t.Context(), test.w, test.requests)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Kind != Invalid || e.Field != test.field || !strings.Contains(e.Message, test.want) {
			t.Errorf("%+v: %v, want %s: %s", test.requests, err, test.field, test.want)
		}
	}
	if _, _, err := c.Count(t.Context(), Which{Scope: filtered(t, "nosuch = 1")}, nil); KindOf(err) != FailedPrecondition {
		t.Errorf("a scope that fits nothing: %v", err)
	}
}

// The papers of a time, by year and by a field of the metadata; and what recency and groups ask of papers.
func TestPublished(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	all := aFew(84)
	put(t, c, all...)
	scope := filtered(t, "categories:cs.CL")
	count := func(p Published, w Which) int {
		t.Helper()
		w, err := c.published(t.Context(), w, p)
		if err != nil {
			t.Fatal(err)
		}
		set, err := c.selected(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for i := range all {
			if w.meets(&all[i]) {
				n++
			}
		}
		if set.Len() != n {
			t.Errorf("%+v: %d papers are chosen, %d meet it", p, set.Len(), n)
		}
		return n
	}
	for _, test := range []struct {
		p     Published
		w     Which
		meets func(i int) bool
	}{
		{Published{}, Which{}, func(int) bool { return true }},
		{Published{After: "2018"}, Which{}, func(i int) bool { return 2015+i%7 >= 2018 }},
		{Published{After: "2018-06"}, Which{}, func(i int) bool { return 2015+i%7 >= 2018 }}, // it may be of June
		{Published{Before: "2018-06", Field: "year"}, Which{}, func(i int) bool { return 2015+i%7 <= 2018 }},
		{Published{After: "2018-06", Field: "at"}, Which{}, func(i int) bool { return 100*(15+i%7)+1+i%12 >= 1806 }},
		{Published{After: "2018-06", Before: "2019", Field: "metadata.at"}, Which{Scope: scope}, func(i int) bool {
			m := 100*(15+i%7) + 1 + i%12
			return m >= 1806 && m < 2000 && i%3 == 0
		}},
	} {
		want := 0
		for i := range all {
			if test.meets(i) {
				want++
			}
		}
		if got := count(test.p, test.w); got != want {
			t.Errorf("%+v: %d papers, want %d", test.p, got, want)
		}
	}
	for _, test := range []struct {
		p           Published
		w           Which
		field, want string
	}{
		{Published{After: "soon"}, Which{}, "published_after", "is not a date"},
		{Published{Before: "20-1"}, Which{}, "published_before", "is not a date"},
		{Published{After: "2020", Before: "2019"}, Which{}, "published_before", "2019 ends before 2020 begins"},
		{Published{After: "2020", Field: "venue"}, Which{}, "date_field", "is venue, which has no dates"},
		{Published{After: "2020", Field: "att"}, Which{}, "date_field", "is it metadata.at"},
		{Published{After: "2020", Field: "categories"}, Which{}, "date_field", "of which no value is a year or a date"},
		{Published{After: "2020", Field: "secret"}, Which{Scope: scope}, "date_field", "no paper has a field metadata.secret"},
		{Published{After: "2020", Field: "nosuch"}, Which{Scope: scope}, "date_field", "no paper has a field metadata.nosuch"},
	} {
		_, err := c.published(t.Context(), test.w, test.p)
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Invalid || e.Field != test.field || !strings.Contains(e.Message, test.want) {
			t.Errorf("%+v: %v, want %s: %s", test.p, err, test.field, test.want)
		}
	}
	at, err := c.dateField(t.Context(), Which{}, "at")
	if err != nil {
		t.Fatal(err)
	}
	by, err := c.groupField(t.Context(), Which{}, "authors")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.groupField(t.Context(), Which{}, "nosuch"); KindOf(err) != Invalid || !strings.HasPrefix(err.Error(), "group_by.field: ") {
		t.Errorf("%v", err)
	}
	ordinals := []uint64{1e9}
	for i := range all {
		o, err := c.store.Ordinal(all[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		ordinals = append(ordinals, o)
	}
	dates, groups := c.dates(at, ordinals), c.groups(by, ordinals)
	if !dates[0].IsZero() || groups[0] != "" {
		t.Errorf("a paper that there is not: %v, %q", dates[0], groups[0])
	}
	for i := range all {
		month := time.Date(2015+i%7, time.Month(1+i%12), 15, 0, 0, 0, 0, time.UTC)
		if d := dates[i+1].Sub(month); d < -24*time.Hour || d > 48*time.Hour {
			t.Errorf("%s is of %v, want the middle of %v", all[i].ID, dates[i+1], month)
		}
		if groups[i+1] != all[i].Authors[0] {
			t.Errorf("%s is of %q, want %q", all[i].ID, groups[i+1], all[i].Authors[0])
		}
	}
}
