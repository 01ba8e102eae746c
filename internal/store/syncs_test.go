package store

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// forgetfulFS drops the syncs of some files, as a disk does that lies, or a program that forgets them.
type forgetfulFS struct {
	vfs.FS
	forget func(name string) bool
}

type forgetfulFile struct{ vfs.File }

func (f forgetfulFile) Sync() error                { return nil }
func (f forgetfulFile) SyncData() error            { return nil }
func (f forgetfulFile) SyncTo(int64) (bool, error) { return false, nil }

func (f forgetfulFS) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if err == nil && f.forget(f.PathBase(name)) {
		file = forgetfulFile{file}
	}
	return file, err
}

func (f forgetfulFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return f.wrap(name, file, err)
}

func (f forgetfulFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return f.wrap(name, file, err)
}

func (f forgetfulFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, o...)
	return f.wrap(name, file, err)
}

func (f forgetfulFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	return f.wrap(name, file, err)
}

func (f forgetfulFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(old, name, c)
	return f.wrap(name, file, err)
}

// TestEverySyncCounts takes the syncs of one kind of file away at a time: the power cuts of this test must find that. Where nothing is
// taken away they find nothing.
func TestEverySyncCounts(t *testing.T) {
	for _, test := range []struct {
		pattern string
		found   bool
	}{
		{"", false}, {"*.log", true}, {"*.sst", true}, {"MANIFEST-*", true}, {"a", true}, {"b", true}, {"store", true},
		{makingName, true}, {markName, true},
	} {
		t.Run(test.pattern, func(t *testing.T) {
			disk := vfs.NewCrashableMem()
			err := cutPower(disk, forgetfulFS{disk, func(name string) bool { ok, _ := filepath.Match(test.pattern, name); return ok }})
			if test.found != (err != nil) {
				t.Errorf("found %v", err)
			} else {
				t.Log(err)
			}
		})
	}
}

// cutPower cuts the power of a disk at the moments in which something was promised, and keeps nothing of what was not synced.
func cutPower(disk *vfs.MemFS, fsys vfs.FS) error {
	const dir = "a/b/store"
	look := func(when string, revision uint64, papers ...Write) error {
		after := disk.CrashClone(vfs.CrashCloneCfg{})
		m, err := readMark(after, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		if m.Revision != revision {
			return fmt.Errorf("%s: the mark is of revision %d, want %d", when, m.Revision, revision)
		}
		if text, err := readAll(after, dir+"/"+madeName); err != nil || text != markText {
			return fmt.Errorf("%s: %s says %q, %v", when, madeName, text, err)
		}
		s, err := Open(dir, testIdentity, &Options{FS: after, markEvery: time.Hour})
		if err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		defer s.Close()
		if s.Revision() != revision {
			return fmt.Errorf("%s: revision %d, want %d", when, s.Revision(), revision)
		}
		for _, p := range papers {
			if r, _, err := s.Get(p.Record.Paper.ID); err != nil || r.Tokens != p.Record.Tokens {
				return fmt.Errorf("%s: paper %s has version %d, %v", when, p.Record.Paper.ID, r.Tokens, err)
			}
		}
		return s.Check()
	}
	s, err := Open(dir, testIdentity, &Options{FS: fsys, markEvery: time.Hour})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := look("opened", 0); err != nil {
		return err
	}
	papers := []Write{testWrite("x", 1), testWrite("y", 1)}
	if _, _, err := s.Put(papers); err != nil {
		return err
	}
	if err := s.mark(false); err != nil {
		return err
	}
	if err := look("put", 1, papers...); err != nil {
		return err
	}
	if err := s.db.Flush(); err != nil {
		return err
	}
	if err := s.mark(false); err != nil {
		return err
	}
	if err := look("flushed", 1, papers...); err != nil {
		return err
	}
	papers[0] = testWrite("x", 2)
	if _, _, err := s.Put(papers[:1]); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	return look("closed", 2, papers...)
}

func readAll(fsys vfs.FS, name string) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, err := f.Read(b)
	if n > 0 {
		err = nil
	}
	return string(b[:n]), err
}
