package collections

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"embedd/internal/retrieval"
)

// Limits of what there may be.
const (
	// Max is how many collections a data directory may have, with the default one.
	Max = 64
	// MaxAliases is how many aliases there may be.
	MaxAliases = 256
	// MaxFields is how many fields a schema may have, MaxFieldBytes how long the name of one.
	MaxFields     = 256
	MaxFieldBytes = 256
	// MaxDimension is the most values of a vector.
	MaxDimension = 65536
	// MinM and MaxM bound the links of the index, MaxEfConstruction the candidates for them.
	MinM, MaxM        = 2, 128
	MaxEfConstruction = 4096
)

// Default is the name of the collection that the data directory itself is.
const Default = "default"

// nameForm is what a collection may be called: nothing that leads out of a folder, on any system.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// CheckName refuses what is no name of a collection. field is the request's.
func CheckName(field, s string) error {
	if nameForm.MatchString(s) {
		return nil
	}
	return invalid(field, "is no name for a collection: use 1 to 63 lower-case letters, digits, - and _, beginning with a letter or digit")
}

func invalid(field, format string, a ...any) *retrieval.Error {
	return &retrieval.Error{Kind: retrieval.Invalid, Field: field, Message: fmt.Sprintf(format, a...)}
}

func refused(field, format string, a ...any) *retrieval.Error {
	return &retrieval.Error{Kind: retrieval.FailedPrecondition, Field: field, Message: fmt.Sprintf(format, a...)}
}

// Settings are what a collection is made with: those of package retrieval, the model, and the parameters of the index. Dimension is also
// what the model's vectors are cut to. They do not change.
type Settings struct {
	retrieval.Settings
	// Model is the id of the sentence encoder; "" for vectors of their own.
	Model string `json:"model,omitempty"`
	// M and EfConstruction are 0 where they are the server's.
	M              int `json:"m,omitempty"`
	EfConstruction int `json:"ef_construction,omitempty"`
}

// Retrieval are the settings for package retrieval, which knows nothing of models.
func (s Settings) Retrieval() retrieval.Settings {
	r := s.Settings
	if !r.OwnVectors {
		r.Dimension = 0
	}
	return r
}

// fieldTypes are what a field of the metadata may be promised to be.
var fieldTypes = []string{"string", "number", "bool", "date"}

// check refuses settings that no collection can have. Whether there is the model, and whether its vectors can be cut so, is for who opens it.
func (s Settings) check() error {
	for _, f := range []struct {
		name           string
		value, least   int
		most           int
		zeroIsTheUsual bool
	}{
		{"dimension", s.Dimension, 1, MaxDimension, true},
		{"neighbours", s.Neighbours, 0, retrieval.MaxNeighbours, false},
		{"m", s.M, MinM, MaxM, true},
		{"ef_construction", s.EfConstruction, max(MinM, s.M), MaxEfConstruction, true},
	} {
		if f.value == 0 && f.zeroIsTheUsual {
			continue
		}
		if f.value < f.least || f.value > f.most {
			or := ""
			if f.zeroIsTheUsual {
				or = ", or 0"
			}
			return invalid("settings."+f.name, "is %d; must be %d to %d%s", f.value, f.least, f.most, or)
		}
	}
	switch {
	case s.OwnVectors && s.Model != "":
		return invalid("settings.model", "is %q, and the papers bring their own vectors; leave out one of the two", s.Model)
	case s.OwnVectors && s.Dimension == 0:
		return invalid("settings.dimension", "is missing; vectors of the papers' own have 1 to %d values, all as many", MaxDimension)
	case len(s.Fields) > MaxFields:
		return invalid("settings.fields", "has %d fields; the limit is %d", len(s.Fields), MaxFields)
	}
	seen := map[string]bool{}
	for i, f := range s.Fields {
		at := fmt.Sprintf("settings.fields[%d]", i)
		switch {
		case f.Name == "" || len(f.Name) > MaxFieldBytes:
			return invalid(at+".name", "has %d bytes; a name has 1 to %d", len(f.Name), MaxFieldBytes)
		case !utf8.ValidString(f.Name) || strings.ContainsFunc(f.Name, unicode.IsControl):
			return invalid(at+".name", "is not UTF-8, or has a control character")
		case seen[f.Name]:
			return invalid(at+".name", "%q is there twice", f.Name)
		case !slices.Contains(fieldTypes, f.Type):
			return invalid(at+".type", "is %q; must be one of %s", cmp.Or(f.Type, "missing"), strings.Join(fieldTypes, ", "))
		}
		seen[f.Name] = true
	}
	return s.Settings.Check()
}
