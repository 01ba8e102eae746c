package works

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// A snapshot is a header and then parts of up to partSize papers, by ordinal. All numbers are little-endian but the aliases' hashes.
// Buckets and links are made anew.
//
//	| "embedd.works" | version u16 | length of the note u32 | parts u32 | the note | CRC-32C of all before u32 |
//	| of each part: its length u64 | its body | CRC-32C of both u32 |
//
// The body of a part:
//
//	| papers u32 |
//	| of each: ordinal u64 | title u64 | letters of the title u16 | shingles u16 | aliases u8 | their hashes, 8 bytes each | of shingles above 0: the sketch |

// snapshotVersion is the version that is written, and the only one that is read. Another way to read ids, to find words in texts, or to sketch
// them, needs another one.
const snapshotVersion = 1

const (
	snapshotMagic = "embedd.works"
	// MaxNote is the longest note of a snapshot, in bytes.
	MaxNote  = 4096
	partSize = 4096
	// paperBytes is what a paper takes at least, and mostBytes at most.
	paperBytes = 8 + 8 + 2 + 2 + 1
	mostBytes  = paperBytes + 8*MaxAliases + sketchSize
)

// ErrSnapshot says that a snapshot cannot be used: it is damaged, cut short, or of another version.
var ErrSnapshot = errors.New("unusable snapshot")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteSnapshot writes all papers that are there before it begins and are not removed until it ends. Writers wait for the copy of one part at a
// time. Equal papers give equal bytes, whatever there was before.
func (x *Index) WriteSnapshot(w io.Writer, note []byte) error {
	if len(note) > MaxNote {
		return fmt.Errorf("the note has %d bytes; the limit is %d", len(note), MaxNote)
	}
	ordinals := x.Ordinals()
	slices.Sort(ordinals)
	parts := (len(ordinals) + partSize - 1) / partSize
	head := binary.LittleEndian.AppendUint16([]byte(snapshotMagic), snapshotVersion)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(note)))
	head = binary.LittleEndian.AppendUint32(head, uint32(parts))
	head = append(head, note...)
	if _, err := w.Write(binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))); err != nil {
		return err
	}
	for some := range slices.Chunk(ordinals, partSize) {
		body := x.encode(some)
		size := binary.LittleEndian.AppendUint64(nil, uint64(len(body)))
		sum := crc32.Update(crc32.Checksum(size, castagnoli), castagnoli, body)
		for _, part := range [][]byte{size, body, binary.LittleEndian.AppendUint32(nil, sum)} {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
	}
	return nil
}

// encode writes the papers of some ordinals that are there.
func (x *Index) encode(ordinals []uint64) []byte {
	order := binary.LittleEndian
	out := make([]byte, 4, 4+len(ordinals)*(paperBytes+sketchSize+24))
	n := uint32(0)
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, ordinal := range ordinals {
		slot, ok := x.slots[ordinal]
		if !ok {
			continue
		}
		n++
		r := x.at(slot)
		out = order.AppendUint64(out, r.ordinal)
		out = order.AppendUint64(out, r.title)
		out = order.AppendUint16(out, r.letters)
		out = order.AppendUint16(out, r.shingles)
		out = append(out, byte(len(r.aliases)/8))
		out = append(out, r.aliases...)
		if r.shingles > 0 {
			out = append(out, r.sketch[:]...)
		}
	}
	order.PutUint32(out, n)
	return out
}

// SnapshotSize is about how many bytes WriteSnapshot would write, and not less.
func (x *Index) SnapshotSize() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := int64(len(snapshotMagic)+14+MaxNote) + int64(len(x.slots)/partSize+1)*16
	for _, c := range x.chunks {
		for i := range c {
			if c[i].ordinal != 0 {
				n += int64(paperBytes + len(c[i].aliases) + sketchSize)
			}
		}
	}
	return n
}

// Note reads the beginning of a snapshot, and gives its note. What does not read as one is ErrSnapshot.
func Note(r io.Reader) ([]byte, error) {
	note, _, err := readHead(r)
	return note, err
}

func readHead(r io.Reader) (note []byte, parts uint32, err error) {
	fail := func(format string, a ...any) ([]byte, uint32, error) {
		return nil, 0, fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, a...))
	}
	order := binary.LittleEndian
	head := make([]byte, len(snapshotMagic)+10)
	if err := readAll(r, head); err != nil {
		return nil, 0, err
	}
	if !bytes.HasPrefix(head, []byte(snapshotMagic)) {
		return fail("it does not begin with %q", snapshotMagic)
	}
	rest := head[len(snapshotMagic):]
	if v := order.Uint16(rest); v != snapshotVersion {
		return fail("it has version %d, this program reads %d", v, snapshotVersion)
	}
	size, parts := order.Uint32(rest[2:]), order.Uint32(rest[6:])
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
	return note, parts, nil
}

// Take puts the papers of another index, which nobody else uses, in the place of this one's.
func (x *Index) Take(from *Index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.slots, x.chunks, x.free, x.buckets, x.lists, x.unused, x.links = from.slots, from.chunks, from.free, from.buckets, from.lists, from.unused, from.links
}

// Open reads a snapshot to its end, proves its checksums, and gives its note. What does not read as one is ErrSnapshot.
func Open(r io.Reader) (*Index, []byte, error) {
	fail := func(format string, a ...any) (*Index, []byte, error) {
		return nil, nil, fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, a...))
	}
	note, parts, err := readHead(r)
	if err != nil {
		return nil, nil, err
	}
	var papers []record
	for range parts {
		some, err := readPart(r)
		if err != nil {
			return nil, nil, err
		}
		papers = append(papers, some...)
	}
	if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return fail("it has more than its %d parts", parts)
	} else if err != io.EOF {
		return nil, nil, err
	}
	x := newSized(len(papers))
	last := uint64(0)
	for i := range papers {
		if papers[i].ordinal <= last {
			return fail("paper %d comes after %d", papers[i].ordinal, last)
		}
		last = papers[i].ordinal
		x.add(last, papers[i].Features)
	}
	return x, note, nil
}

func readAll(r io.Reader, into []byte) error {
	_, err := io.ReadFull(r, into)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: it is cut short", ErrSnapshot)
	}
	return err
}

func readPart(r io.Reader) ([]record, error) {
	size := make([]byte, 8)
	if err := readAll(r, size); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(size)
	if n > 4+partSize*mostBytes {
		return nil, fmt.Errorf("%w: a part has %d bytes", ErrSnapshot, n)
	}
	body := make([]byte, n+4)
	if err := readAll(r, body); err != nil {
		return nil, err
	}
	body, sum := body[:n], binary.LittleEndian.Uint32(body[n:])
	if crc32.Update(crc32.Checksum(size, castagnoli), castagnoli, body) != sum {
		return nil, fmt.Errorf("%w: the checksum of a part is wrong", ErrSnapshot)
	}
	papers, err := decodePart(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return papers, nil
}

func decodePart(b []byte) ([]record, error) {
	order := binary.LittleEndian
	if len(b) < 4 {
		return nil, errors.New("a part has no header")
	}
	n := order.Uint32(b)
	b = b[4:]
	if n == 0 && len(b) == 0 { // all were removed while it was written
		return nil, nil
	}
	if n > partSize || len(b) < int(n)*paperBytes {
		return nil, fmt.Errorf("a part has %d papers in %d bytes", n, len(b))
	}
	papers := make([]record, n)
	for i := range papers {
		r := &papers[i]
		if len(b) < paperBytes {
			return nil, fmt.Errorf("paper %d of %d of a part is missing", i, n)
		}
		r.ordinal, r.title, r.letters, r.shingles = order.Uint64(b), order.Uint64(b[8:]), order.Uint16(b[16:]), order.Uint16(b[18:])
		aliases := 8 * int(b[20])
		need := aliases
		if r.shingles > 0 {
			need += sketchSize
		}
		if b = b[paperBytes:]; len(b) < need || aliases > 8*MaxAliases {
			return nil, fmt.Errorf("paper %d has %d aliases, and %d bytes are left", r.ordinal, aliases/8, len(b))
		}
		for j := 8; j < aliases; j += 8 {
			if bytes.Compare(b[j-8:j], b[j:j+8]) >= 0 {
				return nil, fmt.Errorf("the aliases of paper %d are not in order", r.ordinal)
			}
		}
		r.aliases, b = string(b[:aliases]), b[aliases:]
		if r.shingles > 0 {
			b = b[copy(r.sketch[:], b):]
		}
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("a part has %d bytes more than its papers", len(b))
	}
	return papers, nil
}
