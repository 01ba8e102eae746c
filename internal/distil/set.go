package distil

import (
	"errors"
	"fmt"
	"math"
)

// Set is what is learned from.
type Set struct {
	// Dimension of all vectors, 2 to MaxDimension.
	Dimension int
	// Papers are vectors of norm 1, one after the other. Where a query is as near to two papers, the first is ranked before the other.
	Papers []float32
	// Queries are asked of the papers.
	Queries []Query
	// Teacher: grades are a teacher's scores, of any size, of which only the differences within a query count, and nothing is known of papers that it has not
	// scored. Otherwise a grade above 0 is relevant, the more the better, and a paper without one is not.
	Teacher bool
}

// Query is a query and what is known of papers for it.
type Query struct {
	// Vector of norm 1.
	Vector []float32
	// Paper is the row of the paper that the query is, and which is never in its own list; -1 for a text.
	Paper int
	// Judged are papers, each once, not the query itself.
	Judged []Judgment
}

// Judgment is how near a paper is to a query.
type Judgment struct {
	// Paper is a row of the Set's papers.
	Paper int
	// Grade is finite, at most MaxGrade either way.
	Grade float64
}

// The limits of a Set.
const (
	// MaxDimension bounds the matrix: learning takes memory for several of it.
	MaxDimension = 4096
	// MinQueries is the least number of queries, different ones, that have something to learn from. With fewer, nothing could be said of a gain.
	MinQueries = 50
	// MaxValues bounds the values of all papers: 4 GiB.
	MaxValues = 1 << 30
	// MaxGrade bounds a grade, either way.
	MaxGrade = 1_000_000
)

// ErrTooFew: the set has fewer queries with something to learn from than MinQueries.
var ErrTooFew = errors.New("too few queries to learn from")

// check returns an error that names what is wrong with the set, and the queries that have something to learn from.
func (s *Set) check() (useful []int, err error) {
	d := s.Dimension
	switch {
	case d < 2 || d > MaxDimension:
		return nil, fmt.Errorf("dimension is %d; must be 2 to %d", d, MaxDimension)
	case len(s.Papers)%d != 0:
		return nil, fmt.Errorf("papers have %d values, which are no vectors of dimension %d", len(s.Papers), d)
	case len(s.Papers) > MaxValues:
		return nil, fmt.Errorf("papers have %d values; must be at most %d", len(s.Papers), MaxValues)
	}
	papers := len(s.Papers) / d
	for i := range papers {
		if err := unit(s.paper(i)); err != nil {
			return nil, fmt.Errorf("papers[%d]: %w", i, err)
		}
	}
	seen := map[int]bool{}
	for i := range s.Queries {
		q := &s.Queries[i]
		switch {
		case len(q.Vector) != d:
			return nil, fmt.Errorf("queries[%d]: vector has %d values, the dimension is %d", i, len(q.Vector), d)
		case q.Paper < -1 || q.Paper >= papers:
			return nil, fmt.Errorf("queries[%d]: paper is %d; must be a row of %d papers, or -1", i, q.Paper, papers)
		}
		if err := unit(q.Vector); err != nil {
			return nil, fmt.Errorf("queries[%d]: %w", i, err)
		}
		clear(seen)
		for _, j := range q.Judged {
			switch {
			case j.Paper < 0 || j.Paper >= papers:
				return nil, fmt.Errorf("queries[%d]: judges paper %d; must be a row of %d papers", i, j.Paper, papers)
			case j.Paper == q.Paper:
				return nil, fmt.Errorf("queries[%d]: judges itself", i)
			case seen[j.Paper]:
				return nil, fmt.Errorf("queries[%d]: judges paper %d twice", i, j.Paper)
			case !(math.Abs(j.Grade) <= MaxGrade):
				return nil, fmt.Errorf("queries[%d]: the grade of paper %d is %v; must be finite, at most %d either way", i, j.Paper, j.Grade, MaxGrade)
			}
			seen[j.Paper] = true
		}
		if len(s.gains(q)) > 0 {
			useful = append(useful, i)
		}
	}
	return useful, nil
}

// unit refuses a vector that is not finite, or not of norm 1.
func unit(v []float32) error {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if n := math.Sqrt(sum); !(math.Abs(n-1) <= 1e-3) {
		return fmt.Errorf("the vector's norm is %v; must be 1", n)
	}
	return nil
}

func (s *Set) paper(i int) []float32 { return s.Papers[i*s.Dimension : (i+1)*s.Dimension] }

// gains is what a paper is worth in a query's list, by row: its grade, and for a teacher's scores their place between the least, 0, and the highest, 1. It is
// empty for a query that nothing can be learned from.
func (s *Set) gains(q *Query) map[int]float64 {
	low, high := 0.0, 0.0
	if s.Teacher && len(q.Judged) > 0 {
		low, high = q.Judged[0].Grade, q.Judged[0].Grade
		for _, j := range q.Judged {
			low, high = min(low, j.Grade), max(high, j.Grade)
		}
	}
	gains := map[int]float64{}
	for _, j := range q.Judged {
		g := j.Grade
		if s.Teacher {
			g = (g - low) / (high - low) // where all are alike none is above the least
		}
		if g > 0 {
			gains[j.Paper] = g
		}
	}
	return gains
}

// targets are what the softmax over a query's papers is drawn to, by row, of sum 1: shares of the grades, or the softmax of a teacher's scores in units
// of their deviation, so that a teacher of any scale is heard alike.
func (s *Set) targets(q *Query, gone func(paper int) bool) []Judgment {
	var out []Judgment
	for _, j := range q.Judged {
		if (s.Teacher || j.Grade > 0) && !gone(j.Paper) {
			out = append(out, j)
		}
	}
	if s.Teacher {
		var mean, square float64
		for _, j := range out {
			mean += j.Grade / float64(len(out))
		}
		for _, j := range out {
			square += (j.Grade - mean) * (j.Grade - mean) / float64(len(out))
		}
		if !(square > 0) {
			return nil
		}
		for i := range out {
			out[i].Grade = math.Exp((out[i].Grade - mean) / math.Sqrt(square))
		}
	}
	var sum float64
	for _, j := range out {
		sum += j.Grade
	}
	for i := range out {
		out[i].Grade /= sum
	}
	return out
}
