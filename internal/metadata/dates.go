package metadata

import (
	"fmt"
	"math"
	"time"
)

// A paper's date is a period: the year, month or day that its field names, or a moment. Numbers that are whole and from 1 to 9999 are years, of
// the paper's own year and of the user's fields; of these, strings that are dates are, too.

// Published is the filter of the papers that may be of a time: the period that some value of a field names, and that from the beginning of after
// to the end of before, have a moment in common. A paper of 2020 is met from 2020-05 on and up to 2020-05, as it may be of May; one of
// 2020-05-02 is not met from 2020-05-03 on. after and before are YYYY, YYYY-MM, YYYY-MM-DD or a time of RFC 3339, or empty: no bound; of two
// empty ones it is nil. field is as FieldName gives it. The error, an *Error, is about one of the two, or says that before ends first.
//
// It is no filter of the language, and cannot be read again.
func Published(field, after, before string) (*Filter, error) {
	between := period{math.Inf(-1), math.Inf(1)}
	for _, bound := range []struct {
		text string
		set  func(period)
	}{
		{after, func(p period) { between.from = p.from }},
		{before, func(p period) { between.to = p.to }},
	} {
		if bound.text == "" {
			continue
		}
		p, ok := parseDate(bound.text)
		if !ok {
			return nil, &Error{Text: bound.text, Message: fmt.Sprintf("%s is not a date; write YYYY, YYYY-MM, YYYY-MM-DD or a time as in RFC 3339", quote(shorten(bound.text)))}
		}
		bound.set(p)
	}
	switch {
	case after == "" && before == "":
		return nil, nil
	case between.from >= between.to:
		return nil, &Error{Text: before, Message: fmt.Sprintf("%s ends before %s begins", before, after)}
	}
	return &Filter{&node{op: published, field: field, value: literal{period: between}, text: quote(after) + ", " + quote(before)}}, nil
}

// meets tells whether two periods have a moment in common.
func (p period) meets(o period) bool { return p.from < o.to && o.from < p.to }

// date is the period that a value of a field names.
func (v Value) date(field string) (period, bool) {
	switch {
	case v.Kind == Number:
		return ofYear(v.Number)
	case v.Kind == String && own[field] == 0:
		return parseDate(v.Text)
	}
	return period{}, false
}

// The years that a number may stand for.
const firstYear, lastYear = 1, 9999

func ofYear(f float64) (period, bool) {
	if f < firstYear || f > lastYear || f != math.Trunc(f) {
		return period{}, false
	}
	t := time.Date(int(f), 1, 1, 0, 0, 0, 0, time.UTC)
	return period{millis(t), millis(t.AddDate(1, 0, 0))}, true
}

// yearAt is the year that a moment lies in, as near as there is one.
func yearAt(ms float64) int {
	switch { // a float64 beyond these is no int64 of milliseconds
	case ms < millis(time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC)):
		return firstYear
	case ms >= millis(time.Date(lastYear+1, 1, 1, 0, 0, 0, 0, time.UTC)):
		return lastYear
	}
	return time.UnixMilli(int64(ms)).UTC().Year()
}

// published collects the papers that have a value which may be of a period.
func (f *field) published(between period, u *union) {
	f.byDate.between(
		func(t *term) bool { return t.date >= between.from },
		func(t *term) bool { return t.date >= between.to }, u)
	// Those that have begun before: the year, the month and the day of the first moment.
	if from := between.from; !math.IsInf(from, 0) {
		for _, form := range dateForms {
			t := f.texts[time.UnixMilli(int64(from)).UTC().Format(form.layout)]
			if t == nil || !t.dated || t.date >= from {
				continue
			}
			if p, _ := t.Value.date(f.name); p.meets(between) {
				t.addTo(u)
			}
		}
	}
	first, last := yearAt(between.from), yearAt(between.to-1)
	add := func(t *term) {
		if p, ok := t.Value.date(f.name); ok && p.meets(between) {
			t.addTo(u)
		}
	}
	if last-first > len(f.numbers) {
		for _, t := range f.numbers {
			add(t)
		}
		return
	}
	for year := first; year <= last; year++ {
		if t := f.numbers[float64(year)]; t != nil {
			add(t)
		}
	}
}

// HasDates tells whether a field, named as FieldName gives it, has values that are dates, or numbers.
func (x *Index) HasDates(field string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	f := x.fields[field]
	return f != nil && (f.byDate.n > 0 || len(f.numbers) > 0)
}

// Date is when a paper was published, by a field that is named as FieldName gives it: the middle of the period that its value names, as nobody
// knows better, and of several values of the one that begins first. ok is false where none is a date.
func (f Fields) Date(field string) (_ time.Time, ok bool) {
	var d earliest
	for _, e := range f.of(field) {
		d.see(e.value, field)
	}
	return d.middle()
}

// earliest keeps the first of several periods.
type earliest struct {
	period
	some bool
}

func (d *earliest) see(v Value, field string) {
	if p, ok := v.date(field); ok && (!d.some || p.from < d.from || p.from == d.from && p.to < d.to) {
		d.period, d.some = p, true
	}
}

func (d *earliest) middle() (time.Time, bool) {
	if !d.some {
		return time.Time{}, false
	}
	return time.UnixMilli(int64((d.from + d.to) / 2)).UTC(), true
}

// First is the first value that a paper has of a field, which is named as FieldName gives it, as it would stand in a filter without quotes.
// Empty: there is none, or it is a string that is too long to be compared.
func (f Fields) First(field string) string {
	if of := f.of(field); len(of) > 0 {
		return of[0].value.Plain()
	}
	return ""
}

// manyOrdinals is how many papers are looked at while writers wait, for about half a millisecond.
const manyOrdinals = 512

// Dates gives Fields.Date of papers, by ordinal: the zero Time where there is none.
func (x *Index) Dates(field string, ordinals []uint64) []time.Time {
	out := make([]time.Time, len(ordinals))
	x.look(field, ordinals, func(i int, values []*term) {
		var d earliest
		for _, t := range values {
			d.see(t.Value, field)
		}
		out[i], _ = d.middle()
	})
	return out
}

// Firsts gives Fields.First of papers, by ordinal.
func (x *Index) Firsts(field string, ordinals []uint64) []string {
	out := make([]string, len(ordinals))
	x.look(field, ordinals, func(i int, values []*term) {
		if len(values) > 0 {
			out[i] = values[0].Plain()
		}
	})
	return out
}

// look calls fn with the values of each paper, which are fn's until it returns.
func (x *Index) look(field string, ordinals []uint64, fn func(i int, values []*term)) {
	var values []*term
	for from := 0; from < len(ordinals); from += manyOrdinals {
		x.mu.RLock()
		for i := from; i < min(from+manyOrdinals, len(ordinals)); i++ {
			if o := ordinals[i]; o <= math.MaxUint32 {
				values = x.values(values, uint32(o), field)
				fn(i, values)
			}
		}
		x.mu.RUnlock()
	}
}
