package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrLoss: the store lacks what it had acknowledged. Something has changed or lost files that were on disk already; a crash or a
// power cut does not. The message says how much is missing, as far as that is known.
var ErrLoss = errors.New("store has lost papers")

const lossHint = "restore a backup, or give up what is lost with: embedd repair --accept-data-loss"

// checkManifest reads the mark and proves that the MANIFEST begins as it did then. It is called before Pebble opens the directory,
// which may put another MANIFEST in its place.
func checkManifest(fsys vfs.FS, dir string) (*mark, error) {
	m, err := readMark(fsys, dir)
	if err != nil {
		return nil, err
	}
	if err := m.Manifest.check(fsys, dir); err != nil {
		return nil, fmt.Errorf("%w: %w: %s", ErrLoss, err, lossHint)
	}
	return m, nil
}

// verify proves that the store has what its state says, and its state what the mark says.
func (s *Store) verify(m *mark) error {
	st := s.applied
	switch {
	case st.revision < m.Revision:
		return fmt.Errorf("%w: it is at revision %d with %d papers, and was at %d with %d: %s", ErrLoss, st.revision, st.count, m.Revision, m.Count, lossHint)
	case st.revision == m.Revision && (st.count != m.Count || st.digest != m.Digest || st.next != m.Next), m.Clean && st.revision != m.Revision:
		return fmt.Errorf("%w: it has %d papers at revision %d with digest %v, and was left with %d at %d with %v: %s",
			ErrLoss, st.count, st.revision, st.digest, m.Count, m.Revision, m.Digest, lossHint)
	}
	count, sum, err := s.census()
	if err != nil {
		return err
	}
	if count != st.count || sum != st.digest {
		return fmt.Errorf("%w: %d papers with digest %v are there, %d with %v were stored: %s", ErrLoss, count, sum, st.count, st.digest, lossHint)
	}
	return nil
}

// census counts the papers and sums their digests, by the keys of i/ alone.
func (s *Store) census() (count uint64, sum digest, err error) {
	err = scan(s.db, []byte(prefixOrdinal), prefixEnd(prefixOrdinal), func(key, value []byte) error {
		e, err := decode(key, value, decodeEntry)
		if err == nil {
			count++
			sum.add(digestOf(string(key[len(prefixOrdinal):]), e))
		}
		return err
	})
	return count, sum, err
}

// raise says of a store of format 2 that it is of the present one, whose only difference is that there may be more: an older embedd must know that it
// is too old.
func (s *Store) raise() error {
	identity, err := encodeIdentity(s.id, s.uuid)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if _, err := set(b, []byte(keyIdentity), identity); err != nil {
		return err
	}
	return errors.Join(b.Commit(pebble.Sync), s.flush())
}

// upgrade brings a store of format 1 to the present one. Cut short, it is done again: it is over when m/state has its new length.
func (s *Store) upgrade(fsys vfs.FS) error {
	// First of all, an older embedd must know that it is too old.
	identity, err := encodeIdentity(s.id, s.uuid)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer func() { b.Close() }()
	if _, err := set(b, []byte(keyIdentity), identity); err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	b.Reset()
	st := s.applied
	st.count, st.digest, st.bare = 0, digest{}, false
	err = scan(s.db, []byte(prefixOrdinal), prefixEnd(prefixOrdinal), func(key, value []byte) error {
		e, err := decode(key, value, decodeEntry)
		if err != nil {
			return err
		}
		if e.record, err = mustSum(s.db, recordKey(e.ordinal)); err != nil {
			return err
		}
		if e.vector, err = mustSum(s.db, vectorKey(e.ordinal)); err != nil {
			return err
		}
		st.count++
		st.digest.add(digestOf(string(key[len(prefixOrdinal):]), e))
		if _, err := set(b, key, encodeEntry(e)); err != nil || b.Len() < 1<<20 {
			return err
		}
		err = b.Commit(pebble.NoSync)
		b.Reset()
		return err
	})
	if err != nil {
		return err
	}
	if st.count != s.applied.count {
		return corrupt([]byte(keyState), "counts %d papers; there are %d", s.applied.count, st.count)
	}
	// The mark comes before the state: a store of format 2 without one is damaged.
	mk, err := openMarker(fsys, s.dir, mark{Revision: st.revision, Next: st.next, Count: st.count, Digest: st.digest})
	if err == nil {
		err = mk.file.Close()
	}
	if err != nil {
		return err
	}
	if _, err := set(b, []byte(keyState), encodeState(st)); err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	s.applied = st
	s.state.Store(&st)
	return s.flush()
}

// sumOf is the checksum of a value, which is checked.
func sumOf(r pebble.Reader, key []byte) (uint32, error) {
	return get(r, key, func(body []byte) (uint32, error) { return checksum(key, body), nil })
}

// mustSum is sumOf for a value that must be there.
func mustSum(r pebble.Reader, key []byte) (uint32, error) {
	sum, err := sumOf(r, key)
	if errors.Is(err, ErrNotFound) {
		err = corrupt(key, "is missing")
	}
	return sum, err
}
