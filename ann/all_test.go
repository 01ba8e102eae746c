package ann

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// AllNeighbors gives each live vector once, and nearly all of its exact neighbours, the same for any number of threads; of few vectors all.
func TestAllNeighbors(t *testing.T) {
	for _, test := range []struct {
		name   string
		n, k   int
		o      *Options
		recall float64
	}{
		{"default", 3000, 10, nil, 0.97},
		{"many of each", 12000, 40, nil, 0.97},
		{"few links", 3000, 10, &Options{M: 2}, 0.2},
		{"signs", 12500, 5, &Options{Code: Bit, Memory: Fast}, 0.5},
		{"few vectors", 400, 10, nil, 1},
		{"fewer than wanted", 108, 10, nil, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.n > 10000 && testing.Short() {
				t.Skip("long")
			}
			r := random(t)
			vectors := clustered(r, 24, test.n)
			for i := range 100 { // and many of one, of which each may have any others as its nearest
				vectors[test.n-1-i] = vectors[test.n-1]
			}
			x := bulk(t, vectors, 0, test.o)
			for label := range uint64(100) {
				x.Delete(label)
				if label == 50 { // some are free, some tombstones
					if _, err := x.Consolidate(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			k := min(test.k, test.n-101)
			found, all, first := 0, 0, map[uint64][]Neighbor{}
			for _, threads := range []int{1, 3} {
				seen := map[uint64]bool{}
				err := x.AllNeighbors(t.Context(), test.k, 0, threads, func(label uint64, near []Neighbor) error {
					if seen[label] || label < 100 || len(near) != k || !slices.IsSortedFunc(near, Neighbor.compare) {
						t.Fatalf("label %d: %v", label, near)
					}
					seen[label] = true
					if threads > 1 {
						if !slices.Equal(near, first[label]) {
							t.Fatalf("label %d: %v with one thread, %v with %d", label, first[label], near, threads)
						}
						return nil
					}
					first[label] = slices.Clone(near)
					if label%10 > 0 && test.n > 1000 {
						return nil
					}
					want := slices.DeleteFunc(exact(t, x, vectors[label], k+1), func(n Neighbor) bool { return n.Label == label })[:k]
					all += k
					for _, n := range near {
						if n.Label == label {
							t.Fatalf("label %d is its own neighbour", label)
						}
						if n.Distance <= want[k-1].Distance+1e-4 {
							found++
						}
					}
					return nil
				})
				if err != nil || len(seen) != len(vectors)-100 {
					t.Fatalf("%d of %d vectors: %v", len(seen), len(vectors)-100, err)
				}
			}
			if recall := float64(found) / float64(all); recall < test.recall {
				t.Errorf("recall %.3f", recall)
			} else {
				t.Logf("recall %.3f", recall)
			}
			stop := errors.New("enough")
			if err := x.AllNeighbors(t.Context(), 1, 0, 0, func(uint64, []Neighbor) error { return stop }); !errors.Is(err, stop) {
				t.Errorf("a refusing yield: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := x.AllNeighbors(ctx, 1, 0, 0, func(uint64, []Neighbor) error { return nil }); !errors.Is(err, context.Canceled) {
				t.Errorf("an ended context: %v", err)
			}
			if err := x.AllNeighbors(t.Context(), 0, 0, 0, nil); !errors.Is(err, ErrQuery) {
				t.Errorf("k 0: %v", err)
			}
			if test.n > 1000 {
				return
			}
			if err := x.AllNeighbors(t.Context(), maxSlots, 1<<40, 0, func(uint64, []Neighbor) error { return stop }); !errors.Is(err, stop) {
				t.Errorf("as many as there can be: %v", err)
			}
		})
	}
}

// AllNeighbors may run while vectors come and go, and are consolidated.
func TestAllNeighborsMeanwhile(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 24, some(8000))
	x := bulk(t, vectors, 0, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for label := uint64(0); ctx.Err() == nil; label = (label + 1) % uint64(len(vectors)) {
			x.Delete(label)
			if label%256 == 0 {
				if _, err := x.Consolidate(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if err := x.Insert(label, vectors[label]); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		seen := map[uint64]bool{}
		if err := x.AllNeighbors(t.Context(), 10, 0, 2, func(label uint64, near []Neighbor) error {
			if label >= uint64(len(vectors)) || len(near) == 0 || !slices.IsSortedFunc(near, Neighbor.compare) {
				t.Errorf("label %d: %v", label, near)
			}
			seen[label] = true
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(seen) < len(vectors)*8/10 {
			t.Errorf("%d of %d", len(seen), len(vectors))
		}
	}
	cancel()
	wg.Wait()
}

// Pairs gives the pairs that comparing each with each gives, among them those of a clique larger than any list.
func TestPairs(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 12, some(900))
	for range 60 {
		vectors = append(vectors, vectors[0])
	}
	x := bulk(t, vectors, 0, nil)
	const within = 0.05
	var want []Pair
	for a := range vectors {
		for _, n := range exact(t, x, vectors[a], 200) {
			if n.Distance <= within && n.Label > uint64(a) {
				want = append(want, Pair{uint64(a), n.Label, n.Distance})
			}
		}
	}
	got, err := x.Pairs(t.Context(), within, 1<<20, 2)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(got, Pair.compare) {
		t.Error("not in order")
	}
	key := func(p Pair) [2]uint64 { return [2]uint64{p.A, p.B} }
	is := map[[2]uint64]bool{}
	for _, p := range got {
		if is[key(p)] || p.A >= p.B || p.Distance > within {
			t.Errorf("%+v", p)
		}
		is[key(p)] = true
	}
	missing := 0
	for _, p := range want {
		if !is[key(p)] && p.Distance < within-1e-4 {
			missing++
		}
	}
	if t.Logf("%d pairs, %d expected, %d missing", len(got), len(want), missing); missing > len(want)/100 {
		t.Errorf("%d of %d pairs are missing", missing, len(want))
	}
	if _, err := x.Pairs(t.Context(), within, 100, 2); !errors.Is(err, ErrTooMany) {
		t.Errorf("more than 100: %v", err)
	}
	if _, err := x.Pairs(t.Context(), -1, 100, 2); !errors.Is(err, ErrQuery) {
		t.Errorf("a negative distance: %v", err)
	}
}
