package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// maxFindings is the most that Check reports: after a lost file there may be one for each paper.
const maxFindings = 100

// Check reads everything, in one moment's view, and proves the facts that the package's documentation numbers. The
// error joins one ErrCorrupt for each key that is at fault, up to 100, or is the error that kept Check from reading on.
// It takes as long as reading the store twice; other calls go on meanwhile.
func (s *Store) Check() error {
	if err := s.calls.enter(); err != nil {
		return err
	}
	defer s.calls.leave()
	view := s.db.NewSnapshot()
	defer view.Close()
	c := check{store: s, view: view}
	if err := scan(view, nil, nil, c.key); err != nil {
		c.findings = append(c.findings, err)
	} else {
		c.totals()
	}
	if c.more > 0 {
		c.findings = append(c.findings, fmt.Errorf("%w: %d more findings", ErrCorrupt, c.more))
	}
	return errors.Join(c.findings...)
}

// check is one Check on its way.
type check struct {
	store *Store
	view  *pebble.Snapshot

	count    uint64 // of i/
	highest  uint64 // ordinal of any key
	digest   digest // of i/
	first    uint64 // revision of the first key of s/; 0 for none
	revision uint64 // of the last
	identity bool   // m/identity was there
	state    *state
	vector   []float32

	findings []error
	more     int // findings that are not kept
}

// found keeps a finding against a fact.
func (c *check) found(fact int, err error) {
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, fmt.Errorf("fact %d: %w", fact, err))
	} else {
		c.more++
	}
}

func (c *check) fact(number int, key []byte, format string, args ...any) {
	c.found(number, corrupt(key, format, args...))
}

// key looks at one key. A finding is not an error: it goes on.
func (c *check) key(key, value []byte) error {
	var err error
	switch prefix := string(key[:min(2, len(key))]); {
	case prefix == prefixOrdinal:
		err = c.atOrdinal(key, value)
	case prefix == prefixRecord:
		err = c.atRecord(key, value)
	case prefix == prefixVector:
		err = c.atVector(key, value)
	case prefix == prefixCodes:
		err = c.atSentences(key, value)
	case prefix == prefixPassage:
		err = c.atPassage(key, value)
	case prefix == prefixLog:
		err = c.atLog(key, value)
	case prefix == prefixExpiry:
		var body []byte
		if body, err = unseal(key, value); err == nil && len(body) > 0 {
			err = corrupt(key, "has %d bytes beside its checksum", len(body))
		}
		if err == nil {
			_, _, err = decodeExpiry(key)
		}
	case string(key) == keyIdentity:
		err = c.atIdentity(key, value)
	case string(key) == keyState:
		var st state
		if st, err = decode(key, value, decodeState); err == nil {
			c.state = &st
		}
	default:
		c.fact(6, key, "no such key belongs in a store")
	}
	if errors.Is(err, ErrCorrupt) {
		c.found(1, err)
		return nil
	}
	return err
}

// atOrdinal proves, for a key of i/, one half of fact 2.
func (c *check) atOrdinal(key, value []byte) error {
	c.count++
	e, err := decode(key, value, decodeEntry)
	if err != nil {
		return err
	}
	c.highest = max(c.highest, e.ordinal)
	c.digest.add(digestOf(string(key[len(prefixOrdinal):]), e))
	r, sum, err := getRecord(c.view, e.ordinal)
	if errors.Is(err, ErrCorrupt) {
		return nil // p/ has its own turn
	}
	if err := pointsTo(key, e, &r, sum, err); errors.Is(err, ErrCorrupt) {
		c.found(2, err)
	} else if err != nil {
		return err
	}
	sum, err = sumOf(c.view, vectorKey(e.ordinal))
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrNotFound):
		return nil // v/ and p/ have their own turns
	case err == nil && !e.bare && sum != e.vector:
		c.fact(2, key, "the checksum of v/%d is %08x, and was %08x: it is of another time", e.ordinal, sum, e.vector)
	}
	return err
}

// atLog proves fact 7 but for its end.
func (c *check) atLog(key, value []byte) error {
	revision, err := keyOrdinal(key)
	if err != nil {
		return err
	}
	if c.first == 0 {
		c.first = revision
	} else if revision != c.revision+1 {
		c.fact(7, key, "the one before is of revision %d", c.revision)
	}
	c.revision = revision
	_, err = decode(key, value, decodeChanges)
	return err
}

// atRecord proves, for a key of p/, the other half of fact 2 and one of fact 3.
func (c *check) atRecord(key, value []byte) error {
	ordinal, err := keyOrdinal(key)
	if err != nil {
		return err
	}
	c.highest = max(c.highest, ordinal)
	if there, err := has(c.view, vectorKey(ordinal)); err != nil {
		return err
	} else if !there {
		c.fact(3, key, "v/%d is missing", ordinal)
	}
	r, err := decode(key, value, decodeRecord)
	if err != nil {
		return err
	}
	if at := r.Paper.Expires; !at.IsZero() {
		if there, err := has(c.view, expiryKey(at, ordinal)); err != nil {
			return err
		} else if !there {
			c.fact(8, key, "its paper expires at %v, and has no key of e/", at)
		}
	}
	back, err := getEntry(c.view, r.Paper.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		c.fact(2, key, "i/%q is missing", r.Paper.ID)
	case errors.Is(err, ErrCorrupt):
		// i/ had its own turn.
	case err != nil:
		return err
	case back.ordinal != ordinal:
		c.fact(2, key, "i/%q points to p/%d", r.Paper.ID, back.ordinal)
	}
	return nil
}

// atVector proves, for a key of v/, fact 4 and the other half of fact 3.
func (c *check) atVector(key, value []byte) error {
	ordinal, err := keyOrdinal(key)
	if err != nil {
		return err
	}
	c.highest = max(c.highest, ordinal)
	if there, err := has(c.view, recordKey(ordinal)); err != nil {
		return err
	} else if !there {
		if there, err = has(c.view, passageKey(ordinal)); err != nil { // which has its own turn
			return err
		} else if !there {
			c.fact(3, key, "p/%d is missing", ordinal)
		}
	}
	dimension := c.store.id.Dimension
	v, err := decode(key, value, func(body []byte) ([]float32, error) { return decodeVector(c.vector, body, dimension) })
	if err != nil {
		return err
	}
	c.vector = v
	if err := checkVector(v, dimension); err != nil {
		c.fact(4, key, "%w", err)
	}
	return nil
}

// atIdentity proves half of fact 6.
func (c *check) atIdentity(key, value []byte) error {
	c.identity = true
	_, err := decode(key, value, func(body []byte) (struct{}, error) {
		id, uuid, err := decodeIdentity(body)
		if err == nil && (id != c.store.id || uuid != c.store.uuid) {
			c.fact(6, key, "is %+v, uuid %s; was %+v, uuid %s when the store was opened", id, uuid, c.store.id, c.store.uuid)
		}
		return struct{}{}, err
	})
	return err
}

// totals proves what can only be known at the end: fact 5, that fact 6's key is there, and where fact 7's log ends.
func (c *check) totals() {
	if !c.identity {
		c.fact(6, []byte(keyIdentity), "is missing")
	}
	key := []byte(keyState)
	if c.state == nil {
		if there, err := has(c.view, key); err == nil && !there {
			c.fact(5, key, "is missing")
		}
		return
	}
	if c.state.count != c.count {
		c.fact(5, key, "counts %d papers; there are %d", c.state.count, c.count)
	}
	if !c.state.bare && c.state.digest != c.digest {
		c.fact(5, key, "the digest is %v; that of the papers is %v", c.state.digest, c.digest)
	}
	if c.first != 0 && c.revision != c.state.revision {
		c.fact(7, logKey(c.revision), "is the last change; the store is at revision %d", c.state.revision)
	}
	if c.state.next <= c.highest {
		c.fact(5, key, "the next ordinal is %d; there is one of %d", c.state.next, c.highest)
	}
}
