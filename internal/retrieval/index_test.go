package retrieval

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"embedd/ann"
	"embedd/internal/testkit"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(linearChildDir); dir != "" {
		linearChild(dir)
	}
	goleak.VerifyTestMain(m)
}

// fewer is n, or a quarter of it with -short: as many trials as the race detector has time for.
func fewer(n int) int {
	if testing.Short() {
		return max(1, n/4)
	}
	return n
}

// openLogged is open with options and a log.
func openLogged(t *testing.T, dir string, o Options) (*Collection, *testkit.Buffer) {
	t.Helper()
	log := &testkit.Buffer{}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	c, err := Open(t.Context(), dir, newBag(), &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	return c, log
}

func settle(t *testing.T, c *Collection) IndexInfo {
	t.Helper()
	if err := c.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := c.Info()
	if err != nil {
		t.Fatal(err)
	}
	return info.Index
}

// A snapshot that cannot be used is not used, which is logged with the reason; the index made anew has everything, and its own
// snapshot is used the next time.
func TestSnapshotIsUsedOrTheIndexRebuilt(t *testing.T) {
	overwrite := func(at int, with string) func([]byte) []byte {
		return func(data []byte) []byte { copy(data[at:], with); return data }
	}
	for _, x := range []struct {
		name    string
		harm    func([]byte) []byte
		options ann.Options
		why     string
	}{
		{"as it was", nil, ann.Options{}, ""},
		{"as it was, defaults spelled out", nil, ann.Options{M: 16, EfConstruction: 200}, ""},
		{"of the version before", overwrite(len("embedd.ann"), "\x01\x00"), ann.Options{}, "version 1, this program reads 2"},
		{"damaged in its header", overwrite(100, "x"), ann.Options{}, "checksum"},
		{"damaged in its vectors", overwrite(16<<10+77, "\xff\x00\xff"), ann.Options{}, "block 0 is damaged"},
		{"damaged at its end", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, ann.Options{}, "checksums are damaged"},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, ann.Options{}, "bytes, its header says"},
		{"empty", func(b []byte) []byte { return nil }, ann.Options{}, "does not begin"},
		{"with another M", nil, ann.Options{M: 8}, "made with M 16, efConstruction 200, memory residual, codes of a byte; asked for are M 8, efConstruction 200, memory residual, codes of a byte"},
		{"with another memory mode", nil, ann.Options{Memory: ann.Fast}, "asked for are M 16, efConstruction 200, memory fast"},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := t.TempDir()
			c, _ := openLogged(t, dir, Options{})
			put(t, c, words(t, 300)...)
			want := related(t, c, "p0007", 20)
			shut(t, c)
			snapshot := filepath.Join(dir, snapshotName)
			data, err := os.ReadFile(snapshot)
			if err != nil {
				t.Fatal(err)
			}
			if x.harm != nil {
				if err := os.WriteFile(snapshot, x.harm(data), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, why := range []string{x.why, ""} {
				rebuilt := 0
				c, log := openLogged(t, dir, Options{Index: x.options, Progress: func(done, total int) { rebuilt = done }})
				switch said := log.String(); {
				case why == "" && (said != "" || rebuilt != 0):
					t.Errorf("%d papers were inserted anew; the log says %s", rebuilt, said)
				case why != "" && (!strings.Contains(said, why) || strings.Count(said, "the index is rebuilt from the store") != 1 || rebuilt != 300):
					t.Errorf("%d papers were inserted anew; the log says %s, want %q", rebuilt, said, why)
				}
				if got := related(t, c, "p0007", 20); !slices.Equal(got, want) {
					t.Errorf("related are %v, were %v", got, want)
				}
				shut(t, c)
			}
		})
	}
}

// An index that is made anew is the same each time, to the byte.
func TestRebuildIsDeterministic(t *testing.T) {
	dir := t.TempDir()
	c, _ := openLogged(t, dir, Options{})
	put(t, c, words(t, 700)...)
	shut(t, c)
	snapshot := filepath.Join(dir, snapshotName)
	var last []byte
	for range 3 {
		if err := os.Remove(snapshot); err != nil {
			t.Fatal(err)
		}
		c, _ := openLogged(t, dir, Options{})
		shut(t, c)
		data, err := os.ReadFile(snapshot)
		if err != nil {
			t.Fatal(err)
		}
		if last != nil && !bytes.Equal(data, last) {
			t.Fatal("two rebuilds of the same papers differ")
		}
		last = data
	}
}

// A start that is cancelled leaves nothing behind, and harms nothing.
func TestOpenCanBeCancelled(t *testing.T) {
	dir := t.TempDir()
	c, _ := openLogged(t, dir, Options{})
	put(t, c, words(t, 300)...)
	shut(t, c)
	snapshot := filepath.Join(dir, snapshotName)
	for _, harm := range []func() error{func() error { return nil }, func() error { return os.Remove(snapshot) }} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Open(ctx, dir, newBag(), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
	}
	c, _ = openLogged(t, dir, Options{})
	if n := settle(t, c).Vectors; n != 300 {
		t.Errorf("%d vectors", n)
	}
}

func TestMemoryModes(t *testing.T) {
	papers := words(t, 400)
	var exact []string
	for _, memory := range []ann.Memory{ann.Residual, ann.Fast, ann.Lean} {
		t.Run(memory.String(), func(t *testing.T) {
			dir := t.TempDir()
			o := Options{Index: ann.Options{Memory: memory}}
			c, _ := openLogged(t, dir, o)
			put(t, c, papers...)
			var last []string
			for _, when := range []string{"new", "from its snapshot"} {
				info := settle(t, c)
				if info.Memory != memory.String() || info.Vectors != 400 || info.Kernels == "" || info.MemoryBytes == 0 || (info.FileBytes > 0) != (memory == ann.Lean) {
					t.Errorf("%s: %+v", when, info)
				}
				res, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: "p0009"}, Exact: true})
				if err != nil {
					t.Fatal(err)
				}
				got := ids(res.Hits)
				if last != nil && !slices.Equal(got, last) {
					t.Errorf("%s: %v, was %v", when, got, last)
				}
				last = got
				put(t, c, paper("later", "w1 w2")) // a mapped one can be written to
				if _, _, _, err := c.Delete(t.Context(), []string{"later"}); err != nil {
					t.Fatal(err)
				}
				shut(t, c)
				var log *testkit.Buffer
				if c, log = openLogged(t, dir, o); log.String() != "" {
					t.Error(log)
				}
			}
			if exact == nil {
				exact = last
			}
			if last[0] != exact[0] { // in residual mode a vector is a little off
				t.Errorf("%v, in the first mode %v", last, exact)
			}
		})
	}
}

// The list is chosen by the target recall, or given; the answer says what was used.
func TestRecallAndPlan(t *testing.T) {
	c, _ := openLogged(t, t.TempDir(), Options{})
	search := func(r SearchRequest) *SearchResult {
		t.Helper()
		r.Input, r.Mode = Input{Text: ptr("w1 w2 w3")}, Dense
		res, err := c.Search(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := search(SearchRequest{}); len(res.Hits) != 0 || res.Plan != Auto {
		t.Errorf("an empty collection gives %+v", res)
	}
	put(t, c, words(t, 3000)...)
	last := 0
	for _, recall := range []float64{MinRecall, 0.9, DefaultRecall, 0.999, MaxRecall} {
		res := search(SearchRequest{Recall: &recall, K: ptr(40), Plan: Graph})
		if res.Ef <= last || res.Plan != Graph {
			t.Errorf("recall %v: ef %d by %v, less recall had %d", recall, res.Ef, res.Plan, last)
		}
		last = res.Ef
	}
	// Without a recall there is one ef for all k up to 100, which keeps the default recall for all of them.
	if res := search(SearchRequest{Plan: Graph}); res.Ef != search(SearchRequest{K: ptr(100), Plan: Graph}).Ef || res.Ef < search(SearchRequest{K: ptr(100), Recall: ptr(DefaultRecall), Plan: Graph}).Ef {
		t.Errorf("without a recall ef is %d", res.Ef)
	}
	if res := search(SearchRequest{Ef: ptr(77), Plan: Graph}); res.Ef != 77 || res.Plan != Graph {
		t.Errorf("ef %d by %v, want 77 by graph", res.Ef, res.Plan)
	}
	if res := search(SearchRequest{Ef: ptr(1), K: ptr(50), Plan: Graph}); res.Ef < 50 || len(res.Hits) != 50 {
		t.Errorf("ef %d for k 50, %d hits", res.Ef, len(res.Hits))
	}
	if res := search(SearchRequest{}); res.Plan == Auto || (res.Ef == 0) != (res.Plan == Scan) {
		t.Errorf("ef %d by %v", res.Ef, res.Plan)
	}
	exact := search(SearchRequest{Exact: true, Ef: ptr(77)})
	if exact.Ef != 0 || exact.Plan != Auto || !exact.Exact {
		t.Errorf("exact: %+v", exact)
	}
	if res := search(SearchRequest{Plan: Scan, Recall: ptr(MinRecall)}); res.Ef != 0 || res.Plan != Scan || res.Exact || !slices.Equal(ids(res.Hits), ids(exact.Hits)) {
		t.Errorf("a scan: %+v, exact is %+v", res, exact)
	}
}

// Tombstones are taken out once they are more than 1,000 and 5 %, and the index is saved without them.
func TestTombstonesAreConsolidated(t *testing.T) {
	dir := t.TempDir()
	c, log := openLogged(t, dir, Options{})
	put(t, c, words(t, 2500)...)
	remove := func(from, to int) {
		t.Helper()
		var gone []string
		for i := from; i < to; i++ {
			gone = append(gone, fmt.Sprintf("p%04d", i))
		}
		if n, _, _, err := c.Delete(t.Context(), gone); err != nil || n != to-from {
			t.Fatal(n, err)
		}
	}
	remove(0, consolidateFrom)
	if x := settle(t, c); x.Tombstones != consolidateFrom || x.Free != 0 {
		t.Errorf("%+v after %d deletions", x, consolidateFrom)
	}
	remove(consolidateFrom, consolidateFrom+1)
	if x := settle(t, c); x.Tombstones != 0 || x.Free != consolidateFrom+1 || x.Vectors != 1499 {
		t.Errorf("%+v after one more", x)
	}
	if said := log.String(); !strings.Contains(said, "the index was consolidated") || !strings.Contains(said, "tombstones=1001") || !strings.Contains(said, "took=") {
		t.Errorf("the log says %s", said)
	}
	if got := related(t, c, "p2000", 1000); len(got) != 1000 || slices.Min(got) < "p1001" {
		t.Errorf("%d related, the first by id is %s", len(got), slices.Min(got))
	}
	put(t, c, paper("new", "w1 w2"))
	if x := settle(t, c); x.Free != consolidateFrom {
		t.Errorf("%+v: a free slot is not used again", x)
	}
	shut(t, c)
	c, _ = openLogged(t, dir, Options{})
	if x := settle(t, c); x.Free != consolidateFrom || x.Vectors != 1500 {
		t.Errorf("%+v from the snapshot", x)
	}
}

// Recall is measured when there are many papers, again when they have grown by half, and remembered.
func TestIndexIsCalibrated(t *testing.T) {
	if testing.Short() {
		t.Skip("some 10 seconds; TestCloseEndsTheUpkeep calibrates too")
	}
	dir := t.TempDir()
	c, log := openLogged(t, dir, Options{})
	papers := words(t, calibrateFrom+calibrateFrom/2)
	put(t, c, papers[:calibrateFrom-1]...)
	if x := settle(t, c); x.Calibrated != 0 {
		t.Errorf("calibrated with %d", x.Calibrated)
	}
	put(t, c, papers[calibrateFrom-1])
	if x := settle(t, c); x.Calibrated != calibrateFrom {
		t.Errorf("calibrated with %d, want %d", x.Calibrated, calibrateFrom)
	}
	if said := log.String(); !strings.Contains(said, "the index was calibrated") || !strings.Contains(said, "vectors=5000") {
		t.Errorf("the log says %s", said)
	}
	shut(t, c)
	c, log = openLogged(t, dir, Options{})
	if x := settle(t, c); x.Calibrated != calibrateFrom || log.String() != "" {
		t.Errorf("calibrated with %d after a new start, the log says %s", x.Calibrated, log)
	}
	put(t, c, papers[calibrateFrom:]...)
	if x := settle(t, c); x.Calibrated != len(papers) {
		t.Errorf("calibrated with %d, want %d", x.Calibrated, len(papers))
	}
}

// Close ends what is under way; the goroutines are counted at the end of all tests.
func TestCloseEndsTheUpkeep(t *testing.T) {
	dir := t.TempDir()
	c, _ := openLogged(t, dir, Options{})
	put(t, c, words(t, calibrateFrom)...)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c, _ = openLogged(t, dir, Options{}) // begins again
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(t.Context()); err != nil {
		t.Error(err)
	}
}
