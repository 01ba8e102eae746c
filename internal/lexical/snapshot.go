package lexical

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"slices"
)

// A snapshot is a header and then the chunks, one after the other. All numbers are little-endian.
//
//	| "embedd.lexical" | version u16 | length of the note u32 | chunks u32 | the note | CRC-32C of all before u32 |
//	| of each chunk: its length u64 | its body | CRC-32C of both u32 |
//
// The body of a chunk of n papers and m words:
//
//	| n u32 | m u32 | n ordinals u64, 0 for a place that is nobody's | n lengths u32 |
//	| of each word: bytes u8, postings u32 | the words, one after the other | the postings u32, one list after the other |
//
// The postings of a list are written as they ascend, and may be read in any order: the first release had none.

// snapshotVersion is the version that is written, and the only one that is read. Another way to find words in texts, or to count them,
// needs another one.
const snapshotVersion = 1

const (
	snapshotMagic = "embedd.lexical"
	// MaxNote is the longest note of a snapshot, in bytes.
	MaxNote = 4096
	// maxBody is far more than a chunk takes: it keeps a length that is wrong from being made room for.
	maxBody = 16 << 30
)

// ErrSnapshot says that a snapshot cannot be used: it is damaged, cut short, or of another version.
var ErrSnapshot = errors.New("unusable snapshot")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteSnapshot writes all papers that are there before it begins and are not removed until it ends; of others, some. Writers wait for
// the copy of one chunk at a time.
func (x *Index) WriteSnapshot(w io.Writer, note []byte) error {
	if len(note) > MaxNote {
		return fmt.Errorf("the note has %d bytes; the limit is %d", len(note), MaxNote)
	}
	x.mu.RLock()
	n := len(x.chunks)
	x.mu.RUnlock()
	head := binary.LittleEndian.AppendUint16([]byte(snapshotMagic), snapshotVersion)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(note)))
	head = binary.LittleEndian.AppendUint32(head, uint32(n))
	head = append(head, note...)
	if _, err := w.Write(binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))); err != nil {
		return err
	}
	for i := range n {
		x.mu.RLock()
		body := x.chunks[i].encode()
		x.mu.RUnlock()
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

// SnapshotSize is about how many bytes WriteSnapshot would write.
func (x *Index) SnapshotSize() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := int64(len(snapshotMagic) + MaxNote + 64)
	for _, c := range x.chunks {
		n += int64(c.size()) + 12
	}
	return n
}

func (c *chunk) size() int {
	n := 8 + len(c.ordinals)*12
	for i, list := range c.used() {
		n += 5 + len(c.names[i]) + 4*len(list)
	}
	return n
}

// used gives the lists of words that some paper has.
func (c *chunk) used() iter.Seq2[int, []posting] {
	return func(yield func(int, []posting) bool) {
		for i, list := range c.lists {
			if len(list) > 0 && !yield(i, list) {
				return
			}
		}
	}
}

func (c *chunk) encode() []byte {
	order := binary.LittleEndian
	out := make([]byte, 0, c.size())
	out = order.AppendUint32(out, uint32(len(c.ordinals)))
	words := 0
	for range c.used() {
		words++
	}
	out = order.AppendUint32(out, uint32(words))
	for _, ordinal := range c.ordinals {
		out = order.AppendUint64(out, ordinal)
	}
	for _, length := range c.lengths {
		out = order.AppendUint32(out, length)
	}
	for i, list := range c.used() {
		out = order.AppendUint32(append(out, byte(len(c.names[i]))), uint32(len(list)))
	}
	for i := range c.used() {
		out = append(out, c.names[i]...)
	}
	for _, list := range c.used() {
		for _, p := range list {
			out = order.AppendUint32(out, uint32(p))
		}
	}
	return out
}

// Note reads the beginning of a snapshot, and gives its note. What does not read as one is ErrSnapshot.
func Note(r io.Reader) ([]byte, error) {
	note, _, err := readHead(r)
	return note, err
}

func readHead(r io.Reader) (note []byte, chunks uint32, err error) {
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
	size, chunks := order.Uint32(rest[2:]), order.Uint32(rest[6:])
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
	return note, chunks, nil
}

// Take puts the papers of another index, which nobody else uses, in the place of this one's.
func (x *Index) Take(from *Index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.chunks, x.places, x.length = from.chunks, from.places, from.length
	x.scopes.changes++
}

// Open reads a snapshot to its end, proves its checksums, and gives its note. What does not read as one is ErrSnapshot.
func Open(r io.Reader) (*Index, []byte, error) {
	fail := func(format string, a ...any) (*Index, []byte, error) {
		return nil, nil, fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, a...))
	}
	note, chunks, err := readHead(r)
	if err != nil {
		return nil, nil, err
	}
	x := New()
	for i := range int(chunks) {
		c, err := readChunk(r)
		if err != nil {
			return nil, nil, err
		}
		if n := len(c.ordinals); n == 0 || n < chunkSize && i < int(chunks)-1 { // a small file must not need much memory
			return fail("chunk %d of %d has %d places; all but the last have %d", i, chunks, n, chunkSize)
		}
		for at, ordinal := range c.ordinals {
			if ordinal == 0 {
				continue
			}
			if _, twice := x.places[ordinal]; twice {
				return fail("paper %d is there twice", ordinal)
			}
			x.places[ordinal] = placeOf(i, at)
		}
		x.chunks = append(x.chunks, c)
		for _, length := range c.lengths {
			x.length += uint64(length)
		}
	}
	if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return fail("it has more than its %d chunks", chunks)
	} else if err != io.EOF {
		return nil, nil, err
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

func readChunk(r io.Reader) (*chunk, error) {
	size := make([]byte, 8)
	if err := readAll(r, size); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(size)
	if n > maxBody {
		return nil, fmt.Errorf("%w: a chunk has %d bytes", ErrSnapshot, n)
	}
	// A length that is wrong is found before it is made room for, where there is less.
	var b bytes.Buffer
	if got, err := io.CopyN(&b, r, int64(n)+4); err == io.EOF {
		return nil, fmt.Errorf("%w: it is cut short in a chunk of %d bytes, of which there are %d", ErrSnapshot, n, got)
	} else if err != nil {
		return nil, err
	}
	body, sum := b.Bytes()[:n], binary.LittleEndian.Uint32(b.Bytes()[n:])
	if crc32.Update(crc32.Checksum(size, castagnoli), castagnoli, body) != sum {
		return nil, fmt.Errorf("%w: the checksum of a chunk is wrong", ErrSnapshot)
	}
	c, err := decodeChunk(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return c, nil
}

// decodeChunk proves what a search relies on; Check proves the rest.
func decodeChunk(b []byte) (*chunk, error) {
	order := binary.LittleEndian
	if len(b) < 8 {
		return nil, errors.New("a chunk has no header")
	}
	n, m := int(order.Uint32(b)), int(order.Uint32(b[4:]))
	b = b[8:]
	if n > chunkSize || len(b) < 12*n || (len(b)-12*n)/5 < m {
		return nil, fmt.Errorf("a chunk has %d papers and %d words in %d bytes", n, m, len(b))
	}
	c := &chunk{ordinals: make([]uint64, n), lengths: make([]uint32, n, chunkSize), has: make([][]byte, n), terms: make(map[string]uint32, m), names: make([]string, m), lists: make([][]posting, m), long: map[uint32]*counts{}}
	for i := range n {
		c.ordinals[i], c.lengths[i] = order.Uint64(b[8*i:]), order.Uint32(b[8*n+4*i:])
		if c.ordinals[i] == 0 {
			c.free = append(c.free, uint16(i))
		}
	}
	heads, b := b[12*n:12*n+5*m], b[12*n+5*m:]
	var text, all uint64
	for i := range m {
		text, all = text+uint64(heads[5*i]), all+uint64(order.Uint32(heads[5*i+1:]))
		if all > uint64(len(b))/4 {
			break
		}
	}
	if text+4*all != uint64(len(b)) {
		return nil, fmt.Errorf("a chunk's words and postings need %d bytes, and there are %d", text+4*all, len(b))
	}
	names, b := string(b[:text]), b[text:]
	postings := make([]posting, all)
	for i := range postings {
		if postings[i] = posting(order.Uint32(b[4*i:])); int(postings[i].at()) >= n {
			return nil, fmt.Errorf("a word is in place %d of %d", postings[i].at(), n)
		}
	}
	last := make([]uint32, n) // the list that has the place, of those so far
	for i := range m {
		size, length := int(heads[5*i]), int(order.Uint32(heads[5*i+1:]))
		c.names[i], names = names[:size], names[size:]
		c.lists[i], postings = slices.Clip(postings[:length]), postings[length:]
		c.terms[c.names[i]] = uint32(i)
		for _, p := range c.lists[i] {
			at := p.at()
			if c.ordinals[at] == 0 || p.count() == 0 || i > 0 && last[at] == uint32(i) || i == 0 && len(c.has[at]) > 0 {
				return nil, fmt.Errorf("a word is in place %d, which is nobody's, or is there twice", at)
			}
			c.has[at] = binary.AppendUvarint(c.has[at], uint64(uint32(i)-last[at]))
			last[at] = uint32(i)
		}
		slices.Sort(c.lists[i]) // no work where they are
		if len(c.lists[i]) >= countsFrom {
			c.long[uint32(i)] = countsOf(c.lists[i])
		}
	}
	if len(c.terms) != m {
		return nil, errors.New("a word is there twice")
	}
	return c, nil
}
