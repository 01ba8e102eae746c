package first

import (
	"math"
	"slices"
)

// Insert adds a unit vector, which is copied. Algorithm 1 of the paper.
func (x *Index) Insert(v []float32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	slot := x.newSlot(v)
	if x.entry == none {
		x.entry = slot
		return
	}
	s := x.searcher()
	defer x.searchers.Put(s)
	top, level := int(x.levels[x.entry]), int(x.levels[slot])
	start := candidate{distance(v, x.vector(x.entry)), x.entry}
	for l := top; l > level; l-- {
		start = x.descend(v, start, l)
	}
	from := []candidate{start}
	for l := min(top, level); l >= 0; l-- {
		from = x.searchLevel(s, v, from, x.efConstruction, l)
		if l == 0 {
			x.adopt(slot, from)
		}
		x.connect(slot, from, l)
	}
	if level > top {
		x.entry = slot
	}
}

// newSlot appends a slot without links.
func (x *Index) newSlot(v []float32) uint32 {
	slot := uint32(len(x.levels))
	level := x.levelOf(slot)
	x.vectors = append(x.vectors, v...)
	x.levels = append(x.levels, uint8(level))
	x.parent = append(x.parent, none)
	x.kids = append(x.kids, 0)
	x.links0 = append(x.links0, make([]uint32, x.stride0())...)
	var upper []uint32
	if level > 0 {
		upper = make([]uint32, level*x.stride())
	}
	x.upper = append(x.upper, upper)
	return slot
}

// levelOf draws the level of a slot: ⌊-ln(u)/ln(M)⌋ with u from a hash of seed and slot.
func (x *Index) levelOf(slot uint32) int {
	h := mix(mix(seed+0x9e3779b97f4a7c15) ^ uint64(slot))
	u := (float64(h>>11) + 1) / (1 << 53) // in (0, 1]
	return min(int(-math.Log(u)/math.Log(float64(x.m))), maxLevel)
}

// mix is the finaliser of splitmix64 (Steele, Lea and Flood, 2014): a bijection that scatters.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// adopt gives a new slot its parent in the spanning tree: the nearest of the candidates with room for a child. Where all
// are full, as among thousands of copies of one vector, a slot with room is found below the nearest: a tree always has
// leaves.
func (x *Index) adopt(slot uint32, near []candidate) {
	parent := uint32(none)
	for _, c := range near {
		if int(x.kids[c.slot]) < x.m {
			parent = c.slot
			break
		}
	}
	for queue := []uint32{near[0].slot}; parent == none; queue = queue[1:] {
		for _, n := range x.links(queue[0], 0) {
			if x.parent[n] != queue[0] {
				continue
			}
			if int(x.kids[n]) < x.m {
				parent = n
				break
			}
			queue = append(queue, n)
		}
	}
	x.parent[slot] = parent
	x.kids[parent]++
}

// connect links a new slot with the best of the candidates on a level, in both directions. Candidates come nearest first.
func (x *Index) connect(slot uint32, near []candidate, level int) {
	var chosen []uint32
	if level == 0 {
		chosen = append(chosen, x.parent[slot])
	}
	chosen = x.choose(near, chosen, x.m)
	own := x.list(slot, level)
	own[0] = uint32(copy(own[1:], chosen))
	v := x.vector(slot)
	for _, n := range chosen {
		l := x.list(n, level)
		if int(l[0]) < len(l)-1 {
			l[0]++
			l[l[0]] = slot
			continue
		}
		x.shrink(n, candidate{distance(v, x.vector(n)), slot}, level)
	}
}

// shrink chooses anew among the links of a slot whose list is full and one more. On level 0 the links of the spanning
// tree stay.
func (x *Index) shrink(slot uint32, more candidate, level int) {
	l := x.list(slot, level)
	v := x.vector(slot)
	all := make([]candidate, 0, len(l))
	all = append(all, more)
	for _, n := range l[1 : 1+l[0]] {
		all = append(all, candidate{distance(v, x.vector(n)), n})
	}
	slices.SortFunc(all, candidate.compare)
	var keep []uint32
	if level == 0 {
		for _, c := range all {
			if x.parent[slot] == c.slot || x.parent[c.slot] == slot {
				keep = append(keep, c.slot)
			}
		}
	}
	l[0] = uint32(copy(l[1:], x.choose(all, keep, len(l)-1)))
}

// choose fills kept, links that must be, up to room with candidates, nearest first, by the paper's heuristic (algorithm
// 4): a candidate that is nearer to one that was chosen than to the slot itself is left out, since it is reached through
// that one. The kept links are chosen as if the heuristic had come upon them, in the order of distance.
func (x *Index) choose(near []candidate, kept []uint32, room int) []uint32 {
	must := len(kept)
	chosen := make([]uint32, 0, room)
	for _, c := range near {
		must0 := slices.Contains(kept, c.slot)
		if !must0 {
			if len(chosen)+must >= room {
				continue // the places that are left belong to kept ones that come later
			}
			v := x.vector(c.slot)
			if slices.ContainsFunc(chosen, func(n uint32) bool { return distance(v, x.vector(n)) <= c.distance }) {
				continue
			}
		} else {
			must--
		}
		chosen = append(chosen, c.slot)
	}
	// A parent that was found below the candidates is not among them.
	for _, k := range kept {
		if must > 0 && !slices.Contains(chosen, k) {
			chosen = append(chosen, k)
			must--
		}
	}
	return chosen
}
