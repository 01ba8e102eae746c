package atlas

import (
	"context"
	"math"
)

const (
	// startSample vectors are what the principal components are found by.
	startSample = 2000
	// startRounds of the power iteration are enough for a start.
	startRounds = 30
	// startExtent is how far from the middle the farthest point begins, on each axis.
	startExtent = 10
	// startNoise keeps equal vectors apart.
	startNoise = 0.05
)

// Start gives n places to begin a layout from: the vectors on their first two principal components, which are found by a sample, so that what is far apart
// at large begins far apart (Kobak, Linderman: Initialization is critical for preserving global data structure in both t-SNE and UMAP, Nature
// Biotechnology 39, 2021). vector gives one, which is valid until the next is asked for; nil: there is none, and it begins in the middle.
func Start(ctx context.Context, n int, seed uint64, vector func(i int) []float32) ([]Point, error) {
	rng := random(seed)
	var sample [][]float32
	var mean []float64
	for k := range min(n, startSample) {
		if err := rest(ctx); err != nil {
			return nil, err
		}
		v := vector(k * n / min(n, startSample))
		if v == nil || mean != nil && len(v) != len(mean) {
			continue
		}
		if mean == nil {
			mean = make([]float64, len(v))
		}
		sample = append(sample, append([]float32(nil), v...))
		for d, x := range v {
			mean[d] += float64(x)
		}
	}
	for d := range mean {
		mean[d] /= float64(len(sample))
	}
	var axes [2][]float64
	for a := range axes {
		axis := make([]float64, len(mean))
		for d := range axis {
			axis[d] = rng.unit()
		}
		for range startRounds {
			next := make([]float64, len(mean))
			for k, v := range sample {
				if k%piece == 0 {
					if err := rest(ctx); err != nil {
						return nil, err
					}
				}
				along := project(v, mean, axis)
				for d, x := range v {
					next[d] += along * (float64(x) - mean[d])
				}
			}
			for _, before := range axes[:a] {
				along := 0.0
				for d := range next {
					along += next[d] * before[d]
				}
				for d := range next {
					next[d] -= along * before[d]
				}
			}
			length := 0.0
			for _, x := range next {
				length += x * x
			}
			if length < 1e-24 { // all vectors are the same along it
				break
			}
			for d := range next {
				next[d] /= math.Sqrt(length)
			}
			axis = next
		}
		axes[a] = axis
	}
	points := make([]Point, n)
	var most [2]float64
	for i := range points {
		if i%piece == 0 {
			if err := rest(ctx); err != nil {
				return nil, err
			}
		}
		v := vector(i)
		if v == nil || len(v) != len(mean) {
			continue
		}
		x, y := project(v, mean, axes[0]), project(v, mean, axes[1])
		if math.IsNaN(x+y) || math.IsInf(x+y, 0) {
			continue
		}
		points[i] = Point{float32(x), float32(y)}
		most[0], most[1] = max(most[0], math.Abs(x)), max(most[1], math.Abs(y))
	}
	scale := 0.0
	if m := max(most[0], most[1]); m > 1e-9 {
		scale = startExtent / m
	}
	for i := range points {
		points[i].X = float32(scale*float64(points[i].X) + startNoise*rng.unit())
		points[i].Y = float32(scale*float64(points[i].Y) + startNoise*rng.unit())
	}
	return points, nil
}

// project is how far along an axis a vector is from the mean.
func project(v []float32, mean, axis []float64) (along float64) {
	for d, x := range v {
		along += (float64(x) - mean[d]) * axis[d]
	}
	return along
}
