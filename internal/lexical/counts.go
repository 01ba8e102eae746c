package lexical

// A word that an eighth of a chunk's papers have, or more, has its counts by place besides its list: to look up what it gives a few papers is
// faster then than to add up what it gives to all.
const (
	countsFrom = chunkSize / 8
	countsTo   = countsFrom / 2 // where they are given up again
	manyTimes  = 15             // stands for this and more, which the list says
)

// counts have four bits for each place, the lower ones for an even one.
type counts [chunkSize / 2]byte

func countsOf(list []posting) *counts {
	n := new(counts)
	for _, p := range list {
		n.set(p.at(), p.count())
	}
	return n
}

// set puts in how often a paper has the word.
func (n *counts) set(at, count uint32) {
	count = min(count, manyTimes)
	if b := &n[at/2]; at%2 == 0 {
		*b = *b&0xf0 | byte(count)
	} else {
		*b = *b&0x0f | byte(count)<<4
	}
}

func (n *counts) at(at uint32) uint32 { return uint32(n[at/2] >> (at % 2 * 4) & 0xf) }
