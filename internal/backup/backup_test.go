package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sealed makes a folder with files and seals it.
func sealed(t *testing.T) (dir string, info Info) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "backup")
	for name, text := range map[string]string{"store/000001.log": "log", "store/MANIFEST-000001": strings.Repeat("m", 3<<20), "index.snapshot": "index", "store/empty": ""} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	info, err = Seal(t.Context(), root, Info{Made: time.Unix(1, 0).UTC(), Store: "uuid", Revision: 7, Papers: 3})
	if err != nil {
		t.Fatal(err)
	}
	return dir, info
}

func TestVerify(t *testing.T) {
	dir, info := sealed(t)
	var done, total int64
	got, err := Verify(t.Context(), dir, func(d, n int64) { done, total = d, n })
	if err != nil || got != info || info.Files != 4 || info.Bytes != 3<<20+8 || done != total || total != info.Bytes {
		t.Errorf("%+v, %d of %d, %v; sealed was %+v", got, done, total, err, info)
	}
	if _, err := exec.LookPath("sha256sum"); err == nil {
		c := exec.Command("sha256sum", "--check", "--strict", "--quiet", sumsName)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("sha256sum: %v: %s", err, out)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ctx, dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Whatever is changed in a sealed folder, Restore refuses it before it touches the target.
func TestDamaged(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	files := []string{"store/000001.log", "store/MANIFEST-000001", "index.snapshot", infoName, sumsName}
	changes := map[string]func(path string, data []byte) error{
		"a bit": func(path string, data []byte) error {
			data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
			return os.WriteFile(path, data, 0o644)
		},
		"cut":               func(path string, data []byte) error { return os.WriteFile(path, data[:rng.IntN(len(data))], 0o644) },
		"longer":            func(path string, data []byte) error { return os.WriteFile(path, append(data, 'x'), 0o644) },
		"deleted":           func(path string, _ []byte) error { return os.Remove(path) },
		"another beside it": func(path string, data []byte) error { return os.WriteFile(path+".more", data, 0o644) },
		"a link": func(path string, _ []byte) error {
			return errors.Join(os.Remove(path), os.Symlink("/etc/hostname", path))
		},
	}
	for what, change := range changes {
		for _, name := range files {
			for range 5 {
				t.Run(what+"/"+name, func(t *testing.T) {
					dir, _ := sealed(t)
					path := filepath.Join(dir, name)
					data, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					if err := change(path, data); err != nil {
						t.Fatal(err)
					}
					target := filepath.Join(t.TempDir(), "target")
					if _, _, err := Restore(t.Context(), dir, target, true, nil); err == nil {
						t.Error("it was restored")
					}
					if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
						t.Error("the target was touched")
					}
				})
			}
		}
	}
}

func TestRestore(t *testing.T) {
	dir, info := sealed(t)
	parent := t.TempDir()
	target := filepath.Join(parent, "a", "b")
	got, kept, err := Restore(t.Context(), dir, target, false, nil)
	if err != nil || kept != "" || got != info {
		t.Fatalf("%+v, %q, %v", got, kept, err)
	}
	text, err := os.ReadFile(filepath.Join(target, "index.snapshot"))
	if err != nil || string(text) != "index" {
		t.Errorf("%q, %v", text, err)
	}
	for _, name := range []string{infoName, sumsName} {
		if _, err := os.Stat(filepath.Join(target, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was copied too", name)
		}
	}
	// What is there is not overwritten, and with replace it is kept.
	if err := os.WriteFile(filepath.Join(target, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Restore(t.Context(), dir, target, false, nil); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("%v", err)
	}
	_, kept, err = Restore(t.Context(), dir, target, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(kept, "mine")); err != nil {
		t.Errorf("what was there is not kept: %v", err)
	}
	if _, err := os.Stat(filepath.Join(target, "mine")); err == nil {
		t.Error("the target is a mixture")
	}
	entries, err := os.ReadDir(filepath.Dir(target))
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// With and without a file system that exchanges names, the copy is in the target and what was there is kept; where something fails all is as
// it was.
func TestSwap(t *testing.T) {
	unsupported := func(a, b string) error { return fmt.Errorf("exchange: %w", errors.ErrUnsupported) }
	broken := func(a, b string) error { return syscall.EIO }
	for _, x := range []struct {
		name     string
		exchange func(a, b string) error
		target   bool // is there
		swapped  bool
	}{
		{"as the system can", exchange, true, true},
		{"in two steps", unsupported, true, true},
		{"an error", broken, true, false},
		{"no target", exchange, false, false},
		{"no target, in two steps", unsupported, false, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := t.TempDir()
			name := func(of string) string { return filepath.Join(dir, of) }
			for _, of := range []string{"copy", "target"} {
				if of == "target" && !x.target {
					continue
				}
				if err := errors.Join(os.Mkdir(name(of), 0o755), os.WriteFile(filepath.Join(name(of), of), nil, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			err := swap(name("copy"), name("target"), name("kept"), x.exchange)
			want := []string{"copy/copy", "target/target"}
			switch {
			case (err == nil) != x.swapped:
				t.Errorf("%v", err)
			case x.swapped:
				want = []string{"kept/target", "target/copy"}
			case !x.target:
				want = want[:1]
			}
			if got, err := fs.Glob(os.DirFS(dir), "*/*"); err != nil || !slices.Equal(got, want) {
				t.Errorf("there is %v, want %v; %v", got, want, err)
			}
		})
	}
}

// What a restore that was killed has left is removed by the next, and what one that runs is making is not.
func TestHalfDone(t *testing.T) {
	dir, _ := sealed(t)
	parent := t.TempDir()
	target := filepath.Join(parent, "data")
	for _, name := range []string{"data.restoring-1/store", "other.restoring-1", "data.before-1"} {
		if err := os.MkdirAll(filepath.Join(parent, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(dir, filepath.Join(parent, "data.restoring-link")), os.WriteFile(filepath.Join(parent, "data.restoring-file"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	running, done, err := begin(parent, "data"+halfDone)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Restore(t.Context(), dir, target, false, nil); err != nil {
		t.Fatal(err)
	}
	left := func() []string {
		names, err := fs.Glob(os.DirFS(parent), "*")
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	want := []string{"data", "data.before-1", "data.restoring-file", "data.restoring-link", filepath.Base(running), "other.restoring-1"}
	slices.Sort(want)
	if got := left(); !slices.Equal(got, want) {
		t.Errorf("there is %v, want %v", got, want)
	}
	done()
	if got := left(); slices.Contains(got, filepath.Base(running)) {
		t.Errorf("there is %v", got)
	}
	if _, err := Verify(t.Context(), dir, nil); err != nil {
		t.Errorf("behind a link: %v", err)
	}
}

// FuzzBackup: whatever stands in the two files, nothing is written outside of the target.
func FuzzBackup(f *testing.F) {
	f.Add([]byte(`{"format":1,"files":1,"bytes":5}`), []byte(strings.Repeat("0", 64)+"  ../../x\n"))
	f.Fuzz(func(t *testing.T, info, sums []byte) {
		base := t.TempDir()
		dir := filepath.Join(base, "in", "backup")
		err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "file"), []byte("hello"), 0o644),
			os.WriteFile(filepath.Join(dir, infoName), info, 0o644), os.WriteFile(filepath.Join(dir, sumsName), sums, 0o644))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Restore(t.Context(), dir, filepath.Join(base, "out", "target"), false, nil); err == nil {
			return // sealed by chance
		}
		if entries, _ := os.ReadDir(base); fmt.Sprint(entries) != "[d in/]" {
			t.Errorf("a refused backup left %v", entries)
		}
	})
}
