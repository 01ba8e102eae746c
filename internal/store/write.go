package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// maxIDBytes is the longest id: far above what the doors let through.
	maxIDBytes = 4096
	// maxBatchBytes is the largest batch, which lies in memory several times over. Pebble panics at 4 GiB.
	maxBatchBytes = 1 << 30
)

// Put stores papers, all or none, and returns when they are on disk. placements are in the order of writes. revision is
// that of this commit; without writes it is the present one.
//
// It is an error if an id stands in two writes, if a paper is not what [Paper] says or a vector not what [Write] says, if
// a Vector is nil and the id is not stored (ErrNotFound), or if all together have more than 1 GiB. Nothing is stored
// then.
func (s *Store) Put(writes []Write) (placements []Placement, revision uint64, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, 0, err
	}
	defer s.calls.leave()
	// What does not need the state is done before the lock is taken.
	records := make([][]byte, len(writes))
	seen := make(map[string]struct{}, len(writes))
	for i := range writes {
		id := writes[i].Record.Paper.ID
		if _, twice := seen[id]; twice {
			return nil, 0, fmt.Errorf("put paper %q: the id stands in two writes", id)
		}
		seen[id] = struct{}{}
		if records[i], err = s.checkWrite(&writes[i]); err != nil {
			return nil, 0, fmt.Errorf("put paper %q: %w", id, err)
		}
	}
	s.write.Lock()
	defer s.write.Unlock()
	st := *s.state.Load()
	if len(writes) == 0 {
		return nil, st.revision, nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	placements = make([]Placement, len(writes))
	for i := range writes {
		if placements[i], err = s.place(b, &st, &writes[i], records[i]); err != nil {
			return nil, 0, fmt.Errorf("put paper %q: %w", writes[i].Record.Paper.ID, err)
		}
	}
	if err := s.commit(b, st); err != nil {
		return nil, 0, fmt.Errorf("put papers: %w", err)
	}
	return placements, s.Revision(), nil
}

// checkWrite checks a write against all but what is stored, and encodes its record.
func (s *Store) checkWrite(w *Write) ([]byte, error) {
	if err := checkPaper(&w.Record.Paper); err != nil {
		return nil, err
	}
	if w.Vector != nil {
		if err := checkVector(w.Vector, s.id.Dimension); err != nil {
			return nil, err
		}
	}
	return encodeRecord(&w.Record)
}

// checkPaper refuses what would not come back as it was given. JSON has no way to write invalid UTF-8.
func checkPaper(p *Paper) error {
	if len(p.ID) == 0 || len(p.ID) > maxIDBytes {
		return fmt.Errorf("the id has %d bytes; must have 1 to %d", len(p.ID), maxIDBytes)
	}
	for _, text := range append([]string{p.ID, p.Title, p.Abstract, p.Venue, p.DOI, p.ArxivID, p.URL}, p.Authors...) {
		if !utf8.ValidString(text) {
			return fmt.Errorf("%.40q is not valid UTF-8", text)
		}
	}
	if m := p.Metadata; len(m) > 0 && (!utf8.Valid(m) || !json.Valid(m) || !bytes.HasPrefix(bytes.TrimLeft(m, " \t\r\n"), []byte("{"))) {
		return errors.New("the metadata is not a JSON object")
	}
	return nil
}

// place adds one write to the batch and to the state that the batch will lead to. The lock is held.
func (s *Store) place(b *pebble.Batch, st *state, w *Write, record []byte) (p Placement, err error) {
	id := w.Record.Paper.ID
	old, err := getOrdinal(s.db, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return p, err
	}
	known := err == nil
	if w.Vector == nil {
		if !known {
			return p, fmt.Errorf("no vector is given, and none stored: %w", err)
		}
		return Placement{Ordinal: old}, set(b, recordKey(old), record)
	}
	if known {
		p.Replaced = old
		if err := errors.Join(b.Delete(recordKey(old), nil), b.Delete(vectorKey(old), nil)); err != nil {
			return p, err
		}
	} else {
		st.count++
	}
	p.Ordinal = st.next
	st.next++
	return p, errors.Join(
		set(b, ordinalKey(id), encodeOrdinal(p.Ordinal)),
		set(b, recordKey(p.Ordinal), record),
		set(b, vectorKey(p.Ordinal), encodeVector(w.Vector)))
}

// Delete removes papers, all or none, and returns when that is on disk. ordinals are those that the ids had, in order;
// 0 where an id was not stored, or stood earlier in ids. revision is that of this commit; if nothing was there to remove
// it is the present one.
func (s *Store) Delete(ids []string) (ordinals []uint64, revision uint64, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, 0, err
	}
	defer s.calls.leave()
	s.write.Lock()
	defer s.write.Unlock()
	st := *s.state.Load()
	b := s.db.NewBatch()
	defer b.Close()
	ordinals = make([]uint64, len(ids))
	seen := make(map[string]struct{}, len(ids))
	for i, id := range ids {
		if _, twice := seen[id]; twice {
			continue
		}
		seen[id] = struct{}{}
		ordinal, err := getOrdinal(s.db, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err == nil {
			err = errors.Join(b.Delete(ordinalKey(id), nil), b.Delete(recordKey(ordinal), nil), b.Delete(vectorKey(ordinal), nil))
		}
		if err != nil {
			return nil, 0, fmt.Errorf("delete paper %q: %w", id, err)
		}
		ordinals[i] = ordinal
		st.count--
	}
	if b.Empty() {
		return ordinals, st.revision, nil
	}
	if err := s.commit(b, st); err != nil {
		return nil, 0, fmt.Errorf("delete papers: %w", err)
	}
	return ordinals, s.Revision(), nil
}

// commit makes st the state: on disk, synced, together with the batch; then in memory. The lock is held. An error means
// that nothing was committed: when Pebble cannot tell whether something was, it ends the process (see logger.Fatalf).
func (s *Store) commit(b *pebble.Batch, st state) error {
	st.revision++
	if err := set(b, []byte(keyState), encodeState(st)); err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	s.state.Store(&st)
	return nil
}

// set adds a key and its sealed value to a batch.
func set(b *pebble.Batch, key, body []byte) error {
	if b.Len()+len(key)+len(body) > maxBatchBytes {
		return fmt.Errorf("all papers of one call have more than %d MiB; use more calls", maxBatchBytes>>20)
	}
	return b.Set(key, seal(key, body), nil)
}
