package vec

import (
	"fmt"
	"sync/atomic"
)

// End ends a list of links that is shorter than its place.
const End = 1<<32 - 1

// Mask takes the id out of a link; the highest bit is the caller's.
const Mask = 1<<31 - 1

// Expand is a hop of a graph search. It walks links to their end, or to End, and appends to fresh each id below n that visited
// does not have, in order; visited has it then. It returns how many. Bit id%64 of word id/64 of visited stands for id. The first
// 8 cache lines of the row rows[id*stride:][:stride] of each are fetched into the cache meanwhile; with no rows, nothing.
//
// Others may change links at the same time, with atomic stores of 32 bits: each is read once, whatever it is. It panics if
// visited has no room for n bits, fresh is shorter than links, or stride is negative.
func Expand(links []uint32, visited []uint64, n uint32, fresh []uint32, rows []byte, stride int) int {
	if uint64(len(visited))*64 < uint64(n) || len(fresh) < len(links) || stride < 0 {
		panic(fmt.Sprintf("vec: %d ids, %d words of visited, %d links, room for %d, a stride of %d", n, len(visited), len(links), len(fresh), stride))
	}
	if len(links) == 0 || n == 0 {
		return 0
	}
	return current.Load().expand(links, visited, n, fresh, rows, stride)
}

// Fetch has the first 32 links brought into the cache, for an Expand that is likely to come soon.
func Fetch(links []uint32) {
	if len(links) > 0 {
		fetch(links)
	}
}

func expandGo(links []uint32, visited []uint64, n uint32, fresh []uint32, _ []byte, _ int) int {
	count := 0
	for i := range links {
		link := atomic.LoadUint32(&links[i]) // so the race detector sees it as what it is
		if link == End {
			break
		}
		id := link & Mask
		if id >= n {
			continue
		}
		if word, bit := &visited[id/64], uint64(1)<<(id%64); *word&bit == 0 {
			*word |= bit
			fresh[count] = id
			count++
		}
	}
	return count
}
