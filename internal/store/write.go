package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
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
// a Vector is nil and the id is not stored (ErrNotFound) or has another ordinal than Keep (ErrConflict), if it is not as Was has it (ErrConflict) or
// Absent (ErrExists), if all together have more than 1 GiB, or if the disk is nearly full (ErrFull). Nothing is stored then.
func (s *Store) Put(writes []Write) (placements []Placement, revision uint64, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, 0, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
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
	if len(writes) == 0 {
		return nil, s.Revision(), nil
	}
	if err := s.Writable(); err != nil {
		return nil, 0, fmt.Errorf("put papers: %w", err)
	}
	c := s.change()
	defer c.end()
	placements = make([]Placement, len(writes))
	for i := range writes {
		if placements[i], err = c.place(&writes[i], records[i]); err != nil {
			return nil, 0, fmt.Errorf("put paper %q: %w", writes[i].Record.Paper.ID, err)
		}
	}
	if revision, err = c.commit(); err != nil {
		return nil, 0, fmt.Errorf("put papers: %w", err)
	}
	return placements, revision, nil
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
	if w.Sentences != nil {
		if w.Vector == nil {
			return nil, errors.New("sentences are given without a vector")
		}
		if err := w.Sentences.check(s.id.Dimension); err != nil {
			return nil, err
		}
	}
	if err := s.checkPassages(w); err != nil {
		return nil, err
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
	if err := checkExpires(p.Expires); err != nil {
		return err
	}
	if m := p.Metadata; len(m) > 0 && (!utf8.Valid(m) || !json.Valid(m) || !bytes.HasPrefix(bytes.TrimLeft(m, " \t\r\n"), []byte("{"))) {
		return errors.New("the metadata is not a JSON object")
	}
	return nil
}

// Delete removes papers, all or none, and returns when that is on disk. ordinals are those that the ids had, in order;
// 0 where an id was not stored, or stood earlier in ids. revision is that of this commit; if nothing was there to remove
// it is the present one, and that nothing was there is on disk too.
func (s *Store) Delete(ids []string) (ordinals []uint64, revision uint64, err error) {
	return s.DeleteIf(ids, nil)
}

// DeleteIf is Delete of those papers that still are what the caller takes them for, which it says of each while nobody writes. still must be quick, and call no
// method of the Store; nil: all.
func (s *Store) DeleteIf(ids []string, still func(Record) bool) (ordinals []uint64, revision uint64, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, 0, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	if s.readOnly {
		return nil, 0, fmt.Errorf("delete papers: %w", ErrReadOnly)
	}
	c := s.change()
	defer c.end()
	ordinals = make([]uint64, len(ids))
	seen := make(map[string]struct{}, len(ids))
	for i, id := range ids {
		if _, twice := seen[id]; twice {
			continue
		}
		seen[id] = struct{}{}
		if ordinals[i], err = c.remove(id, still); err != nil {
			return nil, 0, fmt.Errorf("delete paper %q: %w", id, err)
		}
	}
	if len(c.log) == 0 {
		// What another call has just removed is not there, and would be back if it came to a crash now.
		c.unlock()
		for id := range seen {
			if err := s.flights.wait(id); err != nil {
				return nil, 0, err
			}
		}
		return ordinals, s.Revision(), nil
	}
	if revision, err = c.commit(); err != nil {
		return nil, 0, fmt.Errorf("delete papers: %w", err)
	}
	return ordinals, revision, nil
}
