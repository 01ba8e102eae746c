package metadata

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"embedd/internal/testkit"
)

// randomPaper has fields of every kind, and of one that is mixed.
func randomPaper(rng *rand.Rand, n int) Paper {
	p := Paper{ID: fmt.Sprintf("p%03d", n), Year: int32(rng.IntN(4)) * (2018 + int32(rng.IntN(3)))}
	for range rng.IntN(4) {
		p.Authors = append(p.Authors, "Author "+string(rune('A'+rng.IntN(20))))
	}
	if rng.IntN(2) == 0 {
		p.Venue = []string{"ACL", "acl", "A*", `A\`, "EMNLP"}[rng.IntN(5)]
	}
	if rng.IntN(50) == 0 {
		p.DOI = strings.Repeat("long", 300)
	}
	m := map[string]any{}
	if rng.IntN(3) > 0 {
		m["categories"] = pick(rng, "cs.CL", "cs.AI", "cs.LG", "math.CO", "")
	}
	if rng.IntN(3) > 0 {
		m["listed"] = randomDate(rng)
	}
	if rng.IntN(3) > 0 {
		m["n"] = float64(rng.IntN(400)-200) / 4
	}
	if rng.IntN(3) > 0 {
		m["open"] = rng.IntN(2) == 0
	}
	if rng.IntN(2) == 0 {
		m["mixed"] = []any{randomDate(rng), rng.IntN(2022), "word", true, "2020x", nil}[rng.IntN(6)]
	}
	if rng.IntN(4) == 0 {
		m["people"] = []any{map[string]any{"name": pick(rng, "x", "y"), "age": rng.IntN(5)}, map[string]any{"name": "z"}, []any{1}}
	}
	if rng.IntN(100) == 0 {
		m["rare key"] = 1
	}
	p.Metadata, _ = json.Marshal(m)
	return p
}

func pick(rng *rand.Rand, from ...string) []string {
	rng.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:rng.IntN(len(from))]
}

func randomDate(rng *rand.Rand) string {
	text := fmt.Sprintf("20%02d-%02d-%02dT%02d:00:00+01:00", 19+rng.IntN(3), 1+rng.IntN(12), 1+rng.IntN(28), rng.IntN(24))
	return text[:[]int{4, 7, 10, 25}[rng.IntN(4)]]
}

// randomFilter is a text that Parse reads, of fields that randomPaper has.
func randomFilter(rng *rand.Rand, depth int) string {
	if depth > 0 && rng.IntN(3) > 0 {
		a, b := randomFilter(rng, depth-1), randomFilter(rng, depth-1)
		return []string{"(" + a + ") AND (" + b + ")", "(" + a + ") OR (" + b + ")", "NOT (" + a + ")", a + " AND " + b}[rng.IntN(4)]
	}
	type values struct {
		field, ops string
		values     []string
	}
	date := quote(randomDate(rng))
	list := []values{
		{"id", "all", []string{`"p1*"`, `"p012"`, `"p5"`}},
		{"authors", "eq", []string{`"Author C"`, `"Author *"`, `"B*"`}},
		{"year", "all", []string{"2019", "2020", "4036", "-1", "2019.5"}},
		{"venue", "all", []string{`"ACL"`, `"A\\*"`, `"A*"`, `"a"`, `"B"`, `"A\\"`}},
		{"doi", "all", []string{`"longer"`, `"long*"`}},
		{"categories", "eq", []string{`cs.CL`, `"cs.*"`, `math.CO`, `""`, `(cs.AI OR cs.LG)`}},
		{"listed", "all", []string{date, date, "2020", "2019"}},
		{"metadata.n", "all", []string{"0", "-12.25", "49.75", "1000"}},
		{"open", "eq", []string{"true", "false"}},
		{"metadata.mixed", "all", []string{date, "2020", `"word"`, `"2020x"`, `"20*"`, "1500", `"a"`}},
		{"metadata.mixed", "eq", []string{"true"}},
		{"people.name", "all", []string{"x", "z", "(x y)"}},
		{"people.age", "all", []string{"3"}},
	}
	c := list[rng.IntN(len(list))]
	if rng.IntN(8) == 0 {
		return c.field + ":*"
	}
	ops := []string{"=", "!=", ":"}
	if c.ops == "all" {
		ops = append(ops, "<", "<=", ">", ">=")
	}
	op, value := ops[rng.IntN(len(ops))], c.values[rng.IntN(len(c.values))]
	return c.field + " " + op + " " + value
}

func fields(t testing.TB, p Paper) Fields {
	t.Helper()
	f, err := NewFields(p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func check(t testing.TB, x *Index) {
	t.Helper()
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
}

// scan is the slow truth of Select.
func scan(papers map[uint64]Fields, f *Filter) []uint64 {
	var want []uint64
	for o, p := range papers {
		if f.Matches(p) {
			want = append(want, o)
		}
	}
	slices.Sort(want)
	return want
}

// Papers come, are replaced and go; the index answers random filters as each paper does.
func TestSelectIsMatches(t *testing.T) {
	rng := testkit.Rand(t)
	x, papers := New(), map[uint64]Fields{}
	change := func() {
		o := uint64(1 + rng.IntN(100_000)*7)
		if n := len(papers); n > 0 && rng.IntN(3) == 0 {
			o = slices.Sorted(maps.Keys(papers))[rng.IntN(n)]
		}
		if _, there := papers[o]; there && rng.IntN(2) == 0 || rng.IntN(20) == 0 {
			if x.Remove(o) != there {
				t.Fatalf("Remove(%d) is %v", o, !there)
			}
			delete(papers, o)
			return
		}
		papers[o] = fields(t, randomPaper(rng, rng.IntN(1000)))
		if err := x.Add(o, papers[o]); err != nil {
			t.Fatal(err)
		}
	}
	filters, some := 0, 0
	for range 30 {
		for range 50 {
			change()
		}
		check(t, x)
		compareFields(t, x, papers)
		for range 10 {
			text := randomFilter(rng, 3)
			f, err := Parse(text)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			got, err := x.Select(f)
			if err != nil {
				if e, ok := errors.AsType[*Error](err); !ok || e.Column == 0 { // too few papers for each field to have each kind of value
					t.Fatalf("%s: %v", text, err)
				}
				continue
			}
			filters++
			if got.Len() > 0 && got.Len() < len(papers) {
				some++
			}
			want := scan(papers, f)
			if !slices.Equal(slices.Collect(got.Ordinals()), want) {
				t.Fatalf("%s: %d papers, want %d", text, got.Len(), len(want))
			}
			for o := range papers {
				if _, in := slices.BinarySearch(want, o); got.Contains(o) != in {
					t.Fatalf("%s: Contains(%d) is %v", text, o, !in)
				}
			}
			again, err := Parse(f.String())
			if err != nil || !same(f.root, again.root) {
				t.Fatalf("%s is read again as %v: %v", text, again, err)
			}
			if rng.IntN(10) == 0 {
				compareFacets(t, x, papers, got)
			}
		}
	}
	if filters < 200 || some < 100 {
		t.Errorf("%d filters were answered, %d of them with some papers and not all", filters, some)
	}
	for o := range papers {
		x.Remove(o)
	}
	check(t, x)
	if x.Len() != 0 || len(x.fields) != 0 || x.size != 0 {
		t.Errorf("an empty index has %d papers, %d fields and %d bytes", x.Len(), len(x.fields), x.size)
	}
}

// compareFields compares Fields with a count.
func compareFields(t *testing.T, x *Index, papers map[uint64]Fields) {
	t.Helper()
	type counts struct {
		papers, several int
		values          map[Value]bool
	}
	want := map[string]*counts{}
	for name := range own {
		want[name] = &counts{values: map[Value]bool{}}
	}
	for _, p := range papers {
		last := ""
		for i, e := range p.entries {
			c := want[e.name]
			if c == nil {
				c = &counts{values: map[Value]bool{}}
				want[e.name] = c
			}
			c.values[e.value] = true
			if e.name != last {
				c.papers++
			} else if i < 2 || p.entries[i-2].name != e.name {
				c.several++
			}
			last = e.name
		}
	}
	list := x.Fields()
	if len(list) != len(want) || !slices.IsSortedFunc(list, func(a, b Field) int { return strings.Compare(a.Name, b.Name) }) {
		t.Fatalf("%d fields, want %d: %v", len(list), len(want), list)
	}
	for _, f := range list {
		c := want[strings.ReplaceAll(f.Name, `"`, "")]
		if c == nil || f.Papers != c.papers || f.Values != len(c.values) || f.Repeated != (c.several > 0) || f.Type == 0 {
			t.Fatalf("%+v, want %+v", f, c)
		}
	}
}

// What a filter means, paper by paper.
func TestMatches(t *testing.T) {
	papers := []Paper{
		{ID: "a", Year: 2019, Venue: "ACL", Authors: []string{"Ann", "Bob"}, Metadata: []byte(`{"at":"2021-06","n":1,"open":true,"v":"2021"}`)},
		{ID: "b", Year: 2020, Metadata: []byte(`{"at":"2021-06-30T23:30:00-01:00","n":[2,3],"v":"20","t":{"u":"x"}}`)},
		{ID: "c", Venue: "acl", Metadata: []byte(`{"at":"2020-12-31","n":"1","open":false,"v":2021,"year":5,"t":[{"u":"y"},{"u":["z"]}]}`)},
		{ID: "d", Metadata: []byte(`{"n":null,"t":{},"a.b":1,"a":{"b":2}}`)},
	}
	x := New()
	for i, p := range papers {
		if err := x.Add(uint64(i), fields(t, p)); err != nil {
			t.Fatal(err)
		}
	}
	check(t, x)
	for _, test := range []struct{ text, want string }{
		{``, "abcd"},
		{`year >= 2020`, "b"},
		{`year != 2020`, "a"},
		{`NOT year = 2020`, "acd"},
		{`NOT year:*`, "cd"},
		{`metadata.year = 5`, "c"},
		{`venue = "ACL"`, "a"},
		{`venue > "ACL"`, "c"},
		{`authors:Bob`, "a"},
		{`authors != Bob`, ""},
		{`authors = "B*"`, "a"},
		{`at = "2021"`, "ab"},
		{`at = 2021`, "ab"},
		{`at = "2021-06"`, "a"},
		{`at = "2021-07"`, "b"}, // in UTC
		{`at <= "2021-06"`, "ac"},
		{`at > "2021-06"`, "b"},
		{`at > "2020-12-31"`, "ab"},
		{`at >= "2021-07-01T00:30:00Z"`, "b"},
		{`at > "2021-07-01T00:30:00Z"`, ""},
		{`at = "2021-0*"`, "ab"},
		{`at != 2020`, "ab"},
		{`n = 1`, "a"},
		{`n = "1"`, "c"},
		{`n > 1`, "b"},
		{`n != 2`, "ac"},
		{`n:*`, "abc"},
		{`open = true`, "a"},
		{`open != true`, "c"},
		{`v = 2021`, "ac"},
		{`v = "2021"`, "a"},
		{`v >= "20"`, "ab"},
		{`t.u = ("x" OR "z")`, "bc"},
		{`a.b = 1 AND a.b = 2`, "d"},
		{`metadata:at AND -year:*`, "c"},
	} {
		f, err := Parse(test.text)
		if err != nil {
			t.Fatal(err)
		}
		set, err := x.Select(f)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		got, slow := "", ""
		for i, p := range papers {
			if set.Contains(uint64(i)) {
				got += p.ID
			}
			if f.Matches(fields(t, p)) {
				slow += p.ID
			}
		}
		if got != test.want || slow != test.want {
			t.Errorf("%s: the index has %q, Matches %q, want %q", test.text, got, slow, test.want)
		}
	}
	if set, err := x.Select(nil); err != nil || set.Len() != len(papers) || !(*Filter)(nil).Matches(Fields{}) {
		t.Errorf("no filter: %v, %v", set, err)
	}
}

// A filter that no paper could meet by mistake is refused, with what it may have meant.
func TestSelectRefuses(t *testing.T) {
	x := New()
	add := func(o uint64, metadata string) {
		if err := x.Add(o, fields(t, Paper{ID: "a", Metadata: []byte(metadata)})); err != nil {
			t.Fatal(err)
		}
	}
	add(1, `{"categories":["x"],"at":"2021","n":1,"open":true,"mixed":[1,"x"],"long":"`+strings.Repeat("x", MaxValueBytes+1)+`"}`)
	for _, test := range []struct {
		text   string
		column int
		want   string
	}{
		{`year = 1 AND category = "x"`, 14, "no paper has a field metadata.category; is it metadata.categories?"},
		{`yaer = 1`, 1, "is it year?"},
		{`bogus = 1`, 1, "no paper has a field metadata.bogus, nor one of a like name; GetInfo and embedd info list the fields"},
		{`at > june`, 6, `metadata.at is a date, and cannot be compared with "june"; write a year`},
		{`at > 5`, 6, "is a date"},
		{`n = one`, 5, "metadata.n is a number"},
		{`n = true`, 5, "metadata.n is a number"},
		{`open = "true"`, 8, "metadata.open is true or false"},
		{`categories = 5`, 14, "metadata.categories is a string; put 5 into quotes"},
		{`categories = true`, 14, "put true into quotes"},
		{`mixed = true`, 0, ""},
		{`mixed > "y"`, 0, ""},
		{`long = "xxx*"`, 0, ""},
		{`doi = "x"`, 0, ""},
	} {
		f, err := Parse(test.text)
		if err != nil {
			t.Fatal(err)
		}
		set, err := x.Select(f)
		if test.want == "" {
			if err != nil || set.Len() > 0 {
				t.Errorf("%s: %v, %v", test.text, set, err)
			}
			continue
		}
		if e, ok := errors.AsType[*Error](err); !ok || e.Column != test.column || e.Text != test.text || !strings.Contains(e.Message, test.want) {
			t.Errorf("%s: %v, want column %d: %s", test.text, err, test.column, test.want)
		}
	}
	if err := x.Add(1<<32, Fields{}); err == nil {
		t.Error("an ordinal of 33 bits is taken")
	}
	if x.Remove(1<<32) || x.Remove(1<<32+1) {
		t.Error("an ordinal of 33 bits is removed")
	}
	check(t, x)
}

// What is over a limit is told, and the rest is there.
func TestNewFieldsLimits(t *testing.T) {
	object := func(n int) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf(`"k%03d":%d`, i, i))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	list := func(n int) string {
		return `{"a":[` + strings.Trim(fmt.Sprint(slices.Repeat([]int{1}, n)), "[]") + `]}`
	}
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for _, test := range []struct {
		metadata string
		entries  int // with the id
		want     string
	}{
		{`{}`, 1, ""}, {`{"a":null,"b":[],"c":{}}`, 1, ""}, {`[]`, 1, "is not a JSON object"}, {`{"a":`, 1, "is not a JSON object"},
		{object(MaxNames), MaxNames + 1, ""},
		{object(MaxNames + 1), MaxNames + 1, "metadata.k256: is one field too many; the limit is 256"},
		{strings.ReplaceAll(list(MaxValues), " ", ","), 2, ""},
		{strings.ReplaceAll(list(MaxValues+1), " ", ","), 2, "metadata.a: is one value too many; the limit is 4096"},
		{deep(MaxDepth), 2, ""}, {deep(MaxDepth + 1), 1, "lies in more than 8 objects and lists"},
		{`{"a":` + strings.Repeat("[", 7) + "1" + strings.Repeat("]", 7) + `}`, 2, ""},
		{`{"a":` + strings.Repeat("[", 8) + "1" + strings.Repeat("]", 8) + `}`, 1, "lies in more than 8"},
		{`{"` + strings.Repeat("k", MaxNameBytes) + `":1}`, 2, ""},
		{`{"` + strings.Repeat("k", MaxNameBytes+1) + `":1,"z":1}`, 2, "has 257 bytes; the limit is 256"},
	} {
		f, err := NewFields(Paper{ID: "a", Metadata: []byte(test.metadata)})
		if len(f.entries) != test.entries || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %d values, %v, want %d, %q", shorten(test.metadata), len(f.entries), err, test.entries, test.want)
		}
	}
}

// Readers beside a writer see each paper whole or not at all, and sets that they keep do not change.
func TestReadersBesideAWriter(t *testing.T) {
	x := New()
	one := fields(t, Paper{ID: "one", Metadata: []byte(`{"n":1,"m":1}`)})
	two := fields(t, Paper{ID: "two", Metadata: []byte(`{"n":2,"m":2}`)})
	if err := x.Add(0, one); err != nil { // so that the fields are known
		t.Fatal(err)
	}
	torn, err := Parse(`(n = 1 AND m = 2) OR (n = 2 AND m = 1) OR (n:* AND -id:*)`)
	if err != nil {
		t.Fatal(err)
	}
	all, _ := Parse(`n < 3`)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for range 300 {
				if set, err := x.Select(torn); err != nil || set.Len() > 0 {
					t.Errorf("%v of %v, %v", set.Len(), torn, err)
					return
				}
				set, err := x.Select(all)
				if err != nil {
					t.Error(err)
					return
				}
				before := slices.Collect(set.Ordinals())
				x.Fields()
				x.Bytes()
				if _, err := x.Facets(t.Context(), "metadata.n", set, 3, false); err != nil {
					t.Error(err)
				}
				if after := slices.Collect(set.Ordinals()); !reflect.DeepEqual(before, after) {
					t.Errorf("a set had %d papers, has %d", len(before), len(after))
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { readers.Wait(); close(done) }()
	for i := 0; ; i++ {
		select {
		case <-done:
			check(t, x)
			return
		default:
		}
		o := uint64(1 + i%100)
		switch i / 100 % 3 {
		case 0:
			err = x.Add(o, one)
		case 1:
			err = x.Add(o, two)
		case 2:
			x.Remove(o)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What papers beyond a scope have does not show, neither in the set nor in the error.
func TestSelectWithin(t *testing.T) {
	x := New()
	for i, metadata := range []string{`{"c": "in", "n": 1}`, `{"c": "in"}`, `{"c": "out", "n": 2, "secret": true}`} {
		f, err := NewFields(Paper{ID: string(rune('a' + i)), Metadata: []byte(metadata)})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Add(uint64(i+1), f); err != nil {
			t.Fatal(err)
		}
	}
	parse := func(text string) *Filter {
		f, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	in := parse("c = in")
	for _, c := range []struct {
		filter string
		want   []uint64
	}{{"id:*", []uint64{1, 2}}, {"n >= 1", []uint64{1}}, {"NOT n = 1", []uint64{2}}, {`n = "x"`, nil}, {"c = out", nil}} {
		set, err := x.SelectWithin(in, parse(c.filter))
		if err != nil || !slices.Equal(slices.Collect(set.Ordinals()), c.want) {
			t.Errorf("%q: %v %v, want %v", c.filter, set, err, c.want)
		}
	}
	if set, err := x.SelectWithin(in, nil); err != nil || set.Len() != 2 {
		t.Errorf("%v %v", set, err)
	}
	_, there := x.SelectWithin(in, parse("secret:*"))
	_, not := x.SelectWithin(in, parse("nosuch:*"))
	if there == nil || not == nil || strings.ReplaceAll(there.Error(), "secret", "nosuch") != not.Error() {
		t.Errorf("a field of others: %v; one that nobody has: %v", there, not)
	}
	for _, scope := range []*Filter{nil, parse("nosuch = 1"), parse(`n = "x"`)} {
		if _, err := x.SelectWithin(scope, nil); !errors.Is(err, ErrScope) {
			t.Errorf("scope %v: %v, want ErrScope", scope, err)
		}
	}
	// A scope is evaluated once, until a paper comes or goes; a set that was given does not change.
	before, err := x.SelectWithin(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFields(Paper{ID: "d", Metadata: []byte(`{"c": "in"}`)})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Add(4, f); err != nil {
		t.Fatal(err)
	}
	if set, err := x.SelectWithin(in, nil); err != nil || set.Len() != 3 || before.Len() != 2 {
		t.Errorf("one more paper: %v %v; the set of before has %d", set, err, before.Len())
	}
	x.Remove(4)
	for i := range mostAnswers + 1 {
		if set, err := x.SelectWithin(parse(fmt.Sprintf("c = in AND n < %d", i)), nil); err != nil || set.Len() != min(1, max(0, i-1)) {
			t.Errorf("scope %d: %v %v", i, set, err)
		}
	}
	if len(x.answers.sets) > mostAnswers {
		t.Errorf("%d scopes are kept", len(x.answers.sets))
	}
	if err := x.Check(); err != nil {
		t.Error(err)
	}
}
