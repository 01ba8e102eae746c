package similar

import (
	"cmp"
	"container/heap"
	"slices"
)

// leastShare is the share of the pairs between two groups that must be links for the groups to become one.
const leastShare = 0.5

// gather puts papers that are linked into groups, of at least two, each in order. It is hierarchical clustering by average linkage: of the groups, at first each paper
// alone, the two are joined again and again that have the largest share of links among the pairs between them, while that is at least leastShare. In a
// long chain, where each is like the next and the ends have nothing in common, that share falls with the length; so a chain falls into pieces,
// where connected components would be one, and a paper that some copies of a text are too garbled to be linked to is still in their group. Equal shares
// are joined in the order of the nearest link, then of the papers: the result depends on the links alone.
func gather(papers int, links []link) [][]uint32 {
	g := &gathering{of: map[uint32]*group{}}
	group := func(paper uint32) *group {
		if g.of[paper] == nil {
			g.of[paper] = newGroup(paper)
		}
		return g.of[paper]
	}
	for _, l := range links {
		a, b := group(l.a), group(l.b)
		a.near[b.first], b.near[a.first] = joint{1, l.distance}, joint{1, l.distance}
		g.queue = append(g.queue, candidate{share: 1, distance: l.distance, a: a.first, b: b.first})
	}
	heap.Init(&g.queue)
	for len(g.queue) > 0 {
		if next := heap.Pop(&g.queue).(candidate); g.current(next) {
			g.join(next.a, next.b)
		}
	}
	var groups [][]uint32
	for paper := range uint32(papers) {
		if x := g.of[paper]; x != nil && len(x.members) > 1 {
			slices.Sort(x.members)
			groups = append(groups, x.members)
		}
	}
	slices.SortFunc(groups, func(a, b []uint32) int { return cmp.Compare(a[0], b[0]) })
	return groups
}

// group is some papers. It is known by a paper that was its first; what it is joined to takes that one's.
type group struct {
	first   uint32
	members []uint32
	near    map[uint32]joint // by the groups it has links to
}

// joint is what is between two groups: how many links, and the distance of the nearest.
type joint struct {
	links    int
	distance float32
}

func newGroup(paper uint32) *group {
	return &group{paper, []uint32{paper}, map[uint32]joint{}}
}

// candidate is two groups that may be joined, as they were when it was put into the queue.
type candidate struct {
	share    float64
	distance float32
	a, b     uint32
}

type gathering struct {
	of    map[uint32]*group // by first
	queue candidates
}

// share is that of links among the pairs of two groups.
func share(a, b *group) float64 {
	return float64(a.near[b.first].links) / (float64(len(a.members)) * float64(len(b.members)))
}

// current tells whether a candidate is still what is between its groups.
func (g *gathering) current(c candidate) bool {
	a, b := g.of[c.a], g.of[c.b]
	return a != nil && b != nil && c.share >= leastShare && c.share == share(a, b)
}

// join makes one group of two: the one with fewer neighbours goes into the other.
func (g *gathering) join(x, y uint32) {
	a, b := g.of[x], g.of[y]
	if len(b.near) > len(a.near) || len(b.near) == len(a.near) && b.first < a.first {
		a, b = b, a
	}
	a.members = append(a.members, b.members...)
	delete(g.of, b.first)
	delete(a.near, b.first)
	for to, between := range b.near {
		if to == a.first {
			continue
		}
		other := g.of[to]
		delete(other.near, b.first)
		if before, both := a.near[to]; both {
			between = joint{between.links + before.links, min(between.distance, before.distance)}
		}
		a.near[to], other.near[a.first] = between, between
	}
	for to, between := range a.near { // their shares have changed; the order of pushing does not matter
		if s := share(a, g.of[to]); s >= leastShare {
			heap.Push(&g.queue, candidate{share: s, distance: between.distance, a: min(a.first, to), b: max(a.first, to)})
		}
	}
}

// candidates are a heap, the next to be joined first.
type candidates []candidate

func (q candidates) Len() int      { return len(q) }
func (q candidates) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q candidates) Less(i, j int) bool {
	a, b := &q[i], &q[j]
	return cmp.Or(cmp.Compare(b.share, a.share), cmp.Compare(a.distance, b.distance), cmp.Compare(a.a, b.a), cmp.Compare(a.b, b.b)) < 0
}
func (q *candidates) Push(x any) { *q = append(*q, x.(candidate)) }
func (q *candidates) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
