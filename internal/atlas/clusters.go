package atlas

import (
	"cmp"
	"context"
	"math"
	"slices"
)

const (
	// mostClusters there may be; what is in more of them is in the last one.
	mostClusters = 100
	// tries is how many resolutions are tried.
	tries = 10
	// passes over all points in one level.
	passes = 30
)

// clustersFor is how many clusters are wanted of n points: 5 to 15 of a thousand or fewer, 20 to 60 of twenty thousand or more.
func clustersFor(n int) (least, most int) {
	t := math.Log(max(1, float64(n)/1000)) / math.Log(20)
	grown := math.Pow(4, min(1, t))
	return int(math.Round(5 * grown)), int(math.Round(15 * grown))
}

// tiny is how many points a cluster has at least.
func tiny(n int) int { return max(3, n/1000) }

// Clusters is which cluster each point is in.
type Clusters struct {
	Of []uint32
	// Sizes are of the clusters, the largest first, but for the last one where Rest.
	Sizes []int
	// Rest: the last cluster is of points that are tied to no cluster.
	Rest bool
}

// FindClusters finds the communities of a graph by the method of Louvain (Blondel, Guillaume, Lambiotte, Lefebvre: Fast unfolding of communities in large
// networks, J. Stat. Mech. 2008) on modularity with a resolution (Reichardt, Bornholdt, 2006), which is chosen so that there are about as many as a reader can take in.
// Those of very few points join the one that they are tied to best.
func FindClusters(ctx context.Context, g *Graph, seed uint64) (*Clusters, error) {
	least, most := clustersFor(g.Len())
	var best *Clusters
	bestOff, bestSteps := math.Inf(1), math.Inf(1)
	resolution, low, high := 1.0, 0.0, math.Inf(1) // too few clusters at low, too many at high
	for range tries {
		of, err := louvain(ctx, g, resolution, seed)
		if err != nil {
			return nil, err
		}
		found := settle(g, of)
		n := len(found.Sizes)
		if found.Rest {
			n--
		}
		off := math.Abs(math.Log(float64(max(1, n))/float64(min(max(n, least), most)) + 1e-12))
		if steps := math.Abs(math.Log(resolution)); best == nil || off < bestOff-1e-9 || off < bestOff+1e-9 && steps < bestSteps {
			best, bestOff, bestSteps = found, off, steps
		}
		switch {
		case n < least:
			low = resolution
		case n > most:
			high = resolution
		default:
			return best, nil
		}
		switch {
		case low == 0:
			resolution = high / 3
		case math.IsInf(high, 1):
			resolution = low * 2
		default:
			resolution = math.Sqrt(low * high)
		}
	}
	return best, nil
}

// weighted is a graph of communities: with weights of edges of a community with itself.
type weighted struct {
	start  []int
	to     []uint32
	weight []float64
	self   []float64 // counted twice, as the others are
	degree []float64
	total  float64
}

// louvain gives the community of each point.
func louvain(ctx context.Context, g *Graph, resolution float64, seed uint64) ([]uint32, error) {
	n := g.Len()
	w := &weighted{start: g.start, to: g.to, weight: make([]float64, len(g.weight)), self: make([]float64, n), degree: make([]float64, n)}
	for i := range n {
		for e := g.start[i]; e < g.start[i+1]; e++ {
			w.weight[e] = float64(g.weight[e])
			w.degree[i] += w.weight[e]
		}
		w.total += w.degree[i]
	}
	of := make([]uint32, n)
	for i := range of {
		of[i] = uint32(i)
	}
	rng := random(seed)
	for w.total > 0 {
		communities, moved, err := w.move(ctx, resolution, &rng)
		if err != nil {
			return nil, err
		}
		if !moved {
			break
		}
		count := renumber(communities)
		for i := range of {
			of[i] = communities[of[i]]
		}
		if w, err = w.joined(ctx, communities, count); err != nil {
			return nil, err
		}
	}
	return of, nil
}

// move puts each point into the community where it adds most to the modularity, until few move.
func (w *weighted) move(ctx context.Context, resolution float64, rng *random) (communities []uint32, any bool, err error) {
	n := len(w.self)
	communities = make([]uint32, n)
	sum := slices.Clone(w.degree) // of the degrees in each community
	order := make([]uint32, n)
	for i := range n {
		communities[i], order[i] = uint32(i), uint32(i)
	}
	for i := range n {
		j := i + rng.below(n-i)
		order[i], order[j] = order[j], order[i]
	}
	ties := make([]float64, n) // of the point that is looked at, by community
	var touched []uint32
	for range passes {
		moved := 0
		for k, i := range order {
			if k%piece == 0 {
				if err := rest(ctx); err != nil {
					return nil, false, err
				}
			}
			own := communities[i]
			touched = append(touched[:0], own)
			for e := w.start[i]; e < w.start[i+1]; e++ {
				c := communities[w.to[e]]
				if ties[c] == 0 && c != own {
					touched = append(touched, c)
				}
				ties[c] += w.weight[e]
			}
			sum[own] -= w.degree[i]
			best, most := own, ties[own]-resolution*w.degree[i]*sum[own]/w.total
			for _, c := range touched[1:] {
				if gain := ties[c] - resolution*w.degree[i]*sum[c]/w.total; gain > most+1e-9 {
					best, most = c, gain
				}
			}
			for _, c := range touched {
				ties[c] = 0
			}
			sum[best] += w.degree[i]
			if best != own {
				communities[i] = best
				moved++
			}
		}
		if moved > 0 {
			any = true
		}
		if moved <= n/1000 {
			break
		}
	}
	return communities, any, nil
}

// renumber numbers communities by their first points, without gaps, and gives how many there are.
func renumber(of []uint32) int {
	number := make([]uint32, len(of)) // one more than it, 0 for none
	count := uint32(0)
	for i, c := range of {
		if number[c] == 0 {
			count++
			number[c] = count
		}
		of[i] = number[c] - 1
	}
	return int(count)
}

// joined is the graph of the communities.
func (w *weighted) joined(ctx context.Context, of []uint32, count int) (*weighted, error) {
	members, at := buckets(of, count)
	out := &weighted{start: make([]int, 1, count+1), self: make([]float64, count), degree: make([]float64, count), total: w.total}
	ties := make([]float64, count)
	var touched []uint32
	for c := range count {
		if c%piece == 0 {
			if err := rest(ctx); err != nil {
				return nil, err
			}
		}
		touched = touched[:0]
		for _, i := range members[at[c]:at[c+1]] {
			out.self[c] += w.self[i]
			out.degree[c] += w.degree[i]
			for e := w.start[i]; e < w.start[i+1]; e++ {
				switch d := of[w.to[e]]; {
				case int(d) == c:
					out.self[c] += w.weight[e]
				default:
					if ties[d] == 0 {
						touched = append(touched, d)
					}
					ties[d] += w.weight[e]
				}
			}
		}
		slices.Sort(touched)
		for _, d := range touched {
			out.to, out.weight = append(out.to, d), append(out.weight, ties[d])
			ties[d] = 0
		}
		out.start = append(out.start, len(out.to))
	}
	return out, nil
}

// buckets gives the points by community, and where those of each begin; one more at the end.
func buckets(of []uint32, count int) (members []uint32, at []int) {
	at = make([]int, count+1)
	for _, c := range of {
		at[c+1]++
	}
	for c := range count {
		at[c+1] += at[c]
	}
	members = make([]uint32, len(of))
	next := slices.Clone(at)
	for i, c := range of {
		members[next[c]] = uint32(i)
		next[c]++
	}
	return members, at
}

// settle joins tiny communities to those that they are tied to best, the smallest first, and numbers all by size.
func settle(g *Graph, of []uint32) *Clusters {
	of = slices.Clone(of)
	count := renumber(of)
	sizes := make([]int, count)
	for _, c := range of {
		sizes[c]++
	}
	ties := make([]map[uint32]float64, count)
	for i := range of {
		to, weight := g.edges(i)
		for j, other := range to {
			if a, b := of[i], of[other]; a != b {
				if ties[a] == nil {
					ties[a] = map[uint32]float64{}
				}
				ties[a][b] += float64(weight[j])
			}
		}
	}
	into := make([]uint32, count)
	for c := range into {
		into[c] = uint32(c)
	}
	least := tiny(len(of))
	bySize := make([]uint32, count)
	copy(bySize, into)
	slices.SortFunc(bySize, func(a, b uint32) int { return cmp.Or(cmp.Compare(sizes[a], sizes[b]), cmp.Compare(a, b)) })
	for _, c := range bySize {
		if sizes[c] >= least || len(ties[c]) == 0 {
			continue
		}
		best, most := uint32(0), -1.0
		for d, tie := range ties[c] {
			if tie > most || tie == most && d < best {
				best, most = d, tie
			}
		}
		into[c] = best
		sizes[best] += sizes[c]
		for d, tie := range ties[c] { // which are now the other's
			delete(ties[d], c)
			if d != best {
				if ties[best] == nil {
					ties[best] = map[uint32]float64{}
				}
				ties[best][d] += tie
				ties[d][best] += tie
			}
		}
		sizes[c] = 0
	}
	for i, c := range of {
		for into[c] != c {
			c = into[c]
		}
		of[i] = c
	}
	return order(of, sizes, least)
}

// order numbers clusters, the largest first. What is still tiny is tied to none, and is together in the last one with what would be too many.
func order(of []uint32, sizes []int, least int) *Clusters {
	var kept []uint32
	rest := 0
	for c, size := range sizes {
		if size >= least {
			kept = append(kept, uint32(c))
		}
	}
	slices.SortFunc(kept, func(a, b uint32) int { return cmp.Or(cmp.Compare(sizes[b], sizes[a]), cmp.Compare(a, b)) })
	kept = kept[:min(len(kept), mostClusters-1)]
	number := make([]uint32, len(sizes))
	for c := range number {
		number[c] = uint32(len(kept))
	}
	out := &Clusters{Of: of}
	for i, c := range kept {
		number[c] = uint32(i)
		out.Sizes = append(out.Sizes, sizes[c])
	}
	for i, c := range of {
		if of[i] = number[c]; int(of[i]) == len(kept) {
			rest++
		}
	}
	if rest > 0 {
		out.Sizes, out.Rest = append(out.Sizes, rest), true
	}
	return out
}
