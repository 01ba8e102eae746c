package retrieval

import (
	"context"
	"fmt"

	"embedd/internal/metadata"
)

// Limits of what is counted in one call.
const (
	// MaxFacets is the most fields.
	MaxFacets = 10
	// MaxFacetValues is the most values of one field that are told, DefaultFacetValues how many are when no number is given.
	MaxFacetValues     = 1000
	DefaultFacetValues = 10
)

// FacetRequest asks for the counts of a field's values.
type FacetRequest struct {
	// Field is named as in a filter.
	Field string
	// Values is how many are told, 1 to MaxFacetValues; 0 is DefaultFacetValues.
	Values int
}

// Facet has the counts of a field's values among some papers.
type Facet struct {
	// Field is the field's full name.
	Field string
	// Values are those that most papers have, the most frequent first, of equal ones in order: strings by their bytes, numbers, false, true.
	Values []FacetValue
	// Total is how many different values there are, Without how many of the papers have none.
	Total, Without int
}

// FacetValue is a value, as it would stand in a filter without quotes, and how many papers have it.
type FacetValue struct {
	Value  string
	Papers int
}

// Count counts the papers that w is about, and the values of some of their fields. A paper that is removed meanwhile is counted, and may be without
// values. With a scope nothing beyond it shows, and it takes about two microseconds for each paper and field, whatever there is beyond.
func (c *Collection) Count(ctx context.Context, w Which, requests []FacetRequest) (papers int, facets []Facet, err error) {
	if err := c.enter(); err != nil {
		return 0, nil, err
	}
	defer c.leave()
	if err := checkFacets(requests); err != nil {
		return 0, nil, err
	}
	if w.all() && len(requests) == 0 {
		papers, err := c.papers()
		return papers, nil, err
	}
	set, err := c.selected(ctx, w)
	if err != nil {
		return 0, nil, err
	}
	facets, err = c.count(ctx, w, set, requests)
	return set.Len(), facets, err
}

// facets counts the values of fields of all papers that w is about, as Count does. The collection is entered. It returns soon after ctx has ended,
// with its error. requests have been checked.
func (c *Collection) facets(ctx context.Context, w Which, requests []FacetRequest) ([]Facet, error) {
	if len(requests) == 0 {
		return nil, nil
	}
	set, err := c.selected(ctx, w)
	if err != nil {
		return nil, err
	}
	return c.count(ctx, w, set, requests)
}

// checkFacets refuses, before anything is done, what is over a limit.
func checkFacets(requests []FacetRequest) error {
	if n := len(requests); n > MaxFacets {
		return invalid("facets", "has %d fields; the limit is %d in one call", n, MaxFacets)
	}
	for i, r := range requests {
		if r.Values < 0 || r.Values > MaxFacetValues {
			return invalid(fmt.Sprintf("facets[%d].values", i), "is %d; must be 1 to %d", r.Values, MaxFacetValues)
		}
	}
	return nil
}

// facetNames are the full names of the fields that are to be counted.
func (c *Collection) facetNames(ctx context.Context, w Which, requests []FacetRequest) ([]string, error) {
	names, first := make([]string, len(requests)), map[string]int{}
	for i, r := range requests {
		field := fmt.Sprintf("facets[%d].field", i)
		var err error
		if names[i], err = c.fieldName(ctx, field, r.Field, w); err != nil {
			return nil, err
		}
		if j, twice := first[names[i]]; twice {
			return nil, invalid(field, "is %s, as is facets[%d].field; each field may stand once in a call", r.Field, j)
		}
		first[names[i]] = i
	}
	return names, nil
}

// count counts the values of fields of a set of papers. requests have been checked.
func (c *Collection) count(ctx context.Context, w Which, set *metadata.Set, requests []FacetRequest) ([]Facet, error) {
	names, err := c.facetNames(ctx, w, requests)
	if err != nil {
		return nil, err
	}
	facets := make([]Facet, len(requests))
	for i, r := range requests {
		n := r.Values
		if n == 0 {
			n = DefaultFacetValues
		}
		found, err := c.fields.index.Facets(ctx, names[i], set, n, w.Scope != nil)
		if err != nil {
			return nil, err
		}
		facets[i] = Facet{Field: found.Field, Total: found.Values, Without: found.Without, Values: make([]FacetValue, len(found.Top))}
		for j, v := range found.Top {
			facets[i].Values[j] = FacetValue{v.Value.Plain(), v.Count}
		}
	}
	return facets, nil
}

// fieldName gives the full name of a field that a request names as a filter would. path is the request's, for errors. With a scope, there are
// only the fields that its papers have.
func (c *Collection) fieldName(ctx context.Context, path, name string, w Which) (string, error) {
	if err := c.fields.wait(ctx, c); err != nil {
		return "", err
	}
	full, err := c.fields.index.FieldName(name, w.Scope)
	if err != nil {
		return "", &Error{Kind: Invalid, Field: path, Message: err.Error(), Err: err}
	}
	return full, nil
}
