package atlas

import (
	"context"
	"math"
)

const (
	// negatives are points that each sampled edge's end is pushed from.
	negatives = 5
	// mostStep bounds a step on each axis.
	mostStep = 4
	// fewPoints have slowEpochs, manyPoints quickEpochs, those between as many as lie between.
	fewPoints, slowEpochs   = 10_000, 500
	manyPoints, quickEpochs = 50_000, 200
)

// Epochs is how often Layout goes over the edges of a graph of n points.
func Epochs(n int) int {
	switch {
	case n <= fewPoints:
		return slowEpochs
	case n >= manyPoints:
		return quickEpochs
	}
	return slowEpochs - (slowEpochs-quickEpochs)*(n-fewPoints)/(manyPoints-fewPoints)
}

// Layout moves points until those that are tied are near each other and others are not: stochastic gradient descent on the cross-entropy of the edges,
// each sampled as often as its weight says, with negative sampling, as UMAP does it, by the kernel 1/(1+d²) of LargeVis (Tang, Liu, Zhang, Mei:
// Visualizing large-scale and high-dimensional data, WWW 2016), which takes no power in the inner loop. At the end the longer side of the map goes from -1
// to 1. progress, which may be nil, is told after each epoch.
func Layout(ctx context.Context, g *Graph, points []Point, seed uint64, progress func(done, total int)) error {
	epochs := Epochs(g.Len())
	// Of edges so weak that they are never sampled none is kept: they are many.
	type edge struct {
		head, tail  uint32
		every, next float32 // epochs
	}
	heaviest := float32(0)
	for _, w := range g.weight {
		heaviest = max(heaviest, w)
	}
	var edges []edge
	for i := range g.Len() {
		to, weight := g.edges(i)
		for j, w := range weight {
			if every := heaviest / w; every <= float32(epochs) {
				edges = append(edges, edge{uint32(i), to[j], every, every})
			}
		}
	}
	rng := random(seed)
	n := len(points)
	for epoch := range epochs {
		step := 1 - float32(epoch)/float32(epochs)
		for begin := 0; begin < len(edges); begin += piece {
			if err := rest(ctx); err != nil {
				return err
			}
			some := edges[begin:min(begin+piece, len(edges))]
			for k := range some {
				e := &some[k]
				if e.next > float32(epoch+1) {
					continue
				}
				e.next += e.every
				head, tail := points[e.head], &points[e.tail]
				x, y := head.X-tail.X, head.Y-tail.Y
				pull := -2 / (1 + x*x + y*y) * step
				x, y = bounded(pull*x, step), bounded(pull*y, step)
				head.X, head.Y = head.X+x, head.Y+y
				tail.X, tail.Y = tail.X-x, tail.Y-y
				for range negatives {
					other := points[rng.below(n)]
					x, y := head.X-other.X, head.Y-other.Y
					d := x*x + y*y
					push := 2 / ((0.001 + d) * (1 + d)) * step // 0 away is pushed nowhere: itself too
					head.X, head.Y = head.X+bounded(push*x, step), head.Y+bounded(push*y, step)
				}
				points[e.head] = head
			}
		}
		if progress != nil {
			progress(epoch+1, epochs)
		}
	}
	fit(points)
	return nil
}

// bounded bounds a step.
func bounded(x, step float32) float32 { return min(max(x, -mostStep*step), mostStep*step) }

// fit moves and scales points so that the middle of the map is at 0 and its longer side from -1 to 1.
func fit(points []Point) {
	if len(points) == 0 {
		return
	}
	low, high := points[0], points[0]
	for _, p := range points {
		low = Point{min(low.X, p.X), min(low.Y, p.Y)}
		high = Point{max(high.X, p.X), max(high.Y, p.Y)}
	}
	middle := Point{(low.X + high.X) / 2, (low.Y + high.Y) / 2}
	scale := float32(1)
	if extent := max(high.X-low.X, high.Y-low.Y); extent > 0 && !math.IsInf(float64(1/extent), 0) {
		scale = 2 / extent
	}
	for i, p := range points {
		points[i] = Point{(p.X - middle.X) * scale, (p.Y - middle.Y) * scale}
	}
}
