package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"
)

// read reads the body of a request, which the server has bounded, into v. A member that v does not have is refused, unless its name is among those
// that are passed over.
func read(r *http.Request, v any) *failure {
	b, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return wrong("", "the body did not come whole; send it again")
	case len(bytes.TrimSpace(b)) == 0:
		return wrong("", "the body is empty; send an object of JSON")
	case !utf8.Valid(b):
		return wrong("", "the body is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return unread(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return wrong("", "the body has something behind its object")
	}
	return nil
}

// kindOfType are what members have to be, by the kind that Go calls it.
var kindOfType = map[string]string{"string": "a string", "bool": "true or false", "int": "a whole number", "slice": "an array", "struct": "an object", "map": "an object"}

// unread is an error of package json, with the member named.
func unread(err error) *failure {
	var of *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &of):
		want := kindOfType[of.Type.Kind().String()]
		if of.Field == "" {
			return wrong("", "the body is %s; must be %s", article(of.Value), want)
		}
		return wrong(of.Field, "has %s; must be %s", article(of.Value), want)
	case errors.As(err, &syntax):
		return wrong("", "the body is not JSON: %v, at byte %d", syntax, syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return wrong("", "the body is not JSON: it ends within a value")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return &failure{status: http.StatusBadRequest, field: strings.Trim(name, `"`), message: "is not a member that is known here; leave it out", kind: unknownMember}
	}
	return wrong("", "the body cannot be read: %v", err)
}

// unknownMember is the kind of the failure of a request that has a member which nobody knows.
const unknownMember = "unknown member"

// article is what package json calls a value, in a sentence.
func article(value string) string {
	value, number, _ := strings.Cut(value, " ")
	switch value {
	case "bool":
		return "true or false"
	case "array", "object":
		return "an " + value
	}
	if number != "" {
		return fmt.Sprintf("the %s %.40s", value, number)
	}
	return "a " + value
}

// textsIn reads a member that is a text or several. ids says what tokens instead of texts are answered with.
func textsIn(field string, raw json.RawMessage) (texts []string, one bool, f *failure) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, false, wrong(field, "is missing; give a string, or an array of strings")
	}
	switch raw[0] {
	case '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, false, unread(err)
		}
		return []string{text}, true, nil
	case '[':
	default:
		return nil, false, wrong(field, "must be a string, or an array of strings")
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, false, unread(err)
	}
	texts = make([]string, len(items))
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch c := item[0]; {
		case c == '"':
			if err := json.Unmarshal(item, &texts[i]); err != nil {
				return nil, false, unread(err)
			}
		case c == '[', c == '-', c >= '0' && c <= '9':
			return nil, false, wrong(at, "is a token id, or several; they are of another model's vocabulary and cannot be turned back into text here; send the text")
		default:
			return nil, false, wrong(at, "must be a string")
		}
	}
	return texts, false, nil
}
