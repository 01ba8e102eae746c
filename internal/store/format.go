package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"
)

// formatVersion is the version of the bytes that doc.go draws. Open refuses a higher one with ErrFormat, and must go on
// reading every lower one.
//
//	1  the first
//	2  i/ has the checksums of record and vector, m/state the digest; s/ and the mark are new
//	3  papers may expire, and have a key of e/ then; c/ and w/ are new
const formatVersion = 3

// The two single keys, and the first bytes of the others.
const (
	keyIdentity = "m/identity"
	keyState    = "m/state"

	prefixOrdinal = "i/" // by id
	prefixRecord  = "p/" // by ordinal
	prefixVector  = "v/" // by ordinal
	prefixCodes   = "c/" // by ordinal
	prefixPassage = "w/" // by ordinal
	prefixLog     = "s/" // by revision
	prefixExpiry  = "e/" // by time and ordinal
)

const (
	ordinalSize  = 8
	checksumSize = 4
)

func ordinalKey(id string) []byte { return append([]byte(prefixOrdinal), id...) }

func recordKey(ordinal uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixRecord), ordinal)
}

func vectorKey(ordinal uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixVector), ordinal)
}

func codesKey(ordinal uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixCodes), ordinal)
}

func passageKey(ordinal uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixPassage), ordinal)
}

func logKey(revision uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixLog), revision)
}

// keyOrdinal is the ordinal in a key of p/, v/, c/ or w/, or the revision in one of s/.
func keyOrdinal(key []byte) (uint64, error) {
	if n := len(key) - len(prefixRecord); n != ordinalSize {
		return 0, corrupt(key, "has %d bytes after the prefix, not %d", n, ordinalSize)
	}
	return binary.BigEndian.Uint64(key[len(prefixRecord):]), nil
}

// prefixEnd is the first key after those that begin with prefix, whose last byte is a slash.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

// keyName is a key as messages show it: i/"10.1000/182", p/17, m/state.
func keyName(key []byte) string {
	switch prefix := string(key[:min(2, len(key))]); {
	case prefix == prefixOrdinal:
		return fmt.Sprintf("%s%q", prefix, key[2:])
	case (prefix == prefixRecord || prefix == prefixVector || prefix == prefixCodes || prefix == prefixPassage || prefix == prefixLog) && len(key) == 2+ordinalSize:
		return fmt.Sprintf("%s%d", prefix, binary.BigEndian.Uint64(key[2:]))
	case prefix == prefixExpiry && len(key) == expirySize:
		at, ordinal, _ := decodeExpiry(key)
		return fmt.Sprintf("%s%s/%d", prefix, at.Format(time.RFC3339Nano), ordinal)
	case string(key) == keyIdentity || string(key) == keyState:
		return string(key)
	}
	return fmt.Sprintf("%q", key)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}

// seal makes a value of a body that nobody else holds, by appending the checksum.
func seal(key, body []byte) []byte {
	return binary.BigEndian.AppendUint32(body, checksum(key, body))
}

// unseal checks a value and gives its body, which is part of value.
func unseal(key, value []byte) ([]byte, error) {
	n := len(value) - checksumSize
	if n < 0 {
		return nil, corrupt(key, "has %d bytes; the checksum alone has %d", len(value), checksumSize)
	}
	body := value[:n]
	if have, want := checksum(key, body), binary.BigEndian.Uint32(value[n:]); have != want {
		return nil, corrupt(key, "checksum of the bytes is %08x, stored is %08x", have, want)
	}
	return body, nil
}

// state is the store's part that every commit changes.
type state struct {
	next     uint64 // the ordinal to give next
	revision uint64
	count    uint64 // live papers
	digest   digest // of the live papers
	bare     bool   // of format 1, which has no digest
}

// The bytes of m/state and of a value of i/ in format 1, which lacks their last parts.
const (
	stateSize1 = 24
	stateSize  = stateSize1 + 16
	entrySize1 = ordinalSize
	entrySize  = entrySize1 + 2*checksumSize
)

func encodeState(s state) []byte {
	b := make([]byte, 0, stateSize+checksumSize)
	for _, part := range []uint64{s.next, s.revision, s.count, s.digest.hi, s.digest.lo} {
		b = binary.BigEndian.AppendUint64(b, part)
	}
	return b
}

func decodeState(body []byte) (state, error) {
	if len(body) != stateSize && len(body) != stateSize1 {
		return state{}, fmt.Errorf("has %d bytes, not %d", len(body), stateSize)
	}
	s := state{next: binary.BigEndian.Uint64(body), revision: binary.BigEndian.Uint64(body[8:]), count: binary.BigEndian.Uint64(body[16:])}
	if s.bare = len(body) == stateSize1; !s.bare {
		s.digest = digest{binary.BigEndian.Uint64(body[24:]), binary.BigEndian.Uint64(body[32:])}
	}
	if s.next == 0 {
		return state{}, errors.New("the next ordinal is 0; ordinals begin at 1")
	}
	return s, nil
}

func encodeEntry(e entry) []byte {
	b := make([]byte, 0, entrySize+checksumSize)
	b = binary.BigEndian.AppendUint64(b, e.ordinal)
	b = binary.BigEndian.AppendUint32(b, e.record)
	return binary.BigEndian.AppendUint32(b, e.vector)
}

func decodeEntry(body []byte) (entry, error) {
	if len(body) != entrySize && len(body) != entrySize1 {
		return entry{}, fmt.Errorf("has %d bytes, not %d", len(body), entrySize)
	}
	e := entry{ordinal: binary.BigEndian.Uint64(body), bare: len(body) == entrySize1}
	if !e.bare {
		e.record, e.vector = binary.BigEndian.Uint32(body[8:]), binary.BigEndian.Uint32(body[12:])
	}
	if e.ordinal == 0 {
		return entry{}, errors.New("the ordinal is 0; ordinals begin at 1")
	}
	return e, nil
}

// identityJSON is m/identity. Format stands first, and stays, so that each release can tell that it is too old.
type identityJSON struct {
	Format      int    `json:"format"`
	UUID        string `json:"uuid"`
	Model       string `json:"model"`
	Fingerprint string `json:"fingerprint"`
	Dimension   int    `json:"dimension"`
}

func encodeIdentity(id Identity, uuid string) ([]byte, error) {
	return encodeJSON(identityJSON{formatVersion, uuid, id.Model, id.Fingerprint, id.Dimension})
}

// decodeFormat gives ErrFormat for a later format.
func decodeFormat(body []byte) (int, error) {
	var format struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(body, &format); err != nil {
		return 0, err
	}
	if format.Format > formatVersion {
		return 0, fmt.Errorf("%w: version %d; this embedd reads up to version %d; use the embedd that wrote it", ErrFormat, format.Format, formatVersion)
	}
	if format.Format < 1 {
		return 0, fmt.Errorf("the format version is %d", format.Format)
	}
	return format.Format, nil
}

// decodeIdentity gives ErrFormat for a later format.
func decodeIdentity(body []byte) (Identity, string, error) {
	if _, err := decodeFormat(body); err != nil {
		return Identity{}, "", err
	}
	var j identityJSON
	if err := json.Unmarshal(body, &j); err != nil {
		return Identity{}, "", err
	}
	id := Identity{j.Model, j.Fingerprint, j.Dimension}
	return id, j.UUID, id.check()
}

// recordJSON is a value of p/.
type recordJSON struct {
	Paper Paper `json:"paper"` // first: see Stored.Same
	recordTail
}

func encodeRecord(r *Record) ([]byte, error) {
	return encodeJSON(recordJSON{r.Paper, recordTail{r.Content[:], r.Tokens, r.Truncated}})
}

func decodeRecord(body []byte) (Record, error) {
	if r, ok := readRecord(body); ok {
		return r, nil
	}
	return parseRecord(body)
}

// parseRecord is decodeRecord for any JSON that a record can be.
func parseRecord(body []byte) (Record, error) {
	var j recordJSON
	if err := json.Unmarshal(body, &j); err != nil {
		return Record{}, err
	}
	return j.record(j.Paper)
}

// encodeJSON is json.Marshal without its escaping of <, > and &: nobody puts these bytes into a web page.
func encodeJSON(v any) ([]byte, error) { return encodeSized(v, 0) }

// encodeSized is encodeJSON of what has about so many bytes.
func encodeSized(v any, size int) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(size)
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func encodeVector(v []float32) []byte {
	b := make([]byte, 0, 4*len(v)+checksumSize)
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// decodeVector appends to v, of which it uses the space only.
func decodeVector(v []float32, body []byte, dimension int) ([]float32, error) {
	if len(body) != 4*dimension {
		return nil, fmt.Errorf("has %d bytes; a vector of dimension %d has %d", len(body), dimension, 4*dimension)
	}
	v = slices.Grow(v[:0], dimension)[:dimension]
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(body[4*i:]))
	}
	return v, nil
}

// normTolerance is how far a vector's norm may be off 1: room for float32 and for encoders that normalise in half
// precision, not for a vector that nobody normalised.
const normTolerance = 1e-3

// checkVector proves fact 4.
func checkVector(v []float32, dimension int) error {
	if len(v) != dimension {
		return fmt.Errorf("the vector has %d values; the store's dimension is %d", len(v), dimension)
	}
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	// The condition is so turned that NaN fails it.
	if norm := math.Sqrt(sum); !(math.Abs(norm-1) <= normTolerance) {
		return fmt.Errorf("the vector's norm is %v, not 1", norm)
	}
	return nil
}
