package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// change is one Put or Delete between reading what is stored and having its own part on disk. Changes are put together one at a
// time, and synced together: as many as wait for the disk take one fsync.
type change struct {
	s     *Store
	batch *pebble.Batch
	st    state // to which the batch will lead
	log   []Change
	ids   []string
	gone  []string // of them, those that are removed
	// unlock lets the next change in.
	unlock func()
}

// change waits for its turn. It must be ended.
func (s *Store) change() *change {
	s.write.Lock()
	return &change{s: s, batch: s.db.NewBatch(), st: s.applied, unlock: sync.OnceFunc(s.write.Unlock)}
}

func (c *change) end() {
	c.unlock()
	c.batch.Close()
}

// place adds one write.
func (c *change) place(w *Write, record []byte) (p Placement, err error) {
	id := w.Record.Paper.ID
	old, err := getEntry(c.s.db, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return p, err
	}
	known := err == nil
	e := old
	switch {
	case w.Absent && known:
		return p, ErrExists
	case w.Vector == nil && !known:
		return p, fmt.Errorf("no vector is given, and none stored: %w", err)
	case w.Was != nil && !known:
		return p, fmt.Errorf("%w: it has gone", ErrConflict)
	case w.Vector == nil && w.Keep != 0 && w.Keep != old.ordinal:
		return p, fmt.Errorf("%w: its ordinal is %d, not %d", ErrConflict, old.ordinal, w.Keep)
	}
	if known {
		if err := c.leave(w, old.ordinal); err != nil {
			return p, err
		}
	}
	if w.Vector == nil {
		c.log = append(c.log, Change{old.ordinal, Changed})
	} else {
		e.ordinal = c.st.next
		c.st.next++
		if e.vector, err = c.set(vectorKey(e.ordinal), encodeVector(w.Vector)); err != nil {
			return p, err
		}
		if err := c.setSentences(e.ordinal, w.Sentences); err != nil {
			return p, err
		}
		if known {
			p.Replaced = old.ordinal
			if err := c.drop(old.ordinal); err != nil {
				return p, err
			}
		}
		c.log = append(c.log, Change{e.ordinal, Added})
		if err := c.setPassages(e.ordinal, w); err != nil {
			return p, err
		}
	}
	if e.record, err = c.set(recordKey(e.ordinal), record); err != nil {
		return p, err
	}
	if at := w.Record.Paper.Expires; !at.IsZero() {
		if _, err := c.set(expiryKey(at, e.ordinal), nil); err != nil {
			return p, err
		}
	}
	if _, err := c.set(ordinalKey(id), encodeEntry(e)); err != nil {
		return p, err
	}
	if known {
		c.st.digest.remove(digestOf(id, old))
	} else {
		c.st.count++
	}
	c.st.digest.add(digestOf(id, e))
	c.ids = append(c.ids, id)
	p.Ordinal = e.ordinal
	return p, nil
}

// leave looks at what a write is about to replace, and takes its expiry away. What is damaged may be replaced.
func (c *change) leave(w *Write, ordinal uint64) error {
	body, err := c.record(ordinal)
	if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound) {
		return err
	}
	if w.Was != nil && (err != nil || ordinal != w.Was.Ordinal || !bytes.Equal(body, w.Was.body)) {
		return fmt.Errorf("%w: its record is another", ErrConflict)
	}
	if err != nil {
		return nil
	}
	moving := w.Moving != nil && w.Vector != nil
	if !moving && !mayExpire(body) {
		return nil
	}
	as, err := decodeRecord(body)
	if err != nil {
		return nil
	}
	if moving {
		w.Moving(ordinal, as)
	}
	return c.stay(ordinal, &as)
}

// record reads the body of a record.
func (c *change) record(ordinal uint64) ([]byte, error) {
	return get(c.s.db, recordKey(ordinal), func(body []byte) ([]byte, error) { return bytes.Clone(body), nil })
}

// stay takes away the expiry of a paper.
func (c *change) stay(ordinal uint64, r *Record) error {
	if r.Paper.Expires.IsZero() {
		return nil
	}
	return c.batch.Delete(expiryKey(r.Paper.Expires, ordinal), nil)
}

// remove takes a paper out and gives its ordinal, 0 for one that is not stored, or is not what it was taken for (nil: whatever it is).
func (c *change) remove(id string, still func(Record) bool) (uint64, error) {
	old, err := getEntry(c.s.db, id)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	body, err := c.record(old.ordinal)
	damaged := errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotFound)
	if err != nil && (still != nil || !damaged) { // a damaged one may be removed
		return 0, err
	}
	if err == nil && (still != nil || mayExpire(body)) {
		r, err := decodeRecord(body)
		if err != nil && still != nil {
			return 0, corrupt(recordKey(old.ordinal), "%w", err)
		}
		if still != nil && !still(r) {
			return 0, nil
		}
		if err := c.stay(old.ordinal, &r); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(c.batch.Delete(ordinalKey(id), nil), c.drop(old.ordinal)); err != nil {
		return 0, err
	}
	c.st.count--
	c.st.digest.remove(digestOf(id, old))
	c.ids, c.gone = append(c.ids, id), append(c.gone, id)
	return old.ordinal, nil
}

// drop takes away what stands under an ordinal.
func (c *change) drop(ordinal uint64) error {
	c.log = append(c.log, Change{ordinal, Removed})
	return errors.Join(c.batch.Delete(recordKey(ordinal), nil), c.batch.Delete(vectorKey(ordinal), nil), c.dropSentences(ordinal), c.dropPassages(ordinal))
}

// set adds a key and its sealed value to the batch, and gives the value's checksum.
func (c *change) set(key, body []byte) (uint32, error) {
	if c.batch.Len()+len(key)+len(body) > maxBatchBytes {
		return 0, fmt.Errorf("all papers of one call have more than %d MiB; use more calls", maxBatchBytes>>20)
	}
	return set(c.batch, key, body)
}

// commit makes the change, and returns its revision once it is on disk. An error means that nothing was committed: when Pebble
// cannot tell whether something was, it ends the process (see logger.Fatalf).
func (c *change) commit() (revision uint64, err error) {
	s := c.s
	c.st.revision++
	if _, err := c.set(logKey(c.st.revision), encodeChanges(c.log)); err != nil {
		return 0, err
	}
	if _, err := c.set([]byte(keyState), encodeState(c.st)); err != nil {
		return 0, err
	}
	landed := s.flights.begin(c.ids)
	defer s.flights.end(c.ids, landed)
	if err := s.db.ApplyNoSyncWait(c.batch, pebble.Sync); err != nil {
		return 0, err
	}
	s.applied = c.st
	for _, r := range s.removals {
		r.add(c.st.revision, c.gone)
	}
	c.unlock() // the next change builds upon this one, and cannot be on disk without it
	// gofail: var beforeWALSync struct{}

	if err := c.batch.SyncWait(); err != nil {
		// It can be read, and whether it is on disk nobody knows.
		s.log.Fatalf("sync of the log: %v", err)
	}
	// gofail: var afterWALSync struct{}

	s.reached(&c.st)
	return c.st.revision, nil
}

// reached makes st the state that is on disk, unless a later one is already.
func (s *Store) reached(st *state) {
	for {
		old := s.state.Load()
		if old.revision >= st.revision || s.state.CompareAndSwap(old, st) {
			return
		}
	}
}

// set adds a key and its value to a batch, sealed, and gives the value's checksum. Nobody else may hold the body.
func set(b *pebble.Batch, key, body []byte) (sum uint32, err error) {
	sum = checksum(key, body)
	return sum, b.Set(key, binary.BigEndian.AppendUint32(body, sum), nil)
}
