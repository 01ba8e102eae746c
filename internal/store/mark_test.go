package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The keeper marks what was written within its time, and the end.
func TestKeeperMarks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, &Options{markEvery: 5 * time.Millisecond})
	put(t, s, "a", "b")
	deadline := time.Now().Add(10 * time.Second)
	for {
		m, err := readMark(vfs.Default, dir)
		if err != nil {
			t.Fatal(err)
		}
		if m.Revision == 1 && m.Count == 2 && !m.Clean && m.Manifest.Size > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the mark is %+v", m)
		}
		time.Sleep(time.Millisecond)
	}
	checkAndClose(t, s)
	m, err := readMark(vfs.Default, dir)
	if err != nil || !m.Clean || m.Revision != 1 || m.Digest != s.state.Load().digest {
		t.Errorf("after Close the mark is %+v, %v", m, err)
	}
}

// A store that is opened for reading is left as it is, to the byte.
func TestReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	_, err := Open(dir, Identity{}, &Options{ReadOnly: true})
	wantError(t, err, os.ErrNotExist)
	s := open(t, dir, nil)
	put(t, s, "a")
	checkAndClose(t, s)
	before := contents(t, dir)
	s, err = Open(dir, Identity{}, &Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if s.Identity() != testIdentity {
		t.Errorf("identity %v", s.Identity())
	}
	wantPaper(t, s, testWrite("a", 1))
	_, _, err = s.Put([]Write{testWrite("b", 1)})
	wantError(t, err, ErrReadOnly)
	_, _, err = s.Delete([]string{"a"})
	wantError(t, err, ErrReadOnly)
	checkAndClose(t, s)
	after := contents(t, dir)
	for name := range after {
		if before[name] != after[name] {
			t.Errorf("%s was changed", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files, were %d", len(after), len(before))
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

// A copy is a store of the moment in which it was made, while others write.
func TestBackup(t *testing.T) {
	base := t.TempDir()
	o := &Options{Root: rootOf(t, base)}
	s := open(t, "store", o)
	put(t, s, "a", "b")
	revision, err := s.Backup("copy")
	if err != nil || revision != 1 {
		t.Fatalf("revision %d, %v", revision, err)
	}
	put(t, s, "c")
	c := open(t, filepath.Join(base, "copy"), nil)
	if c.Count() != 2 || c.Revision() != 1 || c.UUID() != s.UUID() {
		t.Errorf("the copy has %d papers at revision %d", c.Count(), c.Revision())
	}
	wantPaper(t, c, testWrite("b", 1))
	if _, err := s.Backup("copy"); err == nil {
		t.Error("a copy was written over another")
	}
	_, err = s.Backup("../copy")
	wantError(t, err, errOutside)
}
