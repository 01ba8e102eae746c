package retrieval

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"embedd/internal/testkit"
)

// What a start came upon, and what upkeep was done.
func TestFigures(t *testing.T) {
	dir := t.TempDir()
	c, _ := openLogged(t, dir, Options{})
	put(t, c, words(t, 40)...)
	if f := c.Figures(); f.Start.Rebuilt || f.Start.Inserted != 0 || !f.SnapshotAt.IsZero() || f.ReadOnly || f.Upkeep[saved] != (Jobs{}) || len(f.Upkeep) != 7 || f.Store.Recovered != 0 {
		t.Errorf("%+v of a new collection", f)
	}
	c.snapshots.changes.Store(saveFrom + 100)
	c.tend()
	settle(t, c)
	if f := c.Figures(); f.Upkeep[saved] != (Jobs{Done: 1}) || time.Since(f.SnapshotAt) > time.Minute {
		t.Errorf("%+v after a snapshot", f)
	}
	put(t, c, paper("x", "graph"), paper("y", "graph"))
	copied := killed(t, dir)
	shut(t, c)
	if f := c.Figures(); f.Store.Recovered != 0 { // it can be asked for after Close
		t.Errorf("%+v", f)
	}
	c, _ = openLogged(t, copied, Options{})
	if f := c.Figures(); f.Start.Rebuilt || f.Start.Inserted != 2 || f.Start.Took <= 0 || f.Store.Recovered != 2 || f.SnapshotAt.IsZero() {
		t.Errorf("%+v after a kill", f)
	}
	shut(t, c)
	for _, name := range []string{snapshotName, oldSnapshotName} {
		if err := os.WriteFile(filepath.Join(copied, name), []byte("noise"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, _ = openLogged(t, copied, Options{})
	if f := c.Figures(); !f.Start.Rebuilt || f.Start.Inserted != 42 || f.Start.UnusedSnapshots != 2 || !f.SnapshotAt.IsZero() {
		t.Errorf("%+v with damaged snapshots", f)
	}
}

// A probe finds what there is, and changes nothing that a snapshot would have to have.
func TestProbe(t *testing.T) {
	dir := t.TempDir()
	c, log := openLogged(t, dir, Options{})
	probe := func() Figures {
		t.Helper()
		c.probe.due.Store(true)
		c.tend()
		settle(t, c)
		return c.Figures()
	}
	if f := probe(); !f.Probe.At.IsZero() || f.Upkeep[probed] != (Jobs{}) {
		t.Errorf("%+v of nothing", f)
	}
	put(t, c, paper("alone", "graph"))
	if f := probe(); !f.Probe.At.IsZero() || f.Upkeep[probed].Done == 0 {
		t.Errorf("%+v of one paper", f)
	}
	put(t, c, words(t, 300)...)
	c.snapshots.touched.Store(false)
	f := probe()
	if f.Probe.Recall < 0.99 || f.Probe.Recall > 1 || f.Probe.Queries != probeQueries || time.Since(f.Probe.At) > time.Minute || c.snapshots.touched.Load() {
		t.Errorf("%+v of 301 papers", f.Probe)
	}
	if said := log.String(); !strings.Contains(said, "the index was probed") {
		t.Errorf("the log says %s", said)
	}
}

// A probe that cannot be made stops no other upkeep.
func TestProbeThatFails(t *testing.T) {
	log := &testkit.Buffer{}
	c, err := Open(t.Context(), t.TempDir(), newBag(), &Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, words(t, 20)...)
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	c.probe.due.Store(true)
	c.tend()
	settle(t, c)
	if f := c.Figures(); f.Upkeep[probed] != (Jobs{Failed: 1}) || c.upkeep.failed || c.probe.due.Load() || !strings.Contains(log.String(), "the recall of the index was not probed") {
		t.Errorf("%+v; the log says %s", f.Upkeep, log)
	}
	_ = c.Close() // says that the store is closed
}
