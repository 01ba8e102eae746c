package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A paper that expires has a key of e/, by which those whose time has passed are found without looking at the others:
//
//	e/<seconds 8><nanoseconds 4><ordinal 8>      since 1970, in UTC; the value is empty

const expirySize = len(prefixExpiry) + 12 + ordinalSize

func expiryKey(at time.Time, ordinal uint64) []byte {
	key := binary.BigEndian.AppendUint64([]byte(prefixExpiry), uint64(at.Unix()))
	key = binary.BigEndian.AppendUint32(key, uint32(at.Nanosecond()))
	return binary.BigEndian.AppendUint64(key, ordinal)
}

func decodeExpiry(key []byte) (at time.Time, ordinal uint64, err error) {
	if len(key) != expirySize {
		return at, 0, corrupt(key, "has %d bytes, not %d", len(key), expirySize)
	}
	whole, key := key, key[len(prefixExpiry):]
	ns := binary.BigEndian.Uint32(key[8:])
	if ns >= 1e9 {
		return at, 0, corrupt(whole, "has %d nanoseconds", ns)
	}
	return time.Unix(int64(binary.BigEndian.Uint64(key)), int64(ns)).UTC(), binary.BigEndian.Uint64(key[12:]), nil
}

// checkExpires refuses a time that has no key.
func checkExpires(at time.Time) error {
	if !at.IsZero() && (at.Unix() < 0 || at.Year() > 9999 || at.Location() != time.UTC) {
		return fmt.Errorf("expires at %v; must be of 1970 to 9999, in UTC", at)
	}
	return nil
}

// mayExpire tells whether a record may be of a paper that expires.
func mayExpire(record []byte) bool { return bytes.Contains(record, []byte(`"expires":"`)) }

// NextExpiry gives the time at which the next paper expires, or has expired; ok is false where none ever does.
func (s *Store) NextExpiry() (at time.Time, ok bool, err error) {
	err = s.expiries(math.MaxInt64, func(_ []byte, t time.Time, _ uint64) error {
		at, ok = t, true
		return errStop
	})
	return at, ok, err
}

// Expired calls fn with the ordinal of every paper whose time has passed and that is not removed yet.
func (s *Store) Expired(now time.Time, fn func(ordinal uint64)) error {
	return s.expiries(now.Unix(), func(_ []byte, at time.Time, ordinal uint64) error {
		if !at.After(now) {
			fn(ordinal)
		}
		return nil
	})
}

// expiries calls fn with the keys of e/ up to a second, inclusive, in order, until it returns an error; errStop is none.
func (s *Store) expiries(second int64, fn func(key []byte, at time.Time, ordinal uint64) error) (err error) {
	if err := s.calls.enter(); err != nil {
		return err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	end := prefixEnd(prefixExpiry)
	if second < math.MaxInt64 {
		end = expiryKey(time.Unix(second+1, 0), 0)
	}
	err = scan(s.db, []byte(prefixExpiry), end, func(key, value []byte) error {
		if _, err := unseal(key, value); err != nil {
			return err
		}
		at, ordinal, err := decodeExpiry(key)
		if err != nil {
			return err
		}
		return fn(key, at, ordinal)
	})
	if err == errStop {
		return nil
	}
	return err
}

// Expire removes up to limit papers whose time has passed, and returns when that is on disk. ordinals are those that they had; revision is that of
// this commit, the present one where there was nothing to remove. more: there may be others.
func (s *Store) Expire(now time.Time, limit int) (ordinals []uint64, revision uint64, more bool, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, 0, false, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	if s.readOnly {
		return nil, 0, false, fmt.Errorf("remove expired papers: %w", ErrReadOnly)
	}
	c := s.change()
	defer c.end()
	n := 0
	err = s.expiries(now.Unix(), func(key []byte, at time.Time, ordinal uint64) error {
		switch {
		case at.After(now):
			return errStop
		case n == limit:
			more = true
			return errStop
		}
		n++
		id, err := c.expired(at, ordinal)
		if err != nil {
			return err
		}
		if id != "" {
			if _, err := c.remove(id, nil); err != nil {
				return err
			}
			ordinals = append(ordinals, ordinal)
		}
		return c.batch.Delete(key, nil) // also where it is of nobody
	})
	if err == nil && len(c.log) > 0 {
		revision, err = c.commit()
	} else if err == nil && n > 0 {
		err = s.db.Apply(c.batch, pebble.NoSync)
	}
	if err != nil {
		return nil, 0, false, fmt.Errorf("remove expired papers: %w", err)
	}
	if revision == 0 {
		revision = s.Revision()
	}
	return ordinals, revision, more, nil
}

// expired gives the id of the paper that has an ordinal, where it expires at that time; otherwise none: the key of e/ is of a record that was damaged
// when it was replaced, or is damaged now, which reads and checks of the paper tell.
func (c *change) expired(at time.Time, ordinal uint64) (id string, err error) {
	r, _, err := getRecord(c.s.db, ordinal)
	switch {
	case errors.Is(err, ErrNotFound):
		return "", nil
	case errors.Is(err, ErrCorrupt):
		c.s.log.Errorf("a paper that may have expired is damaged, and stays: %v", err)
		return "", nil
	case err != nil:
		return "", err
	case !r.Paper.Expires.Equal(at):
		return "", nil
	}
	return r.Paper.ID, nil
}
