package metadata

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// FuzzFilter: a text is a filter or an error about a place in it; a filter, written out, is read as the same filter; and of 200 papers the index
// selects those that Matches does, or refuses the filter with the place of a value or a field.
func FuzzFilter(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	x, papers := New(), map[uint64]Fields{}
	for o := range uint64(200) {
		p, err := NewFields(randomPaper(rng, int(o)))
		if err != nil {
			f.Fatal(err)
		}
		papers[o] = p
		if err := x.Add(o, p); err != nil {
			f.Fatal(err)
		}
	}
	for range 50 {
		f.Add(randomFilter(rng, 3))
	}
	for _, text := range []string{
		``, `metadata."a\"b\\".c < 'x'`, `-a:(b OR "*")`, `n = 0x10 m = .5`, `at <= "2021-06-01T00:00:00.123456789+01:00"`, "a = \"\\u263a\\001\r\n\t\"",
		`v = "\\\\*"`, `v = "\\**"`, `NOT (NOT (NOT a = true))`, `a = 1 AND b = 2 OR c = 3 d = 4`, `"a".b = c.d.5`, `metadata:a.b`, `f(x)`, `(`, `a = `, `é = ("`,
	} {
		f.Add(text)
	}
	ordinals := slices.Sorted(maps.Keys(papers))
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := Parse(text)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Column < 0 || e.Column > len(text)+1 || e.Message == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		again, err := Parse(filter.String())
		if err != nil || !same(filter.root, again.root) || again.String() != filter.String() {
			t.Fatalf("%q is written as\n%s, read as\n%v, %v", text, filter, again, err)
		}
		set, err := x.Select(filter)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Column < 1 || e.Text != text {
				t.Fatalf("%#v", err)
			}
			return
		}
		for _, o := range ordinals {
			if set.Contains(o) != filter.Matches(papers[o]) {
				t.Fatalf("%s: paper %d is in the set: %v; its fields are %v", filter, o, set.Contains(o), papers[o])
			}
		}
	})
}
