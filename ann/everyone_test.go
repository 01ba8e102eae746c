package ann

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// ExactNeighbors gives what Exact gives for each vector, without itself, for any number of threads.
func TestExactNeighbors(t *testing.T) {
	for name, o := range map[string]*Options{"default": nil, "vectors in full": {Memory: Fast}, "signs": {Code: Bit, Memory: Fast}} {
		t.Run(name, func(t *testing.T) {
			r := random(t)
			vectors := clustered(r, 24, 1700)
			for i := range 60 { // and many of one
				vectors[len(vectors)-1-i] = vectors[len(vectors)-1]
			}
			x := bulk(t, vectors, 0, o)
			for label := range uint64(30) {
				x.Delete(label)
			}
			const k = 7
			check := func(labels []uint64, threads int, want []uint64) {
				t.Helper()
				var got []uint64
				err := x.ExactNeighbors(t.Context(), labels, k, threads, func(label uint64, near []Neighbor) error {
					got = append(got, label)
					v, _ := x.Vector(label)
					truth, err := x.Exact(v, k+1)
					if err != nil {
						t.Fatal(err)
					}
					if at := slices.IndexFunc(truth, func(n Neighbor) bool { return n.Label == label }); at >= 0 {
						truth = slices.Delete(truth, at, at+1)
					}
					if truth = truth[:k]; !slices.Equal(near, truth) {
						t.Fatalf("label %d: %v, want %v", label, near, truth)
					}
					return nil
				})
				if err != nil || !slices.Equal(got, want) {
					t.Fatalf("%d labels, want %d: %v", len(got), len(want), err)
				}
			}
			all := slices.Sorted(x.Labels())
			check(nil, 1, all)
			check(nil, 3, all)
			check([]uint64{900, 3, 77, 5000, 1699}, 0, []uint64{900, 77, 1699})
			stop := errors.New("enough")
			if err := x.ExactNeighbors(t.Context(), nil, 1, 0, func(uint64, []Neighbor) error { return stop }); !errors.Is(err, stop) {
				t.Errorf("a refusing yield: %v", err)
			}
			if err := x.ExactNeighbors(t.Context(), nil, 0, 0, nil); !errors.Is(err, ErrQuery) {
				t.Errorf("no neighbours: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := x.ExactNeighbors(ctx, nil, 1, 0, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			ended, err := New(24, o)
			if err == nil {
				err = ended.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := ended.ExactNeighbors(t.Context(), []uint64{900}, 1, 0, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		})
	}
}
