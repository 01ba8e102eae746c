package reload

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// follow gives a value that is a file's text, and what was said about its changes.
func follow(t *testing.T, text string) (v *Value[string], path string, said *[]error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	write(t, path, text)
	said = new([]error)
	v, err := Open(func() (string, error) {
		text, err := os.ReadFile(path)
		if err == nil && string(text) == "bad" {
			err = errors.New("bad text")
		}
		return string(text), err
	}, func(err error) { *said = append(*said, err) }, path)
	if err != nil {
		t.Fatal(err)
	}
	return v, path, said
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// soon lets the next Get look at the files.
func soon[T any](v *Value[T]) { v.looked.Store(-int64(time.Hour)) }

func TestChangesAreSeen(t *testing.T) {
	v, path, said := follow(t, "one")
	write(t, path, "two")
	if got := v.Get(); got != "one" {
		t.Errorf("%q at once, want one: the files are looked at every %v", got, Interval)
	}
	soon(v)
	if got := v.Get(); got != "two" {
		t.Errorf("%q, want two", got)
	}
	// Replaced by another file of the same size and time.
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	other := path + ".new"
	write(t, other, "six")
	if err := errors.Join(os.Chtimes(other, fi.ModTime(), fi.ModTime()), os.Rename(other, path)); err != nil {
		t.Fatal(err)
	}
	soon(v)
	if got := v.Get(); got != "six" {
		t.Errorf("%q, want six", got)
	}
	if len(*said) != 2 || (*said)[0] != nil || (*said)[1] != nil {
		t.Errorf("said %v, want nil twice", *said)
	}
}

// A second change within the resolution of the file's time is seen, because a young file is read again.
func TestYoungFilesAreReadAgain(t *testing.T) {
	v, path, said := follow(t, "one")
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "two")
	if err := os.Chtimes(path, fi.ModTime(), fi.ModTime()); err != nil {
		t.Fatal(err)
	}
	soon(v)
	if got := v.Get(); got != "two" {
		t.Errorf("%q, want two", got)
	}
	soon(v)
	v.Get()
	if len(*said) != 0 {
		t.Errorf("said %v of a file that is read again", *said)
	}
}

func TestABrokenFileLeavesTheValue(t *testing.T) {
	v, path, said := follow(t, "one")
	old := time.Now().Add(-time.Hour)
	write(t, path, "bad")
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		soon(v)
		if got := v.Get(); got != "one" {
			t.Errorf("%q, want one", got)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		soon(v)
		if got := v.Get(); got != "one" {
			t.Errorf("%q, want one", got)
		}
	}
	if len(*said) != 2 || (*said)[0] == nil || !errors.Is((*said)[1], os.ErrNotExist) {
		t.Errorf("said %v, want once that it is bad and once that it is gone", *said)
	}
	v.Reload()
	if len(*said) != 3 {
		t.Error("nothing is said of a reload that was asked for and failed")
	}
	write(t, path, "two")
	soon(v)
	if got := v.Get(); got != "two" || (*said)[3] != nil {
		t.Errorf("%q, said %v, want two", got, *said)
	}
}

func TestOpenFailsWithoutTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	if _, err := Open(func() ([]byte, error) { return os.ReadFile(path) }, nil, path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want that the file does not exist", err)
	}
}
