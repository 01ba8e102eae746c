package retrieval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// fieldOf is the field that an error names.
func fieldOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}

// Modes say which papers a write may write; it is all of them or none.
func TestWriteModes(t *testing.T) {
	enc := newBag()
	c := open(t, t.TempDir(), enc)
	put(t, c, paper("a", "graphs"))
	for _, x := range []struct {
		mode  WriteMode
		ids   string
		kind  Kind
		field string
	}{
		{InsertOnly, "b a", AlreadyExists, "papers[1].id"},
		{InsertOnly, "b", 0, ""},
		{InsertOnly, "b", AlreadyExists, "papers[0].id"},
		{UpdateOnly, "a c", NotFound, "papers[1].id"},
		{UpdateOnly, "a b", 0, ""},
		{WriteAny, "a b c", 0, ""},
	} {
		before, _ := c.Info()
		var papers []Paper
		for _, id := range strings.Fields(x.ids) {
			papers = append(papers, paper(id, fmt.Sprint("text ", id, x.mode)))
		}
		results, _, err := c.Write(t.Context(), papers, x.mode)
		if x.field != "" {
			if KindOf(err) != x.kind || fieldOf(err) != x.field {
				t.Errorf("mode %d of %s: %v, want kind %d about %s", x.mode, x.ids, err, x.kind, x.field)
			}
			if after, _ := c.Info(); after.Version != before.Version {
				t.Errorf("mode %d of %s: something was written", x.mode, x.ids)
			}
			continue
		}
		if err != nil || len(results) != len(papers) {
			t.Errorf("mode %d of %s: %v, %v", x.mode, x.ids, results, err)
		}
	}
}

// A paper that is refused leaves the others alone, and each has the error that it would have alone.
func TestIngestRefusesOneByOne(t *testing.T) {
	enc := newBag()
	c := open(t, t.TempDir(), enc)
	put(t, c, paper("old", "graphs"))
	papers := []Paper{
		paper("a", "one"), paper("", "no id"), paper("old", "graphs"), {ID: "blank"}, paper("b", "two"), paper("unreadable", "\u200b"),
		{ID: "year", Title: "t", Year: 123456}, paper("c", "three"), paper("unreadable too", "\u200b x"), paper("d", "four"),
		{ID: "past", Title: "t", Expires: time.Now().Add(-time.Hour)}, {ID: "vector", Title: "t", Vector: []float32{1}},
	}
	want := []string{"", "papers[1].id", "", "papers[3]", "", "papers[5]", "papers[6].year", "", "papers[8]", "", "papers[10].expires", "papers[11].vector"}
	results, refused, version, err := c.Ingest(t.Context(), papers, WriteAny)
	if err != nil {
		t.Fatal(err)
	}
	for i := range papers {
		if got := fieldOf(refused[i]); got != want[i] || (refused[i] == nil) != (want[i] == "") {
			t.Errorf("paper %d (%s): %v, want an error about %q", i, papers[i].ID, refused[i], want[i])
		}
		if _, _, err := c.Get(t.Context(), papers[i].ID, Which{}); (err == nil) != (want[i] == "") {
			t.Errorf("paper %d (%s): Get says %v", i, papers[i].ID, err)
		}
		if refused[i] == nil && (results[i].ID != papers[i].ID || results[i].TextUse.Tokens == 0) {
			t.Errorf("paper %d: the result is %+v", i, results[i])
		}
	}
	if results[2].Outcome != Unchanged || results[0].Outcome != Created {
		t.Errorf("results %+v", results)
	}
	if info, _ := c.Info(); version != info.Version {
		t.Errorf("version %d, want %d", version, info.Version)
	}
	// All of them again: nothing is encoded, and nothing is written.
	encoded := enc.encoded.Load()
	if _, _, again, err := c.Ingest(t.Context(), papers[:1], WriteAny); err != nil || again != version || enc.encoded.Load() != encoded {
		t.Errorf("again: version %d, %v; %d texts were encoded", again, err, enc.encoded.Load()-encoded)
	}
	_, refused, _, err = c.Ingest(t.Context(), []Paper{paper("a", "one"), paper("e", "new")}, InsertOnly)
	if err != nil || KindOf(refused[0]) != AlreadyExists || refused[1] != nil {
		t.Errorf("inserted: %v, %v", refused, err)
	}
}

func TestUpdateMetadata(t *testing.T) {
	enc := newBag()
	c := open(t, t.TempDir(), enc)
	all := Paper{ID: "a", Title: "graphs", Authors: []string{"X"}, Year: 2019, Venue: "V", DOI: "10.1/a", ArxivID: "1", URL: "u",
		Metadata: []byte(`{"keep":1,"tags":["x"]}`), Expires: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)}
	for _, x := range []struct {
		name string
		from Paper
		mask string
		want func(p *Paper)
	}{
		{"a fact", Paper{Year: 2020}, "year", func(p *Paper) { p.Year = 2020 }},
		{"all facts away", Paper{}, "authors year venue doi arxiv_id url expires metadata", func(p *Paper) {
			*p = Paper{ID: p.ID, Title: p.Title}
		}},
		{"what the mask does not name stays", Paper{Year: 2020, Venue: "W", Title: "another"}, "venue", func(p *Paper) { p.Venue = "W" }},
		{"a member", Paper{Metadata: []byte(`{"tags":["y","<z>"],"other":true}`)}, "metadata.tags", func(p *Paper) { p.Metadata = []byte(`{"keep":1,"tags":["y","<z>"]}`) }},
		{"a member away", Paper{}, "metadata.keep", func(p *Paper) { p.Metadata = []byte(`{"tags":["x"]}`) }},
		{"the last away", Paper{}, "metadata.keep metadata.tags", func(p *Paper) { p.Metadata = nil }},
		{"all of the metadata", Paper{Metadata: []byte(`{"n":1}`)}, "metadata", func(p *Paper) { p.Metadata = []byte(`{"n":1}`) }},
		{"a member away that is not there", Paper{}, "metadata.none", func(*Paper) {}},
		{"the same", Paper{Year: 2019}, "year", func(*Paper) {}},
	} {
		put(t, c, all)
		encoded := enc.encoded.Load()
		want := all
		x.want(&want)
		results, _, err := c.UpdateMetadata(t.Context(), []MetadataUpdate{{ID: "a", Paper: x.from, Mask: strings.Fields(x.mask)}})
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		got, use, err := c.Get(t.Context(), "a", Which{})
		if err != nil || !samePaper(&got, &want) {
			t.Errorf("%s: the paper is %+v, %v; want %+v", x.name, got, err, want)
		}
		outcome := Updated
		if samePaper(&all, &want) {
			outcome = Unchanged
		}
		if results[0].Outcome != outcome || results[0].TextUse != use || enc.encoded.Load() != encoded {
			t.Errorf("%s: the result is %+v, want outcome %d and %+v; %d texts were encoded", x.name, results[0], outcome, use, enc.encoded.Load()-encoded)
		}
	}
}

func TestUpdateMetadataRefuses(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	put(t, c, paper("a", "graphs"), paper("b", "words"))
	good := MetadataUpdate{ID: "b", Paper: Paper{Year: 2020}, Mask: []string{"year"}}
	for _, x := range []struct {
		field   string
		kind    Kind
		updates []MetadataUpdate
	}{
		{"updates", Invalid, nil},
		{"updates", Invalid, make([]MetadataUpdate, MaxPapersPerCall+1)},
		{"updates[1].id", Invalid, []MetadataUpdate{good, {Mask: []string{"year"}}}},
		{"updates[1].id", Invalid, []MetadataUpdate{good, good}},
		{"updates[1].id", NotFound, []MetadataUpdate{good, {ID: "c", Mask: []string{"year"}}}},
		{"updates[1].update_mask", Invalid, []MetadataUpdate{good, {ID: "a"}}},
		{"updates[1].update_mask", Invalid, []MetadataUpdate{good, {ID: "a", Mask: []string{"title"}}}},
		{"updates[1].update_mask", Invalid, []MetadataUpdate{good, {ID: "a", Mask: []string{"metadata."}}}},
		{"updates[1].update_mask", Invalid, []MetadataUpdate{good, {ID: "a", Mask: []string{"year", "year"}}}},
		{"updates[1].update_mask", Invalid, []MetadataUpdate{good, {ID: "a", Mask: []string{"metadata", "metadata.x"}}}},
		{"updates[1].paper.year", Invalid, []MetadataUpdate{good, {ID: "a", Paper: Paper{Year: -1}, Mask: []string{"year"}}}},
		{"updates[1].paper.expires", Invalid, []MetadataUpdate{good, {ID: "a", Paper: Paper{Expires: time.Now().Add(-time.Hour)}, Mask: []string{"expires"}}}},
		{"updates[1].paper.metadata", Invalid, []MetadataUpdate{good, {ID: "a", Paper: Paper{Metadata: []byte("[]")}, Mask: []string{"metadata"}}}},
	} {
		_, _, err := c.UpdateMetadata(t.Context(), x.updates)
		if KindOf(err) != x.kind || fieldOf(err) != x.field {
			t.Errorf("%v, want kind %d about %s", err, x.kind, x.field)
		}
	}
	if p, _, err := c.Get(t.Context(), "b", Which{}); err != nil || p.Year != 0 {
		t.Errorf("an update beside one that was refused was made: %+v, %v", p, err)
	}
}

// A paper whose facts alone change keeps its words, and is found by them; one whose title changes is found by the new one.
func TestWordsFollowTheTitle(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	c.LoadDerived()
	put(t, c, Paper{ID: "a", Title: "protein folding", Abstract: "of cells"}, paper("b", "graph networks"))
	find := func(text string) []string {
		res, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: &text}, Mode: Lexical})
		if err != nil {
			t.Fatal(err)
		}
		return ids(res.Hits)
	}
	put(t, c, Paper{ID: "a", Title: "protein folding", Abstract: "of cells", Year: 2020})
	if got := find("protein"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after another year: %v", got)
	}
	// The same text, cut in another place: its vector stays, its words weigh otherwise.
	put(t, c, Paper{ID: "a", Title: "protein", Abstract: "folding of cells"})
	put(t, c, paper("c", "folding of cells"))
	if got := find("folding"); !slices.Equal(got, []string{"c", "a"}) {
		t.Errorf("after another title: %v", got)
	}
}

func TestDeleteWhere(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	papers := words(t, 2500)
	for i := range papers {
		papers[i].Year = int32(2000 + i%5)
	}
	put(t, c, papers...)
	filter := func(text string) Which {
		f, err := ParseFilter("filter", text)
		if err != nil {
			t.Fatal(err)
		}
		return Which{Filter: f, Field: "filter"}
	}
	count := func() int { info, _ := c.Info(); return info.Papers }
	if n, _, err := c.DeleteWhere(t.Context(), filter("year >= 2003"), true); err != nil || n != 1000 || count() != 2500 {
		t.Errorf("a dry run counts %d, %v; %d papers are left", n, err, count())
	}
	if n, _, err := c.DeleteWhere(t.Context(), filter("year >= 2001"), false); err != nil || n != 2000 || count() != 500 {
		t.Errorf("%d were removed, %v; %d papers are left", n, err, count())
	}
	if n, _, err := c.DeleteWhere(t.Context(), filter("year >= 2001"), false); err != nil || n != 0 {
		t.Errorf("once more: %d were removed, %v", n, err)
	}
	if _, _, err := c.DeleteWhere(t.Context(), Which{Field: "filter"}, false); KindOf(err) != Invalid || fieldOf(err) != "filter" {
		t.Errorf("without a filter: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if _, _, err := c.DeleteWhere(ctx, filter("year = 2000"), false); !errors.Is(err, context.DeadlineExceeded) && KindOf(err) != Late {
		t.Errorf("after its deadline: %v", err)
	}
	// One that stops meeting the filter after it was chosen stays.
	still := func(id string) bool {
		p, _, err := c.Get(t.Context(), id, Which{})
		return err == nil && p.Year == 2009
	}
	w := filter("year = 2000")
	chosen, err := c.idsOf(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.UpdateMetadata(t.Context(), []MetadataUpdate{{ID: chosen[7], Paper: Paper{Year: 2009}, Mask: []string{"year"}}}); err != nil {
		t.Fatal(err)
	}
	removed, _, err := c.deleteIf(t.Context(), chosen, w.still(c))
	if err != nil || removed[7] != 0 || !still(chosen[7]) || count() != 1 {
		t.Errorf("it is gone: %v; %d papers are left", err, count())
	}
	n, missing, _, err := c.CountIDs(t.Context(), []string{chosen[7], "nobody"})
	if err != nil || n != 1 || !slices.Equal(missing, []string{"nobody"}) {
		t.Errorf("%d are stored, %v are not, %v", n, missing, err)
	}
	if err := unfinished(context.DeadlineExceeded, 3000, 10_000); KindOf(err) != Late || !strings.Contains(err.Error(), "after 3000 of 10000") {
		t.Error(err)
	}
}

// Own vectors: checked, scaled, told apart by their bits, and searched with without a model.
func TestOwnVectors(t *testing.T) {
	dir := t.TempDir()
	enc := newBag()
	settings := Settings{OwnVectors: true, Dimension: 3}
	c, err := Open(t.Context(), dir, enc, &Options{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	own := func(id, title string, v ...float32) Paper { return Paper{ID: id, Title: title, Vector: v} }
	given := own("a", "graphs", 3, 4, 0)
	put(t, c, given, own("b", "", 0, 2, 0), own("c", "protein folding", 0, 0, 1))
	if given.Vector[0] != 3 {
		t.Error("the caller's vector was changed")
	}
	v, ordinal, err := c.vectorOf("id", "a")
	if err != nil || math.Abs(float64(v[0])-.6) > 1e-6 || math.Abs(float64(v[1])-.8) > 1e-6 {
		t.Errorf("stored is %v, %v", v, err)
	}
	for _, x := range []struct {
		name  string
		p     Paper
		want  Outcome
		moves bool
	}{
		{"the same", own("a", "graphs", 3, 4, 0), Unchanged, false},
		{"as it is stored", own("a", "graphs", v...), Unchanged, false},
		{"another title", own("a", "graph networks", 3, 4, 0), Updated, false},
		{"another vector", own("a", "graph networks", 4, 3, 0), Updated, true},
	} {
		_, before, _ := c.vectorOf("id", "a")
		r := put(t, c, x.p)
		if _, after, _ := c.vectorOf("id", "a"); r[0].Outcome != x.want || (after != before) != x.moves {
			t.Errorf("%s: outcome %d, ordinal %d, was %d", x.name, r[0].Outcome, after, before)
		}
	}
	if ordinal == 0 {
		t.Error("no ordinal")
	}
	for _, x := range []struct {
		name string
		v    []float32
	}{
		{"none", nil}, {"empty", []float32{}}, {"too short", []float32{1, 2}}, {"zero", []float32{0, 0, 0}},
		{"NaN", []float32{float32(math.NaN()), 0, 1}}, {"infinite", []float32{float32(math.Inf(1)), 0, 1}},
	} {
		if _, _, err := c.Upsert(t.Context(), []Paper{own("x", "t", x.v...)}); fieldOf(err) != "papers[0].vector" {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if got := related(t, c, "a", 2); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("related: %v", got)
	}
	res, err := c.Search(t.Context(), SearchRequest{Input: Input{Vector: []float32{0, 0, 9}}, K: ptr(1)})
	if err != nil || res.Hits[0].Paper.ID != "c" {
		t.Errorf("by a vector: %v, %v", res, err)
	}
	res, err = c.Search(t.Context(), SearchRequest{Input: Input{Text: ptr("folding proteins")}})
	if err != nil || res.Mode != Lexical || !slices.Equal(ids(res.Hits), []string{"c"}) {
		t.Errorf("by a text: %+v, %v", res, err)
	}
	for _, mode := range []Mode{Dense, Hybrid} {
		if _, err := c.Search(t.Context(), SearchRequest{Input: Input{Text: ptr("folding")}, Mode: mode}); KindOf(err) != FailedPrecondition {
			t.Errorf("by a text, %v: %v", mode, err)
		}
	}
	if _, err := c.Encode(t.Context(), Bulk, Document, []string{"text"}); KindOf(err) != FailedPrecondition {
		t.Errorf("encode: %v", err)
	}
	if _, err := c.Explain(t.Context(), ExplainRequest{Input: Input{PaperID: "b"}, Field: "query", PaperID: "a"}); KindOf(err) != FailedPrecondition {
		t.Errorf("explain: %v", err)
	}
	if n := enc.encoded.Load(); n != 0 {
		t.Errorf("%d texts were encoded", n)
	}
	shut(t, c)
	if _, err := Open(t.Context(), dir, enc, nil); KindOf(err) != FailedPrecondition {
		t.Errorf("opened with a model: %v", err)
	}
	if _, err := Open(t.Context(), dir, enc, &Options{Settings: Settings{OwnVectors: true, Dimension: 4}}); KindOf(err) != FailedPrecondition {
		t.Errorf("opened with another dimension: %v", err)
	}
	if c, err = Open(t.Context(), dir, enc, &Options{Settings: settings}); err != nil {
		t.Fatal(err)
	}
	if got := related(t, c, "a", 2); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("opened again: %v", got)
	}
}

// A collection that was made with fields takes papers that keep to them.
func TestDeclaredFields(t *testing.T) {
	settings := Settings{Fields: []FieldSchema{
		{Name: "categories", Type: "string", Repeated: true, Required: true}, {Name: "citations", Type: "number"}, {Name: "open", Type: "bool"}, {Name: "read", Type: "date"},
	}}
	c, err := Open(t.Context(), t.TempDir(), newBag(), &Options{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	const field = "papers[0].metadata"
	for _, x := range []struct{ metadata, field string }{
		{`{"categories":["cs.CL","cs.IR"],"citations":3,"open":false,"read":"2024-05"}`, ""},
		{`{"categories":"cs.CL","read":null}`, ""},
		{``, field + ".categories"},
		{`{"categories":[]}`, field + ".categories"},
		{`{"categories":["cs.CL",1]}`, field + ".categories"},
		{`{"categories":["a"],"citations":"3"}`, field + ".citations"},
		{`{"categories":["a"],"citations":[3]}`, field + ".citations"},
		{`{"categories":["a"],"open":"true"}`, field + ".open"},
		{`{"categories":["a"],"read":"yesterday"}`, field + ".read"},
		{`{"categories":["a"],"read":2024}`, field + ".read"},
		{`{"categories":["a"],"colour":"red"}`, field + ".colour"},
		{`{"categories":[{"name":"a"}]}`, field + ".categories"},
	} {
		p := paper("a", "t")
		p.Metadata = []byte(x.metadata)
		if x.metadata == "" {
			p.Metadata = nil
		}
		if _, _, err := c.Upsert(t.Context(), []Paper{p}); fieldOf(err) != x.field || (err == nil) != (x.field == "") {
			t.Errorf("%s: %v, want an error about %q", x.metadata, err, x.field)
		}
	}
	if _, _, err := c.UpdateMetadata(t.Context(), []MetadataUpdate{{ID: "a", Mask: []string{"metadata.categories"}}}); fieldOf(err) != "updates[0].paper.metadata.categories" {
		t.Errorf("a required field was taken away: %v", err)
	}
}

// A name with points means what it means in a filter: the member of that name, where there is one, and otherwise one of a member that is an object.
func TestUpdateMembersOfMembers(t *testing.T) {
	for _, x := range []struct{ stored, from, name, want string }{
		{`{"a":{"b":1,"c":2}}`, `{"a.b":3}`, "a.b", `{"a":{"b":3,"c":2}}`},
		{`{"a":{"b":1,"c":2}}`, `{"a":{"b":3}}`, "a.b", `{"a":{"b":3,"c":2}}`},
		{`{"a":{"b":1,"c":2}}`, ``, "a.b", `{"a":{"c":2}}`},
		{`{"a":{"b":1},"d":4}`, ``, "a.b", `{"d":4}`},
		{`{"a.b":1,"a":{"b":2}}`, `{"a.b":3}`, "a.b", `{"a.b":3,"a":{"b":2}}`},
		{`{"a.b":1}`, ``, "a.b", ``},
		{`{"a":1}`, `{"a.b":3}`, "a.b", `{"a":1,"a.b":3}`},
		{``, `{"a.b":3}`, "a.b", `{"a.b":3}`},
		{``, `{"a":{"b":3}}`, "a.b", `{"a":{"b":3}}`},
		{`{"a":{"b":{"c":1}}}`, `{"a.b.c":"<"}`, "a.b.c", `{"a":{"b":{"c":"<"}}}`},
		{`{"x":1}`, ``, "a.b", `{"x":1}`},
	} {
		p := Paper{Metadata: []byte(x.stored)}
		u := MetadataUpdate{Paper: Paper{Metadata: []byte(x.from)}, Mask: []string{"metadata." + x.name}}
		if err := u.apply(&p); err != nil {
			t.Fatal(err)
		}
		var got, want any
		if len(p.Metadata) > 0 && json.Unmarshal(p.Metadata, &got) != nil || x.want != "" && json.Unmarshal([]byte(x.want), &want) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s of %s from %s: %s, want %s", x.name, x.stored, x.from, p.Metadata, x.want)
		}
	}
}

// A paper that is asked with under the id of a stored one is that one, whatever its text or vector: it is not found, and there are as many hits as
// without it.
func TestASearchByAStoredPaper(t *testing.T) {
	own, err := newOwnVectors(3)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*Collection{
		"text": open(t, t.TempDir(), newBag()),
		"own vectors": func() *Collection {
			c, err := Open(t.Context(), t.TempDir(), own, &Options{Settings: Settings{OwnVectors: true, Dimension: 3}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { shut(t, c) })
			return c
		}(),
	} {
		vector := func(v ...float32) []float32 {
			if name == "text" {
				return nil
			}
			return v
		}
		for i := range 8 {
			put(t, c, Paper{ID: fmt.Sprint("o", i), Title: fmt.Sprintf("w1 w%d", i+2), Vector: vector(1, float32(i), float32(i*i)/4)})
		}
		asked := &Paper{ID: "o2", Title: "w1 w9 w9", Vector: vector(1, 2, 0.9)}
		for k := 1; k <= 7; k++ {
			for way, in := range map[string]Input{"paper": {Paper: asked}, "example": {Examples: &Examples{Positive: []Example{{Input: Input{Paper: asked}}}}}} {
				res, err := c.Search(t.Context(), SearchRequest{Input: in, Field: "query", K: &k, Mode: Dense, Digest: digestOf(1)})
				if err != nil || len(res.Hits) != k || slices.Contains(ids(res.Hits), "o2") || res.Next == "" && k < 7 {
					t.Errorf("%s, by %s, k %d: %v, next %q, %v", name, way, k, ids(res.Hits), res.Next, err)
				}
			}
		}
	}
}
