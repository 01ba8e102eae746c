package similar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"embedd/ann"
	"embedd/internal/works"
)

const (
	// sureOf are links of about the same cosine, of which sureLeast must be the same by their words for that cosine to be enough by itself.
	sureOf, sureLeast = 50, 46
	// MaxPairs is the most pairs that are looked at: they are in memory.
	MaxPairs = 3_000_000
)

// leastCandidates are the least cosines of two papers whose words are compared: the first that not too many pairs have. Of pairs that are known to be the same work, all but one in five
// hundred have 0.75, and of 118,747 papers of arXiv 213,000 pairs.
var leastCandidates = []float32{0.75, 0.8, 0.85, 0.9, 0.95}

// link is two papers that are near to each other, by their positions, a before b.
type link struct {
	a, b     uint32
	distance float32
}

func (l link) compare(o link) int { return cmp.Or(cmp.Compare(l.a, o.a), cmp.Compare(l.b, o.b)) }

// links gives the papers that are within a distance of each other, each two once, in order; more than MaxPairs are ann.ErrTooMany.
func (c *corpus) links(ctx context.Context, within float32, threads int) ([]link, error) {
	pairs, err := c.index.Pairs(ctx, within, MaxPairs, threads)
	if err != nil {
		return nil, err
	}
	all := make([]link, 0, len(pairs))
	for _, p := range pairs {
		a, ours := c.position(p.A)
		b, too := c.position(p.B)
		if ours && too && a != b {
			all = append(all, link{min(a, b), max(a, b), p.Distance})
		}
	}
	slices.SortFunc(all, func(l, o link) int { return cmp.Or(l.compare(o), cmp.Compare(l.distance, o.distance)) })
	return slices.CompactFunc(all, func(l, o link) bool { return l.compare(o) == 0 }), nil
}

// sameText tells of each link whether its papers are the same by their words and titles: see package works.
func (c *corpus) sameText(ctx context.Context, links []link, threads int, progress func(done, total int)) ([]bool, error) {
	features := make([]*works.Features, len(c.papers))
	var asked []uint32
	for _, l := range links {
		asked = append(asked, l.a, l.b)
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	err := each(ctx, threads, len(asked), progress, func(i int) {
		p := &c.papers[asked[i]]
		f := works.Analyze(works.Paper{ID: p.ID, Title: p.Title, Abstract: p.Abstract})
		features[asked[i]] = &f
	})
	if err != nil {
		return nil, err
	}
	same := make([]bool, len(links))
	return same, each(ctx, threads, len(links), func(int, int) {}, func(i int) {
		same[i] = works.Alike(features[links[i].a], features[links[i].b])
	})
}

// each calls do for 0 to n-1, from several goroutines, and tells how far it is from one of them at a time.
func each(ctx context.Context, threads, n int, progress func(done, total int), do func(i int)) error {
	const piece = 256
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			for ctx.Err() == nil {
				from := int(next.Add(piece)) - piece
				if from >= n {
					return
				}
				for i := from; i < min(n, from+piece); i++ {
					do(i)
				}
			}
		})
	}
	wg.Wait()
	progress(n, n)
	return ctx.Err()
}

// sure gives the least cosine down to which links are the same text nearly always, as those tell whose words can be compared: so far down the cosine is enough, also where the words
// were read badly. More than 1: there is none.
func sure(links []link, same []bool) float32 {
	order := make([]int, len(links))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(links[i].distance, links[j].distance), links[i].compare(links[j]))
	})
	least, confirmed := float32(2), 0
	for n, i := range order {
		if same[i] {
			confirmed++
		}
		if n >= sureOf && same[order[n-sureOf]] {
			confirmed--
		}
		if n+1 < sureOf {
			continue
		}
		if confirmed < sureLeast {
			break
		}
		least = 1 - links[i].distance
	}
	return least
}

// duplicates are clusters of near duplicates, the largest first.
type duplicates struct {
	links    []link // between members, of one cluster or not
	clusters []cluster
	// found is how it was told which papers are, for the report.
	threshold  float32
	calibrated bool
	candidates int
	from       float32 // the least cosine of the candidates
}

// cluster is a set of near duplicates.
type cluster struct {
	// representative is the member that most others are near duplicates of; of several such the earliest one.
	representative uint32
	members        []uint32 // ascending
}

// findDuplicates finds the near duplicates of a task.
func (c *corpus) findDuplicates(ctx context.Context, t *Task, progress func(stage string, done, total int)) (*duplicates, error) {
	from := leastCandidates
	if t.Threshold != nil {
		from = []float32{*t.Threshold}
	} else if !slices.ContainsFunc(c.papers, func(p Paper) bool { return p.Title != "" || p.Abstract != "" }) && len(c.papers) > 0 {
		return nil, &FieldError{"threshold", "is missing, and the papers have no texts by which near duplicates could be told; give the least cosine"}
	}
	progress("finding pairs", 0, 0)
	var links []link
	var least float32
	err := ann.ErrTooMany
	for _, least = range from {
		if links, err = c.links(ctx, 1-least, t.Threads); !errors.Is(err, ann.ErrTooMany) {
			break
		}
	}
	if errors.Is(err, ann.ErrTooMany) {
		return nil, &FieldError{"threshold", fmt.Sprintf("more than %d pairs of papers have a cosine of at least %.4g; choose a higher one, or fewer papers by a filter", MaxPairs, least)}
	}
	if err != nil {
		return nil, err
	}
	d := &duplicates{threshold: least, calibrated: t.Threshold == nil, candidates: len(links), from: least}
	if d.calibrated {
		same, err := c.sameText(ctx, links, t.Threads, func(done, total int) { progress("comparing words", done, total) })
		if err != nil {
			return nil, err
		}
		d.threshold = sure(links, same)
		kept := links[:0]
		for i, l := range links {
			if same[i] || 1-l.distance >= d.threshold {
				kept = append(kept, l)
			}
		}
		links = kept
	}
	d.links = links
	progress("finding clusters", 0, 0)
	for _, members := range gather(len(c.papers), links) {
		d.clusters = append(d.clusters, cluster{c.representative(members, links), members})
	}
	slices.SortFunc(d.clusters, func(a, b cluster) int {
		return cmp.Or(cmp.Compare(len(b.members), len(a.members)), cmp.Compare(a.representative, b.representative))
	})
	return d, ctx.Err()
}

// representative is the member with the most links to others; of several such the one of the earliest date, and then the one stored first.
func (c *corpus) representative(members []uint32, links []link) uint32 {
	degree := make([]int, len(members))
	for i, m := range members {
		from, _ := slices.BinarySearchFunc(links, link{a: m}, link.compare)
		for _, l := range links[from:] {
			if l.a != m {
				break
			}
			if j, inside := slices.BinarySearch(members, l.b); inside {
				degree[i]++
				degree[j]++
			}
		}
	}
	best := 0
	for i, m := range members {
		if cmp.Or(cmp.Compare(degree[best], degree[i]), compareDates(c.papers[m].Date, c.papers[members[best]].Date)) < 0 {
			best = i
		}
	}
	return members[best]
}

// compareDates puts dates in order; what has none is behind all others. Dates of ISO 8601 and years are in the order of their letters.
func compareDates(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	return cmp.Compare(a, b)
}

// score is the cosine of two papers, by the two passages that are nearest to each other.
func (c *corpus) score(a, b uint32) (float32, error) {
	var best float32 = -2
	others := c.labelsOf(b)
	for _, label := range c.labelsOf(a) {
		v, there := c.index.Vector(label)
		if !there {
			return 0, fmt.Errorf("vector %d is not in the index any more", label)
		}
		distances, err := c.index.Distances(v, others)
		if err != nil {
			return 0, err
		}
		for _, d := range distances {
			best = max(best, 1-d)
		}
	}
	return best, nil
}

// labelsOf gives the labels of a paper's vectors.
func (c *corpus) labelsOf(at uint32) []uint64 {
	p := &c.papers[at]
	labels := make([]uint64, max(1, p.Passages))
	for i := range labels {
		labels[i] = uint64(p.Label) + uint64(i)
	}
	return labels
}
