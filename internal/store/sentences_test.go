package store

import (
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// testSentences is always the same for an id and a version: none for two versions of three, and otherwise as many as the version says.
func testSentences(id string, version int) *Sentences {
	if version%3 != 0 {
		return nil
	}
	x := &Sentences{Places: [][2]uint32{}, Scales: []float32{}, Codes: []byte{}}
	for i := range version % 5 {
		x.Places = append(x.Places, [2]uint32{uint32(10 * i), uint32(10*i + 9)})
		x.Scales = append(x.Scales, 1/float32(100+i))
		for j, v := range testVector(id, version+i) {
			x.Codes = append(x.Codes, byte(int8(v*100))+byte(j))
		}
	}
	return x
}

// withSentences is testWrite with those.
func withSentences(id string, version int) Write {
	w := testWrite(id, version)
	w.Sentences = testSentences(id, version)
	return w
}

// wantSentences checks what is stored under an ordinal.
func wantSentences(t testing.TB, s *Store, ordinal uint64, want *Sentences) {
	t.Helper()
	got, err := s.Sentences([]uint64{ordinal})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got[0], want) {
		t.Errorf("sentences of %d are %+v, want %+v", ordinal, got[0], want)
	}
	if has, err := s.HasSentences(ordinal); err != nil || has != (want != nil) {
		t.Errorf("HasSentences(%d) = %v, %v; want %v", ordinal, has, err, want != nil)
	}
}

// Sentences go with the vector: kept with it, replaced with it, removed with it.
func TestSentences(t *testing.T) {
	o := inMemory()
	s := open(t, "store", o)
	placements, _, err := s.Put([]Write{withSentences("a", 3), withSentences("b", 15), withSentences("c", 1)}) // 3 sentences, 0, and none
	if err != nil {
		t.Fatal(err)
	}
	want := []*Sentences{testSentences("a", 3), testSentences("b", 15), nil}
	for i, p := range placements {
		wantSentences(t, s, p.Ordinal, want[i])
	}
	if _, _, err := s.Put([]Write{{Record: testRecord("a", 8, 3)}}); err != nil { // the vector stays
		t.Fatal(err)
	}
	wantSentences(t, s, placements[0].Ordinal, want[0])
	moved, _, err := s.Put([]Write{withSentences("a", 9)})
	if err != nil {
		t.Fatal(err)
	}
	wantSentences(t, s, placements[0].Ordinal, nil)
	wantSentences(t, s, moved[0].Ordinal, testSentences("a", 9))
	checkAndClose(t, s)
	s = open(t, "store", o)
	wantSentences(t, s, moved[0].Ordinal, testSentences("a", 9))
	if _, _, err := s.Delete([]string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := scan(s.db, []byte(prefixCodes), prefixEnd(prefixCodes), func(_, _ []byte) error { n++; return nil }); err != nil || n != 0 {
		t.Errorf("%d keys of c/ are left, %v", n, err)
	}
	checkAndClose(t, s)
}

func TestSentencesAreRefused(t *testing.T) {
	s := open(t, "store", inMemory())
	with := func(change func(w *Write, x *Sentences)) Write {
		w := withSentences("x", 3)
		change(&w, w.Sentences)
		return w
	}
	for name, w := range map[string]Write{
		"without a vector": with(func(w *Write, _ *Sentences) { w.Vector = nil }),
		"a place too few":  with(func(_ *Write, x *Sentences) { x.Places = x.Places[1:] }),
		"a code too many":  with(func(_ *Write, x *Sentences) { x.Codes = append(x.Codes, 1) }),
		"no scale":         with(func(_ *Write, x *Sentences) { x.Scales[1] = 0 }),
		"NaN":              with(func(_ *Write, x *Sentences) { x.Scales[1] = float32(math.NaN()) }),
		"infinite":         with(func(_ *Write, x *Sentences) { x.Scales[1] = float32(math.Inf(1)) }),
		"ends before":      with(func(_ *Write, x *Sentences) { x.Places[1] = [2]uint32{5, 5} }),
		"too many": with(func(w *Write, _ *Sentences) {
			n := maxSentences + 1
			w.Sentences = &Sentences{make([][2]uint32, n), make([]float32, n), make([]byte, n*testDim)}
		}),
	} {
		if _, _, err := s.Put([]Write{w}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if s.Count() != 0 {
		t.Errorf("%d papers are stored", s.Count())
	}
}

func TestDamagedSentences(t *testing.T) {
	for _, test := range []struct {
		name       string
		damage     func(t *testing.T, s *Store)
		want, read string
	}{
		{"a bit", func(t *testing.T, s *Store) {
			value := raw(t, s, codesKey(2))
			value[7] ^= 4
			if err := s.db.Set(codesKey(2), value, pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}, "fact 1: store is corrupt: c/2: checksum", "c/2: checksum"},
		{"short", func(t *testing.T, s *Store) { overwrite(t, s, codesKey(2), make([]byte, 5)) }, "fact 1: store is corrupt: c/2: has 5 bytes, no multiple of", "c/2: has 5 bytes"},
		{"no scale", func(t *testing.T, s *Store) { overwrite(t, s, codesKey(2), make([]byte, sentenceHead+testDim)) }, "fact 1: store is corrupt: c/2: the scale", "c/2: the scale"},
		{"nobody's", func(t *testing.T, s *Store) { overwrite(t, s, codesKey(9), nil) }, "fact 9: store is corrupt: c/9: p/9 is missing", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := Open("store", testIdentity, inMemory())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, _, err := s.Put([]Write{withSentences("a", 3), withSentences("b", 9)}); err != nil {
				t.Fatal(err)
			}
			test.damage(t, s)
			wantError(t, s.Check(), ErrCorrupt, test.want)
			_, err = s.Sentences([]uint64{1, 2})
			if test.read == "" {
				if err != nil {
					t.Error(err)
				}
			} else {
				wantError(t, err, ErrCorrupt, test.read)
			}
			if _, _, err := s.Delete([]string{"b"}); err != nil { // what is damaged can be removed
				t.Error(err)
			}
		})
	}
}

// A repair keeps a paper whose sentences are damaged, without them.
func TestRepairOfSentences(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, nil)
	if _, _, err := s.Put([]Write{withSentences("a", 3), withSentences("b", 9), withSentences("c", 1)}); err != nil {
		t.Fatal(err)
	}
	overwrite(t, s, codesKey(2), make([]byte, 5))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Repair(rootOf(t, filepath.Dir(dir)), "store", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil || r.Papers != 3 || r.Lost != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	s = open(t, dir, nil)
	for id, want := range map[string]*Sentences{"a": testSentences("a", 3), "b": nil, "c": nil} {
		ordinal, err := s.Ordinal(id)
		if err != nil {
			t.Fatal(err)
		}
		wantSentences(t, s, ordinal, want)
	}
	checkAndClose(t, s)
}
