package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Paper is a paper as its line gives it. What the line does not give is the zero value.
type Paper struct {
	// ID is never blank.
	ID string
	// Title and Abstract are not both blank. Abstract is BEIR's text.
	Title, Abstract string
	Authors         []string
	Year            int32
	Venue           string
	DOI             string
	ArxivID         string
	URL             string
	// Metadata is a JSON object, as written in the line, or nil.
	Metadata json.RawMessage
	// Expires is in UTC, to the nanosecond.
	Expires time.Time
	// Vector has finite values, or is nil. With a vector, title and abstract may be blank.
	Vector []float32
}

// The fields of both forms.
const (
	fieldID = iota
	fieldBEIRID
	fieldTitle
	fieldAbstract
	fieldText
	fieldAuthors
	fieldYear
	fieldVenue
	fieldDOI
	fieldArxivID
	fieldURL
	fieldMetadata
	fieldExpires
	fieldVector
	fieldCount
)

var fieldNames = [fieldCount]string{"id", "_id", "title", "abstract", "text", "authors", "year", "venue", "doi",
	"arxiv_id", "url", "metadata", "expires", "vector"}

// errorAt is an error about a field. The field is "" where the error is about the whole line.
type errorAt struct {
	field string
	err   error
	line  int // where it is not that of the record, else 0
}

func (e *errorAt) Error() string { return e.field + ": " + e.err.Error() }

func at(field, format string, args ...any) *errorAt {
	return &errorAt{field: field, err: fmt.Errorf(format, args...)}
}

// parseOwn is parsePaper for a reader of lines.
func parseOwn(line []byte) (Paper, error) {
	p, bad := parsePaper(line)
	if bad != nil {
		return p, bad
	}
	return p, nil
}

// parsePaper reads one line that is not blank. The Paper keeps nothing of line.
func parsePaper(line []byte) (Paper, *errorAt) {
	if err := checkSyntax(line); err != nil {
		return Paper{}, err
	}
	var rec record
	if err := rec.split(line); err != nil {
		return Paper{}, err
	}
	own, beir := rec.value[fieldID] != nil, rec.value[fieldBEIRID] != nil
	switch {
	case own && beir:
		return Paper{}, at("_id", `there is an "id" too: the own form has "id", BEIR's form "_id"`)
	case own:
		return rec.own()
	case beir:
		return rec.beir()
	}
	return Paper{}, at("id", `missing: the own form has "id", BEIR's form "_id"`)
}

// checkSyntax makes sure that line is one JSON object of valid UTF-8.
func checkSyntax(line []byte) *errorAt {
	if !json.Valid(line) {
		if i := bytes.IndexByte(line, 0); i >= 0 {
			return at("", "NUL at byte %d", i+1)
		}
		if i := invalidUTF8(line); i >= 0 {
			return at("", "invalid UTF-8 at byte %d", i+1)
		}
		err := json.Unmarshal(line, new(json.RawMessage))
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return at("", "not JSON, at byte %d: %w", syntax.Offset, err)
		}
		return at("", "not JSON: %w", err)
	}
	if k := kindOf(bytes.TrimLeft(line, blanks)); k != "object" {
		return at("", "want an object, got %s", article(k))
	}
	if !utf8.Valid(line) {
		for key, value := range members(line) {
			if invalidUTF8(value) >= 0 {
				return at(shorten(decode(key)), "invalid UTF-8")
			}
		}
		return at("", "invalid UTF-8 in a field's name")
	}
	return nil
}

// record is a line's fields, not yet decoded; nil is a field that the line does not have.
type record struct {
	value [fieldCount][]byte
	// unknown is the name of the first field that neither form has.
	unknown    string
	hasUnknown bool
}

// split fills the record from a line that passed checkSyntax.
func (r *record) split(line []byte) *errorAt {
	for key, value := range members(line) {
		name := decode(key)
		i := slices.Index(fieldNames[:], name)
		switch {
		case i < 0:
			if !r.hasUnknown {
				r.unknown, r.hasUnknown = name, true
			}
		case r.value[i] != nil:
			return at(name, "given twice")
		default:
			r.value[i] = value
		}
	}
	return nil
}

// own decodes the project's own form.
func (r *record) own() (Paper, *errorAt) {
	switch {
	case r.value[fieldText] != nil:
		return Paper{}, at("text", `unknown field: beside "id" it is "abstract"`)
	case r.hasUnknown:
		return Paper{}, at(shorten(r.unknown), "unknown field: what is not of the own form goes into metadata")
	}
	d := decoder{rec: r}
	p := Paper{
		ID:       d.id(fieldID),
		Title:    d.text(fieldTitle),
		Abstract: d.text(fieldAbstract),
		Authors:  d.texts(fieldAuthors),
		Year:     d.int32(fieldYear),
		Venue:    d.text(fieldVenue),
		DOI:      d.text(fieldDOI),
		ArxivID:  d.text(fieldArxivID),
		URL:      d.text(fieldURL),
		Metadata: d.object(fieldMetadata),
		Expires:  d.time(fieldExpires),
		Vector:   d.vector(fieldVector),
	}
	return d.finish(p, fieldAbstract)
}

// beir decodes BEIR's form.
func (r *record) beir() (Paper, *errorAt) {
	if r.value[fieldAbstract] != nil {
		return Paper{}, at("abstract", `beside "_id" it is "text"`)
	}
	d := decoder{rec: r}
	p := Paper{
		ID:       d.id(fieldBEIRID),
		Title:    d.text(fieldTitle),
		Abstract: d.text(fieldText),
		Metadata: d.object(fieldMetadata),
	}
	return d.finish(p, fieldText)
}

// decoder decodes a record's fields, and keeps the first error.
type decoder struct {
	rec *record
	err *errorAt
}

// finish returns p, or the first error. abstract is the field that the form has for the abstract.
func (d *decoder) finish(p Paper, abstract int) (Paper, *errorAt) {
	if d.err == nil && p.Vector == nil && blank(p.Title) && blank(p.Abstract) {
		name := fieldNames[abstract]
		d.err = at(name, "title and %s are both missing or blank", name)
	}
	if d.err != nil {
		return Paper{}, d.err
	}
	return p, nil
}

// get returns a field's value, or nil where it is absent, null, or of another kind than wanted.
func (d *decoder) get(field int, kind string) []byte {
	value := d.rec.value[field]
	if d.err != nil || value == nil || kindOf(value) == "null" {
		return nil
	}
	d.err = checkValue(fieldNames[field], kind, value)
	if d.err != nil {
		return nil
	}
	return value
}

// checkValue checks that a value is of a kind and its strings are in order.
func checkValue(name, kind string, value []byte) *errorAt {
	if k := kindOf(value); k != kind {
		return at(name, "want %s, got %s", article(kind), article(k))
	}
	if kind == "array" {
		return nil // each element is checked, and named, on its own
	}
	if err := checkEscapes(value); err != nil {
		return &errorAt{field: name, err: err}
	}
	return nil
}

func (d *decoder) id(field int) string {
	id := d.text(field)
	if d.err == nil && blank(id) {
		d.err = at(fieldNames[field], "empty or blank")
	}
	return id
}

func (d *decoder) text(field int) string {
	if value := d.get(field, "string"); value != nil {
		return decode(value)
	}
	return ""
}

func (d *decoder) texts(field int) []string {
	value := d.get(field, "array")
	if value == nil {
		return nil
	}
	var texts []string
	for element := range elements(value) {
		if d.err = checkValue(fieldNames[field], "string", element); d.err != nil {
			d.err.field += fmt.Sprintf("[%d]", len(texts))
			return nil
		}
		texts = append(texts, decode(element))
	}
	return texts
}

func (d *decoder) int32(field int) int32 {
	value := d.get(field, "number")
	if value == nil {
		return 0
	}
	n, err := strconv.ParseInt(string(value), 10, 32)
	if err != nil {
		d.err = at(fieldNames[field], "want a whole number from %d to %d, got %s", math.MinInt32, math.MaxInt32,
			shorten(string(value)))
	}
	return int32(n)
}

func (d *decoder) time(field int) time.Time {
	value := d.get(field, "string")
	if value == nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, decode(value))
	if err != nil || t.IsZero() {
		d.err = at(fieldNames[field], "want a time like 2030-01-02T15:04:05Z, got %s", shorten(string(value)))
	}
	return t.UTC()
}

func (d *decoder) object(field int) json.RawMessage {
	return slices.Clone(d.get(field, "object"))
}

func (d *decoder) vector(field int) []float32 {
	value := d.get(field, "array")
	if value == nil {
		return nil
	}
	v := []float32{}
	for element := range elements(value) {
		name := fmt.Sprintf("%s[%d]", fieldNames[field], len(v))
		if d.err = checkValue(name, "number", element); d.err != nil {
			return nil
		}
		f, err := strconv.ParseFloat(string(element), 32)
		if err != nil {
			d.err = at(name, "want a number that a float32 holds, got %s", shorten(string(element)))
			return nil
		}
		v = append(v, float32(f))
	}
	return v
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// shorten cuts what an error cites, which may be as long as a line.
func shorten(s string) string {
	const limit = 64
	n := 0
	for i := range s {
		if n++; n > limit {
			return s[:i] + "…"
		}
	}
	return s
}
