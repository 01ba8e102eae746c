package retrieval

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"embedd/internal/backup"
	"embedd/internal/testkit"
)

// killed copies a data directory while it is in use, as a kill -9 would leave it.
func killed(t *testing.T, dir string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "da[t]a") // a name that is no pattern of its own
	testkit.CopyStill(t, copied, dir)
	return copied
}

// After a kill the index catches up from its latest snapshot, by what has changed since; if that cannot be used, from the one before.
func TestCatchesUpFromTheLatestSnapshotThatServes(t *testing.T) {
	for _, x := range []struct {
		name    string
		harm    func(dir string) error
		changed int // papers that must be inserted again
		says    string
	}{
		{"as it was", nil, 50, ""},
		{"the latest is damaged", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, snapshotName), []byte("noise"), 0o644)
		}, 150, "the one before it is"},
		{"the latest is gone", func(dir string) error { return os.Remove(filepath.Join(dir, snapshotName)) }, 150, ""},
		{"both are gone", func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, snapshotName)), os.Remove(filepath.Join(dir, oldSnapshotName)))
		}, 380, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := t.TempDir()
			c, _ := openLogged(t, dir, Options{})
			all := words(t, 400)
			put(t, c, all[:250]...)
			for _, more := range [][]Paper{all[250:350], all[350:]} { // a snapshot before each
				if err := c.saveSnapshot(); err != nil {
					t.Fatal(err)
				}
				put(t, c, more...)
			}
			var gone []string
			for _, p := range all[:20] {
				gone = append(gone, p.ID)
			}
			if _, _, _, err := c.Delete(t.Context(), gone); err != nil {
				t.Fatal(err)
			}
			want := related(t, c, "p0300", 30)
			copied := killed(t, dir)
			if x.harm != nil {
				if err := x.harm(copied); err != nil {
					t.Fatal(err)
				}
			}
			inserted := 0
			again, log := openLogged(t, copied, Options{Progress: func(done, _ int) { inserted = done }})
			if inserted != x.changed || !strings.Contains(log.String(), x.says) {
				t.Errorf("%d papers were inserted again, want %d; the log says %q, want %q", inserted, x.changed, log.String(), x.says)
			}
			if got := related(t, again, "p0300", 30); !slices.Equal(got, want) {
				t.Errorf("related are %v, were %v", got, want)
			}
			shut(t, again)
		})
	}
}

// A snapshot is written on the way, after many changes or a long time, and what a kill leaves half written is cleared away.
func TestSnapshotOnTheWay(t *testing.T) {
	dir := t.TempDir()
	c, log := openLogged(t, dir, Options{})
	put(t, c, words(t, 30)...)
	settle(t, c)
	if _, err := os.Stat(filepath.Join(dir, snapshotName)); err == nil {
		t.Fatal("there is a snapshot after 30 papers")
	}
	c.snapshots.changes.Store(saveFrom + 100)
	put(t, c, paper("one more", "graph"))
	settle(t, c)
	if _, err := os.Stat(filepath.Join(dir, snapshotName)); err != nil || !strings.Contains(log.String(), "the index was saved") {
		t.Fatalf("there is no snapshot: %v; the log says %s", err, log.String())
	}
	put(t, c, paper("and another", "graph"))
	c.snapshots.since.Store(time.Now().Add(-saveAfter).UnixNano())
	c.tend()
	settle(t, c)
	if _, err := os.Stat(filepath.Join(dir, oldSnapshotName)); err != nil {
		t.Errorf("there is no snapshot before the latest: %v", err)
	}
	if c.unsaved() {
		t.Error("the latest snapshot lacks something")
	}
	half := filepath.Join(dir, "index.snapshot.1.new")
	if err := os.WriteFile(half, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	shut(t, c)
	openLogged(t, dir, Options{})
	if _, err := os.Stat(half); err == nil {
		t.Error("half a snapshot is left")
	}
}

// Many writers of the same papers at once: what is stored and what is in the index agree, and every answer knows its own write.
func TestCommitsSideBySide(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dir := t.TempDir()
	c := open(t, dir, newBag())
	texts := []string{"graph", "networks", "vision", "language", "transformer", "retrieval"}
	var wg sync.WaitGroup
	for w := range 8 {
		rng := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			for range 150 {
				id := fmt.Sprintf("p%d", rng.IntN(10))
				var version uint64
				var err error
				if rng.IntN(4) == 0 {
					_, _, version, err = c.Delete(t.Context(), []string{id})
				} else {
					p := paper(id, texts[rng.IntN(len(texts))])
					p.Year = int32(rng.IntN(5)) // with the same text: only the record changes
					_, version, err = c.Upsert(t.Context(), []Paper{p, paper(fmt.Sprintf("own%d", w), texts[rng.IntN(len(texts))])})
				}
				if err != nil {
					t.Error(err)
					return
				}
				if info, err := c.Info(); err != nil || info.Version < version {
					t.Errorf("version %d is answered, and the collection is at %d: %v", version, info.Version, err)
				}
			}
		})
	}
	wg.Wait()
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	shut(t, c)
	shut(t, open(t, dir, newBag()))
}

// A caller that does not wait any longer is let go; the commit goes on, and Close waits for it.
func TestCommitOutlivesItsCaller(t *testing.T) {
	c := open(t, t.TempDir(), newBag())
	ctx, cancel := context.WithCancel(t.Context())
	hold, ended := make(chan struct{}), false
	_, err := c.commit(ctx, func() (uint64, error) { cancel(); <-hold; ended = true; return 1, nil })
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "may yet succeed") {
		t.Errorf("%v", err)
	}
	time.AfterFunc(20*time.Millisecond, func() { close(hold) })
	if err := c.Close(); err != nil || !ended {
		t.Errorf("ended %v, %v", ended, err)
	}
}

func TestWatermark(t *testing.T) {
	var w watermark
	w.start(5)
	var wg sync.WaitGroup
	for _, revision := range []uint64{8, 7, 9} {
		wg.Go(func() {
			w.reach(revision)
			if w.load() < revision {
				t.Errorf("%d is answered at %d", revision, w.load())
			}
		})
	}
	time.Sleep(5 * time.Millisecond)
	if w.load() != 5 {
		t.Errorf("at %d without revision 6", w.load())
	}
	w.reach(6)
	wg.Wait()
	if w.load() != 9 || len(w.ahead) != 0 {
		t.Errorf("at %d, %d ahead", w.load(), len(w.ahead))
	}
}

// A backup of a collection that is written to is a collection of one moment.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	c, _ := openLogged(t, dir, Options{})
	all := words(t, 300)
	put(t, c, all[:200]...)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 200; i < 300; i += 5 {
			put(t, c, all[i:i+5]...)
		}
	})
	name := filepath.Join(dir, "backups", "monday")
	info, err := c.Backup(t.Context(), name, "test")
	wg.Wait()
	if err != nil || info.Papers < 200 {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := c.Backup(t.Context(), name, "test"); KindOf(err) != FailedPrecondition || err == nil {
		t.Errorf("a second of that name: %v", err)
	}
	if _, err := c.Backup(t.Context(), filepath.Join(dir, "..", "monday"), "test"); KindOf(err) != Invalid || err == nil {
		t.Errorf("outside of the data directory: %v", err)
	}
	target := filepath.Join(t.TempDir(), "data")
	if _, _, err := backup.Restore(t.Context(), name, target, false, nil); err != nil {
		t.Fatal(err)
	}
	x, err := Inspect(t.Context(), target, nil)
	if err != nil || x.Violated() {
		t.Errorf("%+v, %v", x, err)
	}
	restored, log := openLogged(t, target, Options{})
	now, err := restored.Info()
	if err != nil || now.Version != info.Revision || now.Papers != info.Papers || now.Papers%5 != 0 || now.Papers < 200 || log.String() != "" {
		t.Errorf("%+v, want revision %d, %v; the log says %s", now, info.Revision, err, log.String())
	}
	if got := related(t, restored, "p0007", 5); len(got) != 5 {
		t.Errorf("related are %v", got)
	}
	shut(t, restored)
}

// An inspection finds what is not as it must be, and by which invariant.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	c, _ := openLogged(t, dir, Options{})
	put(t, c, words(t, 120)...)
	shut(t, c)
	inspect := func(dir string) (violated []int) {
		x, err := Inspect(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range x.Findings {
			if len(f.Violations) > 0 {
				violated = append(violated, f.Invariant)
			} else if !f.Holds && f.Invariant <= 7 && x.Papers > 0 {
				t.Errorf("invariant %d is neither proved nor violated", f.Invariant)
			}
		}
		return violated
	}
	if got := inspect(dir); got != nil {
		t.Errorf("violated in a whole directory: %v", got)
	}
	// A paper that came after the snapshots, and changed since.
	again := killed(t, dir)
	late, _ := openLogged(t, again, Options{})
	put(t, late, Paper{ID: "late", Title: "late"})
	put(t, late, Paper{ID: "late", Title: "late", Year: 2020})
	if got := inspect(killed(t, again)); got != nil {
		t.Errorf("violated after a change: %v", got)
	}
	shut(t, late)
	bad := killed(t, dir)
	if err := os.WriteFile(filepath.Join(bad, snapshotName), []byte("noise"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := inspect(bad); !slices.Equal(got, []int{2}) {
		t.Errorf("with a damaged snapshot: %v", got)
	}
	removed, err := DropDerived(bad)
	if err != nil || !slices.Equal(removed, []string{snapshotName, wordsSnapshotName, worksSnapshotName}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if got := inspect(bad); got != nil {
		t.Errorf("without a snapshot: %v", got)
	}
	bad = killed(t, dir)
	if err := os.Remove(filepath.Join(bad, storeName, "EMBEDD-MARK")); err != nil {
		t.Fatal(err)
	}
	if got := inspect(bad); !slices.Equal(got, []int{1}) {
		t.Errorf("without a mark: %v", got)
	}
	if _, err := Open(t.Context(), bad, newBag(), nil); KindOf(err) != DataLoss || err == nil {
		t.Errorf("Open without a mark: %v", err)
	}
	if r, err := Repair(bad, nil); err != nil || r.Papers != 120 || r.Lost != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if got := inspect(bad); !slices.Equal(got, []int{2}) { // the snapshot is of what the store was
		t.Errorf("after a repair: %v", got)
	}
	shut(t, open(t, bad, newBag()))
	if _, err := Inspect(t.Context(), t.TempDir(), nil); err == nil {
		t.Error("an empty folder is a data directory")
	}
}

// A data directory that has lost its store is not taken for a new one, whatever else is left in it.
func TestAStoreThatIsGone(t *testing.T) {
	for left, refused := range map[string]bool{
		snapshotName: true, oldSnapshotName: true, "backups/monday": true, "store.damaged-20260102T030405": true, "store.repairing": true,
		"notes.txt": false,
	} {
		dir := filepath.Join(t.TempDir(), "pa[p]ers")
		if err := os.MkdirAll(filepath.Join(dir, left), 0o755); err != nil {
			t.Fatal(err)
		}
		c, err := Open(t.Context(), dir, newBag(), nil)
		if err == nil {
			shut(t, c)
		}
		if refused && KindOf(err) != DataLoss || refused != (err != nil) {
			t.Errorf("beside %s: %v", left, err)
		}
	}
}

// What a process that was killed has left half done is removed by the next.
func TestLeftoversAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pa[p]ers")
	shut(t, open(t, dir, newBag()))
	half := []string{"index.snapshot.123.new", "backups/monday.making-123"}
	whole := []string{"backups/tuesday", "notes.new"}
	for _, name := range slices.Concat(half, whole) {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, open(t, dir, newBag()))
	for _, name := range half {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range whole {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// Where a snapshot or a backup would leave less than the reserve on the disk none is begun; a stop without a snapshot is none that failed.
func TestNoRoom(t *testing.T) {
	dir := t.TempDir()
	c, _ := openLogged(t, dir, Options{})
	put(t, c, words(t, 50)...)
	shut(t, c)
	snapshot := filepath.Join(dir, snapshotName)
	before, err := os.ReadFile(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	c, log := openLogged(t, dir, Options{Reserve: 1 << 60})
	if _, _, _, err := c.Delete(t.Context(), []string{"p0007"}); err != nil { // that is taken all the same
		t.Fatal(err)
	}
	for range 2 {
		c.snapshots.changes.Store(saveFrom + 100)
		c.snapshots.notBefore.Store(0)
		c.tend()
		settle(t, c)
	}
	if n, jobs := strings.Count(log.String(), "no snapshot of the index was written"), c.Figures().Upkeep[saved]; n != 1 || jobs.Failed != 2 || jobs.Done != 0 {
		t.Errorf("it is logged %d times, and counted as %+v", n, jobs)
	}
	_, err = c.Backup(t.Context(), filepath.Join(dir, "backups", "monday"), "test")
	var e *Error
	if !errors.As(err, &e) || e.Kind != Exhausted || e.RetryAfter == 0 || !strings.Contains(e.Message, "MiB are needed and") || !strings.Contains(e.Message, "are the reserve") {
		t.Errorf("a backup: %v", err)
	}
	shut(t, c)
	if !strings.Contains(log.String(), "the index is not saved; the next start takes longer") {
		t.Errorf("the log says %s", log.String())
	}
	for _, left := range []string{oldSnapshotName, "*.new", "backups/*"} {
		if found, err := fs.Glob(os.DirFS(dir), left); err != nil || len(found) > 0 {
			t.Errorf("there is %v, %v", found, err)
		}
	}
	if after, err := os.ReadFile(snapshot); err != nil || !slices.Equal(after, before) {
		t.Errorf("the snapshot of before is another: %v", err)
	}
	c, _ = openLogged(t, dir, Options{})
	if c.start.Rebuilt || c.start.Inserted != 0 {
		t.Errorf("the start: %+v", c.start)
	}
	shut(t, c)
	if info, err := os.Stat(snapshot); err != nil || info.Size() == 0 {
		t.Error(err)
	}
}
