package collections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"path/filepath"
	"strings"
	"time"

	"embedd/internal/retrieval"
	"embedd/internal/store"
)

// Names in a data directory, and in a collection's.
const (
	folder      = "collections"
	aliasesName = folder + "/aliases.json"
	making      = ".making-"
	deleting    = ".deleting-"
	// deletedName is what the file of a collection is called that is being removed.
	deletedName = "collection.deleted"
)

// aliasFile is the content of the file of the aliases.
type aliasFile struct {
	Aliases map[string]string `json:"aliases"`
}

// Open opens the collections of the data directory dir, one after the other. usual is the default one, which is open: so nobody else is at
// them; about is what is known of it. What a process that was killed has left half done is undone or done.
//
// A collection that cannot be opened is in the set all the same, and cannot be used. An error is that of ctx, or of what they have in common.
func Open(ctx context.Context, dir string, usual *retrieval.Collection, about About, o Options) (_ *Set, err error) {
	s := &Set{o: o, log: cmp.Or(o.Log, slog.Default())}
	if s.o.step == nil {
		s.o.step = func(string) error { return nil }
	}
	if s.root, err = store.OpenRoot(dir); err != nil {
		return nil, err
	}
	if s.o.Release == nil {
		s.o.Release = func() error { return nil }
	}
	first := &entry{name: Default, about: about, collection: usual, release: s.o.Release}
	named, aliases := map[string]*entry{Default: first}, map[string]string{}
	defer func() {
		if err != nil {
			s.state.Store(newState(named, aliases))
			err = errors.Join(err, s.Close())
		}
	}()
	if _, err := s.root.Lstat(retrieval.AboutName); err == nil {
		first.filed = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := s.resume(ctx, first); err != nil {
		return nil, fmt.Errorf("migration of %s: %w", dir, err)
	}
	names, err := s.tidy()
	if err != nil {
		return nil, fmt.Errorf("collections of %s: %w", dir, err)
	}
	if aliases, err = s.readAliases(); err != nil {
		return nil, fmt.Errorf("collections of %s: %w; if the aliases are to be given up, remove the file, and set them anew", dir, err)
	}
	for i, name := range names {
		if o.Opening != nil {
			o.Opening(name, i, len(names))
		}
		begin := time.Now()
		e := s.open(ctx, name, i)
		if ctx.Err() != nil {
			if e.collection != nil {
				named[name] = e // to be closed
			}
			return nil, ctx.Err()
		}
		named[name] = e
		if e.err != nil {
			s.log.Error("a collection cannot be used until the next start; the others are", "collection", name, "error", e.err)
		} else {
			s.log.Info("a collection is open", "collection", name, "took", time.Since(begin).Round(time.Millisecond))
		}
	}
	for alias, own := range aliases {
		if named[own] == nil {
			s.log.Warn("an alias stands for a collection that is not there", "alias", alias, "collection", own)
		}
	}
	s.state.Store(newState(named, aliases))
	return s, nil
}

// open opens the collection of a name, the i-th.
func (s *Set) open(ctx context.Context, name string, i int) *entry {
	e := &entry{name: name, owned: true, filed: true}
	if i >= Max-1 {
		e.err = fmt.Errorf("there are more than %d collections", Max)
		return e
	}
	if e.about, e.err = readAbout(s.root, path.Join(folder, name)); e.err != nil {
		return e
	}
	encoder, _, release, err := s.o.Encoder(ctx, e.about.Settings)
	if err != nil {
		e.err = fmt.Errorf("%w: %w", errModel, err)
		return e
	}
	in := name
	if e.about.Generation > 0 {
		in = generationAt(name, e.about.Generation)
		err = checkGeneration(s.root, path.Join(folder, in))
	}
	if err == nil {
		e.collection, err = s.openFolder(ctx, in, name, e.about.Settings, encoder)
	}
	if err != nil {
		s.gone(name)
		e.collection, e.err = nil, errors.Join(err, release())
		return e
	}
	e.release = release
	if err := s.resume(ctx, e); err != nil && ctx.Err() == nil {
		s.gone(name)
		e.err = errors.Join(err, e.collection.Close(), release())
		e.collection = nil
	}
	return e
}

// openFolder opens the collection in a folder, which is no link: what is in a data directory does not lead out of it.
func (s *Set) openFolder(ctx context.Context, in, name string, settings Settings, encoder retrieval.Encoder) (*retrieval.Collection, error) {
	at := path.Join(folder, in)
	if err := s.checkFolder(at); err != nil {
		return nil, err
	}
	o := s.o.Retrieval(name, settings)
	o.Name, o.Settings = name, settings.Retrieval()
	return retrieval.Open(ctx, filepath.Join(s.root.Name(), filepath.FromSlash(at)), encoder, &o)
}

func (s *Set) checkFolder(at string) error {
	for _, name := range []string{folder, at} {
		if info, err := s.root.Lstat(name); err != nil {
			return err
		} else if !info.IsDir() {
			return fmt.Errorf("%s is no folder; a link is not followed there", name)
		}
	}
	return nil
}

// tidy removes what was being made or removed when a process was killed, and gives the names of the collections that there are, in order.
func (s *Set) tidy() (names []string, err error) {
	entries, err := fs.ReadDir(s.root.FS(), folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		at := path.Join(folder, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), making), strings.HasPrefix(e.Name(), deleting), e.Name() == path.Base(aliasesName)+".new":
			err = s.root.RemoveAll(at)
		case e.Name() == path.Base(aliasesName):
		case !nameForm.MatchString(e.Name()) || e.Name() == Default:
			s.log.Warn("something in the folder of the collections is none, and stays as it is", "name", e.Name())
		default:
			deleted, e2 := s.isDeleted(at)
			switch {
			case e2 != nil:
				s.log.Warn("whether a collection was being removed is not known", "collection", e.Name(), "error", e2)
				names = append(names, e.Name())
			case deleted:
				err = s.remove(e.Name())
				s.log.Info("a collection was being removed when the process ended; it is gone now", "collection", e.Name())
			default:
				names = append(names, e.Name())
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// isDeleted tells whether the removal of a collection has begun.
func (s *Set) isDeleted(at string) (bool, error) {
	_, err := s.root.Lstat(path.Join(at, deletedName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// readAliases reads the file of the aliases.
func (s *Set) readAliases() (map[string]string, error) {
	var f aliasFile
	err := readSealed(s.root, aliasesName, &f)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	for alias, own := range f.Aliases {
		if !nameForm.MatchString(alias) || !nameForm.MatchString(own) {
			return nil, fmt.Errorf("%s %w: %q stands for %q", aliasesName, errDamaged, alias, own)
		}
	}
	if f.Aliases == nil {
		f.Aliases = map[string]string{}
	}
	return f.Aliases, nil
}

// Find gives the data directory of the collection that is called name, or has it as an alias, in the data directory dir, and its own name.
// Nothing is opened, and nothing changed.
func Find(dir, called string) (at, own string, err error) {
	if err := CheckName("--collection", called); err != nil {
		return "", "", err
	}
	root, err := store.OpenRoot(dir)
	if err != nil {
		return "", "", err
	}
	defer root.Close()
	s := &Set{root: root}
	aliases, err := s.readAliases()
	if err != nil {
		return "", "", err
	}
	own = cmp.Or(aliases[called], called)
	if own == Default {
		return dir, own, nil
	}
	at = path.Join(folder, own)
	if err := s.checkFolder(at); errors.Is(err, fs.ErrNotExist) {
		return "", "", notFound("--collection", called)
	} else if err != nil {
		return "", "", err
	}
	if deleted, err := s.isDeleted(at); err != nil {
		return "", "", err
	} else if deleted {
		return "", "", notFound("--collection", called)
	}
	return filepath.Join(dir, filepath.FromSlash(at)), own, nil
}

// Names gives the own names of the collections beside the default one of a data directory, in order. Nothing is opened, and nothing changed.
func Names(dir string) (names []string, err error) {
	root, err := store.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s := &Set{root: root}
	for _, e := range entries {
		if !e.IsDir() || !nameForm.MatchString(e.Name()) || e.Name() == Default {
			continue
		}
		if deleted, err := s.isDeleted(path.Join(folder, e.Name())); err != nil {
			return nil, err
		} else if !deleted {
			names = append(names, e.Name())
		}
	}
	return names, err
}
