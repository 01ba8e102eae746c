package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"embedd/internal/testkit"
)

// overwrite puts a body under a key, with a checksum that is right.
func overwrite(t *testing.T, s *Store, key, body []byte) {
	t.Helper()
	if err := s.db.Set(key, seal(key, slices.Clone(body)), pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

func raw(t *testing.T, s *Store, key []byte) []byte {
	t.Helper()
	value, closer, err := s.db.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	return slices.Clone(value)
}

// A value of which one bit is another, or the end is missing, is ErrCorrupt to every call that reads it.
func TestDamagedValue(t *testing.T) {
	type reads map[string]func(s *Store) error
	get := func(s *Store) error { _, _, err := s.Get("b"); return err }
	ordinal := func(s *Store) error { _, err := s.Ordinal("b"); return err }
	vector := func(s *Store) error { _, err := s.Vector(2); return err }
	vectors := func(s *Store) error { return s.Vectors(func(uint64, []float32) error { return nil }) }
	ordinals := func(s *Store) error { return s.Ordinals(func(uint64) error { return nil }) }
	records := func(s *Store) error { _, _, err := s.Records([]uint64{1, 2}); return err }
	list := func(s *Store) error { _, err := s.List("", 10); return err }
	put := func(s *Store) error { _, _, err := s.Put([]Write{testWrite("a", 2), testWrite("b", 2)}); return err }
	del := func(s *Store) error { _, _, err := s.Delete([]string{"a", "b"}); return err }
	tests := []struct {
		key   []byte
		name  string
		reads reads
	}{
		{ordinalKey("b"), `i/"b"`, reads{"Get": get, "Ordinal": ordinal, "Ordinals": ordinals, "List": list, "Put": put, "Delete": del}},
		{recordKey(2), "p/2", reads{"Get": get, "Records": records, "List": list}},
		{vectorKey(2), "v/2", reads{"Vector": vector, "Vectors": vectors}},
		{[]byte(keyState), "m/state", reads{}},
		{[]byte(keyIdentity), "m/identity", reads{}},
	}
	rng := testkit.Rand(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := inMemory()
			s, err := Open("store", testIdentity, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := put(s); err != nil { // a is ordinal 1, b is 2
				t.Fatal(err)
			}
			good := raw(t, s, test.key)
			for trial := range 40 {
				bad := slices.Clone(good)
				if trial == 0 {
					bad = bad[:rng.IntN(len(bad))]
				} else {
					bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
				}
				if err := s.db.Set(test.key, bad, pebble.Sync); err != nil {
					t.Fatal(err)
				}
				count, revision := s.Count(), s.Revision()
				for name, read := range test.reads {
					t.Run(name, func(t *testing.T) { wantError(t, read(s), ErrCorrupt, test.name+": ") })
				}
				wantError(t, s.Check(), ErrCorrupt, test.name+": ")
				if s.Count() != count || s.Revision() != revision {
					t.Errorf("count %d, revision %d after calls that failed; were %d, %d", s.Count(), s.Revision(), count, revision)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = Open("store", testIdentity, o)
			if test.reads["Vector"] == nil && test.reads["Records"] == nil { // Open has read it
				wantError(t, err, ErrCorrupt, test.name+": ")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
		})
	}
}

// What no checksum shows: values that are whole and wrong. Check names the fact and the key.
func TestCheckFinds(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, s *Store)
		want   []string
	}{
		{"value under another key", func(t *testing.T, s *Store) {
			if err := s.db.Set(vectorKey(2), raw(t, s, vectorKey(1)), nil); err != nil {
				t.Fatal(err)
			}
		}, []string{"fact 1: store is corrupt: v/2: checksum"}},
		{"no p/", func(t *testing.T, s *Store) { remove(t, s, recordKey(2)) }, []string{
			`fact 2: store is corrupt: i/"b": points to p/2, which is missing`, "fact 3: store is corrupt: v/2: p/2 is missing"}},
		{"no v/", func(t *testing.T, s *Store) { remove(t, s, vectorKey(2)) }, []string{"fact 3: store is corrupt: p/2: v/2 is missing"}},
		{"no i/", func(t *testing.T, s *Store) { remove(t, s, ordinalKey("b")) }, []string{
			`fact 2: store is corrupt: p/2: i/"b" is missing`, "fact 5: store is corrupt: m/state: counts 3 papers; there are 2"}},
		{"i/ astray", func(t *testing.T, s *Store) { overwrite(t, s, ordinalKey("b"), encodeEntry(entry{ordinal: 1})) }, []string{
			`i/"b": points to p/1, which holds the paper "a"`, `p/2: i/"b" points to p/1`}},
		{"ordinal 0", func(t *testing.T, s *Store) { overwrite(t, s, ordinalKey("b"), encodeEntry(entry{})) }, []string{`i/"b": the ordinal is 0`}},
		{"record no JSON", func(t *testing.T, s *Store) { overwrite(t, s, recordKey(2), []byte("{")) }, []string{"fact 1: store is corrupt: p/2: "}},
		{"record without hash", func(t *testing.T, s *Store) { overwrite(t, s, recordKey(2), []byte(`{"paper":{"id":"b"}}`)) },
			[]string{"p/2: the content hash has 0 bytes, not 32"}},
		{"long vector", func(t *testing.T, s *Store) { overwrite(t, s, vectorKey(2), make([]byte, 4*testDim+4)) },
			[]string{"v/2: has 36 bytes; a vector of dimension 8 has 32"}},
		{"zero vector", func(t *testing.T, s *Store) { overwrite(t, s, vectorKey(2), make([]byte, 4*testDim)) },
			[]string{"fact 4: store is corrupt: v/2: the vector's norm is 0"}},
		{"count", func(t *testing.T, s *Store) {
			overwrite(t, s, []byte(keyState), encodeState(state{next: 4, revision: 1, count: 7}))
		},
			[]string{"fact 5: store is corrupt: m/state: counts 7 papers; there are 3"}},
		{"next ordinal", func(t *testing.T, s *Store) {
			overwrite(t, s, []byte(keyState), encodeState(state{next: 3, revision: 1, count: 3}))
		},
			[]string{"fact 5: store is corrupt: m/state: the next ordinal is 3; there is one of 3"}},
		{"digest", func(t *testing.T, s *Store) {
			overwrite(t, s, []byte(keyState), encodeState(state{next: 4, revision: 1, count: 3}))
		},
			[]string{"fact 5: store is corrupt: m/state: the digest is 00000000000000000000000000000000; that of the papers is "}},
		{"record of another time", func(t *testing.T, s *Store) {
			record := testRecord("b", 7, 7)
			body, err := encodeRecord(&record)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, s, recordKey(2), body)
		}, []string{`fact 2: store is corrupt: i/"b": points to p/2, whose checksum is`}},
		{"vector of another time", func(t *testing.T, s *Store) { overwrite(t, s, vectorKey(2), encodeVector(testVector("b", 7))) },
			[]string{`fact 2: store is corrupt: i/"b": the checksum of v/2 is`}},
		{"gap in the log", func(t *testing.T, s *Store) {
			remove(t, s, logKey(1))
			overwrite(t, s, logKey(4), nil)
			overwrite(t, s, logKey(6), nil)
		},
			[]string{"fact 7: store is corrupt: s/6: the one before is of revision 4", "fact 7: store is corrupt: s/6: is the last change; the store is at revision 1"}},
		{"no change", func(t *testing.T, s *Store) { overwrite(t, s, logKey(1), []byte("x12345678")) }, []string{"fact 1: store is corrupt: s/1: 'x'"}},
		{"no state", func(t *testing.T, s *Store) { remove(t, s, []byte(keyState)) }, []string{"fact 5: store is corrupt: m/state: is missing"}},
		{"no identity", func(t *testing.T, s *Store) { remove(t, s, []byte(keyIdentity)) }, []string{"fact 6: store is corrupt: m/identity: is missing"}},
		{"other identity", func(t *testing.T, s *Store) {
			body, err := encodeIdentity(Identity{"m", "f", testDim}, "u")
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, s, []byte(keyIdentity), body)
		}, []string{"fact 6: store is corrupt: m/identity: is {Model:m"}},
		{"stray key", func(t *testing.T, s *Store) { overwrite(t, s, []byte("x/1"), nil) }, []string{`fact 6: store is corrupt: "x/1": no such key`}},
		{"short key", func(t *testing.T, s *Store) { overwrite(t, s, []byte("p/1"), nil) }, []string{`"p/1": has 1 bytes after the prefix`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := Open("store", testIdentity, inMemory())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			put(t, s, "a", "b", "c")
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			test.damage(t, s)
			wantError(t, s.Check(), ErrCorrupt, test.want...)
		})
	}
}

func remove(t *testing.T, s *Store, key []byte) {
	t.Helper()
	if err := s.db.Delete(key, pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

// A store that lost its identity or state does not open as a new one.
func TestLostMeta(t *testing.T) {
	for _, key := range []string{keyIdentity, keyState} {
		o := inMemory()
		s, err := Open("store", testIdentity, o)
		if err != nil {
			t.Fatal(err)
		}
		remove(t, s, []byte(key))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = Open("store", testIdentity, o)
		wantError(t, err, ErrCorrupt, key+": is missing")
	}
}

func TestCheckStopsCounting(t *testing.T) {
	s, err := Open("store", testIdentity, inMemory())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range maxFindings + 5 {
		overwrite(t, s, fmt.Appendf(nil, "x/%d", i), nil)
	}
	wantError(t, s.Check(), ErrCorrupt, "5 more findings")
}

// A flipped bit in a table of Pebble is ErrCorrupt or does not matter. It is never another content, and never the end of
// the process.
func TestDamagedTable(t *testing.T) {
	rng := testkit.Rand(t)
	base := t.TempDir()
	s := open(t, filepath.Join(base, "good"), nil)
	var writes []Write
	for i := range 200 {
		writes = append(writes, testWrite(fmt.Sprint(i), i))
	}
	if _, _, err := s.Put(writes); err != nil {
		t.Fatal(err)
	}
	checkAndClose(t, s)
	tables, err := filepath.Glob(filepath.Join(base, "good", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	detected := 0
	quiet := &Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for trial := range 30 {
		dir := filepath.Join(base, fmt.Sprint(trial))
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(base, "good"))); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.Base(tables[rng.IntN(len(tables))]))
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
		if err := os.WriteFile(name, data, 0o666); err != nil {
			t.Fatal(err)
		}
		err = func() error {
			s, err := Open(dir, testIdentity, quiet)
			if err != nil {
				return err
			}
			defer s.Close()
			if s.Count() != len(writes) {
				t.Errorf("count %d, want %d", s.Count(), len(writes))
			}
			if err := s.Check(); err != nil {
				return err
			}
			for _, w := range writes {
				wantPaper(t, s, w)
			}
			return nil
		}()
		if err != nil {
			detected++
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), filepath.Base(name)) {
				t.Errorf("damage in %s: %v, want ErrCorrupt that names it", name, err)
			}
		}
	}
	t.Logf("%d of 30 were detected, the others did not matter", detected)
}

// A whole store is never made again, even if all of Pebble's files are gone.
func TestLostFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	put(t, s, "a")
	checkAndClose(t, s)
	for _, pattern := range pebbleNames {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err := Open(dir, testIdentity, nil)
	wantError(t, err, ErrCorrupt, dir)
}
