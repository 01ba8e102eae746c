package store

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// SharedCacheBytes is what the cache of blocks may take that all stores of the process have together, but for those that ask for one of their own.
const SharedCacheBytes = 256 << 20

const memTableBytes = 32 << 20

// pebbleFormat is the format of Pebble's files: the latest but those for value separation, which we do not use. It is
// raised together with formatVersion only, because an older embedd cannot read a directory that was raised.
const pebbleFormat = pebble.FormatTableFormatV6

// Open opens the store in dir, or creates it where dir is missing or empty. One Store at a time may have dir open, in
// this process or any other. A store of an earlier format is brought to the present one. With Options.Root, dir is a path in that.
//
// Open proves that nothing is missing that was on disk a second before the store was last closed or cut off, which takes about
// a second for a million papers.
//
// Errors: ErrLocked, ErrFormat, ErrCorrupt, ErrLoss, a *MismatchError; another for a path that is not a directory, is not ours to
// write in, or holds files of something else.
func Open(dir string, id Identity, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	s, err := openRooted(dir, id, o)
	if err != nil {
		if o.Root != nil {
			dir = filepath.Join(o.Root.Name(), dir)
		}
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return s, nil
}

// openRooted sees to what the store does not lead out of.
func openRooted(dir string, id Identity, o *Options) (*Store, error) {
	if o.FS != nil {
		return openStore(dir, o.FS, id, o)
	}
	root := o.Root
	if root == nil {
		open := MakeRoot
		if o.ReadOnly {
			open = OpenRoot
		} else if err := id.check(); err != nil { // before anything is made
			return nil, err
		}
		own, err := open(dir)
		if err != nil {
			return nil, err
		}
		root, dir = own, "."
	}
	s, err := openIn(root, dir, id, o)
	switch {
	case root == o.Root:
	case err != nil:
		err = errors.Join(err, root.Close())
	default:
		s.root = root
	}
	return s, err
}

func openIn(root *os.Root, dir string, id Identity, o *Options) (*Store, error) {
	fsys, err := newRootFS(root)
	if err != nil {
		return nil, err
	}
	return openStore(fsys.PathJoin(fsys.base, dir), fsys, id, o)
}

func openStore(dir string, fsys vfs.FS, id Identity, o *Options) (_ *Store, err error) {
	begin := time.Now()
	known := id != (Identity{}) || !o.ReadOnly
	if o.ReadOnly {
		if info, err := fsys.Stat(dir); err != nil {
			return nil, err
		} else if !info.IsDir() {
			return nil, errors.New("it is a file, not a directory")
		}
	} else {
		if err := id.check(); err != nil {
			return nil, err
		}
		if err := prepareDir(fsys, dir); err != nil {
			return nil, err
		}
	}
	s := &Store{dir: dir, readOnly: o.ReadOnly, patience: cmp.Or(o.patience, flushPatience), calls: calls{idle: make(chan struct{}, 1)}, keeper: keeper{make(chan struct{}), make(chan struct{})}}
	s.close = sync.OnceValue(s.closeOnce)
	s.log = &logger{dir: dir, log: cmp.Or(o.Log, slog.Default())}
	s.disk = disk{fs: fsys, dir: dir, reserve: o.Reserve, ballast: o.Ballast, tell: o.OnWritable}
	if s.lock, err = lockDir(fsys, dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	made, err := isMade(fsys, dir)
	switch {
	case err == nil && !made && o.ReadOnly:
		err = errors.New("there is no store of embedd")
	case err == nil && !made:
		err = beginMaking(fsys, dir)
	}
	if err == nil {
		err = checkPebbleFormat(fsys, dir)
	}
	if err != nil {
		return nil, err
	}
	var left *mark
	var markErr error
	if made {
		left, markErr = checkManifest(fsys, dir)
	}
	if left != nil {
		s.recovered.mark = left.Revision
	}
	s.strict = &strictFS{FS: vfs.OnDiskFull(fsys, s.disk.onFull), log: s.log, syncs: &s.counts.syncs}
	options := s.pebbleOptions(o)
	options.ErrorIfNotExists, options.ErrorIfExists = made, !made
	s.db, err = pebble.Open(dir, options)
	if pebble.IsCorruptionError(err) || errors.Is(err, pebble.ErrDBDoesNotExist) || made && err != nil && !fromOutside(err) {
		err = fmt.Errorf("%w: %w: restore a backup", ErrCorrupt, withFile(err))
	}
	if err != nil {
		return nil, err
	}
	s.strict.open.Store(true)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.db.Close())
		}
	}()
	if !made {
		if err := s.create(id); err != nil {
			return nil, err
		}
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	if known && (s.id.Fingerprint != id.Fingerprint || s.id.Dimension != id.Dimension) {
		return nil, &MismatchError{Dir: dir, Have: s.id, Want: id}
	}
	switch {
	case !made:
	case s.applied.bare && o.ReadOnly: // there is nothing to compare it with
	case s.applied.bare:
		err = s.upgrade(fsys)
	default:
		if err = s.whole(left, markErr); o.asItIs {
			err = nil
		}
		if err == nil && !o.ReadOnly && s.has < formatVersion {
			err = s.raise()
		}
	}
	s.recovered.revision, s.recovered.took = s.applied.revision, time.Since(begin)
	if err != nil || o.ReadOnly {
		return s, err
	}
	if err := s.startKeeper(fsys, left, cmp.Or(o.markEvery, markEvery)); err != nil {
		return nil, err
	}
	if !made {
		if err := endMaking(fsys, dir); err != nil {
			return nil, errors.Join(err, s.stopKeeper())
		}
	}
	return s, nil
}

// fromOutside tells whether an error comes of what is around the store, and not of its files: of those, one that is missing.
func fromOutside(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) && errno != syscall.ENOENT
}

// whole tells whether a store of the present format has everything it had. err is what reading the mark came to.
func (s *Store) whole(left *mark, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: its mark, the file %s, is missing: %s", ErrLoss, markName, lossHint)
	}
	if err != nil {
		return err
	}
	return s.verify(left)
}

// startKeeper notes that the store is open, and from then on how far it has come.
func (s *Store) startKeeper(fsys vfs.FS, left *mark, every time.Duration) (err error) {
	st := s.applied
	fresh := mark{Revision: st.revision, Next: st.next, Count: st.count, Digest: st.digest}
	if s.marker, err = openMarker(fsys, s.dir, fresh); err != nil {
		return err
	}
	if left == nil { // new, or of another format: whatever the file says
		if left, err = readMark(fsys, s.dir); err != nil {
			left = &fresh
		}
	}
	// The MANIFEST is read from its beginning: it may not be the one of the last mark.
	s.marker.last = mark{Sequence: left.Sequence}
	if err := s.mark(false); err != nil {
		return errors.Join(err, s.marker.file.Close())
	}
	s.disk.look()
	go s.keep(every)
	return nil
}

// stopKeeper undoes startKeeper.
func (s *Store) stopKeeper() error {
	close(s.keeper.stop)
	<-s.keeper.done
	return s.marker.file.Close()
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

// sharedCache is that of all stores of the process that ask for none of their own. It fills as it is needed, and stays for the next store.
var sharedCache = sync.OnceValue(func() *pebble.Cache { return pebble.NewCache(SharedCacheBytes) })

func (s *Store) pebbleOptions(o *Options) *pebble.Options {
	log := s.log
	var cache *pebble.Cache // nil: one of its own
	if o.CacheBytes == 0 {
		cache = sharedCache()
	}
	p := &pebble.Options{
		Cache:              cache,
		FS:                 s.strict,
		Lock:               s.lock,
		ReadOnly:           o.ReadOnly,
		FormatMajorVersion: pebbleFormat,
		CacheSize:          o.CacheBytes,
		MemTableSize:       memTableBytes,
		Logger:             log,
		// Without this, Pebble ends the process when it reads a damaged block. The reader gets an error, which is enough.
		EventListener: &pebble.EventListener{
			TableCreated: func(pebble.TableCreateInfo) { // and is about to be filled, by a flush or a compaction
				// gofail: var duringCompaction struct{}
			},
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				s.counts.files.Add(1)
				log.Errorf("damage in %s: %v", info.Path, info.Details)
			},
			BackgroundError: func(err error) {
				s.counts.background.Add(1)
				log.Errorf("in the background: %v", err)
				s.disk.backgroundError(err)
			},
		},
	}
	// Most ids of an import are new; the filter spares each a read per level. Lower levels take it over from the first.
	p.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	return p
}

// create writes what makes a store of an empty database.
func (s *Store) create(id Identity) error {
	identity, err := encodeIdentity(id, newUUID())
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	_, err = set(b, []byte(keyIdentity), identity)
	if err == nil {
		_, err = set(b, []byte(keyState), encodeState(state{next: 1}))
	}
	if err != nil {
		return err
	}
	// Flushed, so that damage to the log cannot take the store's identity away.
	return errors.Join(b.Commit(pebble.Sync), s.flush())
}

// load reads the store's identity and state.
func (s *Store) load() error {
	err := s.loadKey(keyIdentity, func(body []byte) (err error) {
		if s.has, err = decodeFormat(body); err == nil {
			s.id, s.uuid, err = decodeIdentity(body)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.loadKey(keyState, func(body []byte) (err error) {
		s.applied, err = decodeState(body)
		st := s.applied
		s.state.Store(&st)
		return err
	})
}

func (s *Store) loadKey(key string, load func(body []byte) error) error {
	_, err := get(s.db, []byte(key), func(body []byte) (struct{}, error) { return struct{}{}, load(body) })
	if errors.Is(err, ErrNotFound) {
		return corrupt([]byte(key), "is missing")
	}
	return err
}

// newUUID is a random UUID, version 4 of RFC 9562.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
