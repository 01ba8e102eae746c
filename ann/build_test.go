package ann

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"embedd/ann/vec"
)

// clustered gives n unit vectors around some centres, and some copies: harder than noise, and more like texts.
func clustered(r *rand.Rand, dim, n int) [][]float32 {
	centres := make([][]float32, 1+n/50)
	for i := range centres {
		centres[i] = unit(r, dim)
	}
	out := make([][]float32, n)
	for i := range out {
		if i > 0 && r.IntN(20) == 0 {
			out[i] = out[r.IntN(i)]
			continue
		}
		v := unit(r, dim)
		for j, f := range centres[r.IntN(len(centres))] {
			v[j] = 0.6*v[j] + f
		}
		out[i] = normalized(v)
	}
	return out
}

// like gives n unit vectors near to some of others.
func like(r *rand.Rand, vectors [][]float32, n int) [][]float32 {
	out := make([][]float32, n)
	for i := range out {
		v := unit(r, len(vectors[0]))
		for j, f := range vectors[r.IntN(len(vectors))] {
			v[j] = 0.4*v[j] + f
		}
		out[i] = normalized(v)
	}
	return out
}

// bulk gives an index of vectors, labelled 0 to n-1, that is checked at the end of the test.
func bulk(t testing.TB, vectors [][]float32, threads int, o *Options) *Index {
	t.Helper()
	x, err := New(len(vectors[0]), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		check(t, x)
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	insertAll(t, x, 0, vectors, threads)
	return x
}

func insertAll(t testing.TB, x *Index, first uint64, vectors [][]float32, threads int) {
	t.Helper()
	labels := make([]uint64, len(vectors))
	for i := range labels {
		labels[i] = first + uint64(i)
	}
	if err := x.InsertAll(t.Context(), labels, func(i int) ([]float32, error) { return vectors[i], nil }, threads, nil); err != nil {
		t.Fatal(err)
	}
}

// The same vectors give the same graph, to the byte, for any number of threads and with any kernels.
func TestInsertAllIsDeterministic(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 24, some(3000))
	first := len(vectors) / 3 * 2
	defer func() {
		if err := vec.Use(vec.Implementations()[0]); err != nil {
			t.Error(err)
		}
	}()
	var want []byte
	for _, kernels := range vec.Implementations() {
		if err := vec.Use(kernels); err != nil {
			t.Fatal(err)
		}
		for _, threads := range []int{1, 2, 7} {
			x := bulk(t, vectors[:first], threads, &Options{M: 6, EfConstruction: 40, Seed: 7})
			for label := range uint64(first / 4) {
				x.Delete(label * 3)
			}
			if _, err := x.Consolidate(t.Context()); err != nil {
				t.Fatal(err)
			}
			insertAll(t, x, 5000, vectors[first:], threads)
			got := snapshot(t, x, "")
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s, %d threads: another graph", kernels, threads)
			}
		}
	}
}

// InsertAll and Insert find the same, as far as their graphs do.
func TestRecallOfBothBuilds(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 32, some(4000))
	all := bulk(t, vectors, 0, nil)
	one := build(t, r, 32, 0, nil)
	for i, v := range vectors {
		insert(t, one, uint64(i), v)
	}
	for name, x := range map[string]*Index{"InsertAll": all, "Insert": one} {
		if recall := recallOf(t, x, like(r, vectors, 200), 10, 80, nil); recall < 0.98 {
			t.Errorf("%s: recall@10 is %.4f at ef 80", name, recall)
		}
	}
}

// recallOf is the share of the exact answers that a walk finds. Whoever is as near as the k-th counts as it.
func recallOf(t testing.TB, x *Index, queries [][]float32, k, ef int, filter *Filter) float64 {
	t.Helper()
	found, all := 0, 0
	for _, q := range queries {
		want, err := x.ExactOf(q, k, filter)
		if err != nil {
			t.Fatal(err)
		}
		got, err := x.Search(q, Query{K: k, Ef: ef, Filter: filter, Plan: Graph})
		if err != nil {
			t.Fatal(err)
		}
		all += len(want)
		for _, n := range got.Neighbors {
			if n.Distance <= want[len(want)-1].Distance {
				found++
			}
		}
	}
	return float64(found) / float64(all)
}

func TestInsertAllRefuses(t *testing.T) {
	r := random(t)
	x := bulk(t, clustered(r, 8, 500), 2, nil)
	good := func(int) ([]float32, error) { return unit(rand.New(rand.NewPCG(1, 1)), 8), nil }
	if err := x.InsertAll(t.Context(), []uint64{1000, 1001, 1000}, good, 2, nil); !errors.Is(err, ErrExists) {
		t.Errorf("a label twice: %v", err)
	}
	if err := x.InsertAll(t.Context(), []uint64{1000, 3}, good, 2, nil); !errors.Is(err, ErrExists) {
		t.Errorf("a label that is there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.InsertAll(ctx, []uint64{1000}, good, 2, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	bad := errors.New("no vector")
	if err := x.InsertAll(t.Context(), []uint64{2000, 2001}, func(i int) ([]float32, error) { return nil, fmt.Errorf("%w %d", bad, i) }, 2, nil); !errors.Is(err, bad) {
		t.Errorf("a failed source: %v", err)
	}
	if err := x.InsertAll(t.Context(), []uint64{2000}, func(int) ([]float32, error) { return make([]float32, 8), nil }, 2, nil); !errors.Is(err, ErrNotUnit) {
		t.Errorf("a vector of zeros: %v", err)
	}
	for label := range uint64(300) {
		if !x.Contains(label) {
			t.Fatalf("label %d is gone", label)
		}
	}
}
