package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Op is what happened to an ordinal.
type Op byte

const (
	// Added: the ordinal is new, with a record and a vector.
	Added Op = 'a'
	// Changed: it has another record and the same vector.
	Changed Op = 'c'
	// Removed: it is gone.
	Removed Op = 'r'
)

// Change is one entry of the change log.
type Change struct {
	Ordinal uint64
	Op      Op
}

const changeSize = 1 + ordinalSize

// ErrForgotten: the change log does not go back as far as was asked.
var ErrForgotten = errors.New("the change log does not go back that far")

// Changes calls fn with what each revision after the given one has changed, in their order and in one moment's view, until fn
// returns an error, which it then returns. What was derived from the store at a revision is brought up to date by it. It is
// ErrForgotten, before any call of fn, if Forget took away what is needed; then the difference of two sets of ordinals does the same.
// changes are fn's until it returns. fn may call the store's other methods, but not Close.
func (s *Store) Changes(after uint64, fn func(revision uint64, changes []Change) error) (err error) {
	if err := s.calls.enter(); err != nil {
		return err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	view := s.db.NewSnapshot()
	defer view.Close()
	st, err := get(view, []byte(keyState), decodeState)
	if err != nil {
		return err
	}
	next := after + 1
	err = scan(view, logKey(next), prefixEnd(prefixLog), func(key, value []byte) error {
		revision, err := keyOrdinal(key)
		if err != nil {
			return err
		}
		if revision != next {
			return errGap
		}
		next++
		changes, err := decode(key, value, decodeChanges)
		if err != nil {
			return err
		}
		return fn(revision, changes)
	})
	switch {
	case err == errGap && next == after+1, err == nil && next == after+1 && st.revision > after:
		return fmt.Errorf("changes after revision %d: %w", after, ErrForgotten)
	case err == errGap:
		return corrupt(logKey(next), "is missing")
	case err == nil && next != st.revision+1 && st.revision > after:
		return corrupt(logKey(next), "is missing; the store is at revision %d", st.revision)
	}
	return err
}

// errGap ends a scan of the log where a revision is missing.
var errGap = errors.New("gap")

// Forget takes away the changes up to a revision, which nothing derived from the store will ask for any more. They need not be
// gone on disk when it returns.
func (s *Store) Forget(upTo uint64) error {
	if err := s.calls.enter(); err != nil {
		return err
	}
	defer s.calls.leave()
	// Never the latest: that the log reaches up to the state is a fact that Check proves.
	if now := s.Revision(); upTo >= now {
		upTo = now - min(now, 1)
	}
	if upTo == 0 {
		return nil
	}
	if err := s.db.DeleteRange([]byte(prefixLog), logKey(upTo+1), pebble.NoSync); err != nil {
		return fmt.Errorf("forget changes up to revision %d: %w", upTo, err)
	}
	return nil
}

func encodeChanges(changes []Change) []byte {
	b := make([]byte, 0, len(changes)*changeSize+checksumSize)
	for _, c := range changes {
		b = binary.BigEndian.AppendUint64(append(b, byte(c.Op)), c.Ordinal)
	}
	return b
}

func decodeChanges(body []byte) ([]Change, error) {
	if len(body)%changeSize != 0 {
		return nil, fmt.Errorf("has %d bytes, no multiple of %d", len(body), changeSize)
	}
	changes := make([]Change, 0, len(body)/changeSize)
	for ; len(body) > 0; body = body[changeSize:] {
		c := Change{Op: Op(body[0]), Ordinal: binary.BigEndian.Uint64(body[1:])}
		if (c.Op != Added && c.Op != Changed && c.Op != Removed) || c.Ordinal == 0 {
			return nil, fmt.Errorf("%q %d is no change", c.Op, c.Ordinal)
		}
		changes = append(changes, c)
	}
	return changes, nil
}
