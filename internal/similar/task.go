package similar

import (
	"fmt"
	"math"
	"slices"
)

// Kind is what is looked for.
type Kind string

// The kinds.
const (
	// KnnGraph: the nearest neighbours of each paper.
	KnnGraph Kind = "knn-graph"
	// NearDuplicates: papers whose texts are nearly the same, in clusters.
	NearDuplicates Kind = "near-duplicates"
	// CrossSimilarity: of each paper the nearest in another corpus.
	CrossSimilarity Kind = "cross-similarity"
	// Clusters: papers that are about the same, with a name for each cluster.
	Clusters Kind = "clusters"
	// Map: clusters, and a place of each paper on a plane.
	Map Kind = "map"
)

// Limits of a Task.
const (
	// MaxK is the most neighbours of a paper.
	MaxK = 1000
	// MaxNeighbours is the most of all papers together: they are in memory.
	MaxNeighbours = 200_000_000
	// DefaultK is how many neighbours of each paper are looked for.
	DefaultK = 10
	// LeastThreshold is the least cosine of near duplicates: farther ones would be nearly all pairs of some collections.
	LeastThreshold = 0.5
)

// Task says what is to be found. The zero value of a field is its default.
type Task struct {
	Kind Kind `json:"kind"`
	// K is how many neighbours of each paper there are at most, for KnnGraph and CrossSimilarity: 1 to MaxK.
	K int `json:"k,omitempty"`
	// MinScore is the least score of a neighbour, -1 to 1.
	MinScore *float32 `json:"min_score,omitempty"`
	// Exact: each paper is compared with each, which takes about ten times as long for 100,000 papers.
	Exact bool `json:"exact,omitempty"`
	// Once: of a graph each two papers once, the nearest first, and not of each paper its neighbours.
	Once bool `json:"once,omitempty"`
	// Threshold is the least cosine of near duplicates; nil: they are told by their vectors and their words together, by weights that were
	// fitted on pairs of papers that are known to be the same work or not.
	Threshold *float32 `json:"threshold,omitempty"`
	// Format is that of the result: parquet, jsonl or csv.
	Format string `json:"format"`
	// Threads is how many cores are used; 0: all. It does not change the result.
	Threads int `json:"threads,omitempty"`
}

// Abstracts tells whether the corpus must have the papers' abstracts.
func (t *Task) Abstracts() bool { return t.Kind == NearDuplicates && t.Threshold == nil }

// FieldError is what is wrong with a field of a Task.
type FieldError struct{ Field, Message string }

func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

// Complete fills in what is left to the defaults, and refuses what cannot be done: a *FieldError.
func (t *Task) Complete() error {
	bad := func(field, format string, a ...any) error {
		return &FieldError{field, fmt.Sprintf(format, a...)}
	}
	if !slices.Contains([]Kind{KnnGraph, NearDuplicates, CrossSimilarity, Clusters, Map}, t.Kind) {
		return bad("kind", "%q is none that there is", t.Kind)
	}
	if t.K == 0 {
		t.K = DefaultK
	}
	if t.K < 1 || t.K > MaxK {
		return bad("k", "is %d; must be 1 to %d", t.K, MaxK)
	}
	for _, f := range []struct {
		name        string
		value       *float32
		least, most float64
	}{{"min_score", t.MinScore, -1, 1}, {"threshold", t.Threshold, LeastThreshold, 1}} {
		if f.value == nil {
			continue
		}
		if v := float64(*f.value); math.IsNaN(v) || v < f.least || v > f.most {
			return bad(f.name, "is %v; must be %v to %v", v, f.least, f.most)
		}
	}
	return nil
}
