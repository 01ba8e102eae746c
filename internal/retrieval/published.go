package retrieval

import (
	"cmp"
	"context"
	"errors"
	"time"

	"embedd/internal/metadata"
)

// Published asks for the papers of a time.
type Published struct {
	// After and Before are the first and the last date, each included: YYYY, YYYY-MM, YYYY-MM-DD or a time of RFC 3339; empty for no bound. A paper
	// is left out where it surely is not of that time: one of 2020 may be of May.
	After, Before string
	// Field has the papers' dates: year, or a field of the metadata whose values are years or dates. Empty: year.
	Field string
}

// published adds to w that papers must be of a time. Errors are about published_after, published_before and date_field.
func (c *Collection) published(ctx context.Context, w Which, p Published) (Which, error) {
	for _, bound := range []struct{ field, text string }{{"published_after", p.After}, {"published_before", p.Before}} {
		if _, err := metadata.Published("year", bound.text, ""); err != nil {
			return w, &Error{Kind: Invalid, Field: bound.field, Message: err.Error(), Err: err}
		}
	}
	if p.After == "" && p.Before == "" {
		return w, nil
	}
	field, err := c.dateField(ctx, w, p.Field)
	if err != nil {
		return w, err
	}
	w.Dates, err = metadata.Published(field, p.After, p.Before)
	if e, ok := errors.AsType[*metadata.Error](err); ok {
		return w, &Error{Kind: Invalid, Field: "published_before", Message: e.Message, Err: err}
	}
	return w, err
}

// dateField gives the full name of a field that has dates, for dates. Empty stands for year.
func (c *Collection) dateField(ctx context.Context, w Which, name string) (string, error) {
	full, err := c.fieldName(ctx, "date_field", cmp.Or(name, "year"), w)
	switch {
	case err != nil:
		return "", err
	case full == "year":
		return full, nil
	case metadata.IsOwn(full):
		return "", invalid("date_field", "is %s, which has no dates; use year, or a field of the metadata", name)
	case w.Scope == nil && !c.fields.index.HasDates(full):
		return "", invalid("date_field", "is %s, of which no value is a year or a date", name)
	}
	return full, nil
}

// dates says when papers were published, by their ordinals and a field that dateField has given: the middle of the year, month or day that its value
// names, of several the earliest. The zero Time: it is not known. It takes a microsecond for each.
func (c *Collection) dates(field string, ordinals []uint64) []time.Time {
	return c.fields.index.Dates(field, ordinals)
}

// groupField gives the full name of the field that hits are grouped by, for groups.
func (c *Collection) groupField(ctx context.Context, w Which, name string) (string, error) {
	return c.fieldName(ctx, "group_by.field", name, w)
}

// groups gives the first value that papers have of a field, by their ordinals and what groupField has given; empty where there is none. It takes
// a microsecond for each.
func (c *Collection) groups(field string, ordinals []uint64) []string {
	return c.fields.index.Firsts(field, ordinals)
}
