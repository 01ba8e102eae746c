package atlas

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// mixture draws n points of so many Gaussians, and tells which of them each is from.
func mixture(rng *rand.Rand, n, gaussians, dimension int, apart float64) (vectors [][]float32, from []uint32) {
	centres := make([][]float64, gaussians)
	for g := range centres {
		centres[g] = make([]float64, dimension)
		for d := range centres[g] {
			centres[g][d] = apart * rng.NormFloat64()
		}
	}
	for range n {
		g := rng.IntN(gaussians)
		v := make([]float32, dimension)
		for d := range v {
			v[d] = float32(centres[g][d] + rng.NormFloat64())
		}
		vectors, from = append(vectors, v), append(from, uint32(g))
	}
	return vectors, from
}

func square(a, b []float32) (sum float32) {
	for d := range a {
		sum += (a[d] - b[d]) * (a[d] - b[d])
	}
	return sum
}

// nearest gives the k nearest others of each, by comparing all.
func nearest(vectors [][]float32, k int) [][]Neighbor {
	near := make([][]Neighbor, len(vectors))
	for i, v := range vectors {
		all := make([]Neighbor, 0, len(vectors))
		for j, w := range vectors {
			if i != j {
				all = append(all, Neighbor{uint32(j), float32(math.Sqrt(float64(square(v, w))))})
			}
		}
		slices.SortFunc(all, func(a, b Neighbor) int {
			switch {
			case a.Distance < b.Distance:
				return -1
			case a.Distance > b.Distance:
				return 1
			}
			return int(a.To) - int(b.To)
		})
		near[i] = all[:min(k, len(all))]
	}
	return near
}

// drawn is a whole map of vectors.
func drawn(t testing.TB, vectors [][]float32, seed uint64) ([]Point, *Clusters) {
	t.Helper()
	g, err := Weigh(t.Context(), nearest(vectors, 15))
	if err != nil {
		t.Fatal(err)
	}
	points, err := Start(t.Context(), len(vectors), seed, func(i int) []float32 { return vectors[i] })
	if err != nil {
		t.Fatal(err)
	}
	if err := Layout(t.Context(), g, points, seed, nil); err != nil {
		t.Fatal(err)
	}
	clusters, err := FindClusters(t.Context(), g, seed)
	if err != nil {
		t.Fatal(err)
	}
	return points, clusters
}

// adjustedRand is the adjusted Rand index of two partitions (Hubert, Arabie: Comparing partitions, 1985).
func adjustedRand(a, b []uint32) float64 {
	pairs := func(n float64) float64 { return n * (n - 1) / 2 }
	both, as, bs := map[[2]uint32]float64{}, map[uint32]float64{}, map[uint32]float64{}
	for i := range a {
		both[[2]uint32{a[i], b[i]}]++
		as[a[i]]++
		bs[b[i]]++
	}
	var sum, sumA, sumB float64
	for _, n := range both {
		sum += pairs(n)
	}
	for _, n := range as {
		sumA += pairs(n)
	}
	for _, n := range bs {
		sumB += pairs(n)
	}
	expected := sumA * sumB / pairs(float64(len(a)))
	return (sum - expected) / ((sumA+sumB)/2 - expected)
}

// trustworthiness is how far the k nearest on the map are near in truth (Venna, Kaski: Neighborhood preservation in nonlinear projection methods, 2001).
func trustworthiness(vectors [][]float32, points []Point, k int) float64 {
	n := len(vectors)
	flat := make([][]float32, n)
	for i, p := range points {
		flat[i] = []float32{p.X, p.Y}
	}
	truth, shown := nearest(vectors, n-1), nearest(flat, k)
	sum := 0.0
	rank := make([]int, n)
	for i := range n {
		for r, x := range truth[i] {
			rank[x.To] = r + 1
		}
		for _, x := range shown[i] {
			sum += float64(max(0, rank[x.To]-k))
		}
	}
	return 1 - 2/(float64(n*k)*float64(2*n-3*k-1))*sum
}

// Of a mixture of Gaussians the clusters are found, and who is near on the map is near in truth.
func TestMixture(t *testing.T) {
	for seed := range uint64(3) {
		for _, gaussians := range []int{6, 10} {
			vectors, from := mixture(rand.New(rand.NewPCG(seed, 1)), 1000, gaussians, 20, 2)
			points, clusters := drawn(t, vectors, seed)
			index, trust := adjustedRand(clusters.Of, from), trustworthiness(vectors, points, 15)
			t.Logf("seed %d, %d gaussians: adjusted Rand index %.3f, trustworthiness %.3f, clusters of %v", seed, gaussians, index, trust, clusters.Sizes)
			if index < 0.9 || trust < 0.9 {
				t.Errorf("seed %d, %d gaussians: adjusted Rand index %.3f, trustworthiness %.3f; each must be 0.9 at least", seed, gaussians, index, trust)
			}
			checkMap(t, points, clusters)
		}
	}
}

// checkMap proves what is true of every map.
func checkMap(t *testing.T, points []Point, c *Clusters) {
	t.Helper()
	for i, p := range points {
		if !(p.X >= -1.0001 && p.X <= 1.0001 && p.Y >= -1.0001 && p.Y <= 1.0001) {
			t.Fatalf("point %d is at %v", i, p)
		}
	}
	if len(c.Of) != len(points) {
		t.Fatalf("clusters of %d points, want %d", len(c.Of), len(points))
	}
	sizes := make([]int, len(c.Sizes))
	for _, k := range c.Of {
		sizes[k]++
	}
	if !slices.Equal(sizes, c.Sizes) || len(sizes) > mostClusters || slices.Contains(sizes, 0) {
		t.Errorf("the clusters have %v points and are said to have %v", sizes, c.Sizes)
	}
	named := sizes
	if c.Rest {
		named = sizes[:len(sizes)-1]
	}
	if !slices.IsSortedFunc(named, func(a, b int) int { return b - a }) {
		t.Errorf("the clusters have %v points, not the largest first", sizes)
	}
}

// Whatever there is, no place is no number.
func TestDegenerate(t *testing.T) {
	same := func(n int) (vectors [][]float32) {
		for range n {
			vectors = append(vectors, []float32{1, 2, 3})
		}
		return vectors
	}
	far := [][]float32{{0, 0}, {1e18, 0}, {0, 1e-18}, {-1e18, 1e18}}
	for name, vectors := range map[string][][]float32{
		"none": nil, "one": same(1), "two": same(2), "two apart": {{0, 1}, {1, 0}}, "equal": same(50), "far": far,
		"equal and others": append(same(40), []float32{4, 4, 4}, []float32{9, 9, 9}),
	} {
		t.Run(name, func(t *testing.T) {
			points, clusters := drawn(t, vectors, 1)
			checkMap(t, points, clusters)
		})
	}
	t.Run("isolated", func(t *testing.T) {
		near := make([][]Neighbor, 30)
		near[0] = []Neighbor{{0, 0}, {1, float32(math.NaN())}, {2, float32(math.Inf(1))}, {99, 1}, {3, -1}, {3, 1}}
		g, err := Weigh(t.Context(), near)
		if err != nil {
			t.Fatal(err)
		}
		points, err := Start(t.Context(), len(near), 1, func(i int) []float32 {
			return [][]float32{nil, {float32(math.NaN()), 1}, {1, 2, 3}, {1, 1}}[i%4]
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := Layout(t.Context(), g, points, 1, nil); err != nil {
			t.Fatal(err)
		}
		clusters, err := FindClusters(t.Context(), g, 1)
		if err != nil {
			t.Fatal(err)
		}
		checkMap(t, points, clusters)
		if !clusters.Rest || len(clusters.Sizes) != 1 {
			t.Errorf("clusters of %v, rest %v", clusters.Sizes, clusters.Rest)
		}
	})
}

// The weights of a point's neighbours add up to what they should, each edge is at both of its ends, and none is heavier than 1.
func TestWeigh(t *testing.T) {
	vectors, _ := mixture(rand.New(rand.NewPCG(1, 1)), 300, 3, 5, 2)
	near := nearest(vectors, 15)
	distances := make([]float64, 15)
	for j, x := range near[0] {
		distances[j] = float64(x.Distance)
	}
	rho, sigma := bandwidth(distances)
	sum := 0.0
	for _, d := range distances {
		sum += math.Exp(-max(0, d-rho) / sigma)
	}
	if math.Abs(sum-4) > 1e-3 || rho != distances[0] {
		t.Errorf("the weights add up to %v, want log2 16; rho is %v, want %v", sum, rho, distances[0])
	}
	g, err := Weigh(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}
	for i := range g.Len() {
		to, weight := g.edges(i)
		for j, other := range to {
			back, weights := g.edges(int(other))
			at := slices.Index(back, uint32(i))
			if at < 0 || weights[at] != weight[j] || !(weight[j] > 0 && weight[j] <= 1) || slices.Contains(to[:j], other) {
				t.Fatalf("the edge from %d to %d has the weight %v; from there go %v with %v", i, other, weight[j], back, weights)
			}
		}
	}
}

// The same seed gives the same map.
func TestSameSeed(t *testing.T) {
	vectors, _ := mixture(rand.New(rand.NewPCG(1, 1)), 500, 5, 10, 1)
	a, ca := drawn(t, vectors, 7)
	b, cb := drawn(t, vectors, 7)
	if !slices.Equal(a, b) || !slices.Equal(ca.Of, cb.Of) {
		t.Error("two maps with one seed are not the same")
	}
	if c, _ := drawn(t, vectors, 8); slices.Equal(a, c) {
		t.Error("two maps with two seeds are the same")
	}
}

// The end of the context ends each stage.
func TestCancelled(t *testing.T) {
	vectors, _ := mixture(rand.New(rand.NewPCG(1, 1)), 100, 2, 5, 2)
	near := nearest(vectors, 15)
	g, err := Weigh(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &Clusters{Of: make([]uint32, 100), Sizes: []int{100}}
	for stage, do := range map[string]func() error{
		"Weigh":        func() error { _, err := Weigh(ctx, near); return err },
		"Start":        func() error { _, err := Start(ctx, 100, 1, func(i int) []float32 { return vectors[i] }); return err },
		"Layout":       func() error { return Layout(ctx, g, make([]Point, 100), 1, nil) },
		"FindClusters": func() error { _, err := FindClusters(ctx, g, 1); return err },
		"Names":        func() error { _, err := Names(ctx, c, func(int) string { return "" }); return err },
	} {
		if err := do(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s gives %v", stage, err)
		}
	}
}

func TestNames(t *testing.T) {
	titles := map[uint32][]string{
		0: {"BERT for Machine Translation", "Neural machine translation with BERT", "A study of machine translation: decoding", "Decoding in machine translation"},
		1: {"Graph networks on molecules: molecular", "Molecular graphs", "A Graph Network for molecules", "Graph networks: molecules again"},
		2: {"Machine learning of galaxies", "Galaxies and dark matter", "Dark matter in galaxies", "Dark-matter haloes"},
		5: {"Approximate nearest neighbor search", "Approximate nearest neighbors", "On approximate nearest neighbors and nearest neighbors", "Nearest-neighbor search; nearest neighbors"},
		3: {"", "!!", "42", "of the"},
		4: {"", "a", "…", "the"},
	}
	c := &Clusters{Sizes: []int{4, 4, 4, 4, 4, 4}}
	var all []string
	for k := range uint32(6) {
		for _, title := range titles[k] {
			c.Of, all = append(c.Of, k), append(all, title)
		}
	}
	names, err := Names(t.Context(), c, func(i int) string { return all[i] })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"machine translation, BERT", "graph networks, molecules", "dark matter, galaxies", "without a name", "without a name (2)", "approximate nearest neighbors"}
	if !slices.Equal(names, want) {
		t.Errorf("the names are %q, want %q", names, want)
	}
}

// However alike the clusters, no name is there twice, and each has three words at most.
func TestNamesDiffer(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	words := strings.Fields("quantum lattice graph vision speech protein BERT galaxies market fluid")
	c := &Clusters{Sizes: make([]int, 60)}
	var all []string
	for i := range 3000 {
		k := i % 60
		c.Of = append(c.Of, uint32(k))
		c.Sizes[k]++
		all = append(all, fmt.Sprint(words[rng.IntN(len(words))], " ", words[rng.IntN(len(words))], " and ", words[rng.IntN(len(words))]))
	}
	names, err := Names(t.Context(), c, func(i int) string { return all[i] })
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, name := range names {
		plain, _, _ := strings.Cut(name, " (")
		if n := len(strings.Fields(plain)); seen[name] || name == "" || n > nameWords {
			t.Errorf("a cluster is called %q", name)
		}
		seen[name] = true
	}
}

// ring is a graph without vectors: points on a line in blocks, whose neighbours are near on it.
func ring(n, k, blocks int) [][]Neighbor {
	rng := rand.New(rand.NewPCG(1, 1))
	near := make([][]Neighbor, n)
	for i := range near {
		block := i * blocks / n
		low, high := block*n/blocks, (block+1)*n/blocks
		for len(near[i]) < k {
			j := i + rng.IntN(401) - 200
			if rng.IntN(4) == 0 {
				j = low + rng.IntN(high-low)
			}
			if rng.IntN(20) == 0 {
				j = rng.IntN(n)
			}
			if j >= 0 && j < n {
				near[i] = append(near[i], Neighbor{uint32(j), 0.1 + rng.Float32()})
			}
		}
	}
	return near
}

func BenchmarkMap(b *testing.B) {
	const n = 118_747
	near := ring(n, 15, 40)
	for b.Loop() {
		g, err := Weigh(b.Context(), near)
		if err != nil {
			b.Fatal(err)
		}
		weighed := b.Elapsed()
		c, err := FindClusters(b.Context(), g, 1)
		if err != nil {
			b.Fatal(err)
		}
		clustered := b.Elapsed()
		rng := random(1)
		points := make([]Point, n)
		for i := range points {
			points[i] = Point{float32(10 * rng.unit()), float32(10 * rng.unit())}
		}
		if err := Layout(b.Context(), g, points, 1, nil); err != nil {
			b.Fatal(err)
		}
		b.Logf("weighed after %v, %d clusters after %v, laid out after %v", weighed, len(c.Sizes), clustered, b.Elapsed())
	}
}
