package retrieval

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"embedd/internal/testkit"
)

// A link in the place of something in a data directory that leads out of it, to what is as good, is refused, or where the thing is derived
// made anew. What is outside stays as it was.
func TestLinksOutOfADataDirectory(t *testing.T) {
	good := t.TempDir()
	c, _ := openLogged(t, good, Options{})
	put(t, c, words(t, 50)...)
	if err := c.saveSnapshot(); err != nil {
		t.Fatal(err)
	}
	put(t, c, paper("one more", "graph"))
	if _, err := c.Backup(t.Context(), filepath.Join(good, "backups", "monday"), "test"); err != nil {
		t.Fatal(err)
	}
	shut(t, c)
	for _, x := range []struct {
		link    string
		opens   bool
		says    string // the log, or the error
		backsUp bool
	}{
		{storeName, false, "escapes", false},
		{storeName + "/LOCK", false, "escapes", false},
		{storeName + "/EMBEDD-MARK", false, "escapes", false},
		{snapshotName, true, "the one before it is", true},
		{oldSnapshotName, true, "", true},
		{wordsSnapshotName, true, "the papers' words is not used", true},
		{worksSnapshotName, true, "the papers' works is not used", true},
		{"backups", true, "", false},
		{"backups/monday", true, "", true},
		{"backups/tuesday.making-1", true, "", true},
		{"index.snapshot.1.new", true, "", true},
	} {
		for _, relative := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", x.link, relative), func(t *testing.T) {
				base := t.TempDir()
				dir, out := filepath.Join(base, "data"), filepath.Join(base, "out")
				if err := errors.Join(os.CopyFS(dir, os.DirFS(good)), os.CopyFS(out, os.DirFS(good))); err != nil {
					t.Fatal(err)
				}
				link, to := filepath.Join(dir, x.link), filepath.Join(out, x.link)
				if _, err := os.Stat(to); err != nil { // something for it to lead to
					if err := os.Mkdir(to, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				if relative {
					var err error
					if to, err = filepath.Rel(filepath.Dir(link), to); err != nil {
						t.Fatal(err)
					}
				}
				if err := errors.Join(os.RemoveAll(link), os.Symlink(to, link)); err != nil {
					t.Fatal(err)
				}
				before := inventory(t, out)
				log := &testkit.Buffer{}
				c, err := Open(t.Context(), dir, newBag(), &Options{Log: slog.New(slog.NewTextHandler(log, nil))})
				if (err == nil) != x.opens {
					t.Fatalf("Open: %v", err)
				}
				if err != nil {
					if !strings.Contains(err.Error(), x.says) {
						t.Errorf("%v, want %q", err, x.says)
					}
					_, errInspect := Inspect(t.Context(), dir, nil)
					_, errRepair := Repair(dir, nil)
					t.Logf("Inspect: %v; Repair: %v", errInspect, errRepair)
				} else {
					c.LoadDerived() // what is kept is read when it is asked for
					testkit.Eventually(t, "the log says "+x.says, func() bool { return strings.Contains(log.String(), x.says) })
					put(t, c, paper("another", "graph"))
					if _, err := c.Backup(t.Context(), filepath.Join(dir, "backups", "wednesday"), "test"); (err == nil) != x.backsUp {
						t.Errorf("a backup: %v", err)
					}
					shut(t, c)
					if _, err := DropDerived(dir); err != nil {
						t.Error(err)
					}
				}
				if after := inventory(t, out); after != before {
					t.Errorf("outside there was\n%s\nand is\n%s", before, after)
				}
			})
		}
	}
}

// inventory is what is below a folder: names, sizes, times and modes.
func inventory(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime(), info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
