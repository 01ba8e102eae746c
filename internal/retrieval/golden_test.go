package retrieval

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"embedd/internal/testkit"
)

var update = flag.Bool("update", false, "write the data directory of the present form anew into testdata")

// dataForm counts the forms of a data directory, each of which is kept in testdata: a change of the store's format or of the snapshot's
// version is another. An archive is written anew only as long as no release has its form.
const dataForm = 1

// A data directory of an earlier form opens, has everything, is written to, and is opened again; its snapshot of the index is used.
func TestOldDataDirectories(t *testing.T) {
	texts := []string{"graph networks", "vision transformer", "language transformer", "graph retrieval", "language retrieval"}
	if *update {
		dir := filepath.Join(t.TempDir(), "data")
		c, _ := openLogged(t, dir, Options{})
		put(t, c, paper("gone", "vision"))
		for i, text := range texts {
			p := paper(fmt.Sprintf("ARXIV:2001.%05d", i), text)
			p.Authors, p.Year, p.Metadata = []string{"Émilie du Châtelet"}, 2001, []byte(`{"n":1}`)
			put(t, c, p)
		}
		if _, _, _, err := c.Delete(t.Context(), []string{"gone"}); err != nil {
			t.Fatal(err)
		}
		shut(t, c)
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), os.MkdirAll("testdata", 0o755), os.WriteFile(fmt.Sprintf("testdata/data-%d.zip", dataForm), b.Bytes(), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	archives, err := filepath.Glob("testdata/data-*.zip")
	if err != nil || len(archives) != dataForm {
		t.Fatalf("%v, %v: want one for each of %d forms", archives, err, dataForm)
	}
	for _, archive := range archives {
		t.Run(archive, func(t *testing.T) {
			r, err := zip.OpenReader(archive)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, r); err != nil {
				t.Fatal(err)
			}
			if x, err := Inspect(t.Context(), dir, nil); err != nil || x.Violated() {
				t.Fatalf("%+v, %v", x, err)
			}
			for opened := range 2 {
				inserted := 0
				c, log := openLogged(t, dir, Options{Progress: func(done, _ int) { inserted = done }})
				if inserted != 0 || log.String() != "" {
					t.Errorf("%d papers were inserted anew; the log says %s", inserted, log.String())
				}
				if got := related(t, c, "ARXIV:2001.00000", 1); !slices.Equal(got, []string{"ARXIV:2001.00003"}) {
					t.Errorf("related are %v", got)
				}
				p, _, err := c.Get(context.Background(), "ARXIV:2001.00002", Which{})
				if err != nil || p.Title != texts[2] || p.Authors[0] != "Émilie du Châtelet" || string(p.Metadata) != `{"n":1}` {
					t.Errorf("%+v, %v", p, err)
				}
				if _, _, err := c.Get(context.Background(), "gone", Which{}); KindOf(err) != NotFound {
					t.Errorf("what was deleted is there: %v", err)
				}
				if opened == 0 {
					put(t, c, paper("new", "vision language"))
				}
				shut(t, c)
			}
		})
	}
}

var trials = flag.Int("trials", 40, "trials of TestDamagedSnapshots for each snapshot")

// What happens to a snapshot changes no answer: it is used whole, or the one before it is, or the index, the words or the works are made anew.
func TestDamagedSnapshots(t *testing.T) {
	rng := testkit.Rand(t)
	dir := filepath.Join(t.TempDir(), "data")
	c, _ := openLogged(t, dir, Options{})
	all := words(t, 200)
	put(t, c, all[:120]...)
	if err := c.saveSnapshot(); err != nil {
		t.Fatal(err)
	}
	put(t, c, all[120:160]...)
	if err := c.saveSnapshot(); err != nil {
		t.Fatal(err)
	}
	put(t, c, all[160:]...)
	if _, _, _, err := c.Delete(t.Context(), []string{all[3].ID, all[150].ID}); err != nil {
		t.Fatal(err)
	}
	exact := func(c *Collection) (answers [][]string) {
		for _, p := range []Paper{all[0], all[130], all[199]} {
			r, err := c.Search(t.Context(), SearchRequest{Input: Input{PaperID: p.ID}, K: ptr(20), Exact: true})
			if err != nil {
				t.Fatal(err)
			}
			answers = append(answers, ids(r.Hits))
			if r, err = c.Search(t.Context(), SearchRequest{Input: Input{PaperID: p.ID}, K: ptr(20), Mode: Lexical}); err != nil {
				t.Fatal(err)
			}
			answers = append(answers, ids(r.Hits))
		}
		return answers
	}
	want := exact(c)
	base := killed(t, dir)
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries { // what is not here needs a case of its own
		if !slices.Contains([]string{storeName, snapshotName, oldSnapshotName, wordsSnapshotName, worksSnapshotName, "backups"}, e.Name()) {
			t.Errorf("a data directory has %s, which no test damages", e.Name())
		}
	}
	for _, name := range []string{snapshotName, oldSnapshotName, wordsSnapshotName, worksSnapshotName} {
		for range fewer(*trials) {
			bad := killed(t, base)
			path := filepath.Join(bad, name)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := rng.IntN(len(data))
			how := rng.IntN(6)
			switch how {
			case 0, 1:
				data[at] ^= 1 << rng.IntN(8)
			case 2:
				at &^= 4095
				clear(data[at:min(len(data), at+4096)])
			case 3:
				data = data[:at]
			case 4: // of the other generation
				other := map[string]string{snapshotName: oldSnapshotName, oldSnapshotName: snapshotName, wordsSnapshotName: snapshotName, worksSnapshotName: wordsSnapshotName}[name]
				if data, err = os.ReadFile(filepath.Join(bad, other)); err != nil {
					t.Fatal(err)
				}
			case 5:
				for i := range data[at:] {
					data[at+i] = byte(rng.Uint32())
				}
			}
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			c, _ := openLogged(t, bad, Options{})
			if err := c.works.wait(t.Context(), c); err != nil { // which Check proves
				t.Fatal(err)
			}
			for i, got := range exact(c) {
				if !slices.Equal(got, want[i]) {
					t.Fatalf("%s, damage %d at byte %d: %v, want %v", name, how, at, got, want[i])
				}
			}
			shut(t, c)
			if err := os.RemoveAll(bad); err != nil {
				t.Fatal(err)
			}
		}
	}
	shut(t, c)
}
