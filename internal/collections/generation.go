package collections

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"embedd/internal/retrieval"
	"embedd/internal/store"
)

// A collection's home is the folder that its name stands for: the data directory itself for the default one, collections/NAME for another. Its first
// generation, 0, is a data directory in the home. One that has moved to another model is of a later generation, a data directory of its own below it:
//
//	HOME/
//	  collection.json       in the form 2 where another generation than 0 is served: which one, and what it was made with
//	  migration.json        while there are two
//	  store/ ...            generation 0
//	  generations/
//	    1/ ...              generation 1, with a collection.json of its own
//
// Which one is served changes when collection.json does, at once. A program that knows no generations does not read the form 2, and refuses the directory.
const (
	generations   = "generations"
	migrationName = "migration.json"
)

// migrationFile is the content of migration.json.
type migrationFile struct {
	Started time.Time `json:"started"`
	// From and To are the generations: the one that was served, and the one that is to be.
	From int `json:"from"`
	To   int `json:"to"`
	// Before and After are their settings. Bare: generation From was without a collection.json, and is to be again.
	Before Settings `json:"before"`
	After  Settings `json:"after"`
	Bare   bool     `json:"bare,omitempty"`
	// Formerly and Migrated are what From says of its own past.
	Formerly []string  `json:"formerly,omitempty"`
	Migrated time.Time `json:"migrated,omitzero"`
	// Across: searches go across both while papers are brought over.
	Across bool `json:"across,omitempty"`
	// Copied is the ordinal up to which papers were copied; Done: all were.
	Copied uint64 `json:"copied,omitempty"`
	Done   bool   `json:"done,omitempty"`
	// Forward is the revision of From up to which To has everything, but for what is to be copied; Back is that the other way round, once To was served.
	Forward uint64 `json:"forward,omitempty"`
	Back    uint64 `json:"back,omitempty"`
	// Swapped is when To was served first, zero for never.
	Swapped time.Time `json:"swapped,omitzero"`
}

// check refuses what was never written.
func (f *migrationFile) check() error {
	if f.From < 0 || f.To < 1 || f.From == f.To {
		return fmt.Errorf("it leads from generation %d to %d", f.From, f.To)
	}
	return cmp.Or(f.Before.check(), f.After.check())
}

// readMigration reads the file of a home; there is false where there is none.
func readMigration(root *os.Root, home string) (f migrationFile, there bool, err error) {
	name := path.Join(home, migrationName)
	err = readSealed(root, name, &f)
	if errors.Is(err, fs.ErrNotExist) {
		return f, false, nil
	}
	if err == nil {
		if e := f.check(); e != nil {
			err = fmt.Errorf("%s %w: %w", name, errDamaged, e)
		}
	}
	return f, err == nil, err
}

// generationAt is the data directory of a generation, in a root.
func generationAt(home string, generation int) string {
	if generation == 0 {
		return home
	}
	return path.Join(home, generations, strconv.Itoa(generation))
}

// keeps is the revision after which the change log of the generation that is served is to be kept, nil for none.
func (f *migrationFile) keeps(serving int) *uint64 {
	at := f.Forward
	if serving == f.To {
		at = f.Back
	}
	return &at
}

// Served is what a home serves.
type Served struct {
	// Dir is its data directory.
	Dir string
	// Migrating: there is a migration, of which another data directory, Other, is a part.
	Migrating bool
	Other     string
	// KeepLog is for retrieval's options of this name.
	KeepLog *uint64
}

// Serves tells what the collection whose home is the folder dir serves; one that is not there serves itself. Nothing is opened, and nothing changed.
func Serves(dir string) (s Served, err error) {
	s.Dir = dir
	root, err := store.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer root.Close()
	about, err := readAbout(root, ".")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	at := generationAt(".", about.Generation)
	if about.Generation > 0 {
		if err := checkGeneration(root, at); err != nil {
			return s, err
		}
	}
	if about.Generation > 0 {
		s.Dir = filepath.Join(dir, filepath.FromSlash(at))
	}
	f, there, err := readMigration(root, ".")
	if err != nil || !there {
		return s, err
	}
	s.Migrating, s.KeepLog = true, f.keeps(about.Generation)
	s.Other = filepath.Join(dir, filepath.FromSlash(generationAt(".", f.other(about.Generation))))
	return s, nil
}

// other is the generation that is not served.
func (f *migrationFile) other(serving int) int {
	if serving == f.To {
		return f.From
	}
	return f.To
}

// checkGeneration refuses the folder of a generation that is none: what is in a data directory does not lead out of it.
func checkGeneration(root *os.Root, at string) error {
	for _, name := range []string{path.Dir(at), at} {
		info, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s says that %s is served, and that is not there: %w", retrieval.AboutName, at, errDamaged)
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is no folder; a link is not followed there", name)
		}
	}
	return nil
}

// generationsOf gives the generations that have a folder in a home.
func generationsOf(root *os.Root, home string) (all []int, err error) {
	entries, err := fs.ReadDir(root.FS(), path.Join(home, generations))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 && strconv.Itoa(n) == e.Name() {
			all = append(all, n)
		}
	}
	return all, err
}

// removeGeneration removes a generation that nobody serves. Its backups stay, and what the house does not know.
func (s *Set) removeGeneration(home string, generation int) error {
	at := generationAt(home, generation)
	if err := s.step("remove a generation", func() error { return retrieval.Erase(s.root, at) }); err != nil || generation == 0 {
		return err
	}
	for _, name := range []string{retrieval.AboutName, retrieval.AboutName + ".new"} {
		if err := s.root.Remove(path.Join(at, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	entries, err := fs.ReadDir(s.root.FS(), at)
	if err == nil && len(entries) == 0 {
		err = s.root.Remove(at)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// tidyGenerations removes the generations of a home that are neither served nor of its migration: what was being made or removed when a process was killed.
func (s *Set) tidyGenerations(home string, serving int, f *migrationFile) error {
	all, err := generationsOf(s.root, home)
	if err != nil {
		return err
	}
	for _, generation := range append(all, 0) {
		if generation == serving || f != nil && (generation == f.From || generation == f.To) {
			continue
		}
		if err := s.removeGeneration(home, generation); err != nil {
			return err
		}
	}
	return nil
}

// Lock keeps everybody from opening any generation of the collection whose home is the folder dir until it is closed, or says who has one. Where there is
// nothing it does nothing.
func Lock(dir string) (io.Closer, error) {
	root, err := store.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	all, err := generationsOf(root, ".")
	if err != nil {
		return nil, err
	}
	var locked locks
	for _, generation := range append(all, 0) {
		lock, err := retrieval.Lock(filepath.Join(dir, filepath.FromSlash(generationAt(".", generation))))
		if err != nil {
			return nil, errors.Join(err, locked.Close())
		}
		locked = append(locked, lock)
	}
	return locked, nil
}

type locks []io.Closer

// Close implements io.Closer.
func (all locks) Close() (err error) {
	for _, lock := range all {
		err = errors.Join(err, lock.Close())
	}
	return err
}

// homeOf is the home of a collection in the data directory.
func homeOf(name string) string {
	if name == Default {
		return "."
	}
	return path.Join(folder, name)
}
