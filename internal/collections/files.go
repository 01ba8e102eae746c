package collections

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"embedd/internal/retrieval"
	"embedd/internal/sealed"
	"embedd/internal/store"
)

// The versions of the files' form. A collection's file that says which generation is served has the later one: a program that does not know it would
// serve another.
const (
	format           = 1
	formatGeneration = 2
)

// errDamaged is in the error of a file that is not what was written.
var errDamaged = sealed.ErrDamaged

// writeSealed writes a file of the first form; see package sealed.
func writeSealed(root *os.Root, name string, content any, placing func() error) error {
	return sealed.Write(root, name, format, content, placing)
}

// readSealed reads one.
func readSealed(root *os.Root, name string, content any) error {
	_, err := sealed.Read(root, name, format, retrieval.MaxAboutBytes, content)
	return err
}

func syncFolder(root *os.Root, name string) error { return sealed.SyncFolder(root, name) }

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
	return sealed.Write(root, path.Join(folder, retrieval.AboutName), form, a, placing)
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
	form, err := sealed.Read(root, path.Join(folder, retrieval.AboutName), formatGeneration, retrieval.MaxAboutBytes, &a)
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
