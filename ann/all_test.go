package ann

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// AllNeighbors gives each live vector once, and nearly all of its exact neighbours.
func TestAllNeighbors(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 24, some(3000))
	x := bulk(t, vectors, 0, nil)
	for label := range uint64(100) {
		x.Delete(label)
		if label == 50 { // some are free, some tombstones
			if _, err := x.Consolidate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	found, all, seen := 0, 0, map[uint64]bool{}
	err := x.AllNeighbors(t.Context(), 10, 32, 2, func(label uint64, near []Neighbor) error {
		if seen[label] || label < 100 || len(near) != 10 || !slices.IsSortedFunc(near, Neighbor.compare) {
			t.Fatalf("label %d: %v", label, near)
		}
		seen[label] = true
		if label%10 > 0 {
			return nil
		}
		want := slices.DeleteFunc(exact(t, x, vectors[label], 11), func(n Neighbor) bool { return n.Label == label })[:10]
		all += 10
		for _, n := range near {
			if n.Distance <= want[9].Distance+1e-4 {
				found++
			}
		}
		return nil
	})
	if err != nil || len(seen) != len(vectors)-100 {
		t.Errorf("%d of %d vectors: %v", len(seen), len(vectors)-100, err)
	}
	if recall := float64(found) / float64(all); recall < 0.97 {
		t.Errorf("recall %.3f", recall)
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
