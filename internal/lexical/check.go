package lexical

import (
	"errors"
	"fmt"
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
	var length uint64
	live := 0
	for i, c := range x.chunks {
		n := len(c.ordinals)
		if n > chunkSize || len(c.lengths) != n || len(c.has) != n || len(c.terms) != len(c.lists) || len(c.names) != len(c.lists) {
			bad(1, "chunk %d has %d places, %d lengths, %d of what they have, %d words, %d names, %d lists", i, n, len(c.lengths), len(c.has), len(c.terms), len(c.names), len(c.lists))
			continue
		}
		free := map[uint16]bool{}
		for _, at := range c.free {
			if free[at] || int(at) >= n || c.ordinals[at] != 0 {
				bad(1, "place %d of chunk %d is not free, or free twice", at, i)
			}
			free[at] = true
		}
		sums, words := make([]uint64, n), make([]int, n)
		for at, ordinal := range c.ordinals {
			length += uint64(c.lengths[at])
			if ordinal == 0 {
				if !free[uint16(at)] || c.lengths[at] != 0 || len(c.has[at]) != 0 {
					bad(1, "place %d of chunk %d is nobody's, and not free", at, i)
				}
				continue
			}
			live++
			if p, ok := x.places[ordinal]; !ok || p != placeOf(i, at) {
				bad(1, "paper %d is in place %d of chunk %d, and said to be in %d of %d", ordinal, at, i, p.at(), p.chunk())
			}
		}
		for j, list := range c.lists {
			if at, ok := c.terms[c.names[j]]; !ok || int(at) != j {
				bad(4, "%q has list %d of chunk %d, and is said to have %d", c.names[j], j, i, at)
			}
			for k, p := range list {
				if int(p.at()) >= n || p.count() == 0 || k > 0 && list[k-1].at() >= p.at() {
					bad(2, "%q of chunk %d has the posting %d, %d", c.names[j], i, p.at(), p.count())
					continue
				}
				sums[p.at()] += uint64(p.count())
				words[p.at()]++
			}
			by, long := c.long[uint32(j)]
			if long && len(list) < countsTo || !long && len(list) >= countsFrom || long && *by != *countsOf(list) {
				bad(6, "%q of chunk %d has %d papers; counts by place: %t, and not theirs", c.names[j], i, len(list), long)
			}
		}
		for at := range n {
			if sums[at] != uint64(c.lengths[at]) {
				bad(3, "place %d of chunk %d has the length %d, its words add up to %d", at, i, c.lengths[at], sums[at])
			}
			for j := range unpack(c.has[at]) {
				there := false
				if words[at]--; int(j) < len(c.lists) {
					_, there = find(c.lists[j], uint32(at))
				}
				if !there {
					bad(4, "place %d of chunk %d is said to be in list %d, and is not", at, i, j)
				}
			}
			if words[at] != 0 {
				bad(4, "place %d of chunk %d is in %d lists that it does not have", at, i, words[at])
			}
		}
	}
	if length != x.length || live != len(x.places) {
		bad(5, "the index has %d papers of the length %d, its chunks %d of %d", len(x.places), x.length, live, length)
	}
	return errors.Join(findings...)
}
