package store

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

const (
	// markName is the file that makes a directory ours.
	markName = "EMBEDD-STORE"
	markText = "This directory is a store of embedd. Its files belong together: do not edit, move or delete one of them.\n"
	// lockName is Pebble's.
	lockName = "LOCK"

	defaultCacheBytes = 64 << 20
	memTableBytes     = 32 << 20
)

// pebbleFormat is the format of Pebble's files: the latest but those for value separation, which we do not use. It is
// raised together with formatVersion only, because an older embedd cannot read a directory that was raised.
const pebbleFormat = pebble.FormatTableFormatV6

// Open opens the store in dir, or creates it where dir is missing or empty. One Store at a time may have dir open, in
// this process or any other.
//
// Errors: ErrLocked, ErrFormat, ErrCorrupt, a *MismatchError; another for a path that is not a directory, is not ours to
// write in, or holds files of something else.
func Open(dir string, id Identity, o *Options) (_ *Store, err error) {
	if err := id.check(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if o == nil {
		o = &Options{}
	}
	fsys := o.FS
	if fsys == nil {
		fsys = vfs.Default
	}
	dir, err = prepareDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, calls: calls{idle: make(chan struct{}, 1)}}
	s.close = sync.OnceValue(s.closeOnce)
	if s.lock, err = lockDir(fsys, dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	if err := markDir(fsys, dir); err != nil {
		return nil, fmt.Errorf("create store %s: %w", dir, err)
	}
	if err := checkPebbleFormat(fsys, dir); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s.db, err = pebble.Open(dir, pebbleOptions(o, fsys, dir, s.lock))
	if err != nil {
		if pebble.IsCorruptionError(err) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.db.Close())
		}
	}()
	err = s.load()
	if errors.Is(err, ErrNotFound) {
		err = s.create(id)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if s.id.Fingerprint != id.Fingerprint || s.id.Dimension != id.Dimension {
		return nil, &MismatchError{Dir: dir, Have: s.id, Want: id}
	}
	return s, nil
}

// prepareDir makes sure that dir is a directory, and ours or empty. It returns the one name that the directory has, by
// which the lock knows it: Pebble's lock does not keep this process from opening the directory twice by two names.
func prepareDir(fsys vfs.FS, dir string) (string, error) {
	info, err := fsys.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeDir(fsys, dir); err != nil {
			return "", fmt.Errorf("create store %s: %w", dir, err)
		}
	case err != nil:
		return "", fmt.Errorf("open store %s: %w", dir, err)
	case !info.IsDir():
		return "", fmt.Errorf("open store %s: is a file, not a directory", dir)
	}
	if fsys == vfs.Default {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			real, err = filepath.Abs(real)
		}
		if err != nil {
			return "", fmt.Errorf("open store %s: %w", dir, err)
		}
		dir = real
	}
	names, err := fsys.List(dir)
	if err != nil {
		return "", fmt.Errorf("open store %s: %w", dir, err)
	}
	// The lock may be there alone: of an Open that was killed before it could write the mark.
	foreign := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == lockName })
	if len(foreign) > 0 && !slices.Contains(names, markName) {
		return "", fmt.Errorf("open store %s: the directory is neither empty nor a store of embedd (it has %s and no %s): use a new directory",
			dir, slices.Min(foreign), markName)
	}
	return dir, nil
}

// makeDir makes dir and its parents, so that they survive power loss.
func makeDir(fsys vfs.FS, dir string) error {
	var parents []string // of every directory to be made
	for d := dir; ; {
		parent := fsys.PathDir(d)
		parents = append(parents, parent)
		if _, err := fsys.Stat(parent); err == nil || parent == d {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		d = parent
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := syncDir(fsys, parent); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func lockDir(fsys vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fsys)
	if err == nil {
		return lock, nil
	}
	// Not being able to make the file is a *PathError, of the system, not of another process. A lock held by another
	// process is one of two numbers, by choice of the system; one held by this process has no number.
	var path *fs.PathError
	var errno syscall.Errno
	if !errors.As(err, &path) && (!errors.As(err, &errno) || errno == syscall.EAGAIN || errno == syscall.EACCES) {
		return nil, fmt.Errorf("%w: another embedd process has %s open: stop it, or use another data directory", ErrLocked, dir)
	}
	return nil, fmt.Errorf("store %s cannot be written: %w", dir, err)
}

// markDir makes the directory ours, for good, before anything else of ours is in it.
func markDir(fsys vfs.FS, dir string) error {
	name := fsys.PathJoin(dir, markName)
	if _, err := fsys.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(markText))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncDir(fsys, dir)
}

// checkPebbleFormat refuses what a later release wrote, before Pebble does so in words that help nobody.
func checkPebbleFormat(fsys vfs.FS, dir string) error {
	text, err := atomicfs.ReadMarker(fsys, dir, "format-version")
	if err != nil || text == "" {
		return err
	}
	version, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: Pebble's format version is %q", ErrCorrupt, text)
	}
	if version > uint64(pebbleFormat) {
		return fmt.Errorf("%w: Pebble's version %d; this embedd reads up to version %d; use the embedd that wrote it", ErrFormat, version, uint64(pebbleFormat))
	}
	return nil
}

func pebbleOptions(o *Options, fsys vfs.FS, dir string, lock *pebble.Lock) *pebble.Options {
	log := &logger{dir: dir, log: cmp.Or(o.Log, slog.Default())}
	p := &pebble.Options{
		FS:                 fsys,
		Lock:               lock,
		FormatMajorVersion: pebbleFormat,
		CacheSize:          cmp.Or(o.CacheBytes, defaultCacheBytes),
		MemTableSize:       memTableBytes,
		Logger:             log,
		// Without this, Pebble ends the process when it reads a damaged block. The reader gets an error, which is enough.
		EventListener: &pebble.EventListener{
			DataCorruption: func(info pebble.DataCorruptionInfo) { log.Errorf("damage in %s: %v", info.Path, info.Details) },
		},
	}
	// Most ids of an import are new; the filter spares each a read per level. Lower levels take it over from the first.
	p.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	return p
}

// load reads the store's identity and state. ErrNotFound: there is nothing to load, not even a stray key.
func (s *Store) load() error {
	type identity struct {
		Identity
		uuid string
	}
	id, err := get(s.db, []byte(keyIdentity), func(body []byte) (identity, error) {
		id, uuid, err := decodeIdentity(body)
		return identity{id, uuid}, err
	})
	if errors.Is(err, ErrNotFound) {
		if err := scan(s.db, nil, nil, func(key, _ []byte) error {
			return corrupt([]byte(keyIdentity), "is missing, and %s is there", keyName(key))
		}); err != nil {
			return err
		}
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	st, err := get(s.db, []byte(keyState), decodeState)
	if errors.Is(err, ErrNotFound) {
		return corrupt([]byte(keyState), "is missing")
	}
	if err != nil {
		return err
	}
	s.id, s.uuid = id.Identity, id.uuid
	s.state.Store(&st)
	return nil
}

// create makes a store of an empty database.
func (s *Store) create(id Identity) error {
	s.id, s.uuid = id, newUUID()
	identity, err := encodeIdentity(s.id, s.uuid)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	st := &state{next: 1}
	err = errors.Join(
		set(b, []byte(keyIdentity), identity),
		set(b, []byte(keyState), encodeState(*st)))
	if err != nil {
		return err
	}
	// Flushed, so that no damage to the log can make the store look as if it had never been created.
	if err := errors.Join(b.Commit(pebble.Sync), s.db.Flush()); err != nil {
		return err
	}
	s.state.Store(st)
	return nil
}

// newUUID is a random UUID, version 4 of RFC 9562.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
