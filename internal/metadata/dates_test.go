package metadata

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// Which papers a time leaves out, by the precision of their date and of its bounds.
func TestPublished(t *testing.T) {
	papers := []string{
		"a " + `"2020"`, "b 2020", "c " + `"2020-05"`, "d " + `"2020-05-02"`, "e " + `"2020-05-03"`, "f " + `"2020-05-03T12:00:00Z"`, "g " + `"2020-12-31"`,
		"h " + `"2021-01-01T00:30:00+01:00"`, "i 2021", "j " + `"in press"`, "k 2020.5", "l true", "m [2019, \"2022-01\"]", "n " + `"2019-12"`, "o 0", "p 12345", "q " + `"x2020"`, "r 7",
	}
	x, all := New(), map[uint64]Fields{}
	for i, p := range papers {
		id, at, _ := strings.Cut(p, " ")
		f := fields(t, Paper{ID: id, Metadata: []byte(`{"at":` + at + `}`)})
		if all[uint64(i)] = f; x.Add(uint64(i), f) != nil {
			t.Fatal(p)
		}
	}
	for _, test := range []struct{ after, before, want string }{
		{"2020", "", "abcdefghim"},
		{"2020-05", "", "abcdefghim"},
		{"2020-05-03", "", "abcefghim"},
		{"2020-05-03T12:00:00Z", "", "abcefghim"},
		{"2020-05-03T12:00:00.001Z", "", "abceghim"},
		{"2020-06", "", "abghim"},
		{"2021", "", "im"},
		{"", "2020", "abcdefghmnr"},
		{"", "2020-12-31", "abcdefghmnr"},
		{"", "2020-12-31T23:29:59Z", "abcdefgmnr"},
		{"", "2020-05-02", "abcdmnr"},
		{"", "2020-05", "abcdefmnr"},
		{"", "2019", "mnr"},
		{"2019-12-31", "2019-12-31", "mn"},
		{"2020-05-03", "2020-05-03", "abcef"},
		{"2020-05-03T12:00:00Z", "2020-05-03T12:00:00Z", "abcef"},
		{"2021-06", "2021-06", "i"},
		{"2022-01-20", "", "m"},
		{"2022-02", "", ""},
		{"0001", "0006", ""},
		{"0007", "0007", "r"},
		{"", "", "abcdefghijklmnopqr"},
	} {
		f, err := Published("metadata.at", test.after, test.before)
		if err != nil {
			t.Fatalf("%q to %q: %v", test.after, test.before, err)
		}
		set, err := x.Select(f)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for o := range set.Ordinals() {
			got += papers[o][:1]
		}
		if got != test.want || !slices.Equal(slices.Collect(set.Ordinals()), scan(all, f)) {
			t.Errorf("%q to %q: %s, paper by paper %v, want %s", test.after, test.before, got, scan(all, f), test.want)
		}
		only, err := Parse(`id >= "e"`)
		if err != nil {
			t.Fatal(err)
		}
		if set, err := x.Select(And(nil, only, f)); err != nil || !slices.Equal(slices.Collect(set.Ordinals()), scan(all, And(f, only))) {
			t.Errorf("%q to %q and an id: %v, %v", test.after, test.before, set, err)
		}
	}
	for _, test := range []struct{ after, before, want string }{
		{"2020-13", "", `"2020-13" is not a date`},
		{"", "soon", `"soon" is not a date`},
		{"", "20", `"20" is not a date`},
		{"2021", "2020-12", "2020-12 ends before 2021 begins"},
		{strings.Repeat("9", 1<<20), "", "is not a date"},
	} {
		f, err := Published("year", test.after, test.before)
		if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 300 {
			t.Errorf("%.20q to %q: %v, %v, want %s", test.after, test.before, f, err, test.want)
		}
	}
	f, _ := Published("year", "2020", "")
	if _, err := Parse(f.String()); err == nil || And() != nil || And(nil, &Filter{}) != nil {
		t.Errorf("%v reads as a filter, or nothing and nothing are something", f)
	}
}

// Random dates of every precision, in the index as paper by paper; the middle is where it must be.
func TestPublishedIsMatches(t *testing.T) {
	rng := testkit.Rand(t)
	x, papers := New(), map[uint64]Fields{}
	for o := range uint64(800) {
		p := randomPaper(rng, int(o))
		if rng.IntN(3) == 0 {
			p.Metadata = []byte(fmt.Sprintf(`{"listed": [%q, %d, %q], "mixed": %d}`, randomDate(rng), 2018+rng.IntN(4), randomDate(rng), 2018+rng.IntN(4)))
		}
		papers[o] = fields(t, p)
		if err := x.Add(o, papers[o]); err != nil {
			t.Fatal(err)
		}
	}
	some := 0
	for range 400 {
		field := []string{"year", "metadata.listed", "metadata.mixed", "metadata.n", "metadata.nosuch"}[rng.IntN(5)]
		after, before := randomDate(rng), randomDate(rng)
		switch rng.IntN(3) {
		case 0:
			after = ""
		case 1:
			before = ""
		}
		f, err := Published(field, after, before)
		if err != nil {
			continue // the bounds are the wrong way round
		}
		set, err := x.Select(f)
		if err != nil {
			t.Fatal(err)
		}
		if want := scan(papers, f); !slices.Equal(slices.Collect(set.Ordinals()), want) {
			t.Fatalf("%v: %d papers, want %d", f, set.Len(), len(want))
		}
		if n := set.Len(); n > 0 && n < len(papers) {
			some++
		}
	}
	if some < 100 {
		t.Errorf("%d filters were met by some papers and not all", some)
	}
	ordinals := append(slices.Sorted(maps.Keys(papers)), 9999)
	for _, field := range []string{"year", "metadata.listed", "metadata.mixed"} {
		for i, at := range x.Dates(field, ordinals) {
			want, ok := papers[ordinals[i]].Date(field)
			if !at.Equal(want) || ok == at.IsZero() {
				t.Fatalf("%s of %d is %v, want %v, %v", field, ordinals[i], at, want, ok)
			}
		}
	}
}

func TestDate(t *testing.T) {
	for _, test := range []struct{ field, metadata, want string }{
		{"year", `{}`, "2021-07-02T12:00:00Z"},
		{"metadata.at", `{"at":"2020-05-03"}`, "2020-05-03T12:00:00Z"},
		{"metadata.at", `{"at":["2021-01","2020",2022]}`, "2020-07-02T00:00:00Z"}, // a leap year
		{"metadata.at", `{"at":["2020","2020-01-01"]}`, "2020-01-01T12:00:00Z"},
		{"metadata.at", `{"at":"2020-05-03T10:00:00+02:00"}`, "2020-05-03T08:00:00Z"},
		{"metadata.at", `{"at":["soon",true,2020.5,0]}`, ""},
		{"venue", `{}`, ""}, // of the papers' own, that is no date
		{"metadata.no", `{}`, ""},
	} {
		at, ok := fields(t, Paper{ID: "a", Year: 2021, Venue: "2021", Metadata: []byte(test.metadata)}).Date(test.field)
		got := at.Format(time.RFC3339)
		if ok != (test.want != "") || ok && got != test.want {
			t.Errorf("%s of %s is %s, %v, want %s", test.field, test.metadata, got, ok, test.want)
		}
	}
}
