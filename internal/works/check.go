package works

import (
	"errors"
	"fmt"
	"slices"
)

// maxFindings is the most that Check reports.
const maxFindings = 20

// Check proves the facts that the package's documentation numbers. The error joins one for each violation, up to 20. Writers wait meanwhile.
func (x *Index) Check() error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var findings []error
	bad := func(fact int, format string, args ...any) {
		if len(findings) < maxFindings {
			findings = append(findings, fmt.Errorf("fact %d: %s", fact, fmt.Sprintf(format, args...)))
		}
	}
	free := map[uint32]bool{}
	for _, slot := range x.free {
		if free[slot] || int(slot/chunkSize) >= len(x.chunks) || *x.at(slot) != (record{}) {
			bad(1, "slot %d is not free, or free twice", slot)
		}
		free[slot] = true
	}
	live, memberships := 0, 0
	for i, c := range x.chunks {
		if i < len(x.chunks)-1 && len(c) != chunkSize {
			bad(1, "chunk %d of %d has %d slots", i, len(x.chunks), len(c))
		}
		for j := range c {
			slot := uint32(i*chunkSize + j)
			if c[j].ordinal == 0 {
				if !free[slot] {
					bad(1, "slot %d is nobody's, and not free", slot)
				}
				continue
			}
			live++
			if s, ok := x.slots[c[j].ordinal]; !ok || s != slot {
				bad(1, "paper %d is in slot %d, and said to be in %d", c[j].ordinal, slot, s)
			}
			var one [1]uint32
			for _, key := range c[j].keys(nil) {
				memberships++
				if !slices.Contains(x.members(key, &one), slot) {
					bad(2, "paper %d is not in its bucket %08x", c[j].ordinal, key)
				}
			}
		}
	}
	if live != len(x.slots) {
		bad(1, "there are %d papers, and %d slots of some", live, len(x.slots))
	}
	links := map[[2]uint32]uint32{}
	for key := range x.buckets {
		var one [1]uint32
		members := x.members(key, &one)
		memberships -= len(members)
		if len(members) == 0 {
			bad(2, "bucket %08x is empty", key)
		}
		for i, p := range members {
			if i > 0 && x.at(members[i-1]).ordinal >= x.at(p).ordinal {
				bad(2, "bucket %08x is out of order at %d", key, i)
			}
			for _, q := range members[i+1 : min(len(members), i+1+window)] {
				if Alike(&x.at(p).Features, &x.at(q).Features) {
					links[[2]uint32{p, q}]++
					links[[2]uint32{q, p}]++
				}
			}
		}
	}
	if memberships != 0 {
		bad(2, "papers have %d keys more than the buckets have papers", memberships)
	}
	for p, all := range x.links {
		for i, l := range all {
			if i > 0 && x.at(all[i-1].slot).ordinal >= x.at(l.slot).ordinal {
				bad(3, "the links of slot %d are out of order at %d", p, i)
			}
			if want := links[[2]uint32{p, l.slot}]; want != l.n {
				bad(3, "papers %d and %d are near in %d buckets, and said to be in %d", x.at(p).ordinal, x.at(l.slot).ordinal, want, l.n)
			}
			delete(links, [2]uint32{p, l.slot})
		}
	}
	for p := range links {
		bad(3, "papers %d and %d are alike and near, and not linked", x.at(p[0]).ordinal, x.at(p[1]).ordinal)
	}
	return errors.Join(findings...)
}
