package works

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
)

const (
	// window is how far apart papers of a bucket may be to be compared.
	window = 8
	// MaxWork is the most papers that a work has beside the one that is asked about. Of more, those count that hang together with it over the
	// fewest links, and of those the first that were stored.
	MaxWork = 100
)

// Index holds papers by what they are compared by. All methods may be called from many goroutines at once; each sees all of an Add or a Remove,
// or nothing of it.
type Index struct {
	mu      sync.RWMutex      // guards what follows
	slots   map[uint64]uint32 // by ordinal
	chunks  [][]record        // the slots' papers; each chunk but the last has chunkSize
	free    []uint32          // slots that are nobody's
	buckets map[uint32]bucket // by key
	lists   [][]uint32        // of buckets with several papers: their slots, by ordinal
	unused  []uint32          // lists that are nobody's
	links   map[uint32][]link // by slot, those of papers that have some; by ordinal
}

// record is a paper. Ordinal 0 is nobody's.
type record struct {
	ordinal uint64
	Features
}

// bucket is the slot of the one paper that is in it or, with the top bit set, its list.
type bucket uint32

const several bucket = 1 << 31

// link goes to a paper that is alike.
type link struct {
	slot uint32
	n    uint32 // buckets in which the two are near
}

// chunkSize is how many papers get room at once.
const chunkSize = 1024

// New makes an index without papers.
func New() *Index { return newSized(0) }

func newSized(n int) *Index {
	return &Index{slots: make(map[uint64]uint32, n), buckets: make(map[uint32]bucket, n*(bands+2)), links: map[uint32][]link{}}
}

func (x *Index) at(slot uint32) *record { return &x.chunks[slot/chunkSize][slot%chunkSize] }

// Len is how many papers there are.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.slots)
}

// Contains tells whether there is a paper under an ordinal.
func (x *Index) Contains(ordinal uint64) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.slots[ordinal]
	return ok
}

// Ordinals are those of all papers, in no order.
func (x *Index) Ordinals() []uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := make([]uint64, 0, len(x.slots))
	for ordinal := range x.slots {
		all = append(all, ordinal)
	}
	return all
}

// Add puts a paper under an ordinal, which is above 0; one that is there already is replaced.
func (x *Index) Add(ordinal uint64, f Features) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if slot, ok := x.slots[ordinal]; ok {
		if x.at(slot).Features == f {
			return
		}
		x.remove(ordinal)
	}
	x.add(ordinal, f)
}

func (x *Index) add(ordinal uint64, f Features) {
	slot := x.take()
	*x.at(slot) = record{ordinal, f}
	x.slots[ordinal] = slot
	var room [MaxAliases + bands + 1]uint32
	for _, key := range f.keys(room[:0]) {
		x.enter(key, slot)
	}
}

// take gives a slot that is nobody's.
func (x *Index) take() uint32 {
	if n := len(x.free); n > 0 {
		slot := x.free[n-1]
		x.free = x.free[:n-1]
		return slot
	}
	last := len(x.chunks) - 1
	if last < 0 || len(x.chunks[last]) == chunkSize {
		x.chunks = append(x.chunks, make([]record, 0, chunkSize))
		last++
	}
	x.chunks[last] = append(x.chunks[last], record{})
	return uint32(last*chunkSize + len(x.chunks[last]) - 1)
}

// Remove takes a paper out, and tells whether it was there.
func (x *Index) Remove(ordinal uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.remove(ordinal)
}

func (x *Index) remove(ordinal uint64) bool {
	slot, ok := x.slots[ordinal]
	if !ok {
		return false
	}
	var room [MaxAliases + bands + 1]uint32
	for _, key := range x.at(slot).keys(room[:0]) {
		x.leave(key, slot)
	}
	*x.at(slot) = record{}
	delete(x.slots, ordinal)
	x.free = append(x.free, slot)
	return true
}

// members are the slots in a bucket, by ordinal. They are good until the next change.
func (x *Index) members(key uint32, one *[1]uint32) []uint32 {
	b, ok := x.buckets[key]
	switch {
	case !ok:
		return nil
	case b&several != 0:
		return x.lists[b&^several]
	}
	one[0] = uint32(b)
	return one[:]
}

// place is where a paper is, or would be, among slots that are in the order of ordinals.
func (x *Index) place(members []uint32, ordinal uint64) (int, bool) {
	return slices.BinarySearchFunc(members, ordinal, func(slot uint32, ordinal uint64) int { return cmp.Compare(x.at(slot).ordinal, ordinal) })
}

// enter puts a paper into a bucket, and links it with those near it. Those that it pushes out of each other's window lose a link.
func (x *Index) enter(key, slot uint32) {
	b, ok := x.buckets[key]
	if !ok {
		x.buckets[key] = bucket(slot)
		return
	}
	if b&several == 0 {
		list := uint32(len(x.lists))
		if n := len(x.unused); n > 0 {
			list, x.unused = x.unused[n-1], x.unused[:n-1]
		} else {
			x.lists = append(x.lists, nil)
		}
		x.lists[list] = append(x.lists[list][:0], uint32(b))
		b = bucket(list) | several
		x.buckets[key] = b
	}
	members := x.lists[b&^several]
	i, _ := x.place(members, x.at(slot).ordinal)
	x.around(members, i, i, func(near uint32) { x.join(slot, near) }, func(p, q uint32) { x.part(p, q) })
	x.lists[b&^several] = slices.Insert(members, i, slot)
}

// leave takes a paper out of a bucket. Those that come into each other's window are linked.
func (x *Index) leave(key, slot uint32) {
	b := x.buckets[key]
	if b&several == 0 {
		delete(x.buckets, key)
		return
	}
	list := uint32(b &^ several)
	members := x.lists[list]
	i, _ := x.place(members, x.at(slot).ordinal)
	x.around(members, i, i+1, func(near uint32) { x.part(slot, near) }, func(p, q uint32) { x.join(p, q) })
	members = slices.Delete(members, i, i+1)
	if x.lists[list] = members; len(members) == 1 {
		x.buckets[key] = bucket(members[0])
		x.lists[list] = nil
		x.unused = append(x.unused, list)
	}
}

// around walks what is about a place between two parts of a bucket, up to before and from after: near gets each that is in the window of
// what stands there, across each pair that is window apart without it, and more with it.
func (x *Index) around(members []uint32, before, after int, near func(uint32), across func(p, q uint32)) {
	for i := max(0, before-window); i < before; i++ {
		near(members[i])
		if j := after + window - (before - i); j < len(members) && j >= after {
			across(members[i], members[j])
		}
	}
	for _, slot := range members[after:min(len(members), after+window)] {
		near(slot)
	}
}

// join counts a bucket in which two papers are near, if they are alike.
func (x *Index) join(p, q uint32) {
	if Alike(&x.at(p).Features, &x.at(q).Features) {
		x.count(p, q, 1)
		x.count(q, p, 1)
	}
}

// part is the opposite of join.
func (x *Index) part(p, q uint32) {
	if Alike(&x.at(p).Features, &x.at(q).Features) {
		x.count(p, q, -1)
		x.count(q, p, -1)
	}
}

// count changes the number of a link of p to q, which is there as long as that is above 0.
func (x *Index) count(p, q uint32, by int) {
	all := x.links[p]
	i, found := slices.BinarySearchFunc(all, x.at(q).ordinal, func(l link, ordinal uint64) int { return cmp.Compare(x.at(l.slot).ordinal, ordinal) })
	if !found {
		all = slices.Insert(all, i, link{slot: q})
	}
	all[i].n = uint32(int(all[i].n) + by)
	if all[i].n == 0 {
		all = slices.Delete(all, i, i+1)
	}
	if len(all) == 0 {
		delete(x.links, p)
	} else {
		x.links[p] = all
	}
}

// Bytes is about how much memory the index takes.
func (x *Index) Bytes() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	const place, key = 27, 14 // of a place in a map of ordinals, and of keys, at a mean load
	n := int64(len(x.chunks))*chunkSize*recordSize + int64(len(x.slots))*place + int64(len(x.buckets))*key + int64(cap(x.free)+cap(x.unused))*4
	for _, c := range x.chunks {
		for i := range c {
			n += int64(len(c[i].aliases))
		}
	}
	for _, list := range x.lists {
		n += int64(cap(list))*4 + 24
	}
	for _, all := range x.links {
		n += int64(cap(all))*8 + 60
	}
	return n
}

// recordSize is the size of a record in memory.
const recordSize = 8 + 16 + 8 + 4 + sketchSize + 4

// packHashes writes hashes, ascending, each once.
func packHashes(hashes []uint64) string {
	slices.Sort(hashes)
	hashes = slices.Compact(hashes)
	out := make([]byte, 0, 8*len(hashes))
	for _, h := range hashes {
		out = binary.BigEndian.AppendUint64(out, h)
	}
	return string(out)
}

// unique leaves each key once.
func unique(keys []uint32) []uint32 {
	slices.Sort(keys)
	return slices.Compact(keys)
}
