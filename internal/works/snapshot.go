package works

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"embedd/internal/parts"
)

// A snapshot has the form of package parts, with parts of up to partSize papers, by ordinal. All numbers are little-endian but the aliases' hashes.
// Buckets and links are made anew.
//
// The body of a part:
//
//	| papers u32 |
//	| of each: ordinal u64 | title u64 | letters of the title u16 | shingles u16 | aliases u8 | their hashes, 8 bytes each | of shingles above 0: the sketch |

// snapshotVersion is the version that is written, and the only one that is read. Another way to read ids, to find words in texts, or to sketch
// them, needs another one.
const snapshotVersion = 1

const (
	partSize = 4096
	// paperBytes is what a paper takes at least, and mostBytes at most.
	paperBytes = 8 + 8 + 2 + 2 + 1
	mostBytes  = paperBytes + 8*MaxAliases + sketchSize
)

var form = parts.Form{Magic: "embedd.works", Version: snapshotVersion, Most: 4 + partSize*mostBytes}

// WriteSnapshot writes all papers that are there before it begins and are not removed until it ends. Writers wait for the copy of one part at a
// time. Equal papers give equal bytes, whatever there was before. A note has at most parts.MaxNote bytes.
func (x *Index) WriteSnapshot(w io.Writer, note []byte) error {
	ordinals := slices.Sorted(slices.Values(x.Ordinals()))
	some := slices.Collect(slices.Chunk(ordinals, partSize))
	return form.Write(w, note, len(some), func(i int) []byte { return x.encode(some[i]) })
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
	n := form.HeadSize() + int64(len(x.slots)/partSize+1)*(parts.PartSize+4)
	for _, c := range x.chunks {
		for i := range c {
			if c[i].ordinal != 0 {
				n += int64(paperBytes + len(c[i].aliases) + sketchSize)
			}
		}
	}
	return n
}

// Note reads the beginning of a snapshot, and gives its note. What does not read as one is parts.ErrSnapshot.
func Note(r io.Reader) ([]byte, error) { return form.Note(r) }

// Take puts the papers of another index, which nobody else uses, in the place of this one's.
func (x *Index) Take(from *Index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.slots, x.chunks, x.free, x.buckets, x.lists, x.unused, x.links = from.slots, from.chunks, from.free, from.buckets, from.lists, from.unused, from.links
}

// Open reads a snapshot to its end, proves its checksums, and gives its note. What does not read as one is parts.ErrSnapshot.
func Open(r io.Reader) (*Index, []byte, error) {
	var papers []record
	note, err := form.Read(r, func(_, _ int, body []byte) error {
		some, err := decodePart(body)
		papers = append(papers, some...)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	x := newSized(len(papers))
	last := uint64(0)
	for i := range papers {
		if papers[i].ordinal <= last {
			return nil, nil, fmt.Errorf("%w: paper %d comes after %d", parts.ErrSnapshot, papers[i].ordinal, last)
		}
		last = papers[i].ordinal
		x.add(last, papers[i].Features)
	}
	return x, note, nil
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
