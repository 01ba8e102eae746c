package atlas

import (
	"context"
	"math"
)

// Graph is an undirected graph with weights, of which each edge is there at both of its ends.
type Graph struct {
	start  []int // where the edges of each point begin; one more at the end
	to     []uint32
	weight []float32 // above 0, to 1
}

// Len is how many points it has.
func (g *Graph) Len() int { return len(g.start) - 1 }

// edges are those of a point.
func (g *Graph) edges(i int) (to []uint32, weight []float32) {
	return g.to[g.start[i]:g.start[i+1]], g.weight[g.start[i]:g.start[i+1]]
}

// piece is how many points are worked on before others may use the core.
const piece = 512

// Weigh makes a graph of the nearest neighbours of each point as UMAP does (McInnes, Healy, Melville: UMAP, arXiv:1802.03426, 2018, section 3.1): each
// point has a fuzzy set of others, to which the nearest belongs wholly and all together as much as the logarithm of their number; an edge is there when
// it is in the set of either end. So a point in a sparse place is tied as well as one in a dense place. A point that is named twice or is its own
// neighbour, and a distance that is no number, are passed over.
func Weigh(ctx context.Context, near [][]Neighbor) (*Graph, error) {
	n := len(near)
	type edge struct {
		to     uint32
		weight float32
	}
	own := make([][]edge, n)
	for i, list := range near {
		if i%piece == 0 {
			if err := rest(ctx); err != nil {
				return nil, err
			}
		}
		kept := make([]edge, 0, len(list))
	next:
		for _, x := range list {
			if int(x.To) == i || int(x.To) >= n || math.IsNaN(float64(x.Distance)) || math.IsInf(float64(x.Distance), 0) {
				continue
			}
			for _, e := range kept {
				if e.to == x.To {
					continue next
				}
			}
			kept = append(kept, edge{x.To, max(0, x.Distance)})
		}
		distances := make([]float64, len(kept))
		for j, e := range kept {
			distances[j] = float64(e.weight)
		}
		rho, sigma := bandwidth(distances)
		for j, d := range distances {
			kept[j].weight = float32(math.Exp(-max(0, d-rho) / sigma))
		}
		own[i] = kept
	}
	find := func(i, other uint32) float32 {
		for _, e := range own[i] {
			if e.to == other {
				return e.weight
			}
		}
		return 0
	}
	// Each end that has the other in its list writes the edge into its own row, and into the other's row where that has it not.
	g := &Graph{start: make([]int, n+1)}
	for i := range own {
		for _, e := range own[i] {
			g.start[i+1]++
			if find(e.to, uint32(i)) == 0 {
				g.start[e.to+1]++
			}
		}
	}
	for i := range n {
		g.start[i+1] += g.start[i]
	}
	g.to, g.weight = make([]uint32, g.start[n]), make([]float32, g.start[n])
	at := make([]int, n)
	copy(at, g.start)
	put := func(i, to uint32, weight float32) {
		g.to[at[i]], g.weight[at[i]] = to, weight
		at[i]++
	}
	for i := range own {
		if i%piece == 0 {
			if err := rest(ctx); err != nil {
				return nil, err
			}
		}
		for _, e := range own[i] {
			back := find(e.to, uint32(i))
			weight := e.weight + back - e.weight*back
			put(uint32(i), e.to, weight)
			if back == 0 {
				put(e.to, uint32(i), weight)
			}
		}
	}
	return g, nil
}

const (
	// leastWeight keeps the farthest neighbours in the graph, however far they are.
	leastWeight = 1e-6
	// leastSigma is the least share of the mean distance that sigma may be: among equal points it would be 0.
	leastSigma = 1e-3
)

// bandwidth gives the distance of the nearest point that is not at the same place, rho, and the sigma with which the weights of all add up to the
// logarithm of their number.
func bandwidth(distances []float64) (rho, sigma float64) {
	var sum float64
	for _, d := range distances {
		if sum += d; d > 0 && (rho == 0 || d < rho) {
			rho = d
		}
	}
	if sum == 0 {
		return 0, 1
	}
	want := math.Log2(float64(len(distances)) + 1)
	low, high := 0.0, math.Inf(1)
	sigma = 1
	for range 64 {
		var have float64
		for _, d := range distances {
			have += math.Exp(-max(0, d-rho) / sigma)
		}
		if math.Abs(have-want) < 1e-5 {
			break
		}
		if have > want {
			high = sigma
			sigma = (low + high) / 2
		} else if low = sigma; math.IsInf(high, 1) {
			sigma *= 2
		} else {
			sigma = (low + high) / 2
		}
	}
	farthest := 0.0
	for _, d := range distances {
		farthest = max(farthest, d-rho)
	}
	return rho, max(sigma, leastSigma*sum/float64(len(distances)), farthest/-math.Log(leastWeight))
}
