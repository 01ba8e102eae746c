package store

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxPassages is the most passages of a paper.
const MaxPassages = 16

// Passage is a part of a long text that has a vector and an ordinal of its own.
type Passage struct {
	// Paper is the ordinal of the paper, which is that of its first passage; the others have those after it, in order.
	Paper uint64
	Index int
	// Begin and End are its place in the text that was encoded, in bytes. The store does not look at the text.
	Begin, End uint32
}

// NewPassage is a passage that a Write brings.
type NewPassage struct {
	Begin, End uint32
	// Vector is that of the passage; nil for the first, which has the Write's.
	Vector []float32
}

// checkPassages refuses what would not come back as it was given.
func (s *Store) checkPassages(w *Write) error {
	n := len(w.Passages)
	switch {
	case n == 0:
		return nil
	case w.Vector == nil:
		return errors.New("passages are given without a vector")
	case n < 2 || n > MaxPassages:
		return fmt.Errorf("there are %d passages; must be 2 to %d, or none", n, MaxPassages)
	}
	for i, p := range w.Passages {
		if p.Begin >= p.End {
			return fmt.Errorf("passage %d is from byte %d to %d", i, p.Begin, p.End)
		}
		if i == 0 {
			if p.Vector != nil {
				return errors.New("the first passage has a vector; it has the paper's")
			}
			continue
		}
		if err := checkVector(p.Vector, s.id.Dimension); err != nil {
			return fmt.Errorf("passage %d: %w", i, err)
		}
	}
	return nil
}

const passageSize = ordinalSize + 2 + 4 + 4

func encodePassage(p Passage) []byte {
	b := make([]byte, 0, passageSize+checksumSize)
	b = binary.BigEndian.AppendUint64(b, p.Paper)
	b = binary.BigEndian.AppendUint16(b, uint16(p.Index))
	b = binary.BigEndian.AppendUint32(b, p.Begin)
	return binary.BigEndian.AppendUint32(b, p.End)
}

func decodePassage(body []byte) (Passage, error) {
	if len(body) != passageSize {
		return Passage{}, fmt.Errorf("has %d bytes, not %d", len(body), passageSize)
	}
	p := Passage{binary.BigEndian.Uint64(body), int(binary.BigEndian.Uint16(body[8:])), binary.BigEndian.Uint32(body[10:]), binary.BigEndian.Uint32(body[14:])}
	if p.Paper == 0 || p.Index >= MaxPassages || p.Begin >= p.End {
		return Passage{}, fmt.Errorf("%+v is no passage", p)
	}
	return p, nil
}

// Passage returns the passage that an ordinal stands for, or ErrNotFound: the paper is one piece, or not stored.
func (s *Store) Passage(ordinal uint64) (_ Passage, err error) {
	if err := s.calls.enter(); err != nil {
		return Passage{}, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	return get(s.db, passageKey(ordinal), decodePassage)
}

// Passages calls fn with the ordinals of all passages, ascending, and what they are, in one moment's view, until fn returns an error, which it
// then returns. fn may call the store's other methods, but not Close.
func (s *Store) Passages(fn func(ordinal uint64, p Passage) error) (err error) {
	if err := s.calls.enter(); err != nil {
		return err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	return scan(s.db, []byte(prefixPassage), prefixEnd(prefixPassage), func(key, value []byte) error {
		ordinal, err := keyOrdinal(key)
		if err != nil {
			return err
		}
		p, err := decode(key, value, decodePassage)
		if err != nil {
			return err
		}
		return fn(ordinal, p)
	})
}

// setPassages adds those of a write whose paper has an ordinal. The next ordinals are theirs.
func (c *change) setPassages(paper uint64, w *Write) error {
	if len(w.Passages) == 0 {
		return nil
	}
	for i, p := range w.Passages {
		ordinal := paper
		if i > 0 {
			ordinal = c.st.next
			c.st.next++
			if _, err := c.set(vectorKey(ordinal), encodeVector(p.Vector)); err != nil {
				return err
			}
			c.log = append(c.log, Change{ordinal, Added})
		}
		if _, err := c.set(passageKey(ordinal), encodePassage(Passage{paper, i, p.Begin, p.End})); err != nil {
			return err
		}
	}
	return nil
}

// dropPassages takes away those of a paper.
func (c *change) dropPassages(paper uint64) error {
	for i := range uint64(MaxPassages) {
		ordinal := paper + i
		p, err := get(c.s.db, passageKey(ordinal), decodePassage)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil // the last is behind us
		case errors.Is(err, ErrCorrupt): // whose it is, the records tell: another paper's first has one
			if i == 0 {
				break
			}
			if there, err := has(c.s.db, recordKey(ordinal)); err != nil && !errors.Is(err, ErrCorrupt) {
				return err
			} else if err != nil || there {
				return nil
			}
		case err != nil:
			return err
		case p.Paper != paper:
			return nil
		}
		if err := c.batch.Delete(passageKey(ordinal), nil); err != nil {
			return err
		}
		if i > 0 {
			c.log = append(c.log, Change{ordinal, Removed})
			if err := c.batch.Delete(vectorKey(ordinal), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// getPassages reads those of a paper for a Write; nil where there are none, or one is damaged.
func (s *Store) getPassages(paper uint64) ([]NewPassage, error) {
	var all []NewPassage
	for i := range uint64(MaxPassages) {
		p, err := get(s.db, passageKey(paper+i), decodePassage)
		if errors.Is(err, ErrNotFound) || err == nil && p.Paper != paper {
			break
		}
		if err != nil {
			return nil, err
		}
		n := NewPassage{Begin: p.Begin, End: p.End}
		if i > 0 {
			if n.Vector, err = s.getVector(s.db, paper+i); err != nil {
				return nil, err
			}
		}
		all = append(all, n)
	}
	return all, nil
}

// atPassage proves, for a key of w/, fact 10.
func (c *check) atPassage(key, value []byte) error {
	ordinal, err := keyOrdinal(key)
	if err != nil {
		return err
	}
	c.highest = max(c.highest, ordinal)
	p, err := decode(key, value, decodePassage)
	if err != nil {
		return err
	}
	if p.Paper+uint64(p.Index) != ordinal {
		c.fact(10, key, "is passage %d of paper %d", p.Index, p.Paper)
	}
	need := [][]byte{recordKey(p.Paper), vectorKey(ordinal)}
	if p.Index > 0 {
		need = append(need, passageKey(ordinal-1))
	}
	for _, other := range need {
		if there, err := has(c.view, other); err != nil {
			return err
		} else if !there {
			c.fact(10, key, "%s is missing", keyName(other))
		}
	}
	if there, err := has(c.view, recordKey(ordinal)); err != nil {
		return err
	} else if there != (p.Index == 0) {
		c.fact(10, key, "is passage %d, and p/%d is there: %v", p.Index, ordinal, there)
	}
	return nil
}
