// Package sealed keeps a small JSON value in a file that is whole, or not there, or known to be damaged; and writes files of any size that are whole when they have their name.
package sealed

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// file is a file: its content, and the content's SHA-256, in hexadecimal, of the bytes as they stand in the file.
type file struct {
	Format  int             `json:"format"`
	SHA256  string          `json:"sha256"`
	Content json.RawMessage `json:"content"`
}

// ErrDamaged is in the error of a file that is not what was written.
var ErrDamaged = errors.New("is damaged")

// Write writes a file of a form, a version of the caller's content, whole and synced before it takes the place of the one before; then its folder is synced. placing is called
// between the two, and may refuse.
func Write(root *os.Root, name string, form int, content any, placing func() error) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if text, err = json.Marshal(file{form, hex.EncodeToString(sum[:]), text}); err != nil {
		return err
	}
	f, err := root.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = placing()
	}
	if err == nil {
		err = root.Rename(name+".new", name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(name+".new"))
	}
	return SyncFolder(root, path.Dir(name))
}

// Read reads a file of at most so many bytes, of one of the forms 1 to latest, into content, and tells which. It refuses what Write has not written. A file that is
// not there is fs.ErrNotExist.
func Read(root *os.Root, name string, latest int, most int64, content any) (form int, err error) {
	f, err := root.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return 0, err
	}
	if int64(len(text)) > most {
		return 0, fmt.Errorf("%s %w: it has more than %d bytes", name, ErrDamaged, most)
	}
	var s file
	if err := strictly(text, &s); err != nil {
		return 0, fmt.Errorf("%s %w: %w", name, ErrDamaged, err)
	}
	if s.Format < 1 || s.Format > latest {
		return 0, fmt.Errorf("%s has the form %d, and this program reads the forms up to %d: it was written by a later one", name, s.Format, latest)
	}
	if sum := sha256.Sum256(s.Content); hex.EncodeToString(sum[:]) != s.SHA256 {
		return 0, fmt.Errorf("%s %w: it is not what was written", name, ErrDamaged)
	}
	if err := strictly(s.Content, content); err != nil {
		return 0, fmt.Errorf("%s %w: %w", name, ErrDamaged, err)
	}
	return s.Format, nil
}

// WriteWhole writes a file of any size, which gets its name when it is whole and synced; then its folder is synced. It may take the place of one that is there.
func WriteWhole(root *os.Root, name string, write func(io.Writer) error) error {
	f, err := root.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = write(w)
	if err = errors.Join(err, w.Flush(), f.Sync(), f.Close()); err == nil {
		err = root.Rename(name+".new", name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(name+".new"))
	}
	return SyncFolder(root, path.Dir(name))
}

// strictly reads JSON without anything unknown in it or behind it.
func strictly(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind it")
	}
	return nil
}

// SyncFolder syncs the names in a folder.
func SyncFolder(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
