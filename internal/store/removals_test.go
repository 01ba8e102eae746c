package store

import (
	"fmt"
	"slices"
	"testing"
)

// Who watches is told of what was removed, by whatever call, once and in order; of more than it keeps, that there was more.
func TestRemovals(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "a", "b", "c", "d", "e")
	r := s.WatchRemovals(3)
	take := func(want []string, more bool) {
		t.Helper()
		ids, missed := r.Take()
		if !slices.Equal(ids, want) || missed != more {
			t.Errorf("removed: %v, more %v; want %v, %v", ids, missed, want, more)
		}
	}
	take(nil, false)
	if _, _, err := s.Delete([]string{"a", "nosuch", "b"}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "c") // the one is new, the other has another vector: none is removed
	take([]string{"a", "b"}, false)
	take(nil, false)
	if _, _, err := s.Delete([]string{"a", "c", "d", "e"}); err != nil {
		t.Fatal(err)
	}
	take([]string{"a", "c", "d"}, true)
	take(nil, false)
	r.Close()
	put(t, s, "z")
	if _, _, err := s.Delete([]string{"z"}); err != nil {
		t.Fatal(err)
	}
	take(nil, false)
	r.Close()
}

// What is not on disk yet is not told of: after a crash it may be there still.
func TestRemovalsWaitForTheDisk(t *testing.T) {
	s := open(t, "store", inMemory())
	put(t, s, "a")
	r := s.WatchRemovals(10)
	defer r.Close()
	r.add(s.Revision()+1, []string{"a"})
	if ids, _ := r.Take(); len(ids) > 0 {
		t.Errorf("%v are removed at a revision that is to come", ids)
	}
	put(t, s, "b")
	if ids, _ := r.Take(); fmt.Sprint(ids) != "[a]" {
		t.Errorf("removed: %v", ids)
	}
}
