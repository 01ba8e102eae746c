package store

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// moment is the n-th of a test.
func moment(n int) time.Time { return time.Unix(1_000_000_000, int64(n)*1000).UTC() }

func expiring(id string, version int, at time.Time) Write {
	w := testWrite(id, version)
	w.Record.Paper.Expires = at
	return w
}

// Papers with times are written, changed and deleted at random; what Expired and Expire give must be what a map says.
func TestExpire(t *testing.T) {
	rng := testkit.Rand(t)
	s := open(t, "store", inMemory())
	ends := map[string]time.Time{} // of what is stored; zero: never
	now := 0
	for op := range some(2000) {
		id := fmt.Sprintf("p%d", rng.IntN(40))
		switch rng.IntN(6) {
		case 0, 1, 2:
			w := expiring(id, op, time.Time{})
			if rng.IntN(3) > 0 {
				w.Record.Paper.Expires = moment(now + 1 + rng.IntN(50))
			}
			if _, stored := ends[id]; stored && rng.IntN(2) == 0 {
				w.Vector = nil // the ordinal stays
			}
			if _, _, err := s.Put([]Write{w}); err != nil {
				t.Fatal(err)
			}
			ends[id] = w.Record.Paper.Expires
		case 3:
			if _, _, err := s.Delete([]string{id}); err != nil {
				t.Fatal(err)
			}
			delete(ends, id)
		case 4:
			now += rng.IntN(30)
			gone := map[string]bool{}
			for id, at := range ends {
				if !at.IsZero() && !at.After(moment(now)) {
					gone[id] = true
				}
			}
			got := 0
			if err := s.Expired(moment(now), func(uint64) { got++ }); err != nil || got != len(gone) {
				t.Fatalf("op %d: %d have expired, %v; want %d", op, got, err, len(gone))
			}
			limit := 1 + rng.IntN(5)
			ordinals, _, more, err := s.Expire(moment(now), limit)
			if err != nil || len(ordinals) != min(limit, len(gone)) || more != (len(gone) > limit) {
				t.Fatalf("op %d: Expire removes %d of %d, at most %d, more %v, %v", op, len(ordinals), len(gone), limit, more, err)
			}
			for more {
				if _, _, more, err = s.Expire(moment(now), limit); err != nil {
					t.Fatal(err)
				}
			}
			maps.DeleteFunc(ends, func(id string, _ time.Time) bool { return gone[id] })
			if s.Count() != len(ends) {
				t.Fatalf("op %d: %d papers, want %d", op, s.Count(), len(ends))
			}
		case 5:
			var first time.Time
			for _, at := range ends {
				if !at.IsZero() && (first.IsZero() || at.Before(first)) {
					first = at
				}
			}
			if at, ok, err := s.NextExpiry(); err != nil || ok == first.IsZero() || !at.Equal(first) {
				t.Fatalf("op %d: the next expires at %v, %v, %v; want %v", op, at, ok, err, first)
			}
		}
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

func TestExpiresIsKept(t *testing.T) {
	o := inMemory()
	s := open(t, "store", o)
	want := expiring("a", 1, time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC))
	if _, _, err := s.Put([]Write{want}); err != nil {
		t.Fatal(err)
	}
	checkAndClose(t, s)
	s = open(t, "store", o)
	wantPaper(t, s, want)
	if _, _, err := s.Put([]Write{expiring("b", 1, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))}); err == nil {
		t.Error("a year that JSON cannot write was taken")
	}
}

// What a write takes for granted is looked at where nobody else writes.
func TestPutOnlyWhere(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "a")
	stored := func() *Stored {
		x, err := s.Stored("a")
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	old := stored()
	for _, test := range []struct {
		name string
		w    func() Write
		want error
	}{
		{"absent, and it is there", func() Write { w := testWrite("a", 7); w.Absent = true; return w }, ErrExists},
		{"absent, and it is", func() Write { w := testWrite("b", 7); w.Absent = true; return w }, nil},
		{"as it was", func() Write { w := testWrite("a", 2); w.Was = old; return w }, nil},
		{"as it was before", func() Write { w := testWrite("a", 3); w.Was = old; return w }, ErrConflict},
		{"as it is, keeping its vector", func() Write { w := testWrite("a", 4); w.Was, w.Vector = stored(), nil; return w }, nil},
		{"as it was, of one that has gone", func() Write { w := testWrite("gone", 4); w.Was = old; return w }, ErrConflict},
	} {
		revision := s.Revision()
		_, _, err := s.Put([]Write{testWrite(test.name, 1), test.w()})
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if (err == nil) != (s.Revision() > revision) {
			t.Errorf("%s: the revision is %d, was %d", test.name, s.Revision(), revision)
		}
	}
}

func TestStoredIsTheSame(t *testing.T) {
	s := open(t, "store", inMemory())
	w := testWrite("a", 1)
	w.Record.Paper.Metadata = []byte(`{"b":[1,2],"a":"<x>"}`)
	w.Record.Paper.Expires = moment(1)
	if _, _, err := s.Put([]Write{w}); err != nil {
		t.Fatal(err)
	}
	x, err := s.Stored("a")
	if err != nil {
		t.Fatal(err)
	}
	r, err := x.Record()
	if err != nil {
		t.Fatal(err)
	}
	paper, err := encodeJSON(&r.Paper)
	if err != nil {
		t.Fatal(err)
	}
	const hash = `"content":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`
	for _, tail := range []string{hash, hash + `,"tokens":17`, hash + `,"tokens":3,"truncated":true`, `"tokens":3,` + hash, hash + `, "truncated":false`, `"content":"AAAA"`, `"tokens":3`, hash + `,"x":1`} {
		body := fmt.Appendf(nil, `{"paper":%s,%s}`, paper, tail)
		want, err := parseRecord(body)
		if got, same := (&Stored{1, body}).Same(&r.Paper); same != (err == nil) || same && !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read as %+v, %v; want %+v, %v", tail, got, same, want, err)
		}
	}
	for _, test := range []struct {
		name   string
		change func(p *Paper)
		want   bool
	}{
		{"nothing", func(*Paper) {}, true},
		{"white space in the metadata", func(p *Paper) { p.Metadata = []byte(`{"b": [1, 2], "a": "<x>"}`) }, true},
		{"title", func(p *Paper) { p.Title += "x" }, false},
		{"less of the title", func(p *Paper) { p.Title = p.Title[:len(p.Title)-1] }, false},
		{"the time", func(p *Paper) { p.Expires = moment(2) }, false},
		{"no time", func(p *Paper) { p.Expires = time.Time{} }, false},
		{"the order of authors", func(p *Paper) { p.Authors = slices.Concat(p.Authors[1:], p.Authors[:1]) }, len(r.Paper.Authors) < 2},
		{"a string that is no UTF-8", func(p *Paper) { p.Venue = "\xff" }, false},
		{"metadata that is no JSON", func(p *Paper) { p.Metadata = []byte(`{`) }, false},
	} {
		p := r.Paper
		test.change(&p)
		got, same := x.Same(&p)
		if same != test.want {
			t.Errorf("%s: same %v, want %v", test.name, same, test.want)
		}
		if same && (got.Content != r.Content || got.Tokens != r.Tokens || got.Truncated != r.Truncated) {
			t.Errorf("%s: the record is %+v, want %+v", test.name, got, r)
		}
	}
}

func TestDeleteIf(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "a", "b")
	ordinals, _, err := s.DeleteIf([]string{"a", "b", "c"}, func(r Record) bool { return r.Paper.ID == "b" })
	if err != nil || ordinals[0] != 0 || ordinals[1] == 0 || ordinals[2] != 0 || s.Count() != 1 {
		t.Errorf("DeleteIf gives %v, %v; %d papers are left", ordinals, err, s.Count())
	}
}
