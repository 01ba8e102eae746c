package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestPut(t *testing.T) {
	s := open(t, "store", inMemory())
	if s.Count() != 0 || s.Revision() != 0 {
		t.Fatalf("a new store has count %d, revision %d", s.Count(), s.Revision())
	}
	only := func(id string, version, vector int) Write { return Write{Record: testRecord(id, version, vector)} }
	steps := []struct {
		name       string
		writes     []Write
		placements []Placement
		revision   uint64
		count      int
	}{
		{"nothing", nil, nil, 0, 0},
		{"new", []Write{testWrite("b", 1), testWrite("a", 1)}, []Placement{{1, 0}, {2, 0}}, 1, 2},
		{"another vector", []Write{testWrite("b", 2)}, []Placement{{3, 1}}, 2, 2},
		{"the same vector again", []Write{testWrite("b", 2)}, []Placement{{4, 3}}, 3, 2},
		{"record only", []Write{only("a", 3, 1)}, []Placement{{2, 0}}, 4, 2},
		{"all kinds", []Write{only("b", 4, 2), testWrite("c", 1), testWrite("a", 4)}, []Placement{{4, 0}, {5, 0}, {6, 2}}, 5, 3},
	}
	for _, step := range steps {
		placements, revision, err := s.Put(step.writes)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if !slices.Equal(placements, step.placements) || revision != step.revision {
			t.Errorf("%s: placements %v, revision %d; want %v, %d", step.name, placements, revision, step.placements, step.revision)
		}
		if s.Count() != step.count || s.Revision() != step.revision {
			t.Errorf("%s: count %d, revision %d; want %d, %d", step.name, s.Count(), s.Revision(), step.count, step.revision)
		}
	}
	for id, want := range map[string]Write{
		"a": testWrite("a", 4),
		"b": {Record: testRecord("b", 4, 2), Vector: testVector("b", 2)},
		"c": testWrite("c", 1),
	} {
		ordinal := wantPaper(t, s, want)
		if got, err := s.Ordinal(id); got != ordinal || err != nil {
			t.Errorf("Ordinal(%q) = %d, %v; Get says %d", id, got, err, ordinal)
		}
	}
	for _, lost := range []uint64{0, 1, 2, 3, 7, math.MaxUint64} {
		if _, err := s.Vector(lost); !errors.Is(err, ErrNotFound) {
			t.Errorf("Vector(%d): %v, want ErrNotFound", lost, err)
		}
	}
}

// What Put refuses leaves no trace, of the good writes of the same call either.
func TestPutRefuses(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "stored")
	with := func(change func(w *Write)) Write {
		w := testWrite("x", 1)
		change(&w)
		return w
	}
	vector := func(v ...float32) Write { return with(func(w *Write) { w.Vector = v }) }
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	tests := []struct {
		name  string
		write Write
		want  string
	}{
		{"no id", with(func(w *Write) { w.Record.Paper.ID = "" }), "the id has 0 bytes; must have 1 to 4096"},
		{"long id", with(func(w *Write) { w.Record.Paper.ID = strings.Repeat("i", 4097) }), "the id has 4097 bytes"},
		{"id twice", testWrite("good", 2), `put paper "good": the id stands in two writes`},
		{"id not UTF-8", with(func(w *Write) { w.Record.Paper.ID = "\xff" }), "not valid UTF-8"},
		{"title not UTF-8", with(func(w *Write) { w.Record.Paper.Title = "a\x80" }), `"a\x80" is not valid UTF-8`},
		{"author not UTF-8", with(func(w *Write) { w.Record.Paper.Authors = []string{"\xc3\x28"} }), "not valid UTF-8"},
		{"metadata not UTF-8", with(func(w *Write) { w.Record.Paper.Metadata = []byte("{\"a\":\"\xff\"}") }), "not a JSON object"},
		{"metadata no object", with(func(w *Write) { w.Record.Paper.Metadata = []byte("null") }), "not a JSON object"},
		{"metadata no JSON", with(func(w *Write) { w.Record.Paper.Metadata = []byte("{]") }), "not a JSON object"},
		{"no vector yet", with(func(w *Write) { w.Vector = nil }), `put paper "x": no vector is given, and none stored`},
		{"empty vector", vector([]float32{}...), "the vector has 0 values"},
		{"short vector", vector(1, 0), "the vector has 2 values; the store's dimension is 8"},
		{"long vector", vector(1, 0, 0, 0, 0, 0, 0, 0, 0), "the vector has 9 values"},
		{"zero vector", vector(0, 0, 0, 0, 0, 0, 0, 0), "norm is 0, not 1"},
		{"norm off", vector(1.0011, 0, 0, 0, 0, 0, 0, 0), "norm is 1.00"},
		{"NaN", vector(1, 0, nan, 0, 0, 0, 0, 0), "norm is NaN"},
		{"Inf", vector(1, 0, inf, 0, 0, 0, 0, 0), "norm is +Inf"},
		{"Inf cancelled", vector(inf, -inf, 0, 0, 0, 0, 0, 0), "norm is +Inf"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := s.Put([]Write{testWrite("good", 1), test.write})
			wantError(t, err, nil, "put paper", test.want)
			if s.Count() != 1 || s.Revision() != 1 {
				t.Errorf("count %d, revision %d after a refused Put; want 1, 1", s.Count(), s.Revision())
			}
			if _, _, err := s.Get("good"); !errors.Is(err, ErrNotFound) {
				t.Errorf("a good paper beside a refused one: %v, want ErrNotFound", err)
			}
		})
	}
	_, _, err := s.Put([]Write{{Record: testRecord("x", 1, 1)}})
	wantError(t, err, ErrNotFound)
	// The largest norm that passes.
	if _, _, err := s.Put([]Write{vector(1.0009, 0, 0, 0, 0, 0, 0, 0)}); err != nil {
		t.Error(err)
	}
}

func TestDelete(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "a", "b", "c", "d")
	tests := []struct {
		ids      []string
		ordinals []uint64
		revision uint64
		count    int
	}{
		{nil, []uint64{}, 1, 4},
		{[]string{"x", ""}, []uint64{0, 0}, 1, 4},
		{[]string{"c", "x", "a", "c"}, []uint64{3, 0, 1, 0}, 2, 2},
		{[]string{"a"}, []uint64{0}, 2, 2},
		{[]string{"d", "b"}, []uint64{4, 2}, 3, 0},
	}
	for _, test := range tests {
		ordinals, revision, err := s.Delete(test.ids)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(ordinals, test.ordinals) || revision != test.revision {
			t.Errorf("Delete(%q) = %v, %d; want %v, %d", test.ids, ordinals, revision, test.ordinals, test.revision)
		}
		if s.Count() != test.count {
			t.Errorf("count %d after Delete(%q), want %d", s.Count(), test.ids, test.count)
		}
	}
	if _, _, err := s.Get("a"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("Get of a deleted paper: %v, want ErrNotFound that names it", err)
	}
	if _, err := s.Ordinal("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Ordinal of a deleted paper: %v, want ErrNotFound", err)
	}
	if got := put(t, s, "a"); got[0] != 5 {
		t.Errorf("ordinal %d after 4 were given and deleted, want 5", got[0])
	}
}

func TestRoundTrip(t *testing.T) {
	s := open(t, "store", inMemory())
	full := Record{
		Paper: Paper{
			ID: "full", Title: "<b>On & on</b>\u2028\x00", Abstract: "línea\nline 😀 \ufffd", Authors: []string{"", "Gauß"}, Year: -44,
			Venue: "v", DOI: "10.1/x<y", ArxivID: "2401.00001v2", URL: "https://example.org/?a=1&b=2",
			Metadata: json.RawMessage(`{"b":1.00000000000000000001e5,"a":["<&>","\ud800"],"b":null}`),
		},
		Content: [32]byte{0: 1, 31: 0xff}, Tokens: 512, Truncated: true,
	}
	bare := Record{Paper: Paper{ID: "bare"}}
	for _, r := range []Record{full, bare} {
		w := Write{Record: r, Vector: testVector(r.Paper.ID, 0)}
		if _, _, err := s.Put([]Write{w}); err != nil {
			t.Fatal(err)
		}
		wantPaper(t, s, w)
	}
	spaced := bare
	spaced.Paper.Metadata, spaced.Paper.Authors = json.RawMessage(" {\n\"a\" : 1}"), []string{}
	if _, _, err := s.Put([]Write{{Record: spaced}}); err != nil {
		t.Fatal(err)
	}
	r, _, err := s.Get("bare")
	if err != nil || string(r.Paper.Metadata) != `{"a":1}` || r.Paper.Authors != nil {
		t.Errorf("metadata %q, authors %#v, %v", r.Paper.Metadata, r.Paper.Authors, err)
	}
}

// oddIDs are in byte order.
var oddIDs = []string{
	"\x00", "\x00\x00", " ", "\"quoted\"", "%2F", "../../etc/passwd", "/", "//", "10.1000/182", "a", "a\x00", "a/", "a/b", "a\x7f",
	"i/a", "m/state", "p/\x00\x00\x00\x00\x00\x00\x00\x01", strings.Repeat("x", 512), strings.Repeat("x", 4096), "é", "日本語", "😀",
	strings.Repeat("😀", 128),
}

func TestOddIDs(t *testing.T) {
	o := inMemory()
	s := open(t, "store", o)
	if !slices.IsSorted(oddIDs) {
		t.Fatal("the table is not in byte order")
	}
	put(t, s, oddIDs...)
	for range 2 {
		for _, id := range oddIDs {
			wantPaper(t, s, testWrite(id, 1))
		}
		for i := range oddIDs {
			after := ""
			if i > 0 {
				after = oddIDs[i-1]
			}
			r, err := s.List(after, 1)
			if err != nil || len(r) != 1 || r[0].Paper.ID != oddIDs[i] {
				t.Fatalf("List(%q, 1) = %v, %v; want %q", after, r, err, oddIDs[i])
			}
		}
		checkAndClose(t, s)
		s = open(t, "store", o)
	}
	if ordinals, _, err := s.Delete(oddIDs); err != nil || slices.Contains(ordinals, 0) {
		t.Errorf("Delete: %v, %v", ordinals, err)
	}
}

func TestList(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "d", "b", "a", "c")
	tests := []struct {
		after string
		limit int
		want  string
	}{
		{"", 10, "abcd"}, {"", 4, "abcd"}, {"", 2, "ab"}, {"b", 2, "cd"}, {"aa", 1, "b"}, {"d", 5, ""}, {"z", 5, ""},
		{"", 0, ""}, {"", -1, ""}, {"", math.MaxInt, "abcd"},
	}
	for _, test := range tests {
		records, err := s.List(test.after, test.limit)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range records {
			got += r.Paper.ID
			if !reflect.DeepEqual(r, testRecord(r.Paper.ID, 1, 1)) {
				t.Errorf("record of %q is %+v", r.Paper.ID, r)
			}
		}
		if got != test.want {
			t.Errorf("List(%q, %d) = %q, want %q", test.after, test.limit, got, test.want)
		}
	}
}

func TestByOrdinal(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "z", "y", "x")
	if _, _, err := s.Delete([]string{"y"}); err != nil {
		t.Fatal(err)
	}
	records, found, err := s.Records([]uint64{3, 2, 1, 3, 0, 9})
	if err != nil || !slices.Equal(found, []bool{true, false, true, true, false, false}) {
		t.Fatalf("found %v, %v", found, err)
	}
	for i, id := range []string{"x", "", "z", "x", "", ""} {
		if records[i].Paper.ID != id {
			t.Errorf("records[%d] is of %q, want %q", i, records[i].Paper.ID, id)
		}
	}
	if records, found, err := s.Records(nil); err != nil || len(records) != 0 || len(found) != 0 {
		t.Errorf("Records(nil) = %v, %v, %v", records, found, err)
	}

	var ordinals []uint64
	if err := s.Ordinals(func(o uint64) error { ordinals = append(ordinals, o); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ordinals, []uint64{1, 3}) {
		t.Errorf("Ordinals gives %v, want 1 and 3", ordinals)
	}
	n := 0
	err = s.Vectors(func(o uint64, v []float32) error {
		id := map[uint64]string{1: "z", 3: "x"}[o]
		if !slices.Equal(v, testVector(id, 1)) {
			t.Errorf("vector %d is %v", o, v)
		}
		// What is written while Vectors runs is not in its view.
		put(t, s, fmt.Sprint("new", n))
		n++
		return nil
	})
	if n != 2 || err != nil {
		t.Errorf("Vectors gave %d, %v; want 2", n, err)
	}
	stop := errors.New("stop")
	if err := s.Vectors(func(uint64, []float32) error { return stop }); err != stop {
		t.Errorf("Vectors returned %v, not fn's error", err)
	}
	if err := s.Ordinals(func(uint64) error { return stop }); err != stop {
		t.Errorf("Ordinals returned %v, not fn's error", err)
	}
}

func TestClose(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "a")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_, _, putErr := s.Put([]Write{testWrite("b", 1)})
	_, _, emptyErr := s.Put(nil)
	_, _, deleteErr := s.Delete([]string{"a"})
	_, _, getErr := s.Get("a")
	_, ordinalErr := s.Ordinal("a")
	_, vectorErr := s.Vector(1)
	_, _, recordsErr := s.Records([]uint64{1})
	_, listErr := s.List("", 1)
	for name, err := range map[string]error{
		"Put": putErr, "Put of nothing": emptyErr, "Delete": deleteErr, "Get": getErr, "Ordinal": ordinalErr, "Vector": vectorErr,
		"Records": recordsErr, "List": listErr, "Check": s.Check(),
		"Vectors":  s.Vectors(func(uint64, []float32) error { return nil }),
		"Ordinals": s.Ordinals(func(uint64) error { return nil }),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	if s.Count() != 1 || s.Revision() != 1 || s.Identity() != testIdentity {
		t.Errorf("after Close: count %d, revision %d, identity %v", s.Count(), s.Revision(), s.Identity())
	}
}

// A call inside a call does not block a Close that waits for the outer one, nor the other way round.
func TestCloseDuringNestedCall(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "a", "b")
	inside, closed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(closed)
		<-inside
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	err := s.Ordinals(func(ordinal uint64) error {
		if ordinal == 1 {
			close(inside)
			for { // until Close has begun
				if _, err := s.Vector(ordinal); err != nil {
					return err
				}
			}
		}
		return nil
	})
	wantError(t, err, ErrClosed)
	<-closed
}

// Readers beside writers and a Close: what they see is whole, or not there.
func TestConcurrent(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	s := open(t, "store", inMemory())
	ids := []string{"a", "b", "c", "d"}
	put(t, s, ids...)
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := 2; i < rounds; i++ {
				id := ids[(i+w)%len(ids)]
				var err error
				if i%5 == 0 {
					_, _, err = s.Delete([]string{id})
				} else {
					_, _, err = s.Put([]Write{testWrite(id, i)})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	read := func(f func() error) {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := f(); errors.Is(err, ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	read(func() error {
		for _, id := range ids {
			r, ordinal, err := s.Get(id)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if !reflect.DeepEqual(r, testRecord(id, r.Tokens, r.Tokens)) {
				return fmt.Errorf("torn record: %+v", r)
			}
			v, err := s.Vector(ordinal)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if !slices.Equal(v, testVector(id, r.Tokens)) {
				return fmt.Errorf("ordinal %d has another paper's vector", ordinal)
			}
		}
		return nil
	})
	read(func() error {
		records, err := s.List("", 10)
		if err == nil && !slices.IsSortedFunc(records, func(a, b Record) int { return strings.Compare(a.Paper.ID, b.Paper.ID) }) {
			err = errors.New("List is out of order")
		}
		return err
	})
	read(func() error {
		last := uint64(0)
		return s.Vectors(func(ordinal uint64, v []float32) error {
			if ordinal <= last {
				return fmt.Errorf("ordinal %d after %d", ordinal, last)
			}
			last = ordinal
			return checkVector(v, testDim)
		})
	})
	read(s.Check)
	writers.Wait()
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil { // with readers still reading
		t.Error(err)
	}
	close(done)
	readers.Wait()
}
