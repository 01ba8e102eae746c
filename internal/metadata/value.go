package metadata

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// Kind says what a value is.
type Kind uint8

const (
	String Kind = iota
	Number
	Bool
	long // a string that is too long to be compared; its text is not kept
)

// Value is one value of a field.
type Value struct {
	Kind Kind
	// Text is what a String says.
	Text string
	// Number is what a Number is, never NaN or an infinity; of a Bool 0 or 1.
	Number float64
}

// String is the value as it stands in a filter.
func (v Value) String() string {
	if v.Kind == String {
		return quote(v.Text)
	}
	return v.Plain()
}

// Plain is the value as it stands in a filter, without quotes.
func (v Value) Plain() string {
	switch v.Kind {
	case Number:
		return formatNumber(v.Number)
	case Bool:
		return strconv.FormatBool(v.Number != 0)
	}
	return v.Text
}

// compareValues orders strings by their bytes, then numbers, then false and true.
func compareValues(a, b Value) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Text, b.Text), cmp.Compare(a.Number, b.Number))
}

// formatNumber writes a number as the library reads it: without an exponent, and with a point where it may not fit an int64.
func formatNumber(f float64) string {
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if (f > maxExact || f < -maxExact) && !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// maxExact is the largest number below which a float64 holds every whole one.
const maxExact = 1 << 53

// dateForms are what a string may look like that is a date, and how far the period reaches that it names.
var dateForms = []struct {
	layout              string
	years, months, days int
}{
	{"2006", 1, 0, 0},
	{"2006-01", 0, 1, 0},
	{"2006-01-02", 0, 0, 1},
}

// period is the time that a date names: its first millisecond, and the first after it, since 1970 in UTC. A float64 holds these exactly.
type period struct{ from, to float64 }

// parseDate reads YYYY, YYYY-MM, YYYY-MM-DD, which are meant in UTC, or a time of RFC 3339, which is cut to the millisecond.
func parseDate(text string) (period, bool) {
	if len(text) < 4 || text[0] < '0' || text[0] > '9' { // most strings are no date
		return period{}, false
	}
	for _, form := range dateForms {
		if len(text) != len(form.layout) {
			continue
		}
		t, err := time.Parse(form.layout, text)
		if err != nil {
			return period{}, false
		}
		return period{millis(t), millis(t.AddDate(form.years, form.months, form.days))}, true
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return period{}, false
	}
	return period{millis(t), millis(t) + 1}, true
}

// IsDate tells whether a text is compared as a date: it is YYYY, YYYY-MM, YYYY-MM-DD or a time of RFC 3339.
func IsDate(text string) bool {
	_, ok := parseDate(text)
	return ok
}

func millis(t time.Time) float64 { return float64(t.UnixMilli()) }

// yearOf is the period of a number that may stand for a year.
func yearOf(f float64) (period, bool) {
	if f < 1000 || f > 9999 || f != float64(int(f)) {
		return period{}, false
	}
	return parseDate(strconv.Itoa(int(f)))
}
