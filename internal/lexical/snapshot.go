package lexical

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"embedd/internal/parts"
)

// A snapshot has the form of package parts, and a part for each chunk, one after the other. All numbers are little-endian.
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

// form keeps, by its limit, a length that is wrong from being made room for: it is far more than a chunk takes.
var form = parts.Form{Magic: "embedd.lexical", Version: snapshotVersion, Most: 16 << 30}

// WriteSnapshot writes all papers that are there before it begins and are not removed until it ends; of others, some. Writers wait for
// the copy of one chunk at a time. A note has at most parts.MaxNote bytes.
func (x *Index) WriteSnapshot(w io.Writer, note []byte) error {
	x.mu.RLock()
	n := len(x.chunks)
	x.mu.RUnlock()
	return form.Write(w, note, n, func(i int) []byte {
		x.mu.RLock()
		defer x.mu.RUnlock()
		return x.chunks[i].encode()
	})
}

// SnapshotSize is about how many bytes WriteSnapshot would write.
func (x *Index) SnapshotSize() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := form.HeadSize()
	for _, c := range x.chunks {
		n += int64(c.size()) + parts.PartSize
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

// Note reads the beginning of a snapshot, and gives its note. What does not read as one is parts.ErrSnapshot.
func Note(r io.Reader) ([]byte, error) { return form.Note(r) }

// Take puts the papers of another index, which nobody else uses, in the place of this one's.
func (x *Index) Take(from *Index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.chunks, x.places, x.length = from.chunks, from.places, from.length
	x.scopes.changes++
}

// Open reads a snapshot to its end, proves its checksums, and gives its note. What does not read as one is parts.ErrSnapshot.
func Open(r io.Reader) (*Index, []byte, error) {
	x := New()
	note, err := form.Read(r, func(i, chunks int, body []byte) error {
		c, err := decodeChunk(body)
		if err != nil {
			return err
		}
		if n := len(c.ordinals); n == 0 || n < chunkSize && i < chunks-1 { // a small file must not need much memory
			return fmt.Errorf("chunk %d of %d has %d places; all but the last have %d", i, chunks, n, chunkSize)
		}
		for at, ordinal := range c.ordinals {
			if ordinal == 0 {
				continue
			}
			if _, twice := x.places[ordinal]; twice {
				return fmt.Errorf("paper %d is there twice", ordinal)
			}
			x.places[ordinal] = placeOf(i, at)
		}
		x.chunks = append(x.chunks, c)
		for _, length := range c.lengths {
			x.length += uint64(length)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return x, note, nil
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
