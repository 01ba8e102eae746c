package retrieval

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"
)

// exported reads an export to its end.
func exported(t *testing.T, c *Collection, w Which) (all []string) {
	t.Helper()
	x, err := c.Export(t.Context(), w, true)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for {
		some, err := x.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil || len(some) == 0 || len(some) > MaxExport {
			t.Fatalf("%d papers, %v", len(some), err)
		}
		for _, e := range some {
			if len(e.Vector) != c.Model().Dimension {
				t.Errorf("%s has a vector of %d values", e.Paper.ID, len(e.Vector))
			}
			all = append(all, e.Paper.ID)
		}
	}
}

// What has expired is neither exported nor counted, from the moment on.
func TestExportAndCountWithoutExpired(t *testing.T) {
	clock := newClock()
	c := openAt(t, t.TempDir(), newBag(), clock)
	put(t, c, paper("c", "one"), Paper{ID: "b", Title: "two", Year: 2020, Expires: clock.now().Add(time.Hour)}, Paper{ID: "a", Title: "three", Year: 2020})
	for _, w := range []Which{{}, {Filter: filtered(t, "year = 2020 OR NOT year:*"), Field: "filter"}} {
		if got := exported(t, c, w); !slices.Equal(got, []string{"c", "b", "a"}) {
			t.Errorf("exported %v", got)
		}
	}
	clock.advance(2 * time.Hour)
	for _, w := range []Which{{}, {Filter: filtered(t, "year = 2020 OR NOT year:*"), Field: "filter"}} {
		if got := exported(t, c, w); !slices.Equal(got, []string{"c", "a"}) {
			t.Errorf("exported %v", got)
		}
		n, facets, err := c.Count(t.Context(), w, []FacetRequest{{Field: "year"}})
		if err != nil || n != 2 || facets[0].Without != 1 || facets[0].Values[0] != (FacetValue{"2020", 1}) {
			t.Errorf("%d papers, %+v, %v", n, facets, err)
		}
		if n, _, err := c.Count(t.Context(), w, nil); err != nil || n != 2 {
			t.Errorf("%d papers, %v", n, err)
		}
	}
}
