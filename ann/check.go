package ann

import (
	"bytes"
	"errors"
	"fmt"
)

// maxReported is how many violations Check names one by one.
const maxReported = 20

// Check proves the numbered invariants of the package comment, and returns an error that names each violation (the first
// twenty). It reads everything and excludes changes while it runs.
func (x *Index) Check() error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var errs []error
	bad := func(invariant int, format string, a ...any) {
		if len(errs) < maxReported {
			errs = append(errs, fmt.Errorf("invariant %d: %s", invariant, fmt.Sprintf(format, a...)))
		}
	}
	n := len(x.labels)
	for slot := range uint32(n) {
		if err := x.checkVector(x.vector(slot)); err != nil {
			bad(1, "slot %d: %v", slot, err)
		}
	}
	if len(x.codes) != n*x.stride || len(x.scales) != n {
		bad(6, "%d bytes of codes and %d scales for %d slots", len(x.codes), len(x.scales), n)
	} else {
		again := &Index{dim: x.dim, stride: x.stride}
		for slot := range uint32(n) {
			again.codes, again.scales = again.codes[:0], again.scales[:0]
			again.appendCode(x.vector(slot))
			if again.scales[0] != x.scales[slot] || !bytes.Equal(again.codes, x.code(slot)) {
				bad(6, "slot %d: its code is not that of its vector", slot)
			}
		}
	}
	tombstones := 0
	for slot, label := range x.labels {
		s, live := x.slots[label]
		switch {
		case x.dead[slot]:
			tombstones++
			if live && s == uint32(slot) {
				bad(2, "label %d is live in slot %d, a tombstone", label, slot)
			}
		case !live || s != uint32(slot):
			bad(2, "slot %d holds label %d, which is not known there", slot, label)
		}
	}
	if tombstones != x.tombstones || len(x.slots)+tombstones != n {
		bad(2, "%d labels and %d tombstones (counted %d) in %d slots", len(x.slots), x.tombstones, tombstones, n)
	}
	x.checkLinks(bad)
	if len(errs) == 0 && n > 0 { // walking broken links would only break more
		x.checkTree(bad)
	}
	return errors.Join(errs...)
}

// checkLinks proves invariants 3 and 4.
func (x *Index) checkLinks(bad func(invariant int, format string, a ...any)) {
	n := uint32(len(x.labels))
	seen := make([]uint64, n) // by slot: the list in which it stood last
	list := uint64(0)
	for slot := range n {
		if len(x.upper[slot]) != int(x.levels[slot])*x.listSize() {
			bad(3, "slot %d of level %d has memory for %d links above level 0", slot, x.levels[slot], len(x.upper[slot]))
			continue
		}
		for level := 0; level <= int(x.levels[slot]); level++ {
			list++
			l := x.list(slot, level)
			if int(l[0]) > len(l)-1 {
				bad(3, "slot %d has %d links on level %d, at most %d are allowed", slot, l[0], level, len(l)-1)
				continue
			}
			for _, to := range l[1 : 1+l[0]] {
				switch {
				case to >= n:
					bad(3, "slot %d is linked on level %d to %d, there are %d slots", slot, level, to, n)
					continue
				case to == slot:
					bad(3, "slot %d is linked to itself on level %d", slot, level)
				case int(x.levels[to]) < level:
					bad(3, "slot %d is linked on level %d to %d, whose level is %d", slot, level, to, x.levels[to])
				case seen[to] == list:
					bad(3, "slot %d is linked twice to %d on level %d", slot, to, level)
				}
				seen[to] = list
			}
		}
	}
	switch {
	case n == 0 && x.entry != none:
		bad(4, "the entry point of an empty index is %d", x.entry)
	case n > 0 && x.entry >= n:
		bad(4, "the entry point is %d, there are %d slots", x.entry, n)
	case n > 0:
		for slot := range n {
			if x.levels[slot] > x.levels[x.entry] {
				bad(4, "slot %d has level %d, the entry point %d", slot, x.levels[slot], x.levels[x.entry])
			}
		}
	}
}

// checkTree proves invariant 5: the tree's edges are links in both directions, its children are counted right, and a
// walk from the entry point over the links of level 0 comes to every slot.
func (x *Index) checkTree(bad func(invariant int, format string, a ...any)) {
	n := uint32(len(x.labels))
	linked := func(from, to uint32) bool {
		for _, s := range x.links(from, 0) {
			if s == to {
				return true
			}
		}
		return false
	}
	kids := make([]uint16, n)
	for slot := range n {
		p := x.parent[slot]
		if slot == 0 {
			if p != none {
				bad(5, "slot 0, the root, has the parent %d", p)
			}
			continue
		}
		if p >= slot { // a parent is older, so there are no cycles
			bad(5, "slot %d has the parent %d", slot, p)
			continue
		}
		kids[p]++
		if !linked(p, slot) || !linked(slot, p) {
			bad(5, "slot %d and its parent %d are not linked in both directions", slot, p)
		}
	}
	for slot := range n {
		if kids[slot] != x.kids[slot] || int(kids[slot]) > x.opt.M {
			bad(5, "slot %d has %d children, counted as %d, at most %d are allowed", slot, kids[slot], x.kids[slot], x.opt.M)
		}
	}
	reached := make([]bool, n)
	reached[x.entry] = true
	count := uint32(1)
	for queue := []uint32{x.entry}; len(queue) > 0; {
		at := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, to := range x.links(at, 0) {
			if !reached[to] {
				reached[to] = true
				count++
				queue = append(queue, to)
			}
		}
	}
	if count != n {
		bad(5, "%d of %d slots are reachable from the entry point", count, n)
	}
}
