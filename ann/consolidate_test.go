package ann

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// Every vector deleted and inserted again, ten times over: recall stays, nothing is unreachable, memory does not grow.
func TestChurn(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 16, some(2000))
	queries := like(r, vectors, 500)
	o := &Options{M: 8, EfConstruction: 60}
	x := bulk(t, vectors, 0, o)
	fresh := recallOf(t, x, queries, 10, 40, nil)
	before := x.Usage().Bytes
	for round := range 10 {
		order := r.Perm(len(vectors))
		for part := range slices.Chunk(order, len(order)/10) {
			for _, i := range part {
				if !x.Delete(uint64(i)) {
					t.Fatalf("label %d is gone", i)
				}
			}
			if n, err := x.Consolidate(t.Context()); err != nil || n != len(part) || x.Tombstones() != 0 {
				t.Fatalf("%d of %d tombstones are consolidated, %d are left: %v", n, len(part), x.Tombstones(), err)
			}
			for _, i := range part {
				insert(t, x, uint64(i), vectors[i])
			}
		}
		if round%3 == 0 {
			check(t, x)
		}
	}
	if recall := recallOf(t, x, queries, 10, 40, nil); recall < fresh-0.005 {
		t.Errorf("recall@10 is %.4f, it was %.4f before", recall, fresh)
	}
	if after := x.Usage().Bytes; after > before+before/10 {
		t.Errorf("%d bytes, it were %d before", after, before)
	}
}

// All but a few, all, and the entry point among them.
func TestConsolidateMuch(t *testing.T) {
	r := random(t)
	for _, left := range []int{0, 1, 2, 50} {
		vectors := clustered(r, 8, 600)
		x := bulk(t, vectors, 0, &Options{M: 4, EfConstruction: 20})
		for label := range 600 - left {
			x.Delete(uint64(label))
		}
		check(t, x)
		if n, err := x.Consolidate(t.Context()); err != nil || n != 600-left {
			t.Fatalf("%d left: %d are consolidated, %v", left, n, err)
		}
		check(t, x)
		if got := search(t, x, vectors[0], 100, 100); len(got) != left {
			t.Errorf("%d left: %d are found", left, len(got))
		}
		insertAll(t, x, 1000, vectors, 0)
		check(t, x)
		if got := search(t, x, vectors[0], 700, 1400); len(got) != 600+left {
			t.Errorf("%d left and 600 more: %d are found", left, len(got))
		}
		if u := x.Usage(); u.Free != max(0, 600-left-600) {
			t.Errorf("%d left: %+v", left, u)
		}
	}
	x := bulk(t, clustered(r, 8, 100), 0, nil)
	x.Delete(3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Consolidate(ctx); !errors.Is(err, context.Canceled) || x.Tombstones() != 1 {
		t.Errorf("an ended context: %v, %d tombstones", err, x.Tombstones())
	}
}

// Searches, inserts, deletes and consolidations at once; each answer is whole and in order. Run with -race and the purego tag.
func TestEverythingAtOnce(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 16, 1200)
	x := bulk(t, vectors[:600], 0, &Options{M: 6, EfConstruction: 30})
	var work, look sync.WaitGroup
	done := make(chan struct{})
	for w := range 2 {
		seed := r.Uint64()
		work.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for i := range 300 {
				label := uint64(600 + w*300 + i)
				if err := x.Insert(label, vectors[label]); err != nil {
					t.Error(err)
				}
				if got, err := x.Search(vectors[label], Query{K: 30, Ef: 80}); err != nil || !slices.ContainsFunc(got.Neighbors, func(n Neighbor) bool { return n.Label == label }) {
					t.Errorf("label %d is not found after Insert: %v", label, err)
				}
				if i%3 == 0 {
					if gone := uint64(600 + w*300 + r.IntN(i+1)); x.Delete(gone) {
						if got, err := x.Search(vectors[gone], Query{K: 30, Ef: 80}); err != nil || slices.ContainsFunc(got.Neighbors, func(n Neighbor) bool { return n.Label == gone }) {
							t.Errorf("label %d is found after Delete: %v", gone, err)
						}
					}
				}
			}
		})
	}
	work.Go(func() {
		for range 10 {
			if _, err := x.Consolidate(t.Context()); err != nil {
				t.Error(err)
			}
			_ = x.Usage()
			if err := x.WriteSnapshot(io.Discard, nil); err != nil {
				t.Error(err)
			}
		}
	})
	few := NewFilter(slices.Values([]uint64{1, 2, 3, 5, 8, 13, 21}))
	for range 2 {
		seed := r.Uint64()
		look.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for {
				select {
				case <-done:
					return
				default:
				}
				q := unit(r, 16)
				for _, plan := range []Plan{Auto, Graph, Scan} {
					got, err := x.Search(q, Query{K: 20, Ef: 40, Plan: plan})
					if err != nil || len(got.Neighbors) != 20 || !slices.IsSortedFunc(got.Neighbors, Neighbor.compare) {
						t.Errorf("%v %v", got, err)
					}
				}
				if _, err := x.Exact(q, 5); err != nil {
					t.Error(err)
				}
				if got, err := x.Search(q, Query{K: 9, Filter: few}); err != nil || len(got.Neighbors) != 7 {
					t.Errorf("%v %v", got, err)
				}
			}
		})
	}
	work.Wait()
	close(done)
	look.Wait()
}

// Close waits for what runs; after it searches find nothing and changes are refused.
func TestClose(t *testing.T) {
	r := random(t)
	x, err := New(8, nil)
	if err != nil {
		t.Fatal(err)
	}
	insertAll(t, x, 0, clustered(r, 8, 500), 0)
	few := NewFilter(slices.Values([]uint64{1, 2, 3}))
	var wg sync.WaitGroup
	for range 4 {
		q := unit(r, 8)
		wg.Go(func() {
			for {
				got, err := x.Search(q, Query{K: 3, Filter: few})
				if err != nil {
					t.Error(err)
				}
				if len(got.Neighbors) == 0 { // it is closed
					return
				}
			}
		})
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := x.Insert(1000, unit(r, 8)); !errors.Is(err, ErrClosed) {
		t.Errorf("Insert after Close: %v", err)
	}
	if x.Len() != 0 || x.Delete(3) || x.Contains(3) || x.Close() != nil {
		t.Error("a closed index is not empty")
	}
}
