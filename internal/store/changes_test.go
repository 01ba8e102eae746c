package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"embedd/internal/testkit"
)

// What is derived from a store at any revision is brought up to date by its change log.
func TestChanges(t *testing.T) {
	rng := testkit.Rand(t)
	o := inMemory()
	s := open(t, "store", o)
	derived := []map[uint64]bool{{}} // ordinals, by revision
	for range 200 {
		var ids []string
		for _, i := range rng.Perm(20)[:1+rng.IntN(3)] {
			ids = append(ids, fmt.Sprint(i))
		}
		if rng.IntN(3) == 0 {
			if _, _, err := s.Delete(ids); err != nil {
				t.Fatal(err)
			}
		} else {
			put(t, s, ids...)
		}
		if int(s.Revision()) == len(derived) {
			now := map[uint64]bool{}
			if err := s.Ordinals(func(o uint64) error { now[o] = true; return nil }); err != nil {
				t.Fatal(err)
			}
			derived = append(derived, now)
		}
	}
	for from := range derived {
		got, last := maps.Clone(derived[from]), uint64(from)
		err := s.Changes(uint64(from), func(revision uint64, changes []Change) error {
			if last++; revision != last {
				t.Errorf("revision %d comes after %d", revision, last-1)
			}
			for _, c := range changes {
				switch c.Op {
				case Added:
					got[c.Ordinal] = true
				case Removed:
					delete(got, c.Ordinal)
				}
			}
			if !maps.Equal(got, derived[revision]) {
				return fmt.Errorf("at revision %d there are %v, want %v", revision, got, derived[revision])
			}
			return nil
		})
		if err != nil || last != s.Revision() {
			t.Fatalf("from revision %d to %d of %d: %v", from, last, s.Revision(), err)
		}
	}

	// A paper of which only the record changes is in the log.
	record := testRecord("new", 2, 1)
	put(t, s, "new")
	if _, _, err := s.Put([]Write{{Record: record}}); err != nil {
		t.Fatal(err)
	}
	_, ordinal, err := s.Get("new")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Changes(s.Revision()-1, func(_ uint64, changes []Change) error {
		if !slices.Equal(changes, []Change{{ordinal, Changed}}) {
			t.Errorf("changes are %v", changes)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	// What was forgotten is said to be; the rest stays, and the latest always.
	half := s.Revision() / 2
	if err := s.Forget(half); err != nil {
		t.Fatal(err)
	}
	nothing := func(uint64, []Change) error { return errors.New("called") }
	wantError(t, s.Changes(half-1, nothing), ErrForgotten)
	wantError(t, s.Changes(0, nothing), ErrForgotten)
	if err := s.Changes(half, func(uint64, []Change) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := s.Forget(s.Revision() + 10); err != nil {
		t.Fatal(err)
	}
	if err := s.Changes(s.Revision(), nothing); err != nil {
		t.Error(err)
	}
	if err := s.Changes(s.Revision()-1, func(uint64, []Change) error { return nil }); err != nil {
		t.Error(err)
	}
}

// A write that was to keep a vector that is gone is refused, and changes nothing.
func TestKeepConflict(t *testing.T) {
	s := open(t, "store", inMemory())
	first := put(t, s, "a")[0]
	second := put(t, s, "a")[0]
	_, _, err := s.Put([]Write{testWrite("b", 1), {Record: testRecord("a", 3, 1), Keep: first}})
	wantError(t, err, ErrConflict)
	if s.Count() != 1 {
		t.Errorf("%d papers", s.Count())
	}
	if _, _, err := s.Put([]Write{{Record: testRecord("a", 3, 1), Keep: second}}); err != nil {
		t.Error(err)
	}
	wantPaper(t, s, Write{Record: testRecord("a", 3, 1), Vector: testVector("a", 1)})
}
