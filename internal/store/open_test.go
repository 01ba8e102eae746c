package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	s := open(t, dir, &Options{CacheBytes: 1 << 20})
	uuid := s.UUID()
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(uuid) {
		t.Errorf("UUID is %q", uuid)
	}
	put(t, s, "a", "b")
	if _, _, err := s.Delete([]string{"a"}); err != nil {
		t.Fatal(err)
	}
	checkAndClose(t, s)

	// The same encoder by another name is the same encoder.
	renamed := testIdentity
	renamed.Model = "renamed"
	s, err := Open(dir, renamed, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer checkAndClose(t, s)
	if s.UUID() != uuid || s.Count() != 1 || s.Revision() != 2 || s.Identity() != testIdentity {
		t.Errorf("reopened: UUID %s, count %d, revision %d, identity %v", s.UUID(), s.Count(), s.Revision(), s.Identity())
	}
	wantPaper(t, s, testWrite("b", 1))
	if got := put(t, s, "a"); got[0] != 3 {
		t.Errorf("ordinal %d after a restart, want 3", got[0])
	}
	if other := open(t, t.TempDir(), nil); other.UUID() == uuid {
		t.Error("two stores have the same UUID")
	}
}

// A second Open of a directory fails, by whatever name, until the first is closed.
func TestLocked(t *testing.T) {
	parent := t.TempDir()
	dir, link := filepath.Join(parent, "store"), filepath.Join(parent, "link")
	t.Chdir(parent)
	s := open(t, dir, nil)
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, dir + "/", "store", "./x/../store", link, "link"} {
		_, err := Open(name, testIdentity, nil)
		wantError(t, err, ErrLocked, "open store "+name+": store is locked: another embedd process has it open")
	}
	put(t, s, "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, link, nil)

	o := inMemory()
	open(t, "store", o)
	_, err := Open("store", testIdentity, o)
	wantError(t, err, ErrLocked)
}

func TestMismatch(t *testing.T) {
	o := inMemory()
	checkAndClose(t, open(t, "store", o))
	tests := []struct {
		name string
		want Identity
		says []string
	}{
		{"other model", Identity{"other-model", "fedcba9876543210", testDim}, []string{
			"the vectors in store were made by model test-model (fingerprint 0123456789ab, dimension 8)",
			"not by other-model (fingerprint fedcba987654, dimension 8)", "use the model they were made with, with the same --dimension and --provider, or a new data directory"}},
		{"other fingerprint", Identity{"test-model", "0123456789abcdeX", testDim}, []string{
			"fingerprint 0123456789abcdef0123456789abcdef,", "fingerprint 0123456789abcdeX,"}},
		{"other dimension", Identity{"test-model", testIdentity.Fingerprint, testDim + 1}, []string{"dimension 8)", "dimension 9)"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Open("store", test.want, o)
			wantError(t, err, nil, test.says...)
			var mismatch *MismatchError
			if !errors.As(err, &mismatch) || mismatch.Dir != "store" || mismatch.Have != testIdentity || mismatch.Want != test.want {
				t.Errorf("error is %#v", err)
			}
		})
	}
	open(t, "store", o) // not left locked
}

func TestIdentityRefused(t *testing.T) {
	for _, id := range []Identity{{}, {"m", "", 8}, {"m", "f", 0}, {"m", "f", -1}, {"m", "f", 65537}, {"\xff", "f", 8}} {
		dir := filepath.Join(t.TempDir(), "store")
		if _, err := Open(dir, id, nil); err == nil {
			t.Errorf("Open with %+v succeeded", id)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open with %+v made the directory", id)
		}
	}
}

// Open refuses a path that holds something else, and leaves it as it is.
func TestNotOurs(t *testing.T) {
	tests := []struct {
		name string
		make func(path string) error
		says string
	}{
		{"file", func(path string) error { return os.WriteFile(path, []byte("x"), 0o666) }, "is a file, not a directory"},
		{"below a file", func(path string) error { return os.WriteFile(filepath.Dir(path), []byte("x"), 0o666) }, "not a directory"},
		{"other files", func(path string) error {
			return errors.Join(os.MkdirAll(path, 0o777), os.WriteFile(filepath.Join(path, "thesis.tex"), nil, 0o666))
		}, "neither empty nor a store of embedd (it has thesis.tex and no EMBEDD-STORE): use a new directory"},
		{"other Pebble", func(path string) error {
			db, err := pebble.Open(path, &pebble.Options{Logger: &logger{}})
			if err != nil {
				return err
			}
			return errors.Join(db.Set([]byte("k"), []byte("v"), pebble.Sync), db.Close())
		}, "neither empty nor a store of embedd"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "parent", "data")
			if test.name != "below a file" {
				if err := os.Mkdir(filepath.Dir(path), 0o777); err != nil {
					t.Fatal(err)
				}
			}
			if err := test.make(path); err != nil {
				t.Fatal(err)
			}
			before := files(t, root)
			_, err := Open(path, testIdentity, nil)
			wantError(t, err, nil, path, test.says)
			if after := files(t, root); !slices.Equal(before, after) {
				t.Errorf("files were\n%v, are\n%v", before, after)
			}
		})
	}
}

// files lists everything below root, with sizes.
func files(t *testing.T, root string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		all = append(all, path+" "+info.Mode().String()+" "+info.ModTime().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A directory that the system does not let us write is an error of its own, not a lock.
func TestNotWritable(t *testing.T) {
	denied := func(kinds ...errorfs.OpKind) vfs.FS {
		return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if slices.Contains(kinds, op.Kind) && strings.HasPrefix(op.Path, "store") {
				return &fs.PathError{Op: "open", Path: op.Path, Err: syscall.EACCES}
			}
			return nil
		}))
	}
	for name, fsys := range map[string]vfs.FS{
		"directory": denied(errorfs.OpMkdirAll),
		"lock":      denied(errorfs.OpLock),
		"files":     denied(errorfs.OpCreate),
		"sync":      denied(errorfs.OpFileSync),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open("store", testIdentity, &Options{FS: fsys})
			wantError(t, err, fs.ErrPermission, "open store store: ")
			if errors.Is(err, ErrLocked) {
				t.Errorf("error is %v, not to be taken for ErrLocked", err)
			}
		})
	}
	if os.Geteuid() == 0 {
		t.Log("the real thing cannot be tried as root")
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, testIdentity, nil)
	wantError(t, err, fs.ErrPermission, dir, "cannot be written")
}

func TestNewerFormat(t *testing.T) {
	t.Run("ours", func(t *testing.T) {
		o := inMemory()
		s := open(t, "store", o)
		overwrite(t, s, []byte(keyIdentity), fmt.Appendf(nil, `{"format":%d,"dimension":"a word"}`, formatVersion+1))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := Open("store", testIdentity, o)
		wantError(t, err, ErrFormat, "open store store", fmt.Sprintf("version %d", formatVersion+1), fmt.Sprintf("up to version %d", formatVersion))
	})
	t.Run("Pebble's", func(t *testing.T) {
		o := inMemory()
		s := open(t, "store", o)
		if err := s.db.RatchetFormatMajorVersion(pebble.FormatNewest); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := Open("store", testIdentity, o)
		wantError(t, err, ErrFormat, "open store store", "Pebble's version")
	})
}

// Close leaves the log empty, so that what happens to it afterwards does not matter.
func TestCloseEmptiesLog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	put(t, s, "a", "b")
	checkAndClose(t, s)
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs %v, %v", logs, err)
	}
	for _, name := range logs {
		if err := os.Truncate(name, 0); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, nil)
	wantPaper(t, s, testWrite("a", 1))
	wantPaper(t, s, testWrite("b", 1))
}

// A store that has just been made stays what it is, whatever happens to the log.
func TestCreatedOutsideLog(t *testing.T) {
	fsys := vfs.NewCrashableMem()
	uuid := open(t, "store", &Options{FS: fsys}).UUID()
	after := fsys.CrashClone(vfs.CrashCloneCfg{})
	names, err := after.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			f, err := after.Create("store/"+name, vfs.WriteCategoryUnspecified) // empties it
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	if s := open(t, "store", &Options{FS: after}); s.UUID() != uuid {
		t.Errorf("UUID %s after the log was lost, was %s", s.UUID(), uuid)
	}
}
