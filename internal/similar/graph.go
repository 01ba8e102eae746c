package similar

import (
	"cmp"
	"context"
	"slices"

	"embedd/ann"
)

// neighbour is a paper, by its position, and how far it is.
type neighbour struct {
	to       uint32
	distance float32
}

func (n neighbour) compare(o neighbour) int {
	return cmp.Or(cmp.Compare(n.distance, o.distance), cmp.Compare(n.to, o.to))
}

// listed is how many more neighbours than are asked for are kept while the graph is made: with them the recall is 0.99 and more, not about that.
const listed = 14

// near gives the k nearest others of each paper, nearest first: of all, or, exactly, of those with some labels.
func (c *corpus) near(ctx context.Context, k int, exact bool, labels []uint64, threads int, progress func(done, total int)) ([][]neighbour, error) {
	near := make([][]neighbour, len(c.papers))
	wider := k
	if c.several {
		wider = 2*k + 16 // a neighbour, and the paper itself, may be found by several passages
	}
	done, total := 0, len(c.labels)
	if labels != nil {
		total = len(labels)
	}
	take := func(label uint64, found []ann.Neighbor) error {
		at, ours := c.position(label)
		if !ours {
			return nil
		}
		for _, n := range found {
			if to, ours := c.position(n.Label); ours && to != at {
				near[at] = insert(near[at], neighbour{to, n.Distance}, k)
			}
		}
		if done++; done%4096 == 0 {
			progress(done, total)
		}
		return nil
	}
	var err error
	if exact {
		err = c.index.ExactNeighbors(ctx, labels, wider, threads, take)
	} else {
		err = c.index.AllNeighbors(ctx, wider, wider+listed, threads, take)
	}
	progress(total, total)
	return near, err
}

// insert puts a neighbour into the list of a paper, which has at most k, each paper once, nearest first.
func insert(list []neighbour, n neighbour, k int) []neighbour {
	if len(list) == k && list[k-1].compare(n) < 0 {
		return list
	}
	if before := slices.IndexFunc(list, func(o neighbour) bool { return o.to == n.to }); before >= 0 {
		if list[before].distance <= n.distance {
			return list
		}
		list = slices.Delete(list, before, before+1)
	}
	i, _ := slices.BinarySearchFunc(list, n, neighbour.compare)
	if len(list) == k {
		list = list[:k-1]
	}
	return slices.Insert(list, i, n)
}

// sampleSize is how many papers the recall of a graph is measured by: their share of the neighbours is known to about half a percent.
const sampleSize = 512

// recall measures which share of the exact neighbours of a sample of the papers is in their lists, and by how many papers.
func (c *corpus) recall(ctx context.Context, near [][]neighbour, k, threads int) (share float64, papers int, err error) {
	var labels []uint64
	for i := range min(sampleSize, len(c.papers)) {
		p := &c.papers[i*len(c.papers)/min(sampleSize, len(c.papers))]
		for j := range uint64(max(1, p.Passages)) {
			labels = append(labels, uint64(p.Label)+j)
		}
	}
	exact, err := c.near(ctx, k, true, labels, threads, func(int, int) {})
	if err != nil {
		return 0, 0, err
	}
	share, papers = shareOf(near, exact)
	return share, papers, nil
}

// shareOf gives which share of exact neighbours is in the lists of the papers that have exact ones, and how many papers that are. A neighbour that is as near as the
// farthest exact one counts.
func shareOf(near, exact [][]neighbour) (share float64, papers int) {
	found, all := 0, 0
	for at, want := range exact {
		if len(want) == 0 {
			continue
		}
		papers++
		all += len(want)
		here := 0
		for _, n := range near[at] {
			if n.distance <= want[len(want)-1].distance {
				here++
			}
		}
		found += min(here, len(want))
	}
	if all == 0 {
		return 1, papers
	}
	return float64(found) / float64(all), papers
}
