package embed

import (
	"fmt"
	"math"

	"embedd/models"
)

// pool writes to out what the pooling makes of token vectors, [tokens × len(out)], none of which is padding. Sums are
// taken in float64.
func pool(out []float32, tokens []float32, pooling models.Pooling) {
	dim := len(out)
	switch pooling {
	case models.PoolingMean:
		sum := make([]float64, dim)
		n := float64(len(tokens) / dim)
		for ; len(tokens) > 0; tokens = tokens[dim:] {
			for i, x := range tokens[:dim] {
				sum[i] += float64(x)
			}
		}
		for i, s := range sum {
			out[i] = float32(s / n)
		}
	case models.PoolingCLS:
		copy(out, tokens)
	case models.PoolingLast:
		copy(out, tokens[len(tokens)-dim:])
	case models.PoolingMax:
		copy(out, tokens)
		for tokens = tokens[dim:]; len(tokens) > 0; tokens = tokens[dim:] {
			for i, x := range tokens[:dim] {
				out[i] = max(out[i], x)
			}
		}
	default:
		panic("embed: pooling " + string(pooling)) // the manifest was validated
	}
}

// normalize scales v to L2 norm 1. A vector without a direction is an error.
func normalize(v []float32) error {
	n, err := norm(v)
	if err != nil {
		return err
	}
	for i, x := range v {
		v[i] = float32(float64(x) / n)
	}
	return nil
}

// norm is the L2 norm of v; that of a vector without a direction is an error.
func norm(v []float32) (float64, error) {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	n := math.Sqrt(sum)
	if n == 0 || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, fmt.Errorf("the model gave a vector of norm %v", n)
	}
	return n, nil
}

// checkUnit returns an error unless v has L2 norm 1, within what float32 allows.
func checkUnit(v []float32) error {
	n, err := norm(v)
	if err == nil && math.Abs(n-1) > 1e-4 {
		err = fmt.Errorf("the model gave a vector of norm %v; the output %s must have norm 1", n, models.Pooled)
	}
	return err
}
