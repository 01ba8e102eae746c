package retrieval

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"embedd/internal/metadata"
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
}

// all tells whether it is about every paper.
func (w Which) all() bool { return w.Filter == nil && w.Scope == nil }

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

// fields are the papers' fields, in memory, for filters. They are derived: what is in the store is read anew by each change, one after the other, so
// that the last one to read has read the last state.
//
// They are made when they are asked for first, which takes some seconds for 100,000 papers: a start does not wait for them, and neither does
// who never filters.
type fields struct {
	index *metadata.Index

	mu    sync.Mutex // held while papers are read and put
	begun bool
	err   error // why what is there is not what is stored: no paper can be filtered then

	made    chan struct{} // closed when all papers are there, or err is set
	loading sync.WaitGroup
}

// fieldsAtOnce is how many papers are read at once while the fields are made: others who write wait for so many.
const fieldsAtOnce = 64

// LoadFields begins to make the papers' fields, where nobody has before, so that who filters first need not wait for them.
func (c *Collection) LoadFields() {
	if c.enter() != nil {
		return // it is being closed
	}
	defer c.leave()
	c.beginFields()
}

func (c *Collection) beginFields() {
	f := &c.fields
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun {
		return
	}
	f.begun = true
	f.loading.Go(func() {
		defer close(f.made)
		begin := time.Now()
		if err := c.loadFields(c.upkeep.ctx); err != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.fail(c.log, err)
			return
		}
		c.log.Debug("the papers can be filtered", "papers", f.index.Len(), "took", time.Since(begin))
	})
}

// loadFields puts every paper that is in the store.
func (c *Collection) loadFields(ctx context.Context) error {
	batch := make([]uint64, 0, fieldsAtOnce)
	err := c.store.Ordinals(func(ordinal uint64) error {
		if batch = append(batch, ordinal); len(batch) == fieldsAtOnce {
			c.putFields(batch)
			batch = batch[:0]
		}
		return ctx.Err()
	})
	c.putFields(batch)
	return err
}

// putFields brings the fields of papers to what is stored of them, once they are being made.
func (c *Collection) putFields(ordinals []uint64) {
	f := &c.fields
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.begun || f.err != nil || len(ordinals) == 0 {
		return
	}
	records, present, err := c.store.Records(ordinals)
	for i := 0; i < len(ordinals) && err == nil; i++ {
		if !present[i] {
			f.index.Remove(ordinals[i])
			continue
		}
		of, _ := fieldsOf(&records[i].Paper) // what is over a limit was stored before there was one, and cannot be asked for
		err = f.index.Add(ordinals[i], of)
	}
	if err != nil {
		f.fail(c.log, err)
	}
}

// fail ends filtering until the next start. mu is held.
func (f *fields) fail(log *slog.Logger, err error) {
	if f.err = err; !errors.Is(err, context.Canceled) { // by Close
		log.Error("the papers cannot be filtered until the next start", "error", err)
	}
}

// failed is why no paper can be filtered, nil where they can.
func (f *fields) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
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
	c.beginFields()
	select {
	case <-c.fields.made:
	case <-ctx.Done():
		return nil, &Error{Kind: Unavailable, Message: "the papers' fields are still being read for filters, which takes some seconds after a start; try again", Err: ctx.Err()}
	}
	if err := c.fields.failed(); err != nil {
		return nil, storeError("read the papers' fields", err)
	}
	var set *metadata.Set
	var err error
	if w.Scope != nil {
		set, err = c.fields.index.SelectWithin(w.Scope, w.Filter)
	} else {
		set, err = c.fields.index.Select(w.Filter)
	}
	switch {
	case errors.Is(err, metadata.ErrScope): // which the caller did not write, and must not read
		return nil, &Error{Kind: FailedPrecondition, Message: "the filter of the key does not fit the papers that there are; ask who runs the server", Err: err}
	case err != nil:
		return nil, &Error{Kind: Invalid, Field: w.Field, Message: err.Error(), Err: err}
	}
	return set, nil
}

// meets tells whether a paper is one that a call is about.
func (w Which) meets(p *Paper) bool {
	if w.all() {
		return true
	}
	f, _ := fieldsOf(p)
	return w.Filter.Matches(f) && w.Scope.Matches(f)
}

// Fields are what filters may speak of, by name. ready is false while they are being made: the fields are those of the papers so far.
func (c *Collection) Fields() (all []Field, ready bool) {
	select {
	case <-c.fields.made:
		ready = c.fields.failed() == nil
	default:
	}
	return c.fields.index.Fields(), ready
}

// checkFields proves that the fields are those of the stored papers.
func (c *Collection) checkFields() error {
	select {
	case <-c.fields.made:
	default:
		return nil // not all are there
	}
	if err := c.fields.failed(); err != nil {
		return err
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
