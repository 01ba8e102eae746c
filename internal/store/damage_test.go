package store

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"embedd/internal/testkit"
)

// trials is how often each kind of file is damaged: make test-long has 1000.
var trials = flag.Int("trials", 40, "trials of a random test for each case")

// fileKinds are the files of a store's directory. A new kind needs a line here, and is damaged from then on.
var fileKinds = []string{"*.sst", "*.log", "MANIFEST-*", "OPTIONS-*", "marker.format-version.*", "marker.manifest.*", "LOCK", madeName, markName}

// TestDamage damages one file of a store that was closed, killed, or is idle, in every way that disks and people do. What follows is an
// error, or exactly what was stored: never another content, and never less of it without a word.
func TestDamage(t *testing.T) {
	rng := testkit.Rand(t)
	base := t.TempDir()
	want := map[string]int{}
	states := map[string]string{}
	s, err := Open(filepath.Join(base, "good"), testIdentity, &Options{markEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	write := func(from, to int) {
		for i := from; i < to; i += 10 {
			var writes []Write
			for j := i; j < i+10; j++ {
				id := fmt.Sprint(j % 150)
				writes = append(writes, testWrite(id, j))
				want[id] = j
			}
			if _, _, err := s.Put(writes); err != nil {
				t.Fatal(err)
			}
		}
	}
	copyAs := func(name string) {
		states[name] = filepath.Join(base, name)
		testkit.CopyStill(t, states[name], filepath.Join(base, "good"))
	}
	write(0, 200)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	write(200, 400)
	if err := s.mark(false); err != nil {
		t.Fatal(err)
	}
	copyAs("killed")
	checkAndClose(t, s)
	copyAs("closed")

	for state, dir := range states {
		kinds := map[string][]string{} // names, by pattern
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			i := slices.IndexFunc(fileKinds, func(pattern string) bool { ok, _ := filepath.Match(pattern, e.Name()); return ok })
			if i < 0 {
				t.Fatalf("the directory has a file %s, which is of no kind in the table", e.Name())
			}
			kinds[fileKinds[i]] = append(kinds[fileKinds[i]], e.Name())
		}
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			t.Run(state+"/"+kind, func(t *testing.T) {
				found, harmless := 0, 0
				for range some(*trials) {
					if damageOnce(t, rng, dir, kinds[kind], want) {
						found++
					} else {
						harmless++
					}
					if t.Failed() {
						return
					}
				}
				t.Logf("%d found, %d did no harm", found, harmless)
			})
		}
	}
}

// damageOnce damages one of the files in a copy of dir, and tells whether that was found.
func damageOnce(t *testing.T, rng *rand.Rand, from string, names []string, want map[string]int) (found bool) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	name := names[rng.IntN(len(names))]
	how := damageFile(t, rng, dir, name)
	quiet := &Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), markEvery: time.Hour}
	begin := time.Now()
	s, err := Open(dir, testIdentity, quiet)
	if err == nil {
		defer s.Close()
		if err = s.Check(); err == nil {
			err = sameAs(s, want)
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: nothing was found, and %v", how, err)
			}
		} else if e := sameAs(s, want); e != nil && !errors.Is(e, ErrCorrupt) {
			t.Errorf("%s: Check says %v, and a reader finds %v", how, err, e)
		}
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("%s: took %v", how, took)
	}
	return err != nil
}

// sameAs compares what is stored with what was. Its error is ErrCorrupt if the store says itself that it is not.
func sameAs(s *Store, want map[string]int) error {
	records, err := s.List("", 10*len(want))
	if err != nil {
		return err
	}
	if len(records) != len(want) {
		return fmt.Errorf("%d papers are listed, %d were stored", len(records), len(want))
	}
	for id, version := range want {
		w := testWrite(id, version)
		r, ordinal, err := s.Get(id)
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		v, err := s.Vector(ordinal)
		if errors.Is(err, ErrNotFound) {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		if !reflect.DeepEqual(r, w.Record) || !slices.Equal(v, w.Vector) {
			return fmt.Errorf("%s is another than was stored", id)
		}
	}
	return nil
}

// damageFile damages a file in a random way, and says how.
func damageFile(t *testing.T, rng *rand.Rand, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	how := rng.IntN(7)
	at := 0
	if len(data) > 0 {
		at = rng.IntN(len(data))
	} else if how < 5 {
		how = 5
	}
	var says string
	switch how {
	case 0, 1:
		bit := rng.IntN(8)
		data[at] ^= 1 << bit
		says = fmt.Sprintf("bit %d of byte %d flipped", bit, at)
	case 2:
		at &^= 4095
		clear(data[at:min(len(data), at+4096)])
		says = fmt.Sprintf("zeros from %d", at)
	case 3:
		cut := min(len(data), 1+rng.IntN(8192))
		data = data[:len(data)-cut]
		says = fmt.Sprintf("the last %d bytes cut", cut)
	case 4:
		at &^= 511
		for i := range data[at:] {
			data[at+i] = byte(rng.Uint32())
		}
		says = fmt.Sprintf("noise from %d", at)
	case 5:
		data = nil
		says = "emptied"
	case 6:
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return name + ": deleted"
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return name + ": " + says
}

// An older copy of a file in the place of the present one is damage too.
func TestStaleFiles(t *testing.T) {
	base := t.TempDir()
	dir, old := filepath.Join(base, "store"), filepath.Join(base, "old")
	s := open(t, dir, &Options{markEvery: time.Hour})
	put(t, s, "a", "b")
	checkAndClose(t, s)
	if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, &Options{markEvery: time.Hour})
	if _, _, err := s.Put([]Write{testWrite("a", 2), testWrite("c", 2)}); err != nil {
		t.Fatal(err)
	}
	checkAndClose(t, s)
	t.Run("all but the mark", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.CopyFS(dir, os.DirFS(old)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(base, "store", markName))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, markName), data, 0o666); err != nil {
			t.Fatal(err)
		}
		_, err = Open(dir, testIdentity, nil)
		wantError(t, err, ErrLoss)
	})
	t.Run("the mark alone", func(t *testing.T) { // harmless: it only knows less
		data, err := os.ReadFile(filepath.Join(old, markName))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, markName), data, 0o666); err != nil {
			t.Fatal(err)
		}
		_, err = Open(dir, testIdentity, nil)
		wantError(t, err, ErrLoss) // it says that the store was closed at an earlier revision
	})
}

// A new store is made of what is whole of a damaged one, and the old one is kept.
func TestRepair(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := open(t, dir, nil)
	put(t, s, "a", "b", "c", "d", "e")
	put(t, s, "e") // which leaves an ordinal
	uuid := s.UUID()
	remove(t, s, vectorKey(2))
	overwrite(t, s, recordKey(3), []byte("{"))
	remove(t, s, ordinalKey("d"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, testIdentity, nil)
	wantError(t, err, ErrLoss, "4 papers", "5 with", "--accept-data-loss")
	r, err := Repair(rootOf(t, filepath.Dir(dir)), "store", log)
	if err != nil || r.Papers != 3 || r.Lost != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	s = open(t, dir, nil)
	if s.Count() != 3 || s.UUID() == uuid {
		t.Errorf("%d papers are left, UUID %s, was %s", s.Count(), s.UUID(), uuid)
	}
	for _, id := range []string{"a", "d", "e"} {
		wantPaper(t, s, testWrite(id, 1))
	}
	put(t, s, "b")
	_, err = Repair(rootOf(t, filepath.Dir(dir)), "store", log)
	wantError(t, err, ErrLocked)
	checkAndClose(t, s)
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), r.Damaged, madeName)); err != nil {
		t.Errorf("the damaged store is not kept: %v", err)
	}
	if r, err := Repair(rootOf(t, filepath.Dir(dir)), "store", log); err != nil || r.Papers != 4 || r.Lost != 0 {
		t.Errorf("of a whole store: %+v, %v", r, err)
	}
}

// Damaged blocks of tables take away the papers in them and no others.
func TestRepairOfDamagedBlocks(t *testing.T) {
	rng := testkit.Rand(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for range some(5) {
		dir := filepath.Join(t.TempDir(), "store")
		s := open(t, dir, nil)
		var writes []Write
		for i := range 2000 {
			writes = append(writes, testWrite(fmt.Sprint(i), 1))
		}
		if _, _, err := s.Put(writes); err != nil {
			t.Fatal(err)
		}
		checkAndClose(t, s)
		tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
		if err != nil || len(tables) == 0 {
			t.Fatalf("%v, %v", tables, err)
		}
		table := slices.MaxFunc(tables, func(a, b string) int { return int(size(t, a) - size(t, b)) })
		data, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		at := rng.IntN(len(data) / 2) // what is at the end are the indexes, without which there is nothing
		for i := range 16 {
			data[at+i] ^= 0x55
		}
		if err := os.WriteFile(table, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Repair(rootOf(t, filepath.Dir(dir)), "store", log)
		if errors.Is(err, ErrCorrupt) { // of the identity or the state
			continue
		}
		if err != nil || r.Papers+r.Lost != len(writes) || r.Papers < len(writes)/2 {
			t.Fatalf("%+v, %v", r, err)
		}
		s = open(t, dir, nil)
		if s.Count() != r.Papers {
			t.Errorf("%d papers, %d were said", s.Count(), r.Papers)
		}
		checkAndClose(t, s)
	}
}

func size(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A slot of the mark that was torn leaves the other.
func TestTornMark(t *testing.T) {
	for slot := range markSlots {
		dir := filepath.Join(t.TempDir(), "store")
		s := open(t, dir, &Options{markEvery: time.Hour})
		put(t, s, "a")
		if err := s.mark(false); err != nil {
			t.Fatal(err)
		}
		put(t, s, "b")
		if err := s.mark(false); err != nil {
			t.Fatal(err)
		}
		newest := int(s.marker.last.Sequence % markSlots)
		killed := filepath.Join(t.TempDir(), "store")
		testkit.CopyStill(t, killed, dir)
		f, err := os.OpenFile(filepath.Join(killed, markName), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(make([]byte, 100), int64(slot)*slotSize); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		m, err := readMark(vfs.Default, killed)
		if err != nil {
			t.Fatal(err)
		}
		if want := uint64(2); slot == newest && m.Revision != want-1 || slot != newest && m.Revision != want {
			t.Errorf("with slot %d torn the mark is of revision %d", slot, m.Revision)
		}
		open(t, killed, nil)
		wantPaper(t, s, testWrite("b", 1))
	}
}
