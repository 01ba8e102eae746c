package ingest

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// This file makes papers of the rows of tables: CSV, TSV and Parquet.

// columnFields are the fields of a paper that a column may be.
var columnFields = []string{"id", "title", "abstract", "authors", "year", "venue", "doi", "arxiv_id", "url", "expires", "vector", "metadata"}

func isField(name string) bool {
	if rest, ok := strings.CutPrefix(name, "metadata."); ok {
		return rest != ""
	}
	return slices.Contains(columnFields, name)
}

// usualNames are what others call the fields, as letters and digits in lower case.
var usualNames = map[string][]string{
	"id":       {"id", "paperid", "docid", "documentid", "identifier", "key", "recordid", "pmid"},
	"title":    {"title", "papertitle", "articletitle", "documenttitle"},
	"abstract": {"abstract", "abstracttext", "summary", "text"},
	"authors":  {"authors", "author", "creators", "creator", "authornames", "authorfullnames"},
	"year":     {"year", "publicationyear", "pubyear", "yearpublished"},
	"venue":    {"venue", "journal", "journaltitle", "sourcetitle", "booktitle", "containertitle", "publicationtitle"},
	"doi":      {"doi"},
	"arxiv_id": {"arxivid", "arxiv"},
	"url":      {"url", "link"},
	"expires":  {"expires"},
	"vector":   {"vector", "embedding"},
	"metadata": {"metadata"},
}

func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return -1
	}, s)
}

// mapping says which column is which field.
type mapping struct {
	fields  []string // in the order of columnFields, metadata's members behind
	columns []int    // of each field
}

// mapColumns finds the columns of the fields, and says in words what it has found.
func mapColumns(header []string, wanted map[string]string) (m mapping, note string, err *errorAt) {
	used := make([]bool, len(header))
	add := func(field string, column int) {
		m.fields, m.columns = append(m.fields, field), append(m.columns, column)
		used[column] = true
	}
	if wanted != nil {
		names := make([]string, 0, len(wanted))
		for field := range wanted {
			names = append(names, field)
		}
		slices.Sort(names)
		for _, field := range names {
			i := slices.Index(header, wanted[field])
			if i < 0 {
				i = slices.IndexFunc(header, func(h string) bool { return strings.EqualFold(strings.TrimSpace(h), strings.TrimSpace(wanted[field])) })
			}
			if i < 0 {
				return m, "", at("columns", "there is no column %q for %s; there are %s", shorten(wanted[field]), field, listed(header))
			}
			add(field, i)
		}
	} else {
		for _, field := range columnFields {
		search:
			for _, usual := range usualNames[field] {
				for i, h := range header {
					if !used[i] && plainName(h) == usual {
						add(field, i)
						break search
					}
				}
			}
		}
		for i, h := range header {
			if name, ok := strings.CutPrefix(strings.TrimSpace(h), "metadata."); ok && name != "" && !used[i] {
				add("metadata."+name, i)
			}
		}
	}
	has := func(field string) bool { return slices.Contains(m.fields, field) }
	if !has("title") && !has("abstract") && !has("vector") {
		return m, "", at("columns", "none is a title or an abstract; say which with columns, as title=NAME; there are %s", listed(header))
	}
	var said, left []string
	for i, field := range m.fields {
		if h := strings.TrimSpace(header[m.columns[i]]); h == field {
			said = append(said, field)
		} else {
			said = append(said, field+"="+h)
		}
	}
	for i, h := range header {
		if !used[i] {
			left = append(left, h)
		}
	}
	note = "columns " + strings.Join(said, ",")
	if len(left) > 0 {
		note += "; not read: " + listed(left)
	}
	return m, note, nil
}

// listed names columns, some of many.
func listed(columns []string) string {
	const most = 30
	var out []string
	for _, c := range columns[:min(len(columns), most)] {
		out = append(out, strconv.Quote(shorten(c)))
	}
	if len(columns) > most {
		out = append(out, fmt.Sprintf("%d more", len(columns)-most))
	}
	return strings.Join(out, ", ")
}

// row makes a paper of a row. value gives what is in a column: nil, a string, a bool, a number of any kind, []any, map[string]any.
func (m *mapping) row(value func(column int) any) (Paper, error) {
	var p Paper
	f := facts{}
	for i, field := range m.fields {
		v := value(m.columns[i])
		if s, ok := v.(string); ok && blank(s) {
			v = nil
		}
		if v == nil {
			continue
		}
		if !valid(v) {
			return p, at(field, "invalid UTF-8; convert the file first, as with iconv -f latin1 -t utf-8")
		}
		if bad := p.set(f, field, v); bad != nil {
			return p, bad
		}
	}
	return finish(p, f)
}

// valid tells whether all texts in a value are UTF-8.
func valid(v any) bool {
	switch v := v.(type) {
	case string:
		return utf8.ValidString(v)
	case []any:
		return !slices.ContainsFunc(v, func(one any) bool { return !valid(one) })
	case map[string]any:
		for name, one := range v {
			if !utf8.ValidString(name) || !valid(one) {
				return false
			}
		}
	}
	return true
}

// set puts a value of a table into a field.
func (p *Paper) set(f facts, field string, v any) *errorAt {
	var err error
	switch field {
	case "id":
		p.ID, err = textOfValue(v)
	case "title":
		p.Title, err = textOfValue(v)
	case "abstract":
		p.Abstract, err = textOfValue(v)
	case "venue":
		p.Venue, err = textOfValue(v)
	case "doi":
		p.DOI, err = textOfValue(v)
		p.DOI = bareDOI(p.DOI)
	case "arxiv_id":
		p.ArxivID, err = textOfValue(v)
	case "url":
		p.URL, err = textOfValue(v)
	case "authors":
		p.Authors, err = authorsOf(v)
	case "year":
		var text string
		if text, err = textOfValue(v); err == nil {
			p.Year, err = yearIn(text)
		}
	case "expires":
		if t, ok := v.(time.Time); ok {
			p.Expires = t.UTC()
			break
		}
		var text string
		if text, err = textOfValue(v); err == nil {
			if p.Expires, err = time.Parse(time.RFC3339, strings.TrimSpace(text)); err != nil || p.Expires.IsZero() {
				err = fmt.Errorf("want a time like 2030-01-02T15:04:05Z, got %q", shorten(text))
			}
			p.Expires = p.Expires.UTC()
		}
	case "vector":
		p.Vector, err = vectorOf(v)
	case "metadata":
		if text, ok := v.(string); ok {
			var members map[string]any
			if json.Unmarshal([]byte(text), &members) != nil {
				return at(field, "want a JSON object, got %q", shorten(text))
			}
			v = members
		}
		members, ok := v.(map[string]any)
		if !ok {
			return at(field, "want an object, got %T", v)
		}
		for name, value := range members {
			if value != nil {
				f[name] = value
			}
		}
	default:
		f[strings.TrimPrefix(field, "metadata.")] = v
	}
	if err != nil {
		return &errorAt{field: field, err: err}
	}
	return nil
}

func textOfValue(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool, int32, int64, uint32, uint64, float32, float64:
		return fmt.Sprint(v), nil
	}
	return "", fmt.Errorf("want a text, got %s", article(kindOfValue(v)))
}

func kindOfValue(v any) string {
	switch v.(type) {
	case []any:
		return "list"
	case map[string]any:
		return "object"
	}
	return fmt.Sprintf("%T", v)
}

// authorsOf are the elements of a list, or a text split at ; or, where it has none, at |. A list of objects has names as members.
func authorsOf(v any) (names []string, err error) {
	list, ok := v.([]any)
	if !ok {
		text, err := textOfValue(v)
		if err != nil {
			return nil, err
		}
		at := ";"
		if !strings.Contains(text, ";") {
			at = "|"
		}
		for one := range strings.SplitSeq(text, at) {
			names = append(names, one)
		}
		return names, nil
	}
	for i, one := range list {
		if object, ok := one.(map[string]any); ok {
			one = object["name"]
		}
		if one == nil {
			continue
		}
		text, err := textOfValue(one)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		names = append(names, text)
	}
	return names, nil
}

// yearIn reads 2024, 2024.0 as spreadsheets write it, and 2024-05-17.
func yearIn(text string) (int32, error) {
	text = strings.TrimSuffix(strings.TrimSpace(text), ".0")
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return int32(n), nil
	}
	if isoDate(text) != "" {
		return yearOf(text), nil
	}
	return 0, fmt.Errorf("want a year, got %q", shorten(text))
}

// vectorOf reads a list of numbers, as values or as text: [0.1, 0.2], or 0.1 0.2.
func vectorOf(v any) ([]float32, error) {
	list, ok := v.([]any)
	if !ok {
		text, isText := v.(string)
		if !isText {
			return nil, fmt.Errorf("want a list of numbers, got %s", article(kindOfValue(v)))
		}
		text = strings.TrimSpace(text)
		text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
		for _, one := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\n;", r) }) {
			list = append(list, one)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	vector := make([]float32, 0, len(list))
	for i, one := range list {
		var x float64
		var err error
		switch one := one.(type) {
		case float32:
			x = float64(one)
		case float64:
			x = one
		case int32:
			x = float64(one)
		case int64:
			x = float64(one)
		case string:
			x, err = strconv.ParseFloat(one, 32)
		default:
			err = fmt.Errorf("got %T", one)
		}
		if err != nil || math.IsNaN(x) || math.Abs(x) > math.MaxFloat32 {
			return nil, fmt.Errorf("[%d]: want a number that a float32 holds, got %q", i, shorten(fmt.Sprint(one)))
		}
		vector = append(vector, float32(x))
	}
	return vector, nil
}
