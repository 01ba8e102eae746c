package collections

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"embedd/internal/retrieval"
	"embedd/internal/store"
)

// The versions of the files' form. A collection's file that says which generation is served has the later one: a program that does not know it would
// serve another.
const (
	format           = 1
	formatGeneration = 2
)

// sealed is a file: its content, and the content's SHA-256, in hexadecimal, of the bytes as they stand in the file.
type sealed struct {
	Format  int             `json:"format"`
	SHA256  string          `json:"sha256"`
	Content json.RawMessage `json:"content"`
}

// errDamaged is in the error of a file that is not what was written.
var errDamaged = errors.New("is damaged")

// writeSealed writes a file, whole and synced before it takes the place of the one before; then the folder is synced. placing is called
// between the two.
func writeSealed(root *os.Root, name string, content any, placing func() error) error {
	return writeSealedAs(format, root, name, content, placing)
}

// writeSealedAs is writeSealed in a form.
func writeSealedAs(form int, root *os.Root, name string, content any, placing func() error) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if text, err = json.Marshal(sealed{form, hex.EncodeToString(sum[:]), text}); err != nil {
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
	return syncFolder(root, path.Dir(name))
}

// readSealed reads a file into content, and refuses what was not written so. One that is not there is fs.ErrNotExist.
func readSealed(root *os.Root, name string, content any) error {
	_, err := readSealedAs(root, name, content, format)
	return err
}

// readSealedAs is readSealed of one of the forms up to latest, and tells which.
func readSealedAs(root *os.Root, name string, content any, latest int) (form int, err error) {
	f, err := root.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, retrieval.MaxAboutBytes+1))
	if err != nil {
		return 0, err
	}
	if len(text) > retrieval.MaxAboutBytes {
		return 0, fmt.Errorf("%s %w: it has more than %d bytes", name, errDamaged, retrieval.MaxAboutBytes)
	}
	var s sealed
	if err := strictly(text, &s); err != nil {
		return 0, fmt.Errorf("%s %w: %w", name, errDamaged, err)
	}
	if s.Format < format || s.Format > latest {
		return 0, fmt.Errorf("%s has the form %d, and this program reads the forms up to %d: it was written by a later one", name, s.Format, latest)
	}
	if sum := sha256.Sum256(s.Content); hex.EncodeToString(sum[:]) != s.SHA256 {
		return 0, fmt.Errorf("%s %w: it is not what was written", name, errDamaged)
	}
	if err := strictly(s.Content, content); err != nil {
		return 0, fmt.Errorf("%s %w: %w", name, errDamaged, err)
	}
	return s.Format, nil
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

func syncFolder(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// About is what the file of a collection says.
type About struct {
	// Created is when it was made, in UTC; zero for the default collection.
	Created  time.Time `json:"created,omitzero"`
	Settings Settings  `json:"settings"`
	// Generation is the one that is served, 0 where there was no migration. Formerly are the models before, the latest last, up to 16; Migrated is when the
	// present one took its place.
	Generation int       `json:"generation,omitempty"`
	Formerly   []string  `json:"formerly,omitempty"`
	Migrated   time.Time `json:"migrated,omitzero"`
}

// maxFormerly is how many models before are remembered.
const maxFormerly = 16

// moved is what the file says once another generation has taken the place of this one.
func (a About) moved(to place) About {
	formerly := append(slices.Clone(a.Formerly), a.Settings.Model)
	return About{Created: a.Created, Settings: to.settings, Generation: to.generation, Formerly: formerly[max(0, len(formerly)-maxFormerly):], Migrated: time.Now().UTC().Truncate(time.Second)}
}

// write writes the file of the collection in a folder.
func (a About) write(root *os.Root, folder string, placing func() error) error {
	form := format
	if a.Generation > 0 {
		form = formatGeneration
	}
	return writeSealedAs(form, root, path.Join(folder, retrieval.AboutName), a, placing)
}

// ReadAbout reads what the collection in the data directory dir was made with; there is false where it does not say, as one that is
// nobody's but the default collection does not.
func ReadAbout(dir string) (a About, there bool, err error) {
	root, err := store.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return a, false, nil
	}
	if err != nil {
		return a, false, err
	}
	defer root.Close()
	a, err = readAbout(root, ".")
	if errors.Is(err, fs.ErrNotExist) {
		return a, false, nil
	}
	return a, err == nil, err
}

// readAbout reads the file of the collection in a folder.
func readAbout(root *os.Root, folder string) (a About, err error) {
	form, err := readSealedAs(root, path.Join(folder, retrieval.AboutName), &a, formatGeneration)
	if err != nil {
		return a, err
	}
	if a.Generation < 0 || (a.Generation > 0) != (form == formatGeneration) {
		return a, fmt.Errorf("%s %w: it has the form %d and says generation %d", path.Join(folder, retrieval.AboutName), errDamaged, form, a.Generation)
	}
	if err := a.Settings.check(); err != nil {
		return a, fmt.Errorf("%s %w: %w", path.Join(folder, retrieval.AboutName), errDamaged, err)
	}
	return a, nil
}
