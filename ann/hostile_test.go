package ann

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

// Where all vectors are equal no search finds a slot with room for an edge of the tree, and most of the tree may have gone.
func TestConsolidateManyEqual(t *testing.T) {
	r := random(t)
	for _, m := range []int{2, 16} {
		for round := range some(60) {
			x, err := New(1, &Options{M: m, Seed: uint64(round)})
			if err != nil {
				t.Fatal(err)
			}
			n := 50 + r.IntN(200)
			for label := range uint64(n) {
				if err := x.Insert(label, []float32{1}); err != nil {
					t.Fatal(err)
				}
			}
			for label := range uint64(n) {
				if r.IntN(10) < 1+round%9 {
					x.Delete(label)
				}
			}
			if _, err := x.Consolidate(t.Context()); err != nil {
				t.Fatal(err)
			}
			check(t, x)
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What is taken out of the graph while InsertAll asks for its vectors is not counted on.
func TestInsertAllIntoWhatShrinks(t *testing.T) {
	r := random(t)
	for _, gone := range []uint64{999, 1000} {
		t.Run(fmt.Sprint(gone), func(t *testing.T) {
			vectors := clustered(r, 8, 1020)
			x := bulk(t, vectors[:1000], 0, nil)
			var labels []uint64
			for i := range uint64(20) {
				labels = append(labels, 1000+i)
			}
			var once sync.Once
			err := x.InsertAll(t.Context(), labels, func(i int) ([]float32, error) {
				once.Do(func() {
					for label := range gone {
						x.Delete(label)
					}
					if _, err := x.Consolidate(t.Context()); err != nil {
						t.Error(err)
					}
				})
				return vectors[1000+i], nil
			}, 1, nil)
			if err != nil || x.Len() != 1020-int(gone) {
				t.Errorf("%d vectors: %v", x.Len(), err)
			}
		})
	}
}

// Close waits for what is under way; what goes on in steps ends with ErrClosed.
func TestCloseMeanwhile(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 8, 9000)
	open := func() *Index {
		x, err := New(8, &Options{M: 4, EfConstruction: 10})
		if err != nil {
			t.Fatal(err)
		}
		insertAll(t, x, 0, vectors, 0)
		return x
	}
	x := open()
	if err := x.AllNeighbors(t.Context(), 1, 0, 2, func(uint64, []Neighbor) error { return x.Close() }); !errors.Is(err, ErrClosed) {
		t.Errorf("AllNeighbors: %v", err)
	}
	x = open()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if _, err := x.Pairs(t.Context(), 0.01, 1<<30, 2); err != nil {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("Pairs: %v", err)
				}
				return
			}
			if x.Len() == 0 { // it was closed before the first step
				return
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for ok := true; ok; _, ok = x.Vector(0) {
			}
		})
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// A vector with one value far above the others is kept with long steps; it is whole all the same.
func TestCheckUneven(t *testing.T) {
	r := random(t)
	for _, dim := range []int{8, 384, 4096} {
		x, err := New(dim, nil)
		if err != nil {
			t.Fatal(err)
		}
		for label := range uint64(50) {
			v := make([]float32, dim)
			for i := range v {
				v[i] = float32(r.NormFloat64()) / float32(dim)
			}
			v[r.IntN(dim)] = 1 + float32(label)
			if err := x.Insert(label, normalized(v)); err != nil {
				t.Fatal(err)
			}
		}
		check(t, x)
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		if err := x.Check(); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// A search that nobody waits for any more says so, whatever its plan.
func TestGivenUp(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 8, 3000)
	x := bulk(t, vectors, 0, nil)
	done := make(chan struct{})
	for _, plan := range []Plan{Auto, Graph, Scan} {
		if a, err := x.Search(vectors[0], Query{K: 10, Ef: 2000, Plan: plan, Done: done}); err != nil || len(a.Neighbors) != 10 {
			t.Errorf("%v: %d neighbours, %v", plan, len(a.Neighbors), err)
		}
	}
	close(done)
	for _, plan := range []Plan{Auto, Graph, Scan} {
		if _, err := x.Search(vectors[0], Query{K: 10, Ef: 2000, Plan: plan, Done: done}); !errors.Is(err, ErrGivenUp) {
			t.Errorf("%v: %v", plan, err)
		}
	}
	if a, err := x.Search(vectors[0], Query{K: 10, Ef: 2000}); err != nil || len(a.Neighbors) != 10 { // the searcher has forgotten it
		t.Errorf("%d neighbours, %v", len(a.Neighbors), err)
	}
}
