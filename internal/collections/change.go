package collections

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"embedd/internal/retrieval"
)

// begin begins a change; end ends it.
func (s *Set) begin(ctx context.Context) (end func(), err error) {
	if s.root == nil {
		return nil, refused("", "one collection is open here, and there are no others; ask a server, or open the data directory that it is in")
	}
	s.change.Lock()
	err = ctx.Err() // it may have waited for long
	if s.closed {
		err = &retrieval.Error{Kind: retrieval.Unavailable, Message: "the server is shutting down"}
	}
	if err != nil {
		s.change.Unlock()
		return nil, err
	}
	return s.change.Unlock, nil
}

// Create makes an empty collection. It is in the set, and on the disk, when this returns, and in neither where that is an error.
func (s *Set) Create(ctx context.Context, called string, settings Settings) (_ Info, err error) {
	if err := CheckName("name", called); err != nil {
		return Info{}, err
	}
	if err := settings.check(); err != nil {
		return Info{}, err
	}
	end, err := s.begin(ctx)
	if err != nil {
		return Info{}, err
	}
	defer end()
	st := s.state.Load()
	switch own, alias := st.aliases[called]; {
	case st.named[called] != nil:
		return Info{}, &retrieval.Error{Kind: retrieval.AlreadyExists, Field: "name", Message: fmt.Sprintf("there is a collection %q already; choose another name, or delete it", called)}
	case alias:
		return Info{}, refused("name", "%q is an alias of %q; choose another name, or delete the alias", called, own)
	case len(st.named) >= Max:
		return Info{}, refused("name", "there are %d collections, as many as there may be; delete one", len(st.named))
	}
	encoder, settings, release, err := s.o.Encoder(ctx, settings)
	if err != nil {
		return Info{}, err
	}
	e := &entry{name: called, about: About{Created: time.Now().UTC().Truncate(time.Second), Settings: settings}, release: release, owned: true, filed: true}
	if e.collection, err = s.make(ctx, e, encoder); err != nil {
		s.gone(called)
		return Info{}, errors.Join(err, release())
	}
	s.publish(func(named map[string]*entry, _ map[string]string) { named[called] = e })
	s.log.Info("a collection was made", "collection", called, "model", settings.Model)
	return s.state.Load().info(e), nil
}

// make makes a collection on the disk, and opens it. It is made under another name, and whole before it gets its own.
func (s *Set) make(ctx context.Context, e *entry, encoder retrieval.Encoder) (_ *retrieval.Collection, err error) {
	half, at := path.Join(folder, making+e.name), path.Join(folder, e.name)
	if err := s.clear(e.name, at); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if left := s.root.RemoveAll(half); left != nil {
				s.log.Warn("what is left of a collection that was not made is removed at the next start", "collection", e.name, "error", left)
			}
			err = diskError("make the collection", err)
		}
	}()
	if err := s.makeFolder(); err != nil {
		return nil, err
	}
	if err := s.step("make the folder", func() error { return errors.Join(s.root.RemoveAll(half), s.root.Mkdir(half, 0o700)) }); err != nil {
		return nil, err
	}
	if err := e.about.write(s.root, half, func() error { return s.o.step("place its file") }); err != nil {
		return nil, err
	}
	c, err := s.openFolder(ctx, making+e.name, e.name, e.about.Settings, encoder)
	if err != nil {
		return nil, err
	}
	if err := c.Close(); err != nil {
		return nil, err
	}
	if err := s.step("sync it", func() error { return syncFolder(s.root, half) }); err != nil {
		return nil, err
	}
	if err := s.step("name it", func() error { return s.root.Rename(half, at) }); err != nil {
		return nil, err
	}
	// From here on it is there, and goes again as one that is deleted.
	err = s.step("sync its name", func() error { return syncFolder(s.root, folder) })
	if err == nil {
		c, err = s.openFolder(ctx, e.name, e.name, e.about.Settings, encoder)
	}
	if err != nil {
		if left := s.markDeleted(e.name); left != nil {
			s.log.Error("a collection that was not made is there at the next start", "collection", e.name, "error", left)
		} else if left := s.remove(e.name); left != nil {
			s.log.Warn("what is left of a collection that was not made is removed at the next start", "collection", e.name, "error", left)
		}
		return nil, err
	}
	return c, nil
}

// step does one change on the disk.
func (s *Set) step(at string, do func() error) error {
	if err := s.o.step(at); err != nil {
		return err
	}
	return do()
}

// makeFolder makes the folder of the collections where it is not there, so that it survives power loss.
func (s *Set) makeFolder() error {
	switch info, err := s.root.Lstat(folder); {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s is no folder; a link is not followed there", folder)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := s.step("make the folder of the collections", func() error { return s.root.Mkdir(folder, 0o700) }); err != nil {
		return err
	}
	return syncFolder(s.root, ".")
}

// clear removes what is left of a collection of this name whose removal has begun. Something else of this name is refused.
func (s *Set) clear(called, at string) error {
	if _, err := s.root.Lstat(at); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return diskError("look for a folder of that name", err)
	}
	switch deleted, err := s.isDeleted(at); {
	case err != nil:
		return diskError("look for a folder of that name", err)
	case !deleted:
		return refused("name", "there is a folder %s in the data directory, which the server does not know; move it elsewhere, or start the server again", at)
	}
	return diskError("remove what is left of a collection of that name", s.remove(called))
}

// diskError is an error of a change on the disk in the words of package retrieval; nil stays nil. What is said already stays.
func diskError(doing string, err error) error {
	var said *retrieval.Error
	if err == nil || errors.As(err, &said) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &retrieval.Error{Kind: retrieval.Internal, Message: doing + ": " + err.Error(), Err: err}
}

// lateCalls is the time that calls have to begin that were given a collection just before it was deleted, or just before an alias moved away
// from it. It takes them microseconds.
const lateCalls = 50 * time.Millisecond

// Delete removes a collection and all that is in its folder, for good, and gives how many papers it had. Calls that run end, later ones are
// NOT_FOUND. Once it has begun it goes on whatever becomes of ctx.
func (s *Set) Delete(ctx context.Context, called string) (papers int, err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	st := s.state.Load()
	e := st.named[called]
	if own, alias := st.aliases[called]; alias && called != Default {
		return 0, refused("name", "is an alias of %q; name the collection itself, or delete the alias", own)
	}
	switch {
	case called == Default:
		return 0, refused("name", "the default collection cannot be deleted; delete its papers")
	case e == nil:
		return 0, notFound("name", called)
	}
	if e.migration != nil {
		return 0, e.migration.inTheWay()
	}
	if aliases := st.info(e).Aliases; len(aliases) > 0 {
		return 0, refused("name", "calls reach it as %s; move or delete these aliases first", strings.Join(aliases, ", "))
	}
	if e.collection == nil {
		if err := s.free(called); err != nil {
			return 0, err
		}
	} else if info, err := e.collection.Info(); err == nil {
		papers = info.Papers
	}
	if err := s.markDeleted(called); err != nil {
		return 0, diskError("delete the collection", err)
	}
	s.publish(func(named map[string]*entry, _ map[string]string) { delete(named, called) })
	if e.collection != nil {
		time.Sleep(lateCalls)
		if err := errors.Join(e.collection.Discard(notFound("collection", called)), e.release()); err != nil {
			s.log.Warn("a collection that is removed did not close well", "collection", called, "error", err)
		}
	}
	if err := s.remove(called); err != nil {
		s.log.Warn("what is left of a deleted collection is removed at the next start", "collection", called, "error", err)
	}
	s.gone(called)
	s.log.Info("a collection was deleted", "collection", called, "papers", papers)
	return papers, nil
}

// free refuses a collection that another process has open. Where that cannot be found out, nobody can have it open.
func (s *Set) free(called string) error {
	lock, err := Lock(filepath.Join(s.root.Name(), folder, called))
	if errors.Is(err, retrieval.ErrInUse) {
		return refused("name", "another process has the collection open; end it first")
	}
	if err != nil {
		return nil
	}
	return lock.Close()
}

// markDeleted has a collection be gone, for this process and every later one.
func (s *Set) markDeleted(called string) error {
	at := path.Join(folder, called)
	err := s.step("mark it deleted", func() error {
		err := s.root.Rename(path.Join(at, retrieval.AboutName), path.Join(at, deletedName)) // takes no room on the disk
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f, err := s.root.OpenFile(path.Join(at, deletedName), os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	if err != nil {
		return err
	}
	return syncFolder(s.root, at)
}

// remove removes the folder of a collection that is marked deleted. The name is free first.
func (s *Set) remove(called string) error {
	at, gone := path.Join(folder, called), path.Join(folder, fmt.Sprintf("%s%s-%d", deleting, called, rand.Uint64()))
	if err := s.step("take its name", func() error { return s.root.Rename(at, gone) }); err != nil {
		return err
	}
	return errors.Join(syncFolder(s.root, folder), s.step("remove it", func() error { return s.root.RemoveAll(gone) }))
}

// SetAlias has a name stand for a collection, which is given by its own, from one moment to the next, and gives what it stood for before.
func (s *Set) SetAlias(ctx context.Context, alias, own string) (before string, err error) {
	if err := CheckName("alias", alias); err != nil {
		return "", err
	}
	end, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	st := s.state.Load()
	switch {
	case alias == own:
		return "", invalid("alias", "is the collection's own name; to have it stand for nothing else, delete the alias")
	case alias != Default && st.named[alias] != nil:
		return "", refused("alias", "there is a collection %q; an alias has another name", alias)
	case st.named[own] == nil && st.aliases[own] != "":
		return "", refused("collection", "is an alias of %q; name the collection itself", st.aliases[own])
	case st.named[own] == nil:
		return "", notFound("collection", own)
	case st.named[own].collection == nil:
		return "", &retrieval.Error{Kind: retrieval.Unavailable, Field: "collection", Message: fmt.Sprintf("%q cannot be used: %s", own, Reason(st.named[own].err))}
	case st.aliases[alias] == "" && len(st.aliases) >= MaxAliases:
		return "", refused("alias", "there are %d aliases, as many as there may be; delete one", MaxAliases)
	}
	before = st.aliases[alias]
	return before, s.writeAliases(func(aliases map[string]string) { aliases[alias] = own })
}

// DeleteAlias takes an alias away.
func (s *Set) DeleteAlias(ctx context.Context, alias string) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if s.state.Load().aliases[alias] == "" {
		return &retrieval.Error{Kind: retrieval.NotFound, Field: "alias", Message: fmt.Sprintf("there is no alias %.80q", alias)}
	}
	return s.writeAliases(func(aliases map[string]string) { delete(aliases, alias) })
}

// writeAliases changes the aliases: first on the disk, then in the set.
func (s *Set) writeAliases(edit func(aliases map[string]string)) error {
	next := aliasFile{map[string]string{}}
	for alias, own := range s.state.Load().aliases {
		next.Aliases[alias] = own
	}
	edit(next.Aliases)
	err := s.makeFolder()
	if err == nil {
		err = writeSealed(s.root, aliasesName, next, func() error { return s.o.step("place the aliases") })
	}
	if err != nil {
		return diskError("write the aliases", err)
	}
	s.publish(func(_ map[string]*entry, aliases map[string]string) {
		clear(aliases)
		for alias, own := range next.Aliases {
			aliases[alias] = own
		}
	})
	return nil
}
