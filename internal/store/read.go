package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Get returns the record and the ordinal of a paper, or ErrNotFound.
func (s *Store) Get(id string) (_ Record, _ uint64, err error) {
	if err := s.calls.enter(); err != nil {
		return Record{}, 0, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	r, ordinal, err := getPaper(s.db, id)
	if errors.Is(err, ErrCorrupt) {
		// Or it changed, moved or went between the two reads: one moment's view tells.
		view := s.db.NewSnapshot()
		defer view.Close()
		r, ordinal, err = getPaper(view, id)
	}
	if e := s.flights.wait(id); e != nil {
		return Record{}, 0, e
	}
	return r, ordinal, paperError(id, err)
}

func getPaper(from pebble.Reader, id string) (Record, uint64, error) {
	e, err := getEntry(from, id)
	if err != nil {
		return Record{}, 0, err
	}
	r, sum, err := getRecord(from, e.ordinal)
	if err := pointsTo(ordinalKey(id), e, &r, sum, err); err != nil {
		return Record{}, 0, err
	}
	return r, e.ordinal, nil
}

// Ordinal returns the ordinal of a paper, or ErrNotFound.
func (s *Store) Ordinal(id string) (_ uint64, err error) {
	if err := s.calls.enter(); err != nil {
		return 0, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	e, err := getEntry(s.db, id)
	if e := s.flights.wait(id); e != nil {
		return 0, e
	}
	return e.ordinal, paperError(id, err)
}

// Vector returns the vector of an ordinal, or ErrNotFound. It is the caller's.
func (s *Store) Vector(ordinal uint64) (_ []float32, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	v, err := s.getVector(s.db, ordinal)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("ordinal %d: %w", ordinal, ErrNotFound)
	}
	return v, err
}

// Records returns the records of ordinals, in the same order; found[i] is false where records[i] is none, because the
// ordinal is not stored, or no longer. It is not one moment's view: a Put that runs meanwhile may be seen in part.
func (s *Store) Records(ordinals []uint64) (records []Record, found []bool, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, nil, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	records, found = make([]Record, len(ordinals)), make([]bool, len(ordinals))
	for i, ordinal := range ordinals {
		records[i], _, err = getRecord(s.db, ordinal)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, nil, err
		}
		if found[i] = err == nil; found[i] {
			if err := s.flights.wait(records[i].Paper.ID); err != nil {
				return nil, nil, err
			}
		}
	}
	return records, found, nil
}

// List returns up to limit records, those of the next ids after the id after, in byte order; "" is before all. It is one
// moment's view. Fewer than limit: there are no more.
func (s *Store) List(after string, limit int) (_ []Record, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	if limit <= 0 {
		return nil, nil
	}
	view := s.db.NewSnapshot()
	defer view.Close()
	var records []Record
	first := append(ordinalKey(after), 0) // the first key behind after's
	err = scan(view, first, prefixEnd(prefixOrdinal), func(key, value []byte) error {
		e, err := decode(key, value, decodeEntry)
		if err != nil {
			return err
		}
		r, sum, err := getRecord(view, e.ordinal)
		if err := pointsTo(key, e, &r, sum, err); err != nil {
			return err
		}
		if records = append(records, r); len(records) == limit {
			return errStop
		}
		return nil
	})
	if err != nil && err != errStop {
		return nil, err
	}
	for i := range records {
		if err := s.flights.wait(records[i].Paper.ID); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// Vectors calls fn with every ordinal, ascending, and its vector, in one moment's view, until fn returns an error, which
// it then returns. v is fn's until it returns. fn may call the store's other methods, but not Close.
func (s *Store) Vectors(fn func(ordinal uint64, v []float32) error) (err error) {
	if err := s.calls.enter(); err != nil {
		return err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	var v []float32
	return scan(s.db, []byte(prefixVector), prefixEnd(prefixVector), func(key, value []byte) error {
		ordinal, err := keyOrdinal(key)
		if err != nil {
			return err
		}
		v, err = decode(key, value, func(body []byte) ([]float32, error) { return decodeVector(v, body, s.id.Dimension) })
		if err != nil {
			return err
		}
		return fn(ordinal, v)
	})
}

// Ordinals calls fn with every ordinal, ascending, in one moment's view, until fn returns an error, which it then
// returns. It reads no vector and no paper; it holds 8 bytes for each. fn may call the store's other methods, but not
// Close.
func (s *Store) Ordinals(fn func(ordinal uint64) error) (err error) {
	if err := s.calls.enter(); err != nil {
		return err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	// Walking over v/ or p/ would bring all their blocks from the disk, keys lying among values. The blocks of i/ are
	// a hundredth of that, but in the order of ids.
	ordinals := make([]uint64, 0, s.Count())
	err = scan(s.db, []byte(prefixOrdinal), prefixEnd(prefixOrdinal), func(key, value []byte) error {
		e, err := decode(key, value, decodeEntry)
		ordinals = append(ordinals, e.ordinal)
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(ordinals)
	for _, ordinal := range ordinals {
		if err := fn(ordinal); err != nil {
			return err
		}
	}
	return nil
}

// paperError puts a paper's id before ErrNotFound.
func paperError(id string, err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("paper %q: %w", id, ErrNotFound)
	}
	return err
}

// pointsTo proves fact 2 for a key of i/ and its entry, for which r, sum and err were read.
func pointsTo(key []byte, e entry, r *Record, sum uint32, err error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return corrupt(key, "points to p/%d, which is missing", e.ordinal)
	case err == nil && r.Paper.ID != string(key[len(prefixOrdinal):]):
		return corrupt(key, "points to p/%d, which holds the paper %q", e.ordinal, r.Paper.ID)
	case err == nil && !e.bare && sum != e.record:
		return corrupt(key, "points to p/%d, whose checksum is %08x, and was %08x: it is of another time", e.ordinal, sum, e.record)
	}
	return err
}

func getEntry(r pebble.Reader, id string) (entry, error) {
	return get(r, ordinalKey(id), decodeEntry)
}

// getRecord gives the checksum of the value too.
func getRecord(r pebble.Reader, ordinal uint64) (record Record, sum uint32, err error) {
	key := recordKey(ordinal)
	record, err = get(r, key, func(body []byte) (Record, error) {
		sum = checksum(key, body)
		return decodeRecord(body)
	})
	return record, sum, err
}

func (s *Store) getVector(r pebble.Reader, ordinal uint64) ([]float32, error) {
	return get(r, vectorKey(ordinal), func(body []byte) ([]float32, error) { return decodeVector(nil, body, s.id.Dimension) })
}

// get reads one key. The error is bare ErrNotFound, or names the key.
func get[T any](r pebble.Reader, key []byte, decodeBody func([]byte) (T, error)) (T, error) {
	var none T
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return none, ErrNotFound
	}
	if err != nil {
		return none, readError(key, err)
	}
	t, err := decode(key, value, decodeBody)
	return t, errors.Join(err, closer.Close())
}

// decode checks and decodes a value that was read.
func decode[T any](key, value []byte, decodeBody func([]byte) (T, error)) (t T, err error) {
	body, err := unseal(key, value)
	if err != nil {
		return t, err
	}
	t, err = decodeBody(body)
	if err != nil && !errors.Is(err, ErrFormat) {
		err = corrupt(key, "%w", err)
	}
	return t, err
}

// has tells whether a key is there, whatever its value.
func has(r pebble.Reader, key []byte) (bool, error) {
	_, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, readError(key, err)
	}
	return true, closer.Close()
}

// errStop ends a scan.
var errStop = errors.New("stop")

// scan calls fn with every key from lower (nil: the first) to before upper (nil: the last, inclusive) and its value, as of
// when scan began, until fn returns an error, which it then returns. Both slices are fn's until it returns.
func scan(r pebble.Reader, lower, upper []byte, fn func(key, value []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return readError(lower, err)
	}
	last := slices.Clone(lower) // the last key that could be read, for Pebble's errors
	for ok := it.First(); ok; ok = it.Next() {
		last = append(last[:0], it.Key()...)
		value, err := it.ValueAndErr()
		if err == nil {
			err = fn(it.Key(), value)
		}
		if err != nil {
			it.Close() // says the same, or nothing
			return err
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("after key %w", readError(last, err))
	}
	return nil
}
