package retrieval

import (
	"context"
	"errors"
	"fmt"

	"embedd/internal/metadata"
	"embedd/internal/store"
)

// Filter says which papers may be in an answer: a text in the language of AIP-160, see package metadata. The nil Filter is met by every paper.
type Filter = metadata.Filter

// ParseFilter reads a filter; of an empty text, nil. field is the request's, for errors.
func ParseFilter(field, text string) (*Filter, error) {
	if text == "" {
		return nil, nil
	}
	f, err := metadata.Parse(text)
	if err != nil {
		return nil, &Error{Kind: Invalid, Field: field, Message: err.Error(), Err: err}
	}
	return f, nil
}

// Which says which papers a call is about.
type Which struct {
	// Filter is the caller's own, Field the request's field that it came from.
	Filter *Filter
	Field  string
	// Scope is what the caller may see at all; for who asks, there are no other papers.
	Scope *Filter
	// Dates are the papers of a time; see published.
	Dates *Filter
}

// all tells whether it is about every paper.
func (w Which) all() bool { return w.Filter == nil && w.Scope == nil && w.Dates == nil }

// Field is a field that filters may speak of.
type Field = metadata.Field

// FieldType is what all values of a field have in common.
type FieldType = metadata.Type

// The types of fields.
const (
	StringField = metadata.StringType
	NumberField = metadata.NumberType
	BoolField   = metadata.BoolType
	DateField   = metadata.DateType
	MixedField  = metadata.MixedType
)

// fields are the papers' fields, in memory, for filters.
type fields struct {
	derived
	index *metadata.Index
}

func (f *fields) init() {
	f.index, f.what, f.made, f.cards = metadata.New(), "the papers' fields", make(chan struct{}), true
	f.put = func(ordinals []uint64, records []store.Record, present []bool) error {
		for i, ordinal := range ordinals {
			if !present[i] {
				f.index.Remove(ordinal)
				continue
			}
			of, _ := fieldsOf(&records[i].Paper) // what is over a limit was stored before there was one, and cannot be asked for
			if err := f.index.Add(ordinal, of); err != nil {
				return err
			}
		}
		return nil
	}
}

// fieldsOf are a paper's fields; the error says what of its metadata cannot be asked for.
func fieldsOf(p *Paper) (metadata.Fields, error) {
	return metadata.NewFields(metadata.Paper{
		ID: p.ID, Authors: p.Authors, Year: p.Year, Venue: p.Venue, DOI: p.DOI, ArxivID: p.ArxivID, URL: p.URL, Metadata: p.Metadata,
	})
}

// chosen gives the ordinals of the papers that a call is about; nil for all.
func (c *Collection) chosen(ctx context.Context, w Which) (*metadata.Set, error) {
	if w.all() {
		return nil, nil
	}
	return c.selected(ctx, w)
}

// selected is chosen for papers that may be all.
func (c *Collection) selected(ctx context.Context, w Which) (*metadata.Set, error) {
	if err := c.fields.wait(ctx, c); err != nil {
		return nil, err
	}
	var set *metadata.Set
	var err error
	if filter := metadata.And(w.Filter, w.Dates); w.Scope != nil {
		set, err = c.fields.index.SelectWithin(w.Scope, filter)
	} else {
		set, err = c.fields.index.Select(filter)
	}
	switch {
	case errors.Is(err, metadata.ErrScope): // which the caller did not write, and must not read
		return nil, &Error{Kind: FailedPrecondition, Message: "the filter of the key does not fit the papers that there are; ask who runs the server", Err: err}
	case err != nil:
		return nil, &Error{Kind: Invalid, Field: w.Field, Message: err.Error(), Err: err}
	}
	return c.withoutExpired(set)
}

// meets tells whether a paper is one that a call is about.
func (w Which) meets(p *Paper) bool {
	if w.all() {
		return true
	}
	f, _ := fieldsOf(p)
	return w.Filter.Matches(f) && w.Scope.Matches(f) && w.Dates.Matches(f)
}

// Fields are what filters may speak of, by name. ready is false while they are being made, which begins when they are asked for first: the fields are
// those of the papers so far.
func (c *Collection) Fields() (all []Field, ready bool) {
	if c.enter() == nil {
		c.fields.begin(c)
		c.leave()
	}
	ready = c.fields.ready()
	return c.fields.index.Fields(), ready
}

// checkFields proves that the fields are those of the stored papers.
func (c *Collection) checkFields() error {
	if err := c.fields.failed(); err != nil || !c.fields.ready() {
		return err // or not all are there
	}
	all, err := c.fields.index.Select(nil)
	if err != nil {
		return err
	}
	n := 0
	err = c.store.Ordinals(func(ordinal uint64) error {
		n++
		if !all.Contains(ordinal) {
			return fmt.Errorf("invariant 3: paper %d is stored, and has no fields", ordinal)
		}
		return nil
	})
	if err == nil && n != all.Len() {
		err = fmt.Errorf("invariant 3: %d papers are stored, %d have fields", n, all.Len())
	}
	return errors.Join(err, c.fields.index.Check())
}
