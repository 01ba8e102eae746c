package store

import (
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

// withPassages is testWrite with n passages, whose vectors are those of later versions.
func withPassages(id string, version, n int) Write {
	w := testWrite(id, version)
	for i := range n {
		p := NewPassage{Begin: uint32(10 * i), End: uint32(10*i + 12)}
		if i > 0 {
			p.Vector = testVector(id, version+1000*i)
		}
		w.Passages = append(w.Passages, p)
	}
	return w
}

// wantPassages checks that a paper has n passages under its ordinal and those after it, and no more.
func wantPassages(t testing.TB, s *Store, id string, version int, ordinal uint64, n int) {
	t.Helper()
	for i, p := range withPassages(id, version, n).Passages {
		got, err := s.Passage(ordinal + uint64(i))
		if want := (Passage{ordinal, i, p.Begin, p.End}); err != nil || got != want {
			t.Errorf("passage %d of %q is %+v, %v; want %+v", i, id, got, err, want)
		}
		if i > 0 {
			if v, err := s.Vector(ordinal + uint64(i)); err != nil || !slices.Equal(v, p.Vector) {
				t.Errorf("passage %d of %q has the vector %v, %v", i, id, v, err)
			}
		}
	}
	if p, err := s.Passage(ordinal + uint64(n)); err == nil && p.Paper == ordinal {
		t.Errorf("%q has a passage more: %+v", id, p)
	}
}

// all are the ordinals of all passages.
func allPassages(t testing.TB, s *Store) (ordinals []uint64) {
	t.Helper()
	if err := s.Passages(func(ordinal uint64, _ Passage) error { ordinals = append(ordinals, ordinal); return nil }); err != nil {
		t.Fatal(err)
	}
	return ordinals
}

// Passages have the ordinals behind their paper's, come and go with its vector, and are in the change log.
func TestPassages(t *testing.T) {
	o := inMemory()
	s := open(t, "store", o)
	placements, _, err := s.Put([]Write{withPassages("a", 1, 3), testWrite("b", 1), withPassages("c", 1, MaxPassages), withPassages("d", 1, 2)})
	if err != nil {
		t.Fatal(err)
	}
	var ordinals []uint64
	for _, p := range placements {
		ordinals = append(ordinals, p.Ordinal)
	}
	if want := []uint64{1, 4, 5, 5 + MaxPassages}; !slices.Equal(ordinals, want) {
		t.Errorf("ordinals %v, want %v", ordinals, want)
	}
	check := func() {
		t.Helper()
		wantPassages(t, s, "a", 1, 1, 3)
		wantPassages(t, s, "b", 1, 4, 0)
		wantPassages(t, s, "c", 1, 5, MaxPassages)
		wantPassages(t, s, "d", 1, 5+MaxPassages, 2)
		if s.Count() != 4 {
			t.Errorf("%d papers", s.Count())
		}
	}
	check()
	if _, _, err := s.Put([]Write{{Record: testRecord("a", 2, 1)}}); err != nil { // the vectors stay
		t.Fatal(err)
	}
	check()
	checkAndClose(t, s)
	s = open(t, "store", o)
	check()
	moved, _, err := s.Put([]Write{withPassages("a", 3, 2)})
	if err != nil {
		t.Fatal(err)
	}
	wantPassages(t, s, "a", 3, moved[0].Ordinal, 2)
	revision := s.Revision()
	if _, _, err := s.Delete([]string{"c"}); err != nil {
		t.Fatal(err)
	}
	var removed []uint64
	err = s.Changes(revision, func(_ uint64, changes []Change) error {
		for _, c := range changes {
			if c.Op == Removed {
				removed = append(removed, c.Ordinal)
			}
		}
		return nil
	})
	if err != nil || len(removed) != MaxPassages || !slices.Contains(removed, 5+MaxPassages-1) {
		t.Errorf("the change log says that %v were removed, %v", removed, err)
	}
	if want := []uint64{21, 22, moved[0].Ordinal, moved[0].Ordinal + 1}; !slices.Equal(allPassages(t, s), want) {
		t.Errorf("passages %v, want %v", allPassages(t, s), want)
	}
	if _, _, err := s.Delete([]string{"a", "b", "d"}); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := s.Vectors(func(uint64, []float32) error { n++; return nil }); err != nil || n != 0 || len(allPassages(t, s)) != 0 {
		t.Errorf("%d vectors and %d passages are left, %v", n, len(allPassages(t, s)), err)
	}
	checkAndClose(t, s)
}

func TestPassagesAreRefused(t *testing.T) {
	s := open(t, "store", inMemory())
	with := func(change func(w *Write)) Write {
		w := withPassages("x", 1, 3)
		change(&w)
		return w
	}
	for name, w := range map[string]Write{
		"without a vector":    with(func(w *Write) { w.Vector = nil }),
		"one":                 withPassages("x", 1, 1),
		"too many":            withPassages("x", 1, MaxPassages+1),
		"a vector of its own": with(func(w *Write) { w.Passages[0].Vector = testVector("x", 1) }),
		"no vector":           with(func(w *Write) { w.Passages[2].Vector = nil }),
		"a long vector":       with(func(w *Write) { w.Passages[1].Vector = append(w.Passages[1].Vector, 1) }),
		"ends before":         with(func(w *Write) { w.Passages[1].End = w.Passages[1].Begin }),
	} {
		if _, _, err := s.Put([]Write{w}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if s.Count() != 0 || len(allPassages(t, s)) != 0 {
		t.Errorf("%d papers are stored", s.Count())
	}
}

// Damage of passages is found, and can be removed with the paper; a repair keeps the paper without them, and those that are whole with theirs.
func TestDamagedPassages(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, s *Store)
		want   string
		whole  bool // all passages of b are there after a repair
	}{
		{"short", func(t *testing.T, s *Store) { overwrite(t, s, passageKey(5), []byte("x")) }, "fact 1: store is corrupt: w/5: has 1 bytes", false},
		{"of another paper", func(t *testing.T, s *Store) { overwrite(t, s, passageKey(5), encodePassage(Passage{1, 4, 1, 2})) }, "fact 10: store is corrupt: w/5: w/4 is missing", false},
		{"another index", func(t *testing.T, s *Store) { overwrite(t, s, passageKey(5), encodePassage(Passage{4, 2, 1, 2})) }, "fact 10: store is corrupt: w/5: is passage 2 of paper 4", true},
		{"no vector", func(t *testing.T, s *Store) { remove(t, s, vectorKey(5)) }, "fact 10: store is corrupt: w/5: v/5 is missing", false},
		{"no passage", func(t *testing.T, s *Store) { remove(t, s, passageKey(5)) }, "fact 3: store is corrupt: v/5: p/5 is missing", false},
		{"nobody's", func(t *testing.T, s *Store) { overwrite(t, s, passageKey(99), encodePassage(Passage{99, 0, 1, 2})) }, "fact 10: store is corrupt: w/99: p/99 is missing", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s, err := Open(dir, testIdentity, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Put([]Write{withPassages("a", 1, 3), withPassages("b", 1, 3), withPassages("c", 1, 3)}); err != nil { // 1, 4 and 7
				t.Fatal(err)
			}
			if test.name == "of another paper" { // which is where the first one's would end
				remove(t, s, passageKey(4))
			}
			test.damage(t, s)
			wantError(t, s.Check(), ErrCorrupt, test.want)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := Repair(rootOf(t, filepath.Dir(dir)), "store", slog.New(slog.NewTextHandler(io.Discard, nil)))
			if err != nil || r.Papers != 3 || r.Lost != 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			s = open(t, dir, nil)
			for _, id := range []string{"a", "b", "c"} {
				ordinal := wantPaper(t, s, testWrite(id, 1))
				if id != "b" {
					wantPassages(t, s, id, 1, ordinal, 3)
				} else if _, err := s.Passage(ordinal + 2); test.whole && err != nil {
					t.Errorf("the passages of b are not there: %v", err)
				}
			}
		})
	}
}

// What removes a paper with a damaged passage takes what is known of it, and nothing of the next paper.
func TestDeleteDamagedPassages(t *testing.T) {
	for _, key := range []uint64{4, 5, 6} {
		s, err := Open("store", testIdentity, inMemory())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Put([]Write{withPassages("b", 1, 3), withPassages("a", 1, 3), withPassages("c", 1, 3)}); err != nil {
			t.Fatal(err)
		}
		overwrite(t, s, passageKey(key), []byte("x"))
		if _, _, err := s.Delete([]string{"a"}); err != nil {
			t.Error(err)
		}
		wantPassages(t, s, "b", 1, 1, 3)
		wantPassages(t, s, "c", 1, 7, 3)
		if want := []uint64{1, 2, 3, 7, 8, 9}; !reflect.DeepEqual(allPassages(t, s), want) {
			t.Errorf("passages %v are left, want %v", allPassages(t, s), want)
		}
		checkAndClose(t, s)
	}
}
