package ann

import (
	"errors"
	"iter"
	"math"
	"sync/atomic"
)

// A link is a slot and, in its highest bit, whether the edge belongs to the spanning tree. A list of links ends at noLink or
// at its last place.
const (
	treeLink = 1 << 31
	slotMask = treeLink - 1
	noLink   = math.MaxUint32
)

// maxSlots is how many slots there can be: an entry of a pool has two bits beside the slot.
const maxSlots = 1 << 30

// arrays is what a search reads of an index: everything by slot. Where regions move when they grow, a new value is published,
// and searches that are under way go on with the old one.
type arrays struct {
	cap    int       // slots that there is room for
	codes  []byte    // stride bytes a slot: what is compared first
	fine   []byte    // Residual: stride bytes a slot, what the codes leave, in steps
	steps  []float32 // Residual: the steps
	floats []float32 // Fast, Lean: fstride values a slot
	sums   []int32   // the sum of a code's centred values
	errs   []float32 // the distance between a vector as it is kept and its code
	labels []uint64
	links  []uint32 // level 0: 2·M links a slot
	towers []uint32 // where the lists of the levels above 0 begin in high, in lists
	levels []uint8
	live   []uint64 // a bit a slot: it is in answers
	dead   []uint64 // a bit a slot: a tombstone
	high   []uint32 // levels above 0: M links a list, the lists of a slot one after the other
}

// memory owns the regions behind arrays.
type memory struct {
	codes  region[byte]
	fine   region[byte]
	steps  region[float32]
	floats region[float32]
	sums   region[int32]
	errs   region[float32]
	labels region[uint64]
	links  region[uint32]
	towers region[uint32]
	levels region[uint8]
	live   region[uint64]
	dead   region[uint64]
	high   region[uint32]
	table  table
}

// all visits the regions of slots with the number of elements that n slots need: the one place that says so.
func (x *Index) all(n int, visit func(grow func(n int) (bool, error), n int)) {
	m := x.mem
	visit(m.codes.grow, n*x.stride)
	if x.opt.Memory == Residual {
		visit(m.fine.grow, n*x.stride)
		visit(m.steps.grow, n)
	} else {
		visit(m.floats.grow, n*x.fstride)
	}
	visit(m.sums.grow, n)
	visit(m.errs.grow, n)
	visit(m.labels.grow, n)
	visit(m.links.grow, n*x.width(0))
	visit(m.towers.grow, n)
	visit(m.levels.grow, n)
	visit(m.live.grow, words(n))
	visit(m.dead.grow, words(n))
}

// reserve makes room for n slots and h lists above level 0. Nobody else changes the index meanwhile.
func (x *Index) reserve(n, h int) error {
	a := x.arrays.Load()
	changed := false
	if n > a.cap {
		n = max(n, min(maxSlots, a.cap+a.cap/4+64))
		var err error
		x.all(n, func(grow func(int) (bool, error), elements int) {
			if err == nil {
				_, err = grow(elements)
			}
		})
		if err != nil {
			return err
		}
		changed = true
	}
	if lists := len(a.high) / x.width(1); h > lists {
		h = max(h, lists+lists/4+16)
		if _, err := x.mem.high.grow(h * x.width(1)); err != nil {
			return err
		}
		changed = true
	}
	if changed {
		x.publish(max(n, a.cap))
	}
	return nil
}

// publish shows the regions to searches that begin from now on.
func (x *Index) publish(capacity int) {
	m := x.mem
	x.arrays.Store(&arrays{
		cap: capacity, codes: m.codes.data, fine: m.fine.data, steps: m.steps.data, floats: m.floats.data, sums: m.sums.data,
		errs: m.errs.data, labels: m.labels.data, links: m.links.data, towers: m.towers.data, levels: m.levels.data,
		live: m.live.data, dead: m.dead.data, high: m.high.data,
	})
}

// release frees every region.
func (m *memory) release() error {
	return errors.Join(m.codes.free(), m.fine.free(), m.steps.free(), m.floats.free(), m.sums.free(), m.errs.free(), m.labels.free(),
		m.links.free(), m.towers.free(), m.levels.free(), m.live.free(), m.dead.free(), m.high.free(), m.table.places.free())
}

// settle takes what is mapped from a file into memory of its own, but for the float32 rows of Lean.
func (m *memory) settle() error {
	return errors.Join(m.codes.settle(), m.fine.settle(), m.steps.settle(), m.sums.settle(), m.errs.settle(), m.labels.settle(), m.links.settle(),
		m.towers.settle(), m.levels.settle(), m.live.settle(), m.dead.settle(), m.high.settle(), m.table.places.settle())
}

// words is how many words n bits take.
func words(n int) int { return (n + 63) / 64 }

// Bits that one goroutine may change while others read.

func hasBit(bits []uint64, slot uint32) bool {
	return atomic.LoadUint64(&bits[slot/64])>>(slot%64)&1 == 1
}

func setBit(bits []uint64, slot uint32) { atomic.OrUint64(&bits[slot/64], 1<<(slot%64)) }

func clearBit(bits []uint64, slot uint32) {
	atomic.AndUint64(&bits[slot/64], ^(uint64(1) << (slot % 64)))
}

// width is how many links a list of a level has room for.
func (x *Index) width(level int) int {
	if level == 0 {
		return 2 * x.opt.M
	}
	return x.opt.M
}

// list is a slot's list of links on a level. Links are read and written atomically.
func (x *Index) list(a *arrays, slot uint32, level int) []uint32 {
	w := x.width(level)
	if level == 0 {
		return a.links[int(slot)*w:][:w:w]
	}
	at := int(atomic.LoadUint32(&a.towers[slot])) + level - 1
	if (at+1)*w > len(a.high) { // in a damaged file, or behind what this search knows
		return nil
	}
	return a.high[at*w:][:w:w]
}

// read appends the slots of a list to out, without their marks.
func read(list []uint32, n uint32, out []uint32) []uint32 {
	for i := range list {
		l := atomic.LoadUint32(&list[i])
		if l == noLink {
			break
		}
		if l &= slotMask; l < n {
			out = append(out, l)
		}
	}
	return out
}

// treeEdges gives the slots to which a list has edges of the spanning tree.
func treeEdges(list []uint32) iter.Seq[uint32] {
	return func(yield func(slot uint32) bool) {
		for i := range list {
			l := atomic.LoadUint32(&list[i])
			if l == noLink || l&treeLink != 0 && !yield(l&slotMask) {
				return
			}
		}
	}
}

// write replaces a list by links and ends it. A search that reads it meanwhile sees some of the old and some of the new ones.
func write(list, links []uint32) {
	for i, l := range links {
		atomic.StoreUint32(&list[i], l)
	}
	for i := len(links); i < len(list); i++ {
		atomic.StoreUint32(&list[i], noLink)
	}
}
