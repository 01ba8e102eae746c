package ann

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// maxReported is how many violations Check names one by one.
const maxReported = 20

// Check proves the numbered invariants of the package comment, and returns an error that names each violation (the first
// twenty). It reads everything; inserts wait meanwhile. After Close it is ErrClosed.
func (x *Index) Check() error {
	x.writers.Lock()
	defer x.writers.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	c := checker{x: x, w: x.look()}
	c.vectors()
	c.labels()
	c.links()
	if len(c.errs) == 0 { // walking broken links would only break more
		c.tree()
	}
	return errors.Join(c.errs...)
}

// checker is one Check.
type checker struct {
	x    *Index
	w    view
	errs []error
}

func (c *checker) bad(invariant int, format string, a ...any) {
	if len(c.errs) < maxReported {
		c.errs = append(c.errs, fmt.Errorf("invariant %d: %s", invariant, fmt.Sprintf(format, a...)))
	}
}

// used tells whether a slot is in the graph.
func (c *checker) used(slot uint32) bool { return hasBit(c.w.live, slot) || hasBit(c.w.dead, slot) }

// vectors proves invariants 1 and 6.
func (c *checker) vectors() {
	x, w := c.x, c.w
	again := &arrays{codes: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(make([]uint64, x.stride/8)))), x.stride), sums: make([]int32, 1), errs: make([]float32, 1), fine: make([]byte, x.stride), steps: make([]float32, 1),
		floats: make([]float32, x.fstride)}
	for slot := range w.n {
		if !c.used(slot) {
			continue
		}
		var norm float64
		v := x.vector(w.arrays, slot)
		for _, f := range v {
			norm += float64(f) * float64(f)
		}
		tolerance := 2 * normTolerance // what is kept may be off by as much again
		if x.opt.Memory == Residual {
			tolerance += x.fineError(w.steps[slot])
		}
		if norm = math.Sqrt(norm); !(math.Abs(norm-1) <= tolerance) {
			c.bad(1, "slot %d has norm %v", slot, norm)
			continue
		}
		code := w.codes[int(slot)*x.stride:][:x.stride]
		if x.opt.Code == Bit {
			if x.store(again, 0, v); !slices.Equal(again.codes, code) {
				c.bad(6, "slot %d: its code is not that of its vector", slot)
			}
			continue
		}
		if slices.ContainsFunc(code, func(b byte) bool { return b > centre+mostCode || b < centre-mostCode }) {
			c.bad(6, "slot %d: a value of its code is out of range", slot)
			continue
		}
		if x.opt.Memory != Residual {
			x.store(again, 0, v)
			if !slices.Equal(again.codes, code) || again.sums[0] != w.sums[slot] || again.errs[0] != w.errs[slot] {
				c.bad(6, "slot %d: its code is not that of its vector", slot)
			}
			continue
		}
		var sum int32
		var left float64
		for j := range code {
			sum += int32(code[j]) - centre
			if j >= x.dim && code[j] != centre {
				c.bad(6, "slot %d: its code does not end with its values", slot)
			}
			f := float64(int8(w.fine[int(slot)*x.stride+j])) * float64(w.steps[slot])
			left += f * f
		}
		if sum != w.sums[slot] {
			c.bad(6, "slot %d: the sum of its code is %d, kept as %d", slot, sum, w.sums[slot])
		}
		if slack := x.fineError(w.steps[slot]) + rounding; !(math.Abs(math.Sqrt(left)-float64(w.errs[slot])) <= slack) {
			c.bad(6, "slot %d: its code leaves %v, kept as %v", slot, math.Sqrt(left), w.errs[slot])
		}
	}
}

// fineError is how far what the residual mode keeps of a vector may be from it: each value is rounded by up to half a step, and a
// step is long where a few values are many times the others.
func (x *Index) fineError(step float32) float64 { return float64(step) * math.Sqrt(float64(x.dim)) / 2 }

// labels proves invariant 2.
func (c *checker) labels() {
	x, w := c.x, c.w
	live, dead := 0, 0
	for slot := range w.n {
		at, known := x.mem.table.get(w.arrays, w.labels[slot])
		switch {
		case hasBit(w.live, slot) && hasBit(w.dead, slot):
			c.bad(2, "slot %d is both live and a tombstone", slot)
		case hasBit(w.live, slot):
			live++
			if !known || at != slot {
				c.bad(2, "slot %d holds label %d, which is not known there", slot, w.labels[slot])
			}
		case hasBit(w.dead, slot):
			dead++
			fallthrough
		default:
			if known && at == slot {
				c.bad(2, "label %d is live in slot %d, which is not", w.labels[slot], slot)
			}
		}
	}
	for slot := w.n; slot < uint32(64*words(int(w.n))); slot++ {
		if hasBit(w.live, slot) || hasBit(w.dead, slot) {
			c.bad(2, "slot %d is in use, there are %d", slot, w.n)
		}
	}
	places := 0
	for _, slot := range x.mem.table.places.data {
		if slot != noLink {
			places++
		}
	}
	if places != x.mem.table.used {
		c.bad(2, "%d places of the table of labels are taken, counted as %d", places, x.mem.table.used)
	}
	if live != x.Len() || dead != x.Tombstones() || live != x.mem.table.used || live+dead+len(x.free) != int(w.n) {
		c.bad(2, "%d live, %d tombstones and %d free in %d slots; counted as %d and %d, %d labels", live, dead, len(x.free), w.n, x.Len(), x.Tombstones(), x.mem.table.used)
	}
	for _, slot := range x.free {
		if slot >= w.n || c.used(slot) {
			c.bad(2, "slot %d is used and free", slot)
		}
	}
}

// links proves invariants 3 and 4.
func (c *checker) links() {
	x, w := c.x, c.w
	seen := make([]uint64, w.n) // by slot: the list in which it stood last
	list := uint64(0)
	top := -1
	for slot := range w.n {
		if !c.used(slot) {
			continue
		}
		if w.levels[slot] > maxLevel {
			c.bad(3, "slot %d has level %d", slot, w.levels[slot])
			continue
		}
		top = max(top, int(w.levels[slot]))
		for level := 0; level <= int(w.levels[slot]); level++ {
			list++
			l := x.list(w.arrays, slot, level)
			if l == nil {
				c.bad(3, "slot %d has no list on level %d", slot, level)
				continue
			}
			end := slices.Index(l, noLink)
			if end < 0 {
				end = len(l)
			}
			if slices.ContainsFunc(l[end:], func(link uint32) bool { return link != noLink }) {
				c.bad(3, "slot %d has links behind the end of its list on level %d", slot, level)
			}
			for _, link := range l[:end] {
				to := link & slotMask
				switch {
				case to >= w.n:
					c.bad(3, "slot %d is linked on level %d to %d, there are %d slots", slot, level, to, w.n)
					continue
				case to == slot:
					c.bad(3, "slot %d is linked to itself on level %d", slot, level)
				case !c.used(to):
					c.bad(3, "slot %d is linked on level %d to %d, which is free", slot, level, to)
				case int(w.levels[to]) < level:
					c.bad(3, "slot %d is linked on level %d to %d, whose level is %d", slot, level, to, w.levels[to])
				case seen[to] == list:
					c.bad(3, "slot %d is linked twice to %d on level %d", slot, to, level)
				case level > 0 && link&treeLink != 0:
					c.bad(3, "slot %d is linked on level %d to %d by an edge of the spanning tree", slot, level, to)
				}
				seen[to] = list
			}
		}
	}
	switch entry := uint32(w.entry); {
	case top < 0 && w.entry != noEntry:
		c.bad(4, "the entry point of an empty index is %d", entry)
	case top >= 0 && w.entry == noEntry:
		c.bad(4, "there is no entry point")
	case top >= 0 && (entry >= w.n || !c.used(entry)):
		c.bad(4, "the entry point is %d, which is not used", entry)
	case top >= 0 && (int(w.entry>>32) != int(w.levels[entry]) || int(w.levels[entry]) != top):
		c.bad(4, "the entry point %d has level %d, kept as %d; the top is %d", entry, w.levels[entry], w.entry>>32, top)
	}
}

// tree proves invariant 5: the marked edges are marked on both sides, join all slots, and are one fewer than they are; and, apart
// from that, a walk from the entry point over the links of level 0 comes to every slot.
func (c *checker) tree() {
	x, w := c.x, c.w
	part := newParts(int(w.n))
	slots, edges := 0, 0
	for slot := range w.n {
		if !c.used(slot) {
			continue
		}
		slots++
		degree := 0
		for to := range treeEdges(x.list(w.arrays, slot, 0)) {
			degree++
			if !slices.Contains(x.list(w.arrays, to, 0), slot|treeLink) {
				c.bad(5, "the edge from slot %d to %d has no other side", slot, to)
			}
			if slot < to {
				edges++
				if !part.join(slot, to) {
					c.bad(5, "the edge from slot %d to %d closes a circle", slot, to)
				}
			}
		}
		if degree > x.maxDegree() {
			c.bad(5, "slot %d has %d edges, at most %d are allowed", slot, degree, x.maxDegree())
		}
	}
	if slots > 0 && edges != slots-1 {
		c.bad(5, "%d edges for %d slots", edges, slots)
	}
	if unreached := x.unreached(w); unreached > 0 {
		c.bad(5, "%d of %d slots cannot be reached from the entry point", unreached, slots)
	}
}

// unreached counts the used slots to which no walk over the links of level 0 comes from the entry point.
func (x *Index) unreached(w view) int {
	reached := make([]bool, w.n)
	left := 0
	for slot := range w.n {
		if hasBit(w.live, slot) || hasBit(w.dead, slot) {
			left++
		}
	}
	if w.entry == noEntry {
		return left
	}
	queue := []uint32{uint32(w.entry)}
	reached[queue[0]] = true
	left--
	var links []uint32
	for len(queue) > 0 {
		at := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		links = read(x.list(w.arrays, at, 0), w.n, links[:0])
		for _, to := range links {
			if !reached[to] {
				reached[to] = true
				left--
				queue = append(queue, to)
			}
		}
	}
	return left
}
