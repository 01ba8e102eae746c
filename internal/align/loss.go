package align

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Loss is what is lost by a map, on pairs that it was not fitted on.
type Loss struct {
	// Pairs that it was measured on.
	Pairs int
	// Cosine is the mean of those of a mapped vector and the one that it stands for: 1 where nothing is lost.
	Cosine float64
	// Overlap is the mean share of the 10 nearest of the vectors of y that are the same for a mapped vector as for the one that it stands for.
	Overlap float64
	// ReciprocalRank is the mean of 1/rank of the vector that a mapped one stands for, among all of y by the cosine to the mapped one.
	ReciprocalRank float64
	// First is the share of those at rank 1.
	First float64
}

// nearest are looked at for the overlap.
const nearest = 10

// Measure maps x, and compares that with y: vectors of norm 1 that stand for the same texts in the same order, more than 10. It takes as many comparisons as
// the square of the pairs.
func Measure(m *Map, x, y [][]float32) (Loss, error) {
	if err := check(x, y); err != nil {
		return Loss{}, err
	}
	if len(x) <= nearest {
		return Loss{}, fmt.Errorf("there are %d pairs; a loss is measured on more than %d", len(x), nearest)
	}
	if len(y[0]) != m.to {
		return Loss{}, errors.New("the vectors are not of the dimension that the map gives")
	}
	loss := Loss{Pairs: len(x)}
	for i := range x {
		v, err := m.Apply(x[i])
		if err != nil {
			return Loss{}, fmt.Errorf("vector %d: %w", i, err)
		}
		mapped, truth := scores(v, y), scores(y[i], y)
		rank := 1
		for _, s := range mapped {
			if s > mapped[i] {
				rank++
			}
		}
		same := 0
		of := top(truth, i)
		for _, j := range top(mapped, i) {
			if slices.Contains(of, j) {
				same++
			}
		}
		loss.Cosine += mapped[i]
		loss.Overlap += float64(same) / nearest
		loss.ReciprocalRank += 1 / float64(rank)
		if rank == 1 {
			loss.First++
		}
	}
	for _, sum := range []*float64{&loss.Cosine, &loss.Overlap, &loss.ReciprocalRank, &loss.First} {
		*sum /= float64(len(x))
	}
	return loss, nil
}

func scores(v []float32, of [][]float32) []float64 {
	out := make([]float64, len(of))
	for i := range of {
		out[i] = dot(v, of[i])
	}
	return out
}

// top gives the places of the best, without the own one.
func top(scores []float64, own int) []int {
	at := make([]int, 0, len(scores))
	for i := range scores {
		if i != own {
			at = append(at, i)
		}
	}
	slices.SortFunc(at, func(a, b int) int { return cmp.Or(cmp.Compare(scores[b], scores[a]), cmp.Compare(a, b)) })
	return at[:nearest]
}
