package store

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
)

// Stored is a paper as it lies in the store, not decoded. It does not change.
type Stored struct {
	Ordinal uint64
	body    []byte // of p/
}

// Stored returns a paper as it lies in the store, or ErrNotFound. It is faster than Get by the decoding.
func (s *Store) Stored(id string) (_ *Stored, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	x, err := getStored(s.db, id)
	if errors.Is(err, ErrCorrupt) {
		// Or it changed, moved or went between the two reads: one moment's view tells.
		view := s.db.NewSnapshot()
		defer view.Close()
		x, err = getStored(view, id)
	}
	if e := s.flights.wait(id); e != nil {
		return nil, e
	}
	return x, paperError(id, err)
}

func getStored(from pebble.Reader, id string) (*Stored, error) {
	e, err := getEntry(from, id)
	if err != nil {
		return nil, err
	}
	var sum uint32
	key := recordKey(e.ordinal)
	body, err := get(from, key, func(body []byte) ([]byte, error) {
		sum = checksum(key, body)
		return bytes.Clone(body), nil
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, corrupt(ordinalKey(id), "points to p/%d, which is missing", e.ordinal)
	case err != nil:
		return nil, err
	case e.bare: // nothing else binds the record to its paper
		r, err := decodeRecord(body)
		if err := pointsTo(ordinalKey(id), e, &r, sum, err); err != nil {
			return nil, err
		}
	case sum != e.record:
		return nil, corrupt(ordinalKey(id), "points to p/%d, whose checksum is %08x, and was %08x: it is of another time", e.ordinal, sum, e.record)
	}
	return &Stored{e.ordinal, body}, nil
}

// Record decodes it.
func (x *Stored) Record() (Record, error) {
	r, err := decodeRecord(x.body)
	if err != nil {
		err = corrupt(recordKey(x.Ordinal), "%w", err)
	}
	return r, err
}

// Same tells whether p is the stored paper, to the byte, and gives the record then. Nothing of what is stored is decoded but its end, and nothing is hashed: a
// record begins with its paper, and a paper is always written in the same way.
func (x *Stored) Same(p *Paper) (Record, bool) {
	if !p.valid() { // it would be written as another
		return Record{}, false
	}
	rest, ok := bytes.CutPrefix(x.body, []byte(recordBegin))
	if !ok || len(rest) < len(p.Title)+len(p.Abstract) { // nothing is written in fewer bytes than it has
		return Record{}, false
	}
	paper, err := encodeSized(p, len(rest))
	if err != nil {
		return Record{}, false
	}
	if rest, ok = bytes.CutPrefix(rest, paper); !ok || len(rest) == 0 || rest[0] != ',' {
		return Record{}, false
	}
	r := Record{Paper: *p}
	if (&recordReader{text: rest[1:]}).record(&r, false) {
		return r, true
	}
	r, err = x.Record() // it is not as it would be written today
	r.Paper = *p
	return r, err == nil
}

// recordBegin is how a value of p/ begins.
const recordBegin = `{"paper":`

// recordTail is what follows the paper in a value of p/.
type recordTail struct {
	Content   []byte `json:"content"` // base64, 32 bytes
	Tokens    int    `json:"tokens,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
}

func (t *recordTail) record(p Paper) (Record, error) {
	r := Record{Paper: p, Tokens: t.Tokens, Truncated: t.Truncated}
	if copy(r.Content[:], t.Content) != len(r.Content) || len(t.Content) != len(r.Content) {
		return Record{}, fmt.Errorf("the content hash has %d bytes, not %d", len(t.Content), len(r.Content))
	}
	return r, nil
}

// valid tells whether all strings are UTF-8. JSON has no way to write others.
func (p *Paper) valid() bool {
	for _, text := range [...]string{p.ID, p.Title, p.Abstract, p.Venue, p.DOI, p.ArxivID, p.URL} {
		if !utf8.ValidString(text) {
			return false
		}
	}
	for _, text := range p.Authors {
		if !utf8.ValidString(text) {
			return false
		}
	}
	return utf8.Valid(p.Metadata)
}
