package access

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// file is a keys file.
type file struct {
	Keys []Key `json:"keys"`
}

// ReadFile reads a keys file. One that others than its owner can change, or that everybody can read, is refused, and so is one with
// something in it that is not known here.
func ReadFile(path string) (*Keys, error) {
	// Opening a pipe would wait for somebody to write into it.
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no plain file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err = f.Stat(); err != nil {
		return nil, err
	}
	if mode := fi.Mode().Perm(); mode&0o027 != 0 {
		return nil, fmt.Errorf("%s can be read by everybody or changed by others (mode %04o); run: chmod 600 %s", path, mode, path)
	}
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var content file
	if err := d.Decode(&content); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: there is something behind the keys", path)
	}
	keys, err := NewKeys(content.Keys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// writeFile writes a keys file: whole and synced before it takes the old one's place.
func writeFile(path string, list []Key) (err error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	if err := e.Encode(file{list}); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.new") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	_, err = f.Write(text.Bytes())
	if err == nil {
		err = likeBefore(f, path)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// likeBefore gives a file the mode, the owner and the group of the one whose place it takes: a server that could read that must be able to
// read this, or a revoked key stays good.
func likeBefore(f *os.File, path string) error {
	before, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Chmod(before.Mode().Perm()); err != nil {
		return err
	}
	was, ok := before.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
		return fmt.Errorf("%s belongs to user %d and group %d, and a new one cannot be given to them: %w; do this as that user, or as root", path, was.Uid, was.Gid, err)
	}
	return nil
}

// lock keeps another Create or Revoke of the same keys file out until unlock is called.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return func() { f.Close() }, nil
}

// Create adds a key to a keys file, which it makes where there is none, and gives the key with its secret.
func Create(path string, k Key, now time.Time) (Key, string, error) {
	unlock, err := lock(path)
	if err != nil {
		return Key{}, "", err
	}
	defer unlock()
	keys, err := ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		keys, err = NewKeys(nil)
	}
	if err != nil {
		return Key{}, "", err
	}
	k, secret, err := New(k, now)
	if err != nil {
		return Key{}, "", err
	}
	return k, secret, writeFile(path, append(slices.Clone(keys.list), k))
}

// Revoke marks the key of an id, or of the only key with that name, as revoked. It stays in the file, so that its end is known.
func Revoke(path, which string, now time.Time) (Key, error) {
	unlock, err := lock(path)
	if err != nil {
		return Key{}, err
	}
	defer unlock()
	keys, err := ReadFile(path)
	if err != nil {
		return Key{}, err
	}
	list := slices.Clone(keys.list)
	var found []int
	for i, k := range list {
		if k.ID == which {
			found = []int{i}
			break
		}
		if k.Name == which {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		return Key{}, fmt.Errorf("%s has no key with the id or name %q", path, which)
	case 1:
	default:
		var ids []string
		for _, i := range found {
			ids = append(ids, list[i].ID)
		}
		return Key{}, fmt.Errorf("%d keys have the name %q; give one of their ids: %s", len(found), which, strings.Join(ids, ", "))
	}
	k := &list[found[0]]
	if !k.Revoked.IsZero() {
		return *k, fmt.Errorf("key %s was revoked already, at %s", k.ID, k.Revoked.Format(time.RFC3339))
	}
	k.Revoked = now.UTC().Truncate(time.Second)
	return *k, writeFile(path, list)
}
