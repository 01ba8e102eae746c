package ann

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// some is n, or a quarter of it where tests are to be short: under the race detector without assembly all is slow.
func some(n int) int {
	if testing.Short() {
		return n / 4
	}
	return n
}

// random gives a source of random numbers and prints its seed.
func random(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// unit gives a random unit vector.
func unit(r *rand.Rand, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return normalized(v)
}

func normalized(v []float32) []float32 {
	var sum float64
	for _, f := range v {
		sum += float64(f) * float64(f)
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / math.Sqrt(sum))
	}
	return v
}

// build gives an index of n random vectors, labelled 0 to n-1, that is checked at the end of the test.
func build(t testing.TB, r *rand.Rand, dim, n int, o *Options) *Index {
	t.Helper()
	x, err := New(dim, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		check(t, x)
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	for label := range n {
		insert(t, x, uint64(label), unit(r, dim))
	}
	return x
}

func insert(t testing.TB, x *Index, label uint64, v []float32) {
	t.Helper()
	if err := x.Insert(label, v); err != nil {
		t.Fatal(err)
	}
}

func check(t testing.TB, x *Index) {
	t.Helper()
	if err := x.Check(); err != nil {
		t.Errorf("check: %v", err)
	}
}

func search(t testing.TB, x *Index, q []float32, k, ef int) []Neighbor {
	t.Helper()
	got, err := x.Search(q, Query{K: k, Ef: ef, Plan: Graph})
	if err != nil {
		t.Fatal(err)
	}
	return got.Neighbors
}

func exact(t testing.TB, x *Index, q []float32, k int) []Neighbor {
	t.Helper()
	got, err := x.Exact(q, k)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// slow is the truth behind Exact: sorted loops in float64.
func slow(x *Index, q []float32, k int) []uint64 {
	type pair struct {
		d     float64
		label uint64
	}
	var all []pair
	for label := range x.Labels() {
		all = append(all, pair{x.float64Distance(q, label), label})
	}
	slices.SortFunc(all, func(a, b pair) int {
		if a.d != b.d {
			if a.d < b.d {
				return -1
			}
			return 1
		}
		return int(a.label) - int(b.label)
	})
	var out []uint64
	for _, p := range all[:min(k, len(all))] {
		out = append(out, p.label)
	}
	return out
}

// float64Distance is the cosine distance of a live label's vector, in float64.
func (x *Index) float64Distance(q []float32, label uint64) float64 {
	d := 1.0
	v, _ := x.Vector(label)
	for i, f := range v {
		d -= float64(f) * float64(q[i])
	}
	return d
}

func labels(n []Neighbor) []uint64 {
	var out []uint64
	for _, x := range n {
		out = append(out, x.Label)
	}
	return out
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		dim int
		o   *Options
		ok  bool
	}{
		{1, nil, true}, {65536, nil, true}, {0, nil, false}, {-1, nil, false}, {65537, nil, false},
		{4, &Options{M: 2}, true}, {4, &Options{M: 128}, true}, {4, &Options{M: 1}, false}, {4, &Options{M: 129}, false}, {4, &Options{M: -1}, false},
		{4, &Options{M: 16, EfConstruction: 16}, true}, {4, &Options{M: 16, EfConstruction: 15}, false}, {4, &Options{EfConstruction: 4097}, false},
	} {
		if _, err := New(c.dim, c.o); (err == nil) != c.ok {
			t.Errorf("New(%d, %+v): %v", c.dim, c.o, err)
		}
	}
	x, err := New(3, nil)
	if err != nil || x.Options() != (Options{M: 16, EfConstruction: 200}) || x.Dim() != 3 {
		t.Errorf("defaults are %+v", x.Options())
	}
}

func TestRefusals(t *testing.T) {
	x := build(t, random(t), 4, 3, nil)
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		v    []float32
		want error
	}{
		{nil, ErrDimension}, {[]float32{1, 0, 0}, ErrDimension}, {[]float32{1, 0, 0, 0, 0}, ErrDimension},
		{[]float32{0, 0, 0, 0}, ErrNotUnit}, {[]float32{2, 0, 0, 0}, ErrNotUnit}, {[]float32{0.99, 0, 0, 0}, ErrNotUnit},
		{[]float32{nan, 0, 0, 0}, ErrNotUnit}, {[]float32{1, inf, 0, 0}, ErrNotUnit}, {[]float32{1, 0, nan, 0}, ErrNotUnit},
	} {
		if err := x.Insert(9, c.v); !errors.Is(err, c.want) {
			t.Errorf("insert %v: %v, want %v", c.v, err, c.want)
		}
		if _, err := x.Search(c.v, Query{K: 1, Ef: 1}); !errors.Is(err, c.want) {
			t.Errorf("search %v: %v, want %v", c.v, err, c.want)
		}
		if _, err := x.Exact(c.v, 1); !errors.Is(err, c.want) {
			t.Errorf("exact %v: %v, want %v", c.v, err, c.want)
		}
	}
	if err := x.Insert(2, []float32{1, 0, 0, 0}); !errors.Is(err, ErrExists) {
		t.Errorf("insert of a label that is there: %v", err)
	}
	for _, k := range []int{0, -1} {
		if _, err := x.Search([]float32{1, 0, 0, 0}, Query{K: k, Ef: 10}); !errors.Is(err, ErrQuery) {
			t.Errorf("k %d: %v", k, err)
		}
		if _, err := x.Exact([]float32{1, 0, 0, 0}, k); !errors.Is(err, ErrQuery) {
			t.Errorf("k %d: %v", k, err)
		}
	}
	if x.Len() != 3 {
		t.Errorf("%d vectors after refused inserts", x.Len())
	}
}

func TestEmptyAndSmall(t *testing.T) {
	r := random(t)
	x := build(t, r, 5, 0, nil)
	q := unit(r, 5)
	if got := search(t, x, q, 3, 10); len(got) != 0 {
		t.Errorf("an empty index gives %v", got)
	}
	if got := exact(t, x, q, 3); len(got) != 0 {
		t.Errorf("an empty index gives %v", got)
	}
	for n := range 20 {
		insert(t, x, uint64(n), unit(r, 5))
		if got := search(t, x, q, 100, 1); !slices.Equal(got, exact(t, x, q, 100)) || len(got) != n+1 {
			t.Errorf("%d vectors: %v, want %v", n+1, got, exact(t, x, q, 100))
		}
	}
}

func TestExactIsExactAndSearchWithALongListIsTheSame(t *testing.T) {
	r := random(t)
	for _, dim := range []int{2, 7, 32, 100} {
		n := some(1500)
		x := build(t, r, dim, n, &Options{M: 8, EfConstruction: 60})
		for range 20 {
			q := unit(r, dim)
			truth := exact(t, x, q, 12)
			// Two vectors whose distances differ by less than the second comparison can tell may stand in either order.
			for i, label := range slow(x, q, 12) {
				if got, want := x.float64Distance(q, truth[i].Label), x.float64Distance(q, label); math.Abs(got-want) > 5e-5 {
					t.Errorf("dim %d: place %d has label %d at %v, the slow truth %d at %v", dim, i, truth[i].Label, got, label, want)
				}
			}
			if got := search(t, x, q, 12, n); !slices.Equal(got, truth) {
				t.Errorf("dim %d: a search with ef = n gives %v, want %v", dim, got, truth)
			}
			for i, n := range truth {
				if i > 0 && truth[i-1].compare(n) >= 0 {
					t.Errorf("out of order: %v", truth)
				}
			}
		}
	}
}

// The answer for k is the beginning of the answer for more.
func TestAnswersArePrefixes(t *testing.T) {
	r := random(t)
	x := build(t, r, 16, some(2000), nil)
	for range some(50) {
		q := unit(r, 16)
		longest := search(t, x, q, 64, 96)
		for _, k := range []int{1, 2, 10, 11, 63} {
			if got := search(t, x, q, k, 96); !slices.Equal(got, longest[:k]) {
				t.Errorf("k %d: %v is not the beginning of %v", k, got, longest)
			}
			if got := exact(t, x, q, k); !slices.Equal(got, exact(t, x, q, 64)[:k]) {
				t.Errorf("exact k %d is not the beginning of k 64", k)
			}
		}
	}
}

// Thousands of copies of one vector: all can be found, ties come in the order of labels, and their neighbours are not
// cut off.
func TestDuplicates(t *testing.T) {
	r := random(t)
	x := build(t, r, 8, 500, &Options{M: 4, EfConstruction: 20})
	v := unit(r, 8)
	n := some(3000)
	for i := range n {
		insert(t, x, uint64(1000+i), v)
	}
	got := search(t, x, v, n, n)
	if len(got) != n {
		t.Fatalf("%d of %d copies are found", len(got), n)
	}
	for i, n := range got {
		if n.Label != uint64(1000+i) {
			t.Fatalf("place %d has label %d", i, n.Label)
		}
	}
	if got := labels(search(t, x, v, n+500, n+500)); len(got) != n+500 {
		t.Errorf("%d of %d vectors are found", len(got), n+500)
	}
}

// Deleted vectors are in no answer, and do not crowd out the living: k come whenever k live.
func TestDelete(t *testing.T) {
	r := random(t)
	x := build(t, r, 12, 1000, &Options{M: 6, EfConstruction: 50})
	q := unit(r, 12)
	order := labels(exact(t, x, q, 1000))
	for i, label := range order[:990] { // from the nearest on: the hardest case
		if !x.Delete(label) || x.Delete(label) || x.Contains(label) {
			t.Fatalf("delete of %d", label)
		}
		if i%50 == 0 || i > 980 {
			if got := labels(search(t, x, q, 10, 10)); len(got) != 10 || slices.ContainsFunc(got, func(l uint64) bool { return slices.Contains(order[:i+1], l) }) {
				t.Fatalf("after %d deletions the search gives %v", i+1, got)
			}
			check(t, x)
		}
	}
	if got := labels(search(t, x, q, 20, 20)); !slices.Equal(got, order[990:]) {
		t.Errorf("the last ten are %v, want %v", got, order[990:])
	}
	for _, label := range order[990:] {
		x.Delete(label)
	}
	if got := search(t, x, q, 10, 10); len(got) != 0 || x.Len() != 0 || x.Tombstones() != 1000 {
		t.Errorf("all are deleted, the search gives %v; %d live, %d tombstones", got, x.Len(), x.Tombstones())
	}
	insert(t, x, order[0], q) // the label may come again
	if got := search(t, x, q, 10, 10); len(got) != 1 || got[0].Label != order[0] {
		t.Errorf("after all were deleted, an inserted vector is not found: %v", got)
	}
}

// The distances of labels are those of an answer, to the last bit, in whatever form vectors are kept.
func TestDistances(t *testing.T) {
	r := random(t)
	for _, memory := range []Memory{Residual, Fast, Lean} {
		x := build(t, r, 24, 500, &Options{Memory: memory})
		q := unit(r, 24)
		all := exact(t, x, q, 500)
		x.Delete(all[3].Label)
		got, err := x.Distances(q, append(labels(all), 1e9))
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range got {
			if gone := i == 3 || i == 500; gone != (d != d) || !gone && d != all[i].Distance {
				t.Errorf("%v: the distance of neighbour %d is %v", memory, i, d)
			}
		}
		if _, err := x.Distances(q[1:], nil); !errors.Is(err, ErrDimension) {
			t.Errorf("of a vector that is too short: %v", err)
		}
	}
}

// Random operations against a map, with a seed in the output.
func TestRandomOperations(t *testing.T) {
	r := random(t)
	x := build(t, r, 6, 0, &Options{M: 3, EfConstruction: 10})
	model := map[uint64]bool{}
	for step := range 5000 {
		label := uint64(r.IntN(400))
		switch {
		case r.IntN(3) > 0:
			if err := x.Insert(label, unit(r, 6)); (err == nil) == model[label] {
				t.Fatalf("step %d: insert of %d: %v", step, label, err)
			}
			model[label] = true
		default:
			if x.Delete(label) != model[label] {
				t.Fatalf("step %d: delete of %d", step, label)
			}
			delete(model, label)
		}
		if x.Len() != len(model) {
			t.Fatalf("step %d: %d live, want %d", step, x.Len(), len(model))
		}
		if step%500 == 0 {
			check(t, x)
			q := unit(r, 6)
			if got, want := labels(search(t, x, q, 400, 400)), labels(exact(t, x, q, 400)); !slices.Equal(got, want) || len(got) != len(model) {
				t.Fatalf("step %d: search gives %d, exact %d of %d", step, len(got), len(want), len(model))
			}
		}
	}
	for label := range x.Labels() {
		if !model[label] {
			t.Errorf("label %d should be gone", label)
		}
		delete(model, label)
	}
	if len(model) != 0 {
		t.Errorf("Labels leaves out %v", model)
	}
}

func TestLevelsAreDistributedAsInThePaper(t *testing.T) {
	x, err := New(1, &Options{M: 16})
	if err != nil {
		t.Fatal(err)
	}
	const n = 1 << 16
	var above [5]int
	for label := range uint64(n) {
		for l := range min(x.levelOf(label), 4) {
			above[l+1]++
		}
	}
	for l, p := 1, 1.0/16; l <= 3; l, p = l+1, p/16 {
		if got, want := float64(above[l]), n*p; math.Abs(got-want) > 6*math.Sqrt(want) {
			t.Errorf("%v labels have level %d or more, expected about %v", got, l, want)
		}
	}
}

// Searches run beside changes; each answer holds k live neighbours in order. Run with -race.
func TestConcurrentUse(t *testing.T) {
	r := random(t)
	x := build(t, r, 16, 300, &Options{M: 8, EfConstruction: 30})
	var wg sync.WaitGroup
	for w := range 2 {
		seed := r.Uint64()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for i := range 200 {
				label := uint64(1000 + w*1000 + i)
				if err := x.Insert(label, unit(r, 16)); err != nil {
					t.Error(err)
				}
				if i%2 == 0 && !x.Delete(label) {
					t.Errorf("label %d is gone", label)
				}
			}
		})
	}
	for range 3 {
		seed := r.Uint64()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for range 200 {
				got, err := x.Search(unit(r, 16), Query{K: 20, Ef: 40})
				if err != nil || len(got.Neighbors) != 20 || !slices.IsSortedFunc(got.Neighbors, Neighbor.compare) {
					t.Errorf("%v %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkInsert(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	x := build(b, r, 384, 2000, nil)
	label := uint64(1 << 32)
	for b.Loop() {
		insert(b, x, label, unit(r, 384))
		label++
	}
}

func BenchmarkSearch(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	x := build(b, r, 384, 5000, nil)
	q := unit(r, 384)
	for _, ef := range []int{16, 64, 256} {
		b.Run(fmt.Sprintf("ef=%d", ef), func(b *testing.B) {
			for b.Loop() {
				search(b, x, q, 10, ef)
			}
		})
	}
	b.Run("exact", func(b *testing.B) {
		for b.Loop() {
			exact(b, x, q, 10)
		}
	})
}
