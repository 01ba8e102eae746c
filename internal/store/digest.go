package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// entry is the value of a key of i/: where a paper is, and what its record and its vector must be.
type entry struct {
	ordinal uint64
	// record and vector are the checksums of the values of p/ and v/. They bind a record to its paper: one that is whole, but
	// of an earlier moment, does not pass for the present one.
	record, vector uint32
	// bare: of format 1, which has no checksums. Open brings a store of it to the present one, but not for reading only.
	bare bool
}

// digest is a sum, modulo 2^128, of one number for each paper of a set. A paper that is missing, too many or another changes
// it, wherever it is; and it is kept up to date without looking at the others.
type digest struct{ hi, lo uint64 }

// digestOf is a paper's number: the first half of the SHA-256 of its entry and its id.
func digestOf(id string, e entry) digest {
	b := make([]byte, 0, 64)
	b = binary.BigEndian.AppendUint64(b, e.ordinal)
	b = binary.BigEndian.AppendUint32(b, e.record)
	b = binary.BigEndian.AppendUint32(b, e.vector)
	sum := sha256.Sum256(append(b, id...))
	return digest{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
}

func (d *digest) add(o digest) {
	var carry uint64
	d.lo, carry = bits.Add64(d.lo, o.lo, 0)
	d.hi, _ = bits.Add64(d.hi, o.hi, carry)
}

func (d *digest) remove(o digest) {
	var borrow uint64
	d.lo, borrow = bits.Sub64(d.lo, o.lo, 0)
	d.hi, _ = bits.Sub64(d.hi, o.hi, borrow)
}

func (d digest) String() string { return fmt.Sprintf("%016x%016x", d.hi, d.lo) }

// MarshalText implements encoding.TextMarshaler.
func (d digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *digest) UnmarshalText(text []byte) error {
	if len(text) != 32 {
		return fmt.Errorf("a digest of %d digits, not 32", len(text))
	}
	_, err := fmt.Sscanf(string(text), "%016x%016x", &d.hi, &d.lo)
	return err
}
