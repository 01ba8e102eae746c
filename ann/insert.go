package ann

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

type stripe = sync.Mutex

// Insert adds a vector, which is copied; searches find it once Insert has returned. A label that is live is ErrExists; one that was
// deleted may be used again. Many goroutines may insert at once. Algorithm 1 of the paper.
func (x *Index) Insert(label uint64, v []float32) error {
	if err := x.checkVector(v); err != nil {
		return err
	}
	if err := x.ready(); err != nil {
		return err
	}
	slot, err := x.take(label)
	if err != nil {
		return err
	}
	a := x.arrays.Load()
	x.store(a, slot, v)
	x.connect(slot)
	setBit(a.live, slot)
	x.size.Add(1)
	x.writers.RUnlock()
	runtime.Gosched() // a search that waits for a core goes first
	return nil
}

// take gives a label a slot with empty lists, and returns with writers held for reading.
func (x *Index) take(label uint64) (uint32, error) {
	level := x.levelOf(label)
	for {
		x.writers.RLock()
		x.mu.Lock()
		slot, ok, err := x.takeLocked(label, level)
		x.mu.Unlock()
		if ok {
			return slot, nil
		}
		x.writers.RUnlock()
		if err != nil {
			return 0, err
		}
		x.writers.Lock() // growing may move the lists that others are writing
		x.mu.Lock()
		err = x.room(1, level)
		x.mu.Unlock()
		x.writers.Unlock()
		if err != nil {
			return 0, err
		}
	}
}

// room makes room for n slots and h lists above level 0 more. Both locks are held.
func (x *Index) room(n, h int) error {
	if x.closed {
		return ErrClosed
	}
	count := int(x.count.Load())
	if count+n > maxSlots {
		return ErrFull
	}
	if err := x.reserve(count+n, x.highs+h); err != nil {
		return err
	}
	return x.mem.table.reserve(x.arrays.Load(), x.mem.table.used+n)
}

// takeLocked gives a label a slot. It is not ok where there is no room for one yet.
func (x *Index) takeLocked(label uint64, level int) (slot uint32, ok bool, err error) {
	if x.closed {
		return 0, false, ErrClosed
	}
	a := x.arrays.Load()
	if _, exists := x.mem.table.get(a, label); exists {
		return 0, false, fmt.Errorf("%w: %d", ErrExists, label)
	}
	if 4*(x.mem.table.used+1) > 3*len(x.mem.table.places.data) {
		return 0, false, nil
	}
	tower := uint32(x.highs)
	reuse := level > 0 && len(x.spare[level]) > 0
	if level > 0 && !reuse && (x.highs+level)*x.width(1) > len(a.high) {
		return 0, false, nil
	}
	if n := len(x.free); n > 0 {
		slot = x.free[n-1]
		x.free = x.free[:n-1]
	} else {
		slot = x.count.Load()
		if int(slot) == a.cap {
			return 0, false, nil
		}
	}
	switch {
	case reuse:
		n := len(x.spare[level])
		tower = x.spare[level][n-1]
		x.spare[level] = x.spare[level][:n-1]
	case level > 0:
		x.highs += level
	}
	a.labels[slot] = label
	a.levels[slot] = uint8(level)
	atomic.StoreUint32(&a.towers[slot], tower)
	for l := 0; l <= level; l++ {
		write(x.list(a, slot, l), nil)
	}
	if slot == x.count.Load() {
		x.count.Add(1)
	}
	x.mem.table.add(a, slot)
	return slot, true, nil
}

// levelOf draws the level of a label: ⌊-ln(u)/ln(M)⌋ with u from a hash of seed and label, so that it does not depend on
// the order of insertion.
func (x *Index) levelOf(label uint64) int {
	h := mix(mix(x.opt.Seed+0x9e3779b97f4a7c15) ^ label)
	u := (float64(h>>11) + 1) / (1 << 53) // in (0, 1]
	return min(int(-math.Log(u)/math.Log(float64(x.opt.M))), maxLevel)
}

// connect links a slot, whose code is in place and whose lists are empty, into the graph.
func (x *Index) connect(slot uint32) {
	w := x.look()
	level := int(w.levels[slot])
	if x.begins(slot, level) {
		return
	}
	w = x.look()
	s := x.searcher()
	defer x.searchers.Put(s)
	d := x.draft(s, w, slot)
	// From level 0 up, so that whoever finds the slot above finds it linked below. It is not found before adopt.
	x.add(s, w, slot, 0, d.links[0]...)
	parent := x.adopt(s, w, slot, d.near)
	for l, links := range d.links {
		if l > 0 {
			x.add(s, w, slot, l, links...) // nobody else has found it on this level
		}
		for _, n := range links {
			if l > 0 || n != parent {
				lock := x.stripe(n)
				lock.Lock()
				x.add(s, w, n, l, slot)
				lock.Unlock()
			}
		}
	}
	x.rise(slot, level)
}

// begins makes a slot the entry point of an index that has none, and tells whether it had none.
func (x *Index) begins(slot uint32, level int) bool {
	return x.entry.CompareAndSwap(noEntry, uint64(level)<<32|uint64(slot))
}

// rise makes a slot the entry point if its level is above it.
func (x *Index) rise(slot uint32, level int) {
	for {
		e := x.entry.Load()
		if level <= int(e>>32) || x.entry.CompareAndSwap(e, uint64(level)<<32|uint64(slot)) {
			return
		}
	}
}

// draft is what a new slot is to be linked with.
type draft struct {
	links [][]uint32 // by level
	near  []entry    // the candidates of level 0, nearest first
}

// draft searches the neighbourhood of a slot from the top down, and chooses its links. Nothing is changed.
func (x *Index) draft(s *searcher, w view, slot uint32) draft {
	s.probe.ofSlot(x, w.arrays, slot)
	from, top := uint32(w.entry), int(w.entry>>32)
	level := int(w.levels[slot])
	for l := top; l > level; l-- {
		from = x.descend(s, w, from, l)
	}
	d := draft{links: make([][]uint32, min(top, level)+1)}
	for l := min(top, level); l >= 0; l-- {
		s.pool.begin(x.opt.EfConstruction)
		x.walk(s, w, from, l, admission{all: true}, int(w.n))
		from = s.pool.list[0].slot()
		d.near = make([]entry, 0, len(s.pool.list))
		for _, e := range s.pool.list {
			d.near = append(d.near, entryOf(s.probe.similarity(e.dot()), e.slot()))
		}
		d.links[l] = slices.Clone(x.choose(s, w.arrays, d.near, x.opt.M))
	}
	return d
}

// adopt gives a new slot, which nobody has found yet, its first edge in the spanning tree, to the nearest candidate with room for one.
func (x *Index) adopt(s *searcher, w view, slot uint32, near []entry) uint32 {
	tie := func(parent uint32) bool {
		lock := x.stripe(parent)
		lock.Lock()
		defer lock.Unlock()
		if x.degree(w.arrays, parent) >= x.maxDegree() {
			return false
		}
		x.add(s, w, slot, 0, parent|treeLink)
		x.add(s, w, parent, 0, slot|treeLink)
		return true
	}
	for _, c := range near {
		if tie(c.slot()) {
			return c.slot()
		}
	}
	return x.roomBelow(w.arrays, near[0].slot(), tie)
}
