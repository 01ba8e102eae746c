package align

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"embedd/internal/testkit"
)

func randomVectors(rng *rand.Rand, n, dim int) [][]float32 {
	out := make([][]float32, n)
	for i := range out {
		out[i] = make([]float32, dim)
		for j := range out[i] {
			out[i][j] = float32(rng.NormFloat64())
		}
		scale(out[i])
	}
	return out
}

func scale(v []float32) {
	norm := math.Sqrt(dot(v, v))
	for i := range v {
		v[i] = float32(float64(v[i]) / norm)
	}
}

// rotation is a random orthogonal matrix, by Gram and Schmidt: rows of norm 1 that are at right angles.
func rotation(rng *rand.Rand, dim int) [][]float32 {
	rows := randomVectors(rng, dim, dim)
	for range 2 { // twice is enough
		for i := range rows {
			for j := range i {
				along := dot(rows[i], rows[j])
				for k := range rows[i] {
					rows[i][k] -= float32(along * float64(rows[j][k]))
				}
			}
			scale(rows[i])
		}
	}
	return rows
}

func rotate(rows [][]float32, v []float32) []float32 {
	out := make([]float32, len(rows))
	for i := range rows {
		out[i] = float32(dot(rows[i], v))
	}
	return out
}

// Where one side is the other one turned, the turning is found, and nothing is lost.
func TestFitFindsARotation(t *testing.T) {
	rng := testkit.Rand(t)
	turn := rotation(rng, 16)
	x := randomVectors(rng, 200, 16)
	y := make([][]float32, len(x))
	for i := range x {
		y[i] = rotate(turn, x[i])
	}
	m, err := Fit(x[:150], y[:150])
	if err != nil {
		t.Fatal(err)
	}
	loss, err := Measure(m, x[150:], y[150:])
	if err != nil {
		t.Fatal(err)
	}
	if loss.Pairs != 50 || loss.Cosine < 0.99999 || loss.Overlap < 0.999999 || loss.ReciprocalRank != 1 || loss.First != 1 {
		t.Errorf("lost: %+v", loss)
	}
}

// A slow truth: no turning of the fitted map, by a little about any two axes, brings the mapped vectors nearer. That holds for no other map, as the sum of
// the cosines has no other peak among rotations near it.
func TestFitIsThePeak(t *testing.T) {
	rng := testkit.Rand(t)
	const dim = 6
	turn := rotation(rng, dim)
	x, noise := randomVectors(rng, 80, dim), randomVectors(rng, 80, dim)
	y := make([][]float32, len(x))
	for i := range x {
		y[i] = rotate(turn, x[i])
		for j := range y[i] {
			y[i][j] += noise[i][j]
		}
		scale(y[i])
	}
	m, err := Fit(x, y)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(m *Map) (sum float64) {
		for i := range x {
			v, err := m.Apply(x[i])
			if err != nil {
				t.Fatal(err)
			}
			sum += dot(v, y[i])
		}
		return sum
	}
	best := sum(m)
	for a := range dim {
		for b := range a {
			for _, angle := range []float64{-0.05, 0.05} {
				turned := &Map{dim, dim, append([]float32(nil), m.rows...)}
				cos, sin := float32(math.Cos(angle)), float32(math.Sin(angle))
				for j := range dim {
					p, q := m.rows[a*dim+j], m.rows[b*dim+j]
					turned.rows[a*dim+j], turned.rows[b*dim+j] = cos*p-sin*q, sin*p+cos*q
				}
				if other := sum(turned); other > best+1e-4 {
					t.Errorf("turned by %v about %d and %d the cosines are %v, fitted %v", angle, a, b, other, best)
				}
			}
		}
	}
}

// Where the dimensions differ, the map is semi-orthogonal: what lies in the smaller space keeps its length.
func TestFitOtherDimensions(t *testing.T) {
	rng := testkit.Rand(t)
	for _, dims := range [][2]int{{24, 8}, {8, 24}} {
		x, y := randomVectors(rng, 100, dims[0]), randomVectors(rng, 100, dims[1])
		m, err := Fit(x, y)
		if err != nil {
			t.Fatal(err)
		}
		if from, to := m.Dimensions(); from != dims[0] || to != dims[1] {
			t.Errorf("the map is from %d to %d values, want %v", from, to, dims)
		}
		// The product of the matrix with itself turned is the identity, on the smaller side.
		small := min(dims[0], dims[1])
		for i := range small {
			for j := range small {
				sum := 0.0
				for k := range max(dims[0], dims[1]) {
					if dims[1] <= dims[0] {
						sum += float64(m.rows[i*m.from+k]) * float64(m.rows[j*m.from+k])
					} else {
						sum += float64(m.rows[k*m.from+i]) * float64(m.rows[k*m.from+j])
					}
				}
				want := 0.0
				if i == j {
					want = 1
				}
				if math.Abs(sum-want) > 1e-4 {
					t.Fatalf("%v: row %d and %d have the product %v, want %v", dims, i, j, sum, want)
				}
			}
		}
	}
}

func TestFitRefuses(t *testing.T) {
	v := func(f ...float32) []float32 { return f }
	for _, c := range []struct {
		x, y [][]float32
		want string
	}{
		{nil, nil, "there are no pairs"},
		{[][]float32{v(1)}, nil, "1 vectors of the one side and 0"},
		{[][]float32{v()}, [][]float32{v(1)}, "has 0 values"},
		{[][]float32{v(1, 0), v(1)}, [][]float32{v(1), v(1)}, "vector 1 has 1 values, the first has 2"},
		{[][]float32{v(1)}, [][]float32{v(float32(math.NaN()))}, "not finite"},
		{[][]float32{make([]float32, MaxDimension+1)}, [][]float32{v(1)}, "has 4097 values"},
		{make([][]float32, MaxPairs+1), make([][]float32, MaxPairs+1), "the limit is 20000"},
	} {
		if _, err := Fit(c.x, c.y); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
	m, err := Fit([][]float32{v(1, 0), v(0, 1)}, [][]float32{v(0, 1), v(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply(v(1)); err == nil {
		t.Error("a vector of another dimension is mapped")
	}
	if _, err := m.Apply(v(0, 0)); err == nil {
		t.Error("nothing is mapped to something")
	}
	if _, err := Measure(m, [][]float32{v(1, 0)}, [][]float32{v(0, 1)}); err == nil {
		t.Error("a loss is measured on one pair")
	}
}

func TestFitLine(t *testing.T) {
	for _, c := range []struct {
		x, y          []float64
		offset, slope float64
	}{
		{[]float64{0, 1, 2}, []float64{1, 3, 5}, 1, 2},
		{[]float64{0, 1, 2}, []float64{5, 3, 1}, 3, 0}, // less is never more
		{[]float64{1, 1, 1}, []float64{0, 1, 2}, 1, 0},
	} {
		l, err := FitLine(c.x, c.y)
		if err != nil || math.Abs(l.Offset-c.offset) > 1e-9 || math.Abs(l.Slope-c.slope) > 1e-9 {
			t.Errorf("%v to %v: %+v, %v; want %v and %v", c.x, c.y, l, err, c.offset, c.slope)
		}
	}
	for _, x := range [][]float64{nil, {1}, {1, math.NaN()}} {
		if l, err := FitLine(x, x); err == nil {
			t.Errorf("%v have the line %+v", x, l)
		}
	}
}
