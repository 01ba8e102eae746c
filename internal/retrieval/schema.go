package retrieval

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"embedd/internal/metadata"
)

// checkMetadata refuses a paper whose metadata does not keep what the collection was made with. field is that of the metadata.
func (s *Settings) checkMetadata(field string, p *Paper) error {
	if len(s.Fields) == 0 {
		return nil
	}
	var members map[string]any
	if len(p.Metadata) > 0 {
		if err := json.Unmarshal(p.Metadata, &members); err != nil {
			return invalid(field, "is not a JSON object")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !slices.ContainsFunc(s.Fields, func(f FieldSchema) bool { return f.Name == name }) {
			return invalid(field+"."+name, "is no field of this collection; there are %s", strings.Join(s.names(), ", "))
		}
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		if err := f.check(field+"."+f.Name, members[f.Name]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Settings) names() (names []string) {
	for _, f := range s.Fields {
		names = append(names, f.Name)
	}
	return names
}

// check refuses a value that is not of the field's. nil is none.
func (f *FieldSchema) check(field string, value any) error {
	list, several := value.([]any)
	switch {
	case several && !f.Repeated:
		return invalid(field, "is a list; the field has one value, a %s", f.Type)
	case !several && value != nil:
		list = []any{value}
	}
	if len(list) == 0 && f.Required {
		return invalid(field, "is missing; each paper of this collection has it, a %s", f.Type)
	}
	for _, v := range list {
		if !f.is(v) {
			return invalid(field, "has the value %s; it must be a %s", shown(v), f.Type)
		}
	}
	return nil
}

func (f *FieldSchema) is(v any) bool {
	switch v := v.(type) {
	case string:
		return f.Type == metadata.StringType.String() || f.Type == metadata.DateType.String() && metadata.IsDate(v)
	case float64:
		return f.Type == metadata.NumberType.String()
	case bool:
		return f.Type == metadata.BoolType.String()
	}
	return false
}

// shown is a value as a message cites it.
func shown(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "that cannot be shown"
	}
	const most = 64
	if len(text) > most {
		return strings.ToValidUTF8(string(text[:most]), "") + "…"
	}
	return string(text)
}
