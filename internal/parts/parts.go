// Package parts is the form that the snapshots of what is derived have in common: a header with a note, and then parts, each with its length and a
// checksum. What is in a part, and what the note says, is its owner's.
//
// All numbers are little-endian:
//
//	| magic | version u16 | length of the note u32 | parts u32 | the note | CRC-32C of all before u32 |
//	| of each part: its length u64 | its body | CRC-32C of both u32 |
package parts

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrSnapshot says that a snapshot cannot be used: it is damaged, cut short, or of another version.
var ErrSnapshot = errors.New("unusable snapshot")

// MaxNote is the longest note of a snapshot, in bytes.
const MaxNote = 4096

// Form is what one kind of snapshots begins with.
type Form struct {
	Magic string
	// Version is the one that is written, and the only one that is read.
	Version uint16
	// Most is more than a part ever takes, in bytes.
	Most uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// HeadSize is the length of a header with the longest note.
func (f Form) HeadSize() int64 { return int64(len(f.Magic)) + 2 + 4 + 4 + MaxNote + 4 }

// PartSize is what a part takes beside its body.
const PartSize = 8 + 4

// Write writes a snapshot of n parts, one after the other as part gives them.
func (f Form) Write(w io.Writer, note []byte, n int, part func(i int) []byte) error {
	if len(note) > MaxNote {
		return fmt.Errorf("the note has %d bytes; the limit is %d", len(note), MaxNote)
	}
	head := binary.LittleEndian.AppendUint16([]byte(f.Magic), f.Version)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(note)))
	head = binary.LittleEndian.AppendUint32(head, uint32(n))
	head = append(head, note...)
	if _, err := w.Write(binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))); err != nil {
		return err
	}
	for i := range n {
		body := part(i)
		size := binary.LittleEndian.AppendUint64(nil, uint64(len(body)))
		sum := crc32.Update(crc32.Checksum(size, castagnoli), castagnoli, body)
		for _, piece := range [][]byte{size, body, binary.LittleEndian.AppendUint32(nil, sum)} {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
	}
	return nil
}

// Note reads the beginning of a snapshot, and gives its note. What does not read as one is ErrSnapshot.
func (f Form) Note(r io.Reader) ([]byte, error) {
	note, _, err := f.readHead(r)
	return note, err
}

// Read reads a snapshot to its end, proves its checksums, and gives its note. part takes the i-th of n bodies, which is its own; an error of part
// is ErrSnapshot, as is what does not read as a snapshot.
func (f Form) Read(r io.Reader, part func(i, n int, body []byte) error) (note []byte, err error) {
	note, n, err := f.readHead(r)
	if err != nil {
		return nil, err
	}
	for i := range int(n) {
		body, err := f.readPart(r)
		if err != nil {
			return nil, err
		}
		if err := part(i, int(n), body); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
		}
	}
	if got, err := io.ReadFull(r, make([]byte, 1)); got > 0 {
		return nil, fmt.Errorf("%w: it has more than its %d parts", ErrSnapshot, n)
	} else if err != io.EOF {
		return nil, err
	}
	return note, nil
}

func (f Form) readHead(r io.Reader) (note []byte, n uint32, err error) {
	fail := func(format string, a ...any) ([]byte, uint32, error) {
		return nil, 0, fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, a...))
	}
	order := binary.LittleEndian
	head := make([]byte, len(f.Magic)+10)
	if err := readAll(r, head); err != nil {
		return nil, 0, err
	}
	if !bytes.HasPrefix(head, []byte(f.Magic)) {
		return fail("it does not begin with %q", f.Magic)
	}
	rest := head[len(f.Magic):]
	if v := order.Uint16(rest); v != f.Version {
		return fail("it has version %d, this program reads %d", v, f.Version)
	}
	size, n := order.Uint32(rest[2:]), order.Uint32(rest[6:])
	if size > MaxNote {
		return fail("its note has %d bytes", size)
	}
	note = make([]byte, size+4)
	if err := readAll(r, note); err != nil {
		return nil, 0, err
	}
	note, sum := note[:size], order.Uint32(note[size:])
	if crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, note) != sum {
		return fail("the checksum of its header is wrong")
	}
	return note, n, nil
}

func (f Form) readPart(r io.Reader) ([]byte, error) {
	size := make([]byte, 8)
	if err := readAll(r, size); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(size)
	if n > f.Most {
		return nil, fmt.Errorf("%w: a part has %d bytes", ErrSnapshot, n)
	}
	// A length that is wrong is found before it is made room for, where there is less.
	var b bytes.Buffer
	if got, err := io.CopyN(&b, r, int64(n)+4); err == io.EOF {
		return nil, fmt.Errorf("%w: it is cut short in a part of %d bytes, of which there are %d", ErrSnapshot, n, got)
	} else if err != nil {
		return nil, err
	}
	body, sum := b.Bytes()[:n], binary.LittleEndian.Uint32(b.Bytes()[n:])
	if crc32.Update(crc32.Checksum(size, castagnoli), castagnoli, body) != sum {
		return nil, fmt.Errorf("%w: the checksum of a part is wrong", ErrSnapshot)
	}
	return body, nil
}

func readAll(r io.Reader, into []byte) error {
	_, err := io.ReadFull(r, into)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: it is cut short", ErrSnapshot)
	}
	return err
}
