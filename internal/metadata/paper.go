package metadata

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Limits of what one paper's metadata may hold. A filter can say nothing of what lies beyond them.
const (
	// MaxNames is the most fields.
	MaxNames = 256
	// MaxValues is the most values of all fields.
	MaxValues = 4096
	// MaxDepth is how deep objects may lie in one another.
	MaxDepth = 8
	// MaxNameBytes is the longest name of a field, with the names of the objects that it lies in.
	MaxNameBytes = 256
	// MaxValueBytes is the longest string that can be compared, of the paper's own fields too. A longer one is only known to be there.
	MaxValueBytes = 1024
)

// Paper is what a filter can ask of a paper. What is empty or 0 is missing.
type Paper struct {
	ID      string
	Authors []string
	Year    int32
	Venue   string
	DOI     string
	ArxivID string
	URL     string
	// Metadata is a JSON object or empty.
	Metadata []byte
}

// Fields are the values of one paper, as an Index takes them. They do not change.
type Fields struct {
	// entries are in the order of their names, none twice; of those of one name the paper's first comes first, and the others in order.
	entries []entry
}

type entry struct {
	name  string
	value Value
	at    int // its place among all values of the paper
}

// NewFields reads a paper. Of the metadata, an object in an object gives a field with a point in its name, a list the values of one field, a
// list of objects the values of each of theirs; null, an empty list and an empty object give none. Where a key is given twice, the last
// counts.
//
// The error says which limit the metadata is over, or that it is not a JSON object. The Fields can be used all the same: they hold what is
// within the limits.
func NewFields(p Paper) (Fields, error) {
	r := reader{names: map[string]bool{}}
	r.text("id", p.ID)
	for _, a := range p.Authors {
		r.text("authors", a)
	}
	if p.Year != 0 {
		r.put("year", Value{Kind: Number, Number: float64(p.Year)})
	}
	r.text("venue", p.Venue)
	r.text("doi", p.DOI)
	r.text("arxiv_id", p.ArxivID)
	r.text("url", p.URL)
	if len(p.Metadata) > 0 {
		var object map[string]any
		if err := json.Unmarshal(p.Metadata, &object); err != nil {
			r.err = fmt.Errorf("metadata: is not a JSON object: %w", err)
		} else {
			r.object(userPrefix[:len(userPrefix)-1], object, 1)
		}
	}
	slices.SortFunc(r.entries, func(a, b entry) int {
		return cmp.Or(strings.Compare(a.name, b.name), compareValues(a.value, b.value), a.at-b.at)
	})
	f := Fields{slices.CompactFunc(r.entries, func(a, b entry) bool { return a.name == b.name && a.value == b.value })}
	f.firstFirst()
	return f, r.err
}

// firstFirst puts the first value that the paper has of each field before the others.
func (f Fields) firstFirst() {
	for i := 0; i < len(f.entries); {
		of := f.of(f.entries[i].name)
		i += len(of)
		first := 0
		for j := range of {
			if of[j].at < of[first].at {
				first = j
			}
		}
		e := of[first]
		copy(of[1:], of[:first])
		of[0] = e
	}
}

// of are the values of a field, as entries.
func (f Fields) of(name string) []entry {
	i, _ := slices.BinarySearchFunc(f.entries, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
	j := i
	for j < len(f.entries) && f.entries[j].name == name {
		j++
	}
	return f.entries[i:j]
}

// reader collects the values of one paper.
type reader struct {
	entries []entry
	names   map[string]bool // of the metadata's fields
	values  int             // of the metadata
	err     error           // the first
}

// text adds a string of the paper's own, if there is one.
func (r *reader) text(name, s string) {
	if s != "" {
		r.put(name, stringValue(s))
	}
}

func (r *reader) put(name string, v Value) {
	r.entries = append(r.entries, entry{name, v, len(r.entries)})
}

func stringValue(s string) Value {
	if len(s) > MaxValueBytes {
		return Value{Kind: long}
	}
	return Value{Kind: String, Text: s}
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// object reads the members of an object, in the order of their names, so that what is beyond a limit is always the same.
func (r *reader) object(name string, members map[string]any, depth int) {
	for _, key := range slices.Sorted(maps.Keys(members)) {
		inner := name + "." + key
		if len(inner)-len(userPrefix) > MaxNameBytes {
			r.fail("%s…: the field's name has %d bytes; the limit is %d", shorten(inner), len(inner)-len(userPrefix), MaxNameBytes)
			continue
		}
		r.member(inner, members[key], depth)
	}
}

func (r *reader) member(name string, v any, depth int) {
	switch v := v.(type) {
	case string:
		r.add(name, stringValue(v))
	case float64:
		r.add(name, Value{Kind: Number, Number: v + 0}) // -0 is 0
	case bool:
		b := Value{Kind: Bool}
		if v {
			b.Number = 1
		}
		r.add(name, b)
	case []any:
		if depth++; depth > MaxDepth {
			r.fail("%s: lies in more than %d objects and lists", name, MaxDepth)
			return
		}
		for _, item := range v {
			r.member(name, item, depth)
		}
	case map[string]any:
		if depth++; depth > MaxDepth {
			r.fail("%s: lies in more than %d objects and lists", name, MaxDepth)
			return
		}
		r.object(name, v, depth)
	}
}

func (r *reader) add(name string, v Value) {
	if !r.names[name] {
		if len(r.names) == MaxNames {
			r.fail("%s: is one field too many; the limit is %d", name, MaxNames)
			return
		}
		r.names[name] = true
	}
	if r.values == MaxValues {
		r.fail("%s: is one value too many; the limit is %d", name, MaxValues)
		return
	}
	r.values++
	r.put(name, v)
}

// shorten cuts what an error cites.
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
