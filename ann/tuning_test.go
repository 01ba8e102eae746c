package ann

import (
	"errors"
	"slices"
	"testing"
)

// TestCalibrateWhileItGrows: what comes and goes while recall is measured does not count as missed. An index that was calibrated while papers
// came fast would look for ever with a list many times too long.
func TestCalibrateWhileItGrows(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 32, some(6000))
	x := bulk(t, vectors, 0, &Options{M: 16, EfConstruction: 100})
	before := x.count.Load()
	samples := x.sample(50)
	truth := make([][]Neighbor, len(samples))
	for i, q := range samples {
		truth[i] = x.exactBelow(before, q.vector, 11)
	}
	// As many again come, beside the first ones, and a tenth of those goes.
	for i, v := range like(r, vectors, len(vectors)) {
		if err := x.Insert(uint64(len(vectors)+i), v); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 && !slices.ContainsFunc(samples, func(q sample) bool { return q.label == uint64(i) }) {
			if !x.Delete(uint64(i)) {
				t.Fatalf("%d is not there", i)
			}
		}
	}
	for i := range samples {
		want := x.there(before, truth[i])
		got := x.there(before, x.exactBelow(before, samples[i].vector, 11))
		if len(want) > len(got) || !slices.Equal(want, got[:len(want)]) {
			t.Fatalf("sample %d: the exact neighbours are %v, and were %v", i, got, want)
		}
		if all := x.there(before, exact(t, x, samples[i].vector, 200)); len(all) == 0 || len(want) == 0 || all[0] != want[0] {
			t.Fatalf("sample %d: of all, %v were there, want first %v", i, all, want)
		}
	}
}

// After Calibrate a target recall is met, by lists that grow with it, with k, and with the index.
func TestCalibrate(t *testing.T) {
	r := random(t)
	vectors := clustered(r, 32, some(6000))
	x := bulk(t, vectors, 0, &Options{M: 8, EfConstruction: 60})
	if err := x.Calibrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	tuned := x.tuning.Load()
	if tuned == untuned || !tuned.miss.valid() || tuned.n != len(vectors) {
		t.Fatalf("%+v", tuned)
	}
	queries := like(r, vectors, 300)
	for _, want := range []float64{0.9, 0.95, 0.99} {
		found, all := 0, 0
		for _, q := range queries {
			truth := exact(t, x, q, 10)
			got, err := x.Search(q, Query{K: 10, Recall: want, Plan: Graph})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range got.Neighbors {
				if n.Distance <= truth[9].Distance {
					found++
				}
			}
			all += 10
		}
		if recall := float64(found) / float64(all); recall < want-0.05 {
			t.Errorf("recall %.3f, asked for %v", recall, want)
		}
	}
	last := 0
	for _, recall := range []float64{0.5, 0.9, 0.95, 0.99, 0.999, 0.9999} {
		if ef := tuned.ef(recall, 10, 6000); ef < last {
			t.Errorf("recall %v: ef %d, less than %d", recall, ef, last)
		} else {
			last = ef
		}
	}
	for k, last := 1, 0; k <= 1000; k++ {
		if ef := tuned.ef(0.95, k, 6000); ef < last || ef < k {
			t.Errorf("k %d: ef %d, less than %d", k, ef, last)
		} else {
			last = ef
		}
	}
	for _, bad := range []float64{-1, 0.1, 1} {
		if _, err := x.Search(queries[0], Query{K: 1, Recall: bad}); !errors.Is(err, ErrQuery) {
			t.Errorf("recall %v: %v", bad, err)
		}
	}
}
