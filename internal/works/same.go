package works

import (
	"cmp"
	"slices"
)

// Set is some papers, by ordinal.
type Set interface {
	Contains(ordinal uint64) bool
}

// ByAlias gives the ordinals of the papers that have an alias, as Parse gives it, and are within a set (nil: all), ascending. Two aliases in
// 2⁶⁴ look alike: who must be sure looks at the paper.
func (x *Index) ByAlias(alias string, within Set) []uint64 {
	h := hashString(alias)
	x.mu.RLock()
	defer x.mu.RUnlock()
	var one [1]uint32
	var found []uint64
	for _, slot := range x.members(aliasKey(h), &one) {
		if r := x.at(slot); r.hasAlias(h) && (within == nil || within.Contains(r.ordinal)) {
			found = append(found, r.ordinal)
		}
	}
	return found
}

// Same gives the ordinals of the papers that are the same work as the one under an ordinal, ascending and without that, at most MaxWork. Of a
// set, only papers within it are gone through: those that hang together by others do not.
func (x *Index) Same(ordinal uint64, within Set) []uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	slot, ok := x.slots[ordinal]
	if !ok || len(x.links[slot]) == 0 {
		return nil
	}
	return x.closure([]uint32{slot}, 1, within)
}

// examined is how many papers of a bucket are looked at for one that is not there.
const examined = 1024

// SameAs gives the ordinals of the papers that are the same work as one that is not in the index, as Same does if it were stored last.
func (x *Index) SameAs(f Features, within Set) []uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var begin []uint32
	var one [1]uint32
	for _, key := range f.keys(nil) {
		members := x.members(key, &one)
		near := 0
		for i := len(members) - 1; i >= max(0, len(members)-examined) && near < window; i-- {
			r := x.at(members[i])
			if within != nil && !within.Contains(r.ordinal) {
				continue
			}
			if near++; Alike(&f, &r.Features) && !slices.Contains(begin, members[i]) {
				begin = append(begin, members[i])
			}
		}
	}
	slices.SortFunc(begin, func(p, q uint32) int { return cmp.Compare(x.at(p).ordinal, x.at(q).ordinal) })
	return x.closure(begin[:min(len(begin), MaxWork)], 0, within)
}

// closure gives the ordinals of all that hang together with some, which are gone through in turn; without the first skip of them.
func (x *Index) closure(all []uint32, skip int, within Set) []uint64 {
	seen := make(map[uint32]struct{}, 2*len(all))
	for _, slot := range all {
		seen[slot] = struct{}{}
	}
	for i := 0; i < len(all) && len(all) < skip+MaxWork; i++ {
		for _, l := range x.links[all[i]] {
			if _, twice := seen[l.slot]; twice || within != nil && !within.Contains(x.at(l.slot).ordinal) {
				continue
			}
			if seen[l.slot] = struct{}{}; len(all) < skip+MaxWork {
				all = append(all, l.slot)
			}
		}
	}
	found := make([]uint64, 0, len(all)-skip)
	for _, slot := range all[skip:] {
		found = append(found, x.at(slot).ordinal)
	}
	slices.Sort(found)
	return found
}
