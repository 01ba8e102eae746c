package embed

import (
	"fmt"
	"math"
)

// meanPool writes to out the mean of those rows of hidden, [tokens × len(out)], whose mask is not 0. Sums are taken in
// float64.
func meanPool(out []float32, hidden []float32, mask []int64) {
	dim := len(out)
	sum := make([]float64, dim)
	n := 0.0
	for t, keep := range mask {
		if keep == 0 {
			continue
		}
		n++
		for i, x := range hidden[t*dim : (t+1)*dim] {
			sum[i] += float64(x)
		}
	}
	for i, s := range sum {
		out[i] = float32(s / n)
	}
}

// normalize scales v to L2 norm 1. A vector without a direction is an error.
func normalize(v []float32) error {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	norm := math.Sqrt(sum)
	if norm == 0 || math.IsNaN(norm) || math.IsInf(norm, 0) {
		return fmt.Errorf("the model gave a vector of norm %v", norm)
	}
	for i, x := range v {
		v[i] = float32(float64(x) / norm)
	}
	return nil
}
