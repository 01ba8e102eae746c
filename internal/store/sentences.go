package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// maxSentences is the most sentences of a paper.
const maxSentences = 1 << 10

// Sentences are the vectors of the parts of a paper's text, in a byte a value. None is a list that is empty.
type Sentences struct {
	// Places are where each is in the text that was encoded, from and to before which byte. The store does not look at them.
	Places [][2]uint32
	// Scales and Codes: value j of the vector of sentence i is about Scales[i] times the signed byte Codes[i*dimension+j].
	Scales []float32
	Codes  []byte
}

// Len is how many there are.
func (x *Sentences) Len() int { return len(x.Scales) }

// check refuses what would not come back as it was given.
func (x *Sentences) check(dimension int) error {
	n := len(x.Scales)
	if n > maxSentences {
		return fmt.Errorf("there are %d sentences; at most %d are kept", n, maxSentences)
	}
	if len(x.Places) != n || len(x.Codes) != n*dimension {
		return fmt.Errorf("%d sentences have %d places and %d codes; of dimension %d they have %d", n, len(x.Places), len(x.Codes), dimension, n*dimension)
	}
	for i, scale := range x.Scales {
		if !(scale > 0 && scale <= math.MaxFloat32) { // NaN too
			return fmt.Errorf("the scale of sentence %d is %v", i, scale)
		}
		if x.Places[i][0] >= x.Places[i][1] {
			return fmt.Errorf("sentence %d is from byte %d to %d", i, x.Places[i][0], x.Places[i][1])
		}
	}
	return nil
}

// sentenceHead is what stands before the codes of a sentence: its place and its scale.
const sentenceHead = 4 + 4 + 4

func encodeSentences(x *Sentences, dimension int) []byte {
	b := make([]byte, 0, x.Len()*(sentenceHead+dimension)+checksumSize)
	for i, scale := range x.Scales {
		b = binary.BigEndian.AppendUint32(b, x.Places[i][0])
		b = binary.BigEndian.AppendUint32(b, x.Places[i][1])
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(scale))
		b = append(b, x.Codes[i*dimension:][:dimension]...)
	}
	return b
}

func decodeSentences(body []byte, dimension int) (*Sentences, error) {
	size := sentenceHead + dimension
	if len(body)%size != 0 {
		return nil, fmt.Errorf("has %d bytes, no multiple of %d; a sentence of dimension %d has so many", len(body), size, dimension)
	}
	n := len(body) / size
	x := &Sentences{Places: make([][2]uint32, 0, n), Scales: make([]float32, 0, n), Codes: make([]byte, 0, n*dimension)}
	for s := range slices.Chunk(body, size) {
		x.Places = append(x.Places, [2]uint32{binary.BigEndian.Uint32(s), binary.BigEndian.Uint32(s[4:])})
		x.Scales = append(x.Scales, math.Float32frombits(binary.LittleEndian.Uint32(s[8:])))
		x.Codes = append(x.Codes, s[sentenceHead:]...)
	}
	if err := x.check(dimension); err != nil {
		return nil, err
	}
	return x, nil
}

// Sentences returns those of ordinals, in the same order: nil where none were stored with the vector, or the ordinal is not stored, or no
// longer. They are the caller's.
func (s *Store) Sentences(ordinals []uint64) (_ []*Sentences, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	all := make([]*Sentences, len(ordinals))
	for i, ordinal := range ordinals {
		all[i], err = s.getSentences(ordinal)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return all, nil
}

// HasSentences tells whether sentences were stored with the vector of an ordinal.
func (s *Store) HasSentences(ordinal uint64) (_ bool, err error) {
	if err := s.calls.enter(); err != nil {
		return false, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	return has(s.db, codesKey(ordinal))
}

// getSentences gives nil and ErrNotFound where there are none.
func (s *Store) getSentences(ordinal uint64) (*Sentences, error) {
	return get(s.db, codesKey(ordinal), func(body []byte) (*Sentences, error) { return decodeSentences(body, s.id.Dimension) })
}

// setSentences adds those of a write.
func (c *change) setSentences(ordinal uint64, x *Sentences) error {
	if x == nil {
		return nil
	}
	_, err := c.set(codesKey(ordinal), encodeSentences(x, c.s.id.Dimension))
	return err
}

// dropSentences takes away those of an ordinal, where there are any, and also where damage keeps from seeing that.
func (c *change) dropSentences(ordinal uint64) error {
	if there, err := has(c.s.db, codesKey(ordinal)); err != nil && !errors.Is(err, ErrCorrupt) || err == nil && !there {
		return err
	}
	return c.batch.Delete(codesKey(ordinal), nil)
}

// atSentences proves, for a key of c/, fact 9.
func (c *check) atSentences(key, value []byte) error {
	ordinal, err := keyOrdinal(key)
	if err != nil {
		return err
	}
	if there, err := has(c.view, recordKey(ordinal)); err != nil {
		return err
	} else if !there {
		c.fact(9, key, "p/%d is missing", ordinal)
	}
	_, err = decode(key, value, func(body []byte) (*Sentences, error) { return decodeSentences(body, c.store.id.Dimension) })
	return err
}
