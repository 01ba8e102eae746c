package lexical

import (
	"encoding/binary"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// chunkSize is how many papers a chunk has room for: a posting has 16 bits for a place.
const chunkSize = 1 << 16

// Index holds the words of papers. All methods may be called from many goroutines at once; each sees all of an Add or a Remove, or nothing
// of it. Writers wait for each other and for the searches under way.
type Index struct {
	mu     sync.RWMutex // guards what follows
	chunks []*chunk
	places map[uint64]place // where each paper is
	length uint64           // of all papers
	scopes scopes

	kept atomic.Pointer[saturations] // of the mean length that was searched with last
}

// place is a chunk, in the upper bits, and a place in it.
type place uint64

func (p place) chunk() int   { return int(p >> 16) }
func (p place) at() uint32   { return uint32(p & 0xffff) }
func placeOf(c, i int) place { return place(c)<<16 | place(i) }

// posting is a place in a chunk, in the upper half, and a count. Postings are ordered as their places.
type posting uint32

func (p posting) at() uint32    { return uint32(p >> 16) }
func (p posting) count() uint32 { return uint32(p & 0xffff) }

// chunk holds up to chunkSize papers.
type chunk struct {
	ordinals []uint64 // by place; 0: nobody's
	lengths  []uint32 // by place, with a capacity of chunkSize
	has      [][]byte // by place: the lists that it is in, ascending, each as a varint of the difference to the one before
	free     []uint16 // places that are nobody's

	terms map[string]uint32  // where a word's list is
	names []string           // the words by list
	lists [][]posting        // each ascending
	long  map[uint32]*counts // of the lists that have them
}

// New makes an index without papers.
func New() *Index { return &Index{scopes: newScopes(), places: map[uint64]place{}} }

func newChunk() *chunk {
	return &chunk{lengths: make([]uint32, 0, chunkSize), terms: map[string]uint32{}, long: map[uint32]*counts{}}
}

// Len is how many papers there are.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.places)
}

// Contains tells whether there is a paper under an ordinal.
func (x *Index) Contains(ordinal uint64) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.places[ordinal]
	return ok
}

// Ordinals are those of all papers, in no order.
func (x *Index) Ordinals() []uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := make([]uint64, 0, len(x.places))
	for ordinal := range x.places {
		all = append(all, ordinal)
	}
	return all
}

// Add puts a paper under an ordinal, which is above 0; one that is there already is replaced.
func (x *Index) Add(ordinal uint64, d Doc) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(ordinal)
	x.scopes.changes++
	c := slices.IndexFunc(x.chunks, func(c *chunk) bool { return len(c.ordinals) < chunkSize || len(c.free) > 0 })
	if c < 0 {
		c = len(x.chunks)
		x.chunks = append(x.chunks, newChunk())
	}
	x.places[ordinal] = placeOf(c, x.chunks[c].add(ordinal, d))
	x.length += uint64(d.length)
}

// add gives the place.
func (c *chunk) add(ordinal uint64, d Doc) int {
	at := len(c.ordinals)
	if n := len(c.free); n > 0 {
		at, c.free = int(c.free[n-1]), c.free[:n-1]
	} else {
		c.ordinals, c.lengths, c.has = append(c.ordinals, 0), append(c.lengths, 0), append(c.has, nil)
	}
	lists := make([]uint32, 0, len(d.counts))
	for _, t := range d.counts {
		i, known := c.terms[t.term]
		if !known {
			i = uint32(len(c.lists))
			name := strings.Clone(t.term)
			c.terms[name] = i
			c.names, c.lists = append(c.names, name), append(c.lists, nil)
		}
		c.lists[i] = insert(c.lists[i], posting(at)<<16|posting(t.n))
		if n := len(c.lists[i]); n >= countsTo {
			if by := c.long[i]; by != nil {
				by.set(uint32(at), t.n)
			} else if n >= countsFrom {
				c.long[i] = countsOf(c.lists[i])
			}
		}
		lists = append(lists, i)
	}
	slices.Sort(lists)
	c.ordinals[at], c.lengths[at], c.has[at] = ordinal, d.length, pack(lists)
	return at
}

// insert puts a posting in its place, which is the end but for papers that take the place of another.
func insert(list []posting, p posting) []posting {
	if n := len(list); n == 0 || list[n-1] < p {
		return append(list, p)
	}
	i, _ := slices.BinarySearch(list, p)
	return slices.Insert(list, i, p)
}

// find gives where a place is in a list, or would be.
func find(list []posting, at uint32) (i int, there bool) {
	i, _ = slices.BinarySearch(list, posting(at)<<16)
	return i, i < len(list) && list[i].at() == at
}

// pack writes ascending numbers as differences.
func pack(lists []uint32) []byte {
	var buf []byte
	last := uint32(0)
	for _, i := range lists {
		buf = binary.AppendUvarint(buf, uint64(i-last))
		last = i
	}
	return slices.Clip(slices.Clone(buf))
}

// Remove takes a paper out, and tells whether it was there.
func (x *Index) Remove(ordinal uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.remove(ordinal)
}

func (x *Index) remove(ordinal uint64) bool {
	p, ok := x.places[ordinal]
	if !ok {
		return false
	}
	delete(x.places, ordinal)
	x.scopes.changes++
	c := x.chunks[p.chunk()]
	x.length -= uint64(c.lengths[p.at()])
	c.remove(p.at())
	return true
}

func (c *chunk) remove(at uint32) {
	for i := range unpack(c.has[at]) {
		if j, there := find(c.lists[i], at); there {
			c.lists[i] = slices.Delete(c.lists[i], j, j+1)
			if n := len(c.lists[i]); n >= countsTo {
				if by := c.long[i]; by != nil {
					by.set(at, 0)
				}
			} else if n == countsTo-1 {
				delete(c.long, i)
			}
		}
	}
	c.ordinals[at], c.lengths[at], c.has[at] = 0, 0, nil
	c.free = append(c.free, uint16(at))
}

// unpack gives the numbers that pack has written.
func unpack(has []byte) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		at := uint32(0)
		for len(has) > 0 {
			d, n := binary.Uvarint(has)
			at, has = at+uint32(d), has[n:]
			if !yield(at) {
				return
			}
		}
	}
}

// Bytes is about how much memory the index takes.
func (x *Index) Bytes() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := int64(len(x.places))*40 + x.scopes.bytes()
	for _, c := range x.chunks {
		n += int64(cap(c.ordinals))*8 + int64(cap(c.lengths))*4 + int64(cap(c.has))*24 + int64(cap(c.free))*2 + int64(len(c.long))*chunkSize/2
		for _, has := range c.has {
			n += int64(cap(has))
		}
		for i, list := range c.lists {
			n += int64(cap(list))*4 + int64(len(c.names[i])) + 88 // headers, and a place of the table
		}
	}
	return n
}

// bm25 has the parameters of the score.
const (
	k1 = 1.2
	b  = 0.75
)

// idf is a word's weight, of which df of n papers have it.
func idf(n, df int) float64 {
	return math.Log(1 + (float64(n)-float64(df)+0.5)/(float64(df)+0.5))
}
