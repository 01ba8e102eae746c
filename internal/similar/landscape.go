package similar

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"embedd/internal/atlas"
)

const (
	// landscapeNeighbours of each paper are what clusters and maps are made by, leastPapers what they take.
	landscapeNeighbours = 15
	leastPapers         = 10
	// landscapeSeed is always the same, so that the same papers give the same clusters and map.
	landscapeSeed = 1
)

// landscape is what is found of papers that lie in clusters, with a name for each, and on a map where one was drawn.
type landscape struct {
	of     []uint32 // the cluster of each paper
	names  []string // of each cluster, the largest first
	sizes  []int
	points []atlas.Point // nil: no map was drawn
	recall float64       // of the neighbours
	sample int
}

func (c *corpus) landscape(ctx context.Context, drawn bool, threads int, progress func(stage string, done, total int)) (*landscape, error) {
	n := len(c.papers)
	if n < leastPapers {
		return nil, &FieldError{"collection", fmt.Sprintf("has %d papers of those that are asked about; it takes %d", n, leastPapers)}
	}
	near, err := c.near(ctx, landscapeNeighbours, false, nil, threads, func(done, total int) { progress("finding neighbours", done, total) })
	if err != nil {
		return nil, err
	}
	l := &landscape{}
	if l.recall, l.sample, err = c.recall(ctx, near, landscapeNeighbours, threads); err != nil {
		return nil, err
	}
	progress("finding clusters", 0, 0)
	lists := make([][]atlas.Neighbor, n)
	for i, list := range near {
		for _, x := range list {
			lists[i] = append(lists[i], atlas.Neighbor{To: x.to, Distance: x.distance})
		}
	}
	g, err := atlas.Weigh(ctx, lists)
	if err != nil {
		return nil, err
	}
	near, lists = nil, nil // before the largest part of the work
	clusters, err := atlas.FindClusters(ctx, g, landscapeSeed)
	if err != nil {
		return nil, err
	}
	progress("naming clusters", 0, 0)
	if l.names, err = atlas.Names(ctx, clusters, func(i int) string { return c.papers[i].Title }); err != nil {
		return nil, err
	}
	l.of, l.sizes = clusters.Of, clusters.Sizes
	if !drawn {
		return l, nil
	}
	l.points, err = atlas.Start(ctx, n, landscapeSeed, func(i int) []float32 {
		v, _ := c.index.Vector(uint64(c.papers[i].Label))
		return v
	})
	if err != nil {
		return nil, err
	}
	return l, atlas.Layout(ctx, g, l.points, landscapeSeed, func(done, total int) { progress("laying out", done, total) })
}

// middles are the medians of the clusters' papers on each axis, which stragglers do not move.
func (l *landscape) middles() []atlas.Point {
	xs, ys := make([][]float32, len(l.sizes)), make([][]float32, len(l.sizes))
	for i, k := range l.of {
		xs[k], ys[k] = append(xs[k], l.points[i].X), append(ys[k], l.points[i].Y)
	}
	out := make([]atlas.Point, len(l.sizes))
	for k := range out {
		slices.SortFunc(xs[k], cmp.Compare[float32])
		slices.SortFunc(ys[k], cmp.Compare[float32])
		if n := len(xs[k]); n > 0 {
			out[k] = atlas.Point{X: xs[k][n/2], Y: ys[k][n/2]}
		}
	}
	return out
}
