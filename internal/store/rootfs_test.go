package store

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"embedd/internal/testkit"
)

// filesIn gives the content of the files below a folder.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A link in the place of a file, which leads out of the directory to one that is as good, is refused or loses its name; nothing is read,
// written, locked or made outside.
func TestLinksLeadNowhere(t *testing.T) {
	base := t.TempDir()
	good := filepath.Join(base, "good")
	s := open(t, good, &Options{markEvery: time.Hour})
	put(t, s, "a", "b")
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	put(t, s, "c")
	killed := filepath.Join(base, "killed")
	testkit.CopyStill(t, killed, good)
	checkAndClose(t, s)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	names := []string{markName + ".new", ballastName, "999999.sst", "store"} // not there: what they lead to is not made
	for name := range filesIn(t, killed) {
		names = append(names, filepath.Base(name))
	}
	refused := map[string]bool{}
	for _, relative := range []bool{false, true} {
		for _, name := range names {
			dir, out := filepath.Join(t.TempDir(), "store"), t.TempDir()
			err := errors.Join(os.CopyFS(dir, os.DirFS(killed)), os.CopyFS(filepath.Join(out, "store"), os.DirFS(killed)))
			if err != nil {
				t.Fatal(err)
			}
			link, to := filepath.Join(dir, name), filepath.Join(out, "store", name)
			if name == "store" { // the folder itself, below another that is the root
				link, to = dir, filepath.Join(out, "store")
			}
			if relative {
				if to, err = filepath.Rel(filepath.Dir(link), to); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.RemoveAll(link), os.Symlink(to, link)); err != nil {
				t.Fatal(err)
			}
			before := filesIn(t, out)
			o := &Options{Log: quiet, Ballast: 1 << 20, markEvery: time.Hour, Root: rootOf(t, filepath.Dir(dir))}
			if name == "store" || relative {
				dir = "store"
			} else {
				o.Root = nil
			}
			s, err := Open(dir, testIdentity, o)
			if err == nil {
				_, _, err = s.Put([]Write{testWrite("d", 1)})
				err = errors.Join(err, s.Check(), s.Close())
			}
			kind := name
			for _, pattern := range fileKinds {
				if ok, _ := filepath.Match(pattern, name); ok {
					kind = pattern
				}
			}
			refused[kind] = refused[kind] || err != nil
			if !maps.Equal(filesIn(t, out), before) {
				t.Errorf("%s: something outside was changed or made", name)
			}
		}
	}
	for kind, is := range map[string]bool{
		"*.sst": true, "*.log": true, "MANIFEST-*": true, "OPTIONS-*": true, "LOCK": true, madeName: true, markName: true, "store": true,
		"marker.format-version.*": false, "marker.manifest.*": false, // their names say all
		markName + ".new": false, ballastName: false,
	} {
		if refused[kind] != is {
			t.Errorf("%s: refused %v, want %v", kind, refused[kind], is)
		}
	}
}

// Names that lead out of the root are refused by each call, and errors have the full path and the system's number.
func TestRootFS(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "in")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(base, "out"), []byte("out"), 0o644), os.Symlink("../out", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	f := rooted(dir)
	file, err := f.Create(filepath.Join(dir, "file"), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	in := filepath.Join(dir, "file")
	calls := map[string]func(name string) error{
		"open":           func(name string) error { _, err := f.Open(name); return err },
		"open directory": func(name string) error { _, err := f.OpenDir(name); return err },
		"read and write": func(name string) error { _, err := f.OpenReadWrite(name, vfs.WriteCategoryUnspecified); return err },
		"lock":           func(name string) error { _, err := f.Lock(name); return err },
		"list":           func(name string) error { _, err := f.List(name); return err },
		"stat":           func(name string) error { _, err := f.Stat(name); return err },
		"usage":          func(name string) error { _, err := f.GetDiskUsage(name); return err },
	}
	byName := map[string]func(name string) error{ // these are about a link itself, not what it leads to
		"create":     func(name string) error { _, err := f.Create(name, vfs.WriteCategoryUnspecified); return err },
		"reuse":      func(name string) error { _, err := f.ReuseForWrite(in, name, vfs.WriteCategoryUnspecified); return err },
		"remove":     f.Remove,
		"remove all": f.RemoveAll,
		"mkdir":      func(name string) error { return f.MkdirAll(name, 0o755) },
		"link to":    func(name string) error { return f.Link(in, name) },
		"link from":  func(name string) error { return f.Link(name, filepath.Join(dir, "other")) },
		"rename":     func(name string) error { return f.Rename(in, name) },
		"rename it":  func(name string) error { return f.Rename(name, in) },
	}
	for what, call := range calls {
		if err := call(filepath.Join(dir, "link")); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "link")) {
			t.Errorf("%s of a link that leads out: %v", what, err)
		}
	}
	maps.Copy(calls, byName)
	for what, call := range calls {
		for _, name := range []string{filepath.Join(base, "out"), dir + "/../out", base, "/etc/hostname", "out", ""} {
			if err := call(name); !errors.Is(err, errOutside) {
				t.Errorf("%s of %q: %v", what, name, err)
			}
		}
	}
	if text, err := os.ReadFile(filepath.Join(base, "out")); err != nil || string(text) != "out" {
		t.Errorf("outside there is now %q, %v", text, err)
	}
	if f.PathDir(dir) != dir || f.PathDir(in) != dir {
		t.Errorf("the folders are %s and %s", f.PathDir(dir), f.PathDir(in))
	}
	missing := filepath.Join(dir, "missing")
	_, err = f.Open(missing)
	var path *fs.PathError
	var errno syscall.Errno
	if !errors.As(err, &path) || path.Path != missing || !errors.As(err, &errno) || errno != syscall.ENOENT {
		t.Errorf("%v", err)
	}
	var link *os.LinkError
	if err := f.Rename(missing, in); !errors.As(err, &link) || link.Old != missing || link.New != in || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// What Linux has beside POSIX is used as by vfs.Default.
func TestRootFile(t *testing.T) {
	dir := t.TempDir()
	for name, fsys := range map[string]vfs.FS{"root": rooted(dir), "default": vfs.Default} {
		file, err := fsys.Create(filepath.Join(dir, name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Preallocate(0, 1<<20); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Error(err)
		}
		_, err = file.Write(make([]byte, 5000))
		full, errTo := file.SyncTo(4096)
		if err := errors.Join(err, errTo, file.SyncData(), file.Sync()); err != nil {
			t.Error(err)
		}
		if err := file.Prefetch(0, 4096); err != nil && err != syscall.Errno(0) { // as vfs.Default says that all is well
			t.Error(err)
		}
		info, err := file.Stat()
		if err != nil || info.Size() != 5000 || file.Fd() == vfs.InvalidFd {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		again, err := fsys.Stat(filepath.Join(dir, name))
		if err != nil || again.Size() != 5000 || !again.ModTime().Equal(info.ModTime()) {
			t.Errorf("%s: %v, %v", name, again, err)
		}
		usage, err := fsys.GetDiskUsage(dir)
		other, errOther := vfs.Default.GetDiskUsage(dir)
		if err != nil || errOther != nil || usage.TotalBytes != other.TotalBytes || usage.AvailBytes == 0 {
			t.Errorf("%s: %+v, %v; %+v, %v", name, usage, err, other, errOther)
		}
		t.Logf("%s: SyncTo writes all: %v", name, full)
		if err := file.Close(); err != nil {
			t.Error(err)
		}
		if err := file.SyncData(); err == nil || !strings.Contains(err.Error(), "bad file descriptor") && !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: a closed file is synced: %v", name, err)
		}
	}
}
