package align

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Limits of what is fitted: the memory for it grows with the pairs, the time with the cube of the dimension.
const (
	// MaxDimension is the most values of a vector.
	MaxDimension = 4096
	// MaxPairs is the most pairs.
	MaxPairs = 20_000
)

// Map takes vectors of one encoder to those of another.
type Map struct {
	from, to int
	rows     []float32 // to rows of from values
}

// Dimensions are the values of a vector that a map takes, and of one that it gives.
func (m *Map) Dimensions() (from, to int) { return m.from, m.to }

// Fit fits the orthogonal map, or where the dimensions differ the semi-orthogonal one, that comes nearest to taking x to y (Schönemann, "A generalized
// solution of the orthogonal Procrustes problem", Psychometrika 1966). x and y stand for the same texts in the same order, and are not kept. There
// should be a few times as many pairs as values. The error says what is wrong with them.
func Fit(x, y [][]float32) (*Map, error) {
	if err := check(x, y); err != nil {
		return nil, err
	}
	var cross, fitted, u, v mat.Dense
	cross.Mul(dense(x).T(), dense(y)) // from × to
	var svd mat.SVD
	if !svd.Factorize(&cross, mat.SVDThin) {
		return nil, errors.New("the singular values of the pairs cannot be found")
	}
	svd.UTo(&u)
	svd.VTo(&v)
	fitted.Mul(&u, v.T())
	m := &Map{from: len(x[0]), to: len(y[0])}
	m.rows = make([]float32, m.from*m.to)
	for i := range m.to {
		for j := range m.from {
			m.rows[i*m.from+j] = float32(fitted.At(j, i))
		}
	}
	return m, nil
}

// Apply gives what stands for v, scaled to norm 1: an error where v has not the dimension, or is taken to nothing.
func (m *Map) Apply(v []float32) ([]float32, error) {
	if len(v) != m.from {
		return nil, fmt.Errorf("the vector has %d values, the map takes %d", len(v), m.from)
	}
	out := make([]float32, m.to)
	for i := range out {
		out[i] = float32(dot(m.rows[i*m.from:(i+1)*m.from], v))
	}
	norm := math.Sqrt(dot(out, out))
	if !(norm > 0) || math.IsInf(norm, 0) { // NaN too
		return nil, errors.New("the map takes the vector to none that has a direction")
	}
	for i := range out {
		out[i] = float32(float64(out[i]) / norm)
	}
	return out, nil
}

// Line brings scores of one encoder to the scale of another's.
type Line struct{ Offset, Slope float64 }

// At is what stands for a score.
func (l Line) At(x float64) float64 { return l.Offset + l.Slope*x }

// FitLine fits by least squares. Its slope is never below 0: more stays more. Where the pairs do not say anything, all scores become the mean of y.
func FitLine(x, y []float64) (Line, error) {
	if len(x) != len(y) || len(x) < 2 {
		return Line{}, fmt.Errorf("there are %d and %d scores; a line takes 2 or more of both, as many", len(x), len(y))
	}
	var mx, my, xy, xx float64
	for i := range x {
		mx, my = mx+x[i]/float64(len(x)), my+y[i]/float64(len(y))
	}
	for i := range x {
		xy, xx = xy+(x[i]-mx)*(y[i]-my), xx+(x[i]-mx)*(x[i]-mx)
	}
	slope := 0.0
	if xx > 0 {
		slope = max(0, xy/xx)
	}
	l := Line{my - slope*mx, slope}
	if math.IsNaN(l.Offset) || math.IsInf(l.Offset, 0) || math.IsNaN(slope) || math.IsInf(slope, 0) {
		return Line{}, errors.New("the scores are not all finite")
	}
	return l, nil
}

// check refuses what cannot be fitted, or measured.
func check(x, y [][]float32) error {
	switch {
	case len(x) != len(y):
		return fmt.Errorf("there are %d vectors of the one side and %d of the other", len(x), len(y))
	case len(x) == 0:
		return errors.New("there are no pairs")
	case len(x) > MaxPairs:
		return fmt.Errorf("there are %d pairs; the limit is %d", len(x), MaxPairs)
	}
	for _, side := range [][][]float32{x, y} {
		n := len(side[0])
		if n == 0 || n > MaxDimension {
			return fmt.Errorf("a vector has %d values; must be 1 to %d", n, MaxDimension)
		}
		for i, v := range side {
			if len(v) != n {
				return fmt.Errorf("vector %d has %d values, the first has %d", i, len(v), n)
			}
			if square := dot(v, v); math.IsNaN(square) || math.IsInf(square, 0) {
				return fmt.Errorf("vector %d has a value that is not finite", i)
			}
		}
	}
	return nil
}

func dot(a, b []float32) (sum float64) {
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

func dense(all [][]float32) *mat.Dense {
	d := mat.NewDense(len(all), len(all[0]), nil)
	for i, v := range all {
		row := d.RawRowView(i)
		for j, f := range v {
			row[j] = float64(f)
		}
	}
	return d
}
