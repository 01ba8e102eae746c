package ann

// entry is a candidate of a search as one number, so that comparing two is one instruction: the distance in the upper half,
// then the slot, which breaks ties, then two marks.
type entry uint64

const (
	opened  = 1 // its links have been looked at
	counted = 2 // it may be in the answer, and counts for ef
)

// entryOf makes an entry of a slot and its product with the probe: the larger, the nearer.
func entryOf(dot int32, slot uint32) entry {
	return entry(uint64(uint32(0x7fffffff)-uint32(dot))<<32 | uint64(slot)<<2)
}

func (e entry) slot() uint32 { return uint32(e) >> 2 }

// dot is the product that the entry was made of.
func (e entry) dot() int32 { return int32(uint32(0x7fffffff) - uint32(e>>32)) }

// pool is the candidate list of a search: the nearest entries in order, of which as many count as ef says. One sorted list
// instead of the paper's two heaps: it moves eight bytes an entry, and is the answer when the search ends.
type pool struct {
	list  []entry
	ef    int
	count int   // entries that are counted
	next  int   // all before it are opened
	worst entry // what a new entry must be less than
}

func (p *pool) begin(ef int) {
	p.list, p.ef, p.count, p.next, p.worst = p.list[:0], ef, 0, 0, ^entry(0)
}

// insert puts in an entry that is less than worst and not in the list.
func (p *pool) insert(e entry) {
	at, end := 0, len(p.list)
	for at < end {
		middle := int(uint(at+end) / 2)
		if p.list[middle] < e {
			at = middle + 1
		} else {
			end = middle
		}
	}
	p.list = append(p.list, 0)
	copy(p.list[at+1:], p.list[at:])
	p.list[at] = e
	p.next = min(p.next, at)
	if e&counted == 0 {
		return
	}
	if p.count++; p.count > p.ef {
		p.count--
		p.list = p.list[:len(p.list)-1] // counts: the list ended with the ef-th that did
	}
	if p.count == p.ef {
		// What does not count and is farther than all that do is of no use either.
		last := len(p.list) - 1
		for p.list[last]&counted == 0 {
			last--
		}
		p.list = p.list[:last+1]
		p.worst = p.list[last]
	}
}

// open gives the nearest entry whose links have not been looked at, and marks it.
func (p *pool) open() (slot uint32, ok bool) {
	for ; p.next < len(p.list); p.next++ {
		if e := p.list[p.next]; e&opened == 0 {
			p.list[p.next] |= opened
			p.next++
			return e.slot(), true
		}
	}
	return 0, false
}

// peek gives the nearest entry whose links have not been looked at, and leaves it so.
func (p *pool) peek() (slot uint32, ok bool) {
	for i := p.next; i < len(p.list); i++ {
		if p.list[i]&opened == 0 {
			return p.list[i].slot(), true
		}
	}
	return 0, false
}
