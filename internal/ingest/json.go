package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// This file cuts JSON into records, lines or not, and gives the members of a record that a form has a use for.

// openJSON opens files of records that are a JSON object each: on a line each, or one after the other in any layout, or in an array, which may
// be in members of these names of an outer object, as in the answers of an API.
func openJSON(parse func(record []byte) (Paper, error), wrappers ...string) func(*stream, *Options) (records, string, error) {
	return func(s *stream, _ *Options) (records, string, error) {
		text, err := s.firstLine()
		if err == nil && !wholeLine(text) { // of a value with more lines more is needed
			text, _, err = s.head(bufferSize)
		}
		if err != nil {
			return nil, "", err
		}
		text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte(byteOrderMark)), blanks)
		keys := firstKeys(text)
		wrapped := slices.ContainsFunc(wrappers, func(w string) bool { return keys[w] != "" && !recordKeys(keys, "") })
		line, _, _ := bytes.Cut(text, []byte("\n"))
		if !wrapped && (len(text) == 0 || text[0] != '[' && (json.Valid(line) || len(line) == len(text) || !opens(line))) {
			return &lineRecords{lines: s.Reader, parse: parse}, "", nil
		}
		v := &valueRecords{w: newWindow(s), parse: parse, wrapped: wrapped, wrappers: wrappers, line: 1}
		if wrapped && strings.HasPrefix(keys["message"], "{") && keys["message/items"] == "" {
			v.single = "message"
		}
		return v, "", nil
	}
}

// wholeLine tells whether the first line is JSON.
func wholeLine(text []byte) bool {
	line, _, found := bytes.Cut(bytes.TrimLeft(bytes.TrimPrefix(text, []byte(byteOrderMark)), blanks), []byte("\n"))
	return found && json.Valid(line)
}

// recordKeys tells whether an object itself is a record, by its keys.
func recordKeys(keys map[string]string, at string) bool {
	return slices.ContainsFunc([]string{"id", "_id", "DOI", "paperId", "corpusid"}, func(k string) bool { return keys[at+k] != "" })
}

// opens tells whether a line ends within a JSON value, so that the value has more lines.
func opens(line []byte) bool {
	depth := 0
	var s jsonState
	for _, c := range line {
		s.step(c)
	}
	depth = s.depth
	return depth > 0 && !s.inString
}

// jsonState follows the brackets of JSON text, whatever else is in it.
type jsonState struct {
	depth           int
	inString, after bool // after a backslash
}

// step takes the next byte, and tells whether a bracket closes with it that was the outermost.
func (s *jsonState) step(c byte) (closed bool) {
	switch {
	case s.after:
		s.after = false
	case s.inString:
		switch c {
		case '\\':
			s.after = true
		case '"':
			s.inString = false
		}
	case c == '"':
		s.inString = true
	case c == '{' || c == '[':
		s.depth++
	case c == '}' || c == ']':
		s.depth--
		return s.depth <= 0
	}
	return false
}

// valueRecords are JSON objects in any layout. They are cut by their brackets, so that what is wrong within one costs that one only.
type valueRecords struct {
	w        *window
	parse    func(record []byte) (Paper, error)
	wrapped  bool     // the outermost objects are no records, but have them in arrays
	wrappers []string // the members that lead to these
	single   string   // the member that is a record itself, "" where there is none

	open []byte // the brackets that are open around the records
	line int
	text []byte
}

func (v *valueRecords) at() int     { return v.line }
func (v *valueRecords) raw() []byte { return v.text }

func (v *valueRecords) next() (Paper, error) {
	for {
		c, err := v.peek()
		if err == io.EOF && len(v.open) > 0 {
			return Paper{}, fmt.Errorf("%w: %s has no end", ErrCutOff, v.open[len(v.open)-1:])
		}
		if err != nil {
			return Paper{}, err
		}
		inside := byte(0)
		if len(v.open) > 0 {
			inside = v.open[len(v.open)-1]
		}
		switch {
		case c == '}' || c == ']':
			if inside == 0 || inside == '{' != (c == '}') {
				return Paper{}, fmt.Errorf("%w: %q closes nothing, at line %d", errLost, c, v.w.line)
			}
			v.open = v.open[:len(v.open)-1]
			v.w.skip(1)
		case inside == '{':
			record, err := v.member()
			if err != nil {
				return Paper{}, err
			}
			if record {
				return v.record()
			}
		case c == '[' && inside == 0, c == '{' && inside == 0 && v.wrapped:
			v.open = append(v.open, c)
			v.w.skip(1)
		default:
			return v.record()
		}
	}
}

// peek gives the next byte that is neither white space nor a comma.
func (v *valueRecords) peek() (byte, error) {
	for {
		for i, c := range v.w.text() {
			if strings.IndexByte(blanks+",", c) < 0 && !(v.w.line == 1 && strings.IndexByte(byteOrderMark, c) >= 0) {
				v.w.skip(i)
				return v.w.text()[0], nil
			}
		}
		v.w.skip(len(v.w.text()))
		if !v.w.more() {
			if err := v.w.fault(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
	}
}

// member goes over a member of an outer object: into its value, where it leads to records, to the value where that is one, and else behind it.
func (v *valueRecords) member() (record bool, err error) {
	name, err := v.cut()
	if err != nil {
		return false, v.lost(err)
	}
	key := strings.Trim(string(name), `"`)
	c, err := v.peek()
	if err == nil && c == ':' {
		v.w.skip(1)
		c, err = v.peek()
	}
	switch {
	case err != nil:
		return false, v.lost(err)
	case key == v.single && c == '{':
		return true, nil
	case (c == '[' || c == '{') && slices.Contains(v.wrappers, key):
		v.open = append(v.open, c)
		v.w.skip(1)
		return false, nil
	}
	if _, err = v.cut(); err != nil {
		return false, v.lost(err)
	}
	return false, nil
}

// lost is the error of an outer object that is not as it must be.
func (v *valueRecords) lost(err error) error {
	if bad, ok := errors.AsType[*errorAt](err); ok {
		return fmt.Errorf("%w: %v, at line %d", errLost, bad.err, v.w.line)
	}
	if err == io.EOF {
		return fmt.Errorf("%w: %s has no end", ErrCutOff, v.open[len(v.open)-1:])
	}
	return err
}

func (v *valueRecords) record() (Paper, error) {
	text, err := v.cut()
	if err != nil {
		return Paper{}, err
	}
	return v.parse(text)
}

// cut takes the next value off, which may be broken in itself. It is valid until the next call.
func (v *valueRecords) cut() ([]byte, error) {
	v.line, v.text = v.w.line, nil
	var s jsonState
	long := false
	for i := 0; ; {
		text := v.w.text()
		for ; i < len(text); i++ {
			c := text[i]
			wasString := s.inString
			end := i + 1
			switch closed := s.step(c); {
			case closed:
			case s.depth > 0 || s.inString:
				continue
			case wasString: // a string that is all of the value
			case strings.IndexByte(blanks+",:]}", c) >= 0:
				end = i // a number or a word
			default:
				continue
			}
			if s.depth < 0 { // the bracket of what is around
				end = i
			}
			if end == 0 {
				end = 1 // never stand still
			}
			v.text = text[:min(end, MaxRecordBytes)]
			v.w.skip(end)
			if long {
				return nil, &errorAt{err: ErrRecordTooLong}
			}
			return v.text, nil
		}
		if i > MaxRecordBytes { // read on, but keep nothing
			long = true
			v.w.skip(i)
			i = 0
		}
		if !v.w.more() {
			if err := v.w.fault(); err != nil {
				return nil, err
			}
			v.text = v.w.text()
			v.text = v.text[:min(len(v.text), MaxRecordBytes)]
			v.w.skip(len(v.w.text()))
			if s.depth > 0 || s.inString || long {
				return nil, at("", "has no end: the file is cut off, or a bracket is missing")
			}
			return v.text, nil
		}
	}
}

// firstKeys gives the keys of the first object of JSON text that may end anywhere and need not be in order, each with how its value begins. Those
// of objects within are there by their path where these are what APIs put around records: "items/DOI".
func firstKeys(text []byte) map[string]string {
	k := keyScan{text: text, keys: map[string]string{}}
	i := k.blanks(0)
	if i < len(text) && text[i] == '[' {
		i = k.blanks(i + 1)
	}
	k.object(i, "")
	return k.keys
}

type keyScan struct {
	text []byte
	keys map[string]string
}

// around are members that have records in them.
var around = []string{"message", "items", "results", "data", "recommendedPapers"}

func (k *keyScan) blanks(i int) int {
	for i < len(k.text) && strings.IndexByte(blanks, k.text[i]) >= 0 {
		i++
	}
	return i
}

// object reads the object at i, and gives the index behind it.
func (k *keyScan) object(i int, path string) int {
	if i >= len(k.text) || k.text[i] != '{' {
		return len(k.text)
	}
	for i++; ; {
		i = k.blanks(i)
		if i < len(k.text) && k.text[i] == ',' {
			i = k.blanks(i + 1)
		}
		if i >= len(k.text) || k.text[i] != '"' {
			return min(i+1, len(k.text))
		}
		end := k.value(i)
		key := path + strings.Trim(string(k.text[i:end]), `"`)
		i = k.blanks(end)
		if i >= len(k.text) || k.text[i] != ':' {
			return len(k.text)
		}
		i = k.blanks(i + 1)
		k.keys[key] = string(k.text[i:min(i+64, len(k.text))])
		if i < len(k.text) && slices.Contains(around, key[len(path):]) && strings.Count(path, "/") < 2 {
			in := i
			if k.text[in] == '[' {
				in = k.blanks(in + 1)
			}
			k.object(in, key+"/")
		}
		if i = k.value(i); i >= len(k.text) {
			return i
		}
	}
}

// value gives the index behind the value at i.
func (k *keyScan) value(i int) int {
	var s jsonState
	for from := i; i < len(k.text); i++ {
		if s.depth == 0 && !s.inString && i > from && strings.IndexByte(blanks+",:]}", k.text[i]) >= 0 {
			return i
		}
		wasString := s.inString
		if closed := s.step(k.text[i]); closed || wasString && !s.inString && s.depth == 0 {
			return i + 1
		}
	}
	return i
}

// pick checks that a record is a JSON object in order, and decodes those of its members that into, a pointer to a struct, is for: names are
// theirs, in lower case. All else is passed over without being decoded.
func pick(record []byte, into any, names ...string) *errorAt {
	if bad := checkSyntax(record); bad != nil {
		return bad
	}
	if bytes.IndexByte(record, '\\') >= 0 {
		if err := checkEscapes(record); err != nil {
			return &errorAt{err: err}
		}
	}
	few := make([]byte, 1, min(len(record), 4<<10))
	few[0] = '{'
	for key, value := range members(record) {
		if len(key) > 32 || !slices.Contains(names, strings.ToLower(string(key[1:len(key)-1]))) {
			continue
		}
		if len(few) > 1 {
			few = append(few, ',')
		}
		few = append(append(append(few, key...), ':'), value...)
	}
	if err := json.Unmarshal(append(few, '}'), into); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return at(strings.ToLower(wrong.Field), "got %s, which is of another kind than this form has", article(wrong.Value))
		}
		return at("", "%w", err)
	}
	return nil
}

// loose is a text that some write as a number.
type loose string

func (l *loose) UnmarshalJSON(value []byte) error {
	switch kindOf(value) {
	case "string":
		*l = loose(decode(value))
	case "number":
		*l = loose(value)
	case "null":
	default:
		return fmt.Errorf("want a string or a number, got %s", article(kindOf(value)))
	}
	return nil
}
