package store

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"embedd/internal/testkit"
)

var powerCuts = flag.Int("crashes", 600, "power cuts of TestCrash")

// TestCrash cuts the power at random moments: while a store opens, while it is written, while it closes. Each time it
// goes on with what the disk would hold then, of which Pebble's memory file system keeps all that was synced and a random
// part of what was not. It must hold that
//
//  1. the store opens, and Check finds nothing;
//  2. of each writer, all calls are there up to the last acknowledged one, or up to the one in flight; each as a whole;
//  3. every paper has its record and its vector, of versions that were written together;
//  4. the revision is not behind an acknowledged one, and no acknowledged ordinal is given again.
func TestCrash(t *testing.T) {
	crashes := *powerCuts
	if testing.Short() {
		crashes /= 10
	}
	rng := testkit.Rand(t)
	var c *crashTest
	calls := 0
	for n := range crashes {
		if n%20 == 0 {
			c = newCrashTest()
		}
		calls += c.cycle(t, rng)
		if t.Failed() {
			t.Fatalf("at crash %d", n)
		}
	}
	t.Logf("%d acknowledged calls were looked for", calls)
}

// crashTest is one disk on its way from crash to crash.
type crashTest struct {
	fs      *vfs.MemFS
	writers [4]crashWriter
	// What was acknowledged before the last crash.
	uuid     string
	revision uint64
	ordinal  uint64 // the highest
}

// crashWriter writes ids that no other writes, one call at a time.
type crashWriter struct {
	name    string
	version int // the last that was used
	// possible are the states that the disk may hold after the last crash.
	possible []crashState

	mu sync.Mutex // guards what follows from the crash, which comes while the writer writes
	// history[k] is the state after k calls since the last crash; the last call may be in flight.
	history           []crashState
	acknowledged      int // calls
	revision, ordinal uint64
}

// crashState is what is stored for a writer's ids.
type crashState map[string]crashPaper

type crashPaper struct{ version, vector int }

func newCrashTest() *crashTest {
	c := &crashTest{fs: vfs.NewCrashableMem()}
	for i := range c.writers {
		c.writers[i].name = fmt.Sprintf("writer%d", i)
		c.writers[i].possible = []crashState{{}}
	}
	return c
}

// cycle opens, writes and closes the store, with a crash at one of the three. It returns how many calls were
// acknowledged before the crash.
func (c *crashTest) cycle(t *testing.T, rng *rand.Rand) (calls int) {
	var after *vfs.MemFS
	switch pick := rng.IntN(4); pick {
	case 0:
		var s *Store
		after = c.crashDuring(rng, func() { s = c.open(t) })
		checkAndClose(t, s)
	default:
		s := c.open(t)
		c.verify(t, s)
		stop := c.write(t, rng, s)
		time.Sleep(time.Duration(rng.IntN(8000)) * time.Microsecond)
		if pick == 1 {
			stop()
			calls = c.expect(c.acknowledged())
			after = c.crashDuring(rng, func() { checkAndClose(t, s) })
			break
		}
		// In this order: a call that is acknowledged between the two looks may be on the disk or not.
		acknowledged := c.acknowledged()
		after = c.crash(rng)
		calls = c.expect(acknowledged)
		stop()
		checkAndClose(t, s)
	}
	c.fs = after
	return calls
}

func (c *crashTest) open(t *testing.T) *Store {
	s, err := Open("a/b/store", testIdentity, &Options{FS: c.fs})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

// crash gives what the disk would hold if the power went now.
func (c *crashTest) crash(rng *rand.Rand) *vfs.MemFS {
	percent := []int{0, 100, 1 + rng.IntN(99)}[rng.IntN(3)]
	return c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
}

// crashDuring is a crash at a random moment of f, or right after it.
func (c *crashTest) crashDuring(rng *rand.Rand, f func()) (after *vfs.MemFS) {
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Microsecond)
		after = c.crash(rng)
	})
	f()
	wg.Wait()
	return after
}

// acknowledged gives how many calls of each writer are.
func (c *crashTest) acknowledged() (calls []int) {
	for i := range c.writers {
		w := &c.writers[i]
		w.mu.Lock()
		calls = append(calls, w.acknowledged)
		c.revision, c.ordinal = max(c.revision, w.revision), max(c.ordinal, w.ordinal)
		w.mu.Unlock()
	}
	return calls
}

// expect notes what the disk may hold if the crash has just been, and these calls were acknowledged just before it.
func (c *crashTest) expect(acknowledged []int) (calls int) {
	for i := range c.writers {
		w := &c.writers[i]
		w.mu.Lock()
		w.possible = slices.Clone(w.history[acknowledged[i]:])
		w.mu.Unlock()
		calls += acknowledged[i]
	}
	return calls
}

// verify checks the four points after a crash, and takes what is there as what will be written upon.
func (c *crashTest) verify(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Errorf("Check after a crash: %v", err)
	}
	got := map[string]crashState{} // by writer
	for id, p := range stored(t, s) {
		name := id[:len("writer0")]
		if got[name] == nil {
			got[name] = crashState{}
		}
		got[name][id] = p
	}
	for i := range c.writers {
		w := &c.writers[i]
		state := got[w.name]
		if !slices.ContainsFunc(w.possible, func(p crashState) bool { return maps.Equal(p, state) }) {
			t.Errorf("after a crash %s has\n%v, want one of\n%v", w.name, state, w.possible)
		}
		w.possible = []crashState{state}
		w.history, w.acknowledged, w.revision, w.ordinal = []crashState{state}, 0, 0, 0
	}
	if s.Revision() < c.revision {
		t.Errorf("revision %d after a crash, %d was acknowledged", s.Revision(), c.revision)
	}
	if next := s.state.Load().next; next <= c.ordinal {
		t.Errorf("the next ordinal is %d after a crash, %d was acknowledged", next, c.ordinal)
	}
	if c.uuid != "" && s.UUID() != c.uuid {
		t.Errorf("UUID %s after a crash, was %s", s.UUID(), c.uuid)
	}
	c.uuid = s.UUID()
}

// write starts the writers; stop waits for their calls in flight.
func (c *crashTest) write(t *testing.T, rng *rand.Rand, s *Store) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range c.writers {
		w, rng := &c.writers[i], rand.New(rand.NewPCG(rng.Uint64(), 0))
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if err := w.call(rng, s); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	return func() {
		close(done)
		wg.Wait()
	}
}

// call makes one random call.
func (w *crashWriter) call(rng *rand.Rand, s *Store) error {
	now := w.history[len(w.history)-1] // of this writer's own making
	then := maps.Clone(now)
	if then == nil {
		then = crashState{}
	}
	var ids []string
	for _, i := range rng.Perm(6)[:1+rng.IntN(4)] {
		ids = append(ids, fmt.Sprint(w.name, "/", i))
	}
	var writes []Write
	deletes := rng.IntN(4) == 0
	for _, id := range ids {
		old, known := now[id]
		w.version++
		switch {
		case deletes:
			delete(then, id)
		case known && rng.IntN(3) == 0:
			writes = append(writes, Write{Record: testRecord(id, w.version, old.vector)})
			then[id] = crashPaper{w.version, old.vector}
		default:
			writes = append(writes, testWrite(id, w.version))
			then[id] = crashPaper{w.version, w.version}
		}
	}
	w.mu.Lock()
	w.history = append(w.history, then)
	w.mu.Unlock()
	var placements []Placement
	var revision uint64
	var err error
	if deletes {
		_, revision, err = s.Delete(ids)
	} else {
		placements, revision, err = s.Put(writes)
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acknowledged++
	w.revision = max(w.revision, revision)
	for _, p := range placements {
		w.ordinal = max(w.ordinal, p.Ordinal)
	}
	return nil
}

// TestCrashAtEveryStep cuts the power before every single operation on the file system, from the making of the directory
// to the last Close. After each, the store opens and has what was acknowledged, or one call more.
func TestCrashAtEveryStep(t *testing.T) {
	rng := testkit.Rand(t)
	steps := []func(s *Store) error{
		func(s *Store) error { _, _, err := s.Put([]Write{testWrite("a", 1), testWrite("b", 1)}); return err },
		func(s *Store) error {
			_, _, err := s.Put([]Write{testWrite("a", 2), {Record: testRecord("b", 2, 1)}})
			return err
		},
		func(s *Store) error { _, _, err := s.Delete([]string{"a"}); return err },
	}
	states := []crashState{{}, {"a": {1, 1}, "b": {1, 1}}, {"a": {2, 2}, "b": {2, 1}}, {"b": {2, 1}}}
	type crash struct {
		fs           *vfs.MemFS
		at           string
		acknowledged int
	}
	var crashes []crash
	var mu sync.Mutex // guards crashes and rng: Pebble works in several goroutines
	var acknowledged atomic.Int64
	disk := vfs.NewCrashableMem()
	cut := errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		for _, percent := range []int{0, 50} {
			crashes = append(crashes, crash{
				fs:           disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}),
				at:           fmt.Sprintf("op %d (kind %d of %s), %d %% of what is not synced", len(crashes)/2, op.Kind, op.Path, percent),
				acknowledged: int(acknowledged.Load()),
			})
		}
		return nil
	})
	for i, step := range steps {
		s, err := Open("a/b/store", testIdentity, &Options{FS: errorfs.Wrap(disk, cut)})
		if err != nil {
			t.Fatal(err)
		}
		if err := step(s); err != nil {
			t.Fatal(err)
		}
		acknowledged.Store(int64(i + 1))
		checkAndClose(t, s)
	}
	for _, c := range crashes {
		s, err := Open("a/b/store", testIdentity, &Options{FS: c.fs})
		if err != nil {
			t.Fatalf("%s: %v", c.at, err)
		}
		got := stored(t, s)
		if n := s.Revision(); int(n) < c.acknowledged || int(n) > c.acknowledged+1 || !maps.Equal(got, states[n]) {
			t.Fatalf("%s: revision %d with %v after %d calls were acknowledged", c.at, n, got, c.acknowledged)
		}
		checkAndClose(t, s)
	}
	t.Logf("%d crashes", len(crashes))
}

// TestUpgradeAtEveryStep cuts the power before every operation of the Open that brings a store of format 1 to the present one.
func TestUpgradeAtEveryStep(t *testing.T) {
	rng := testkit.Rand(t)
	versions := map[string]int{"first": 1, "ö/second": 2, "third": 3}
	for _, forget := range []string{"", markName + ".new"} {
		disk := vfs.NewCrashableMem()
		copyArchive(t, "testdata/format-1.zip", disk)
		var mu sync.Mutex
		var crashes []*vfs.MemFS
		cut := errorfs.InjectorFunc(func(errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			for _, percent := range []int{0, 50} {
				crashes = append(crashes, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
			}
			return nil
		})
		fsys := forgetfulFS{errorfs.Wrap(disk, cut), func(name string) bool { return name == forget }}
		s, err := Open("store", testIdentity, &Options{FS: fsys, markEvery: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		checkAndClose(t, s)
		lost := 0
		for i, after := range crashes {
			s, err := Open("store", testIdentity, &Options{FS: after, markEvery: time.Hour})
			if err != nil {
				if lost++; forget == "" {
					t.Fatalf("crash %d of %d: %v", i, len(crashes), err)
				}
				continue
			}
			for id, version := range versions {
				wantPaper(t, s, testWrite(id, version))
			}
			checkAndClose(t, s)
		}
		if forget != "" && lost == 0 {
			t.Errorf("nobody misses the sync of %s", forget)
		}
	}
}

// copyArchive puts the files of an archive on a disk, synced.
func copyArchive(t *testing.T, archive string, disk *vfs.MemFS) {
	t.Helper()
	r, err := zip.OpenReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := disk.MkdirAll("store", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, entry := range r.File {
		in, err := entry.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		f, err := disk.Create("store/"+entry.Name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(data)
		if err := errors.Join(err, f.Sync(), f.Close(), in.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(syncDir(disk, "store"), syncDir(disk, "")); err != nil {
		t.Fatal(err)
	}
}

// stored gives the versions of all papers, having compared their records and vectors with them.
func stored(t *testing.T, s *Store) crashState {
	t.Helper()
	records, err := s.List("", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != s.Count() {
		t.Errorf("%d papers are listed, %d counted", len(records), s.Count())
	}
	state := crashState{}
	for _, r := range records {
		id, version, vector := r.Paper.ID, r.Tokens, int(binary.BigEndian.Uint64(r.Content[:]))
		wantPaper(t, s, Write{Record: testRecord(id, version, vector), Vector: testVector(id, vector)})
		state[id] = crashPaper{version, vector}
	}
	return state
}
