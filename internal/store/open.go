package store

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

const (
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
func Open(dir string, id Identity, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	s, err := openStore(dir, cmp.Or(o.FS, vfs.Default), id, o)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if s.id.Fingerprint != id.Fingerprint || s.id.Dimension != id.Dimension {
		return nil, errors.Join(&MismatchError{Dir: dir, Have: s.id, Want: id}, s.Close())
	}
	return s, nil
}

func openStore(dir string, fsys vfs.FS, id Identity, o *Options) (_ *Store, err error) {
	if err := id.check(); err != nil {
		return nil, err
	}
	if dir, err = prepareDir(fsys, dir); err != nil {
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
	made, err := isMade(fsys, dir)
	if err == nil && !made {
		err = beginMaking(fsys, dir)
	}
	if err == nil {
		err = checkPebbleFormat(fsys, dir)
	}
	if err != nil {
		return nil, err
	}
	options := pebbleOptions(o, fsys, dir, s.lock)
	options.ErrorIfNotExists, options.ErrorIfExists = made, !made
	s.db, err = pebble.Open(dir, options)
	if pebble.IsCorruptionError(err) || errors.Is(err, pebble.ErrDBDoesNotExist) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, withFile(err))
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.db.Close())
		}
	}()
	if !made {
		if err := s.create(id); err != nil {
			return nil, err
		}
		if err := endMaking(fsys, dir); err != nil {
			return nil, err
		}
	}
	return s, s.load()
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
		FS:                 orderedFS{fsys},
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

// create writes what makes a store of an empty database.
func (s *Store) create(id Identity) error {
	identity, err := encodeIdentity(id, newUUID())
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	err = errors.Join(
		set(b, []byte(keyIdentity), identity),
		set(b, []byte(keyState), encodeState(state{next: 1})))
	if err != nil {
		return err
	}
	// Flushed, so that damage to the log cannot take the store's identity away.
	return errors.Join(b.Commit(pebble.Sync), s.db.Flush())
}

// load reads the store's identity and state.
func (s *Store) load() error {
	err := s.loadKey(keyIdentity, func(body []byte) (err error) {
		s.id, s.uuid, err = decodeIdentity(body)
		return err
	})
	if err != nil {
		return err
	}
	return s.loadKey(keyState, func(body []byte) error {
		st, err := decodeState(body)
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
