package jobs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"embedd/internal/retrieval"
	"embedd/internal/similar"
)

// The kinds beside those of package similar.
const (
	// Pairs scores the neighbours of each paper by a cross-encoder.
	Pairs = "pairs"
	// Evaluate asks queries, and measures the answers by judgments.
	Evaluate = "evaluate"
	// Export writes the papers, or their vectors.
	Export = "export"
	// ReEncode encodes the papers by a new model, beside the old one, and tells how answers change.
	ReEncode = "re-encode"
)

// Kinds are all that there are.
func Kinds() []string {
	return []string{string(similar.KnnGraph), string(similar.NearDuplicates), string(similar.CrossSimilarity), string(similar.Clusters), string(similar.Map), Pairs, Evaluate, Export, ReEncode}
}

// Limits of a Spec.
const (
	// MaxQueries and MaxJudgments are of an evaluation.
	MaxQueries, MaxJudgments = 10_000, 1_000_000
	// MaxPairsK is the most neighbours of a paper that a cross-encoder scores.
	MaxPairsK = 100
)

// Spec is what is asked for. Fields that a kind has no use for are refused.
type Spec struct {
	similar.Task
	// Collection is what the job is about, by its own name when it is kept.
	Collection string `json:"collection"`
	// Filter chooses papers, OtherFilter those of Other, the second collection of cross-similarity.
	Filter      string `json:"filter,omitempty"`
	Other       string `json:"other,omitempty"`
	OtherFilter string `json:"other_filter,omitempty"`
	// DateField has the dates of near duplicates; "" is the year.
	DateField string `json:"date_field,omitempty"`
	// Reranker is the cross-encoder of pairs; "" is the usual one.
	Reranker string `json:"reranker,omitempty"`
	// Model is the new one of a re-encoding.
	Model string `json:"model,omitempty"`
	// Vectors: what is exported are vectors, not papers. The format may be npy then.
	Vectors bool `json:"vectors,omitempty"`
	// Queries and Judgments of an evaluation, and by which ways it searches; none: by all that the collection has.
	Queries   []Query    `json:"queries,omitempty"`
	Judgments []Judgment `json:"judgments,omitempty"`
	Modes     []string   `json:"modes,omitempty"`
}

// Query is one of an evaluation.
type Query struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

// Judgment is how well a paper answers a query: 0 is not at all.
type Judgment struct {
	Query string `json:"query"`
	Paper string `json:"paper"`
	Grade int    `json:"grade"`
}

// State is how a job stands.
type State string

// The states.
const (
	// Queued: it waits for those before it.
	Queued State = "queued"
	// Running: it is being done.
	Running State = "running"
	// Done: its files are there.
	Done State = "done"
	// Failed: see Error; it can be resumed.
	Failed State = "failed"
	// Cancelled: somebody ended it; it can be resumed.
	Cancelled State = "cancelled"
	// Interrupted: the process ended while it was running, or before. A server goes on with it at its start.
	Interrupted State = "interrupted"
)

// States are all that there are.
var States = []State{Queued, Running, Done, Failed, Cancelled, Interrupted}

// Ended tells whether nothing more happens by itself.
func (s State) Ended() bool { return s != Queued && s != Running }

// Progress is how far a running job is. It is in memory.
type Progress struct {
	Stage string
	// Done of Total things of the stage; Total is 0 where it is not known.
	Done, Total int
	// PerSecond is how many of them a second since the stage began, and Left the time that the rest of the stage will take; 0: not known.
	PerSecond float64
	Left      time.Duration
}

// File is one that has come of a job.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	// SHA256 of its content, in hexadecimal.
	SHA256 string `json:"sha256"`
}

// Job is a job as it stands.
type Job struct {
	ID    string `json:"id"`
	Spec  Spec   `json:"spec"`
	State State  `json:"state"`
	// Created, Started and Ended are in UTC; Started is of the last time, and zero before the first.
	Created time.Time `json:"created"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	// Seconds are how long it ran, all times together.
	Seconds float64 `json:"seconds"`
	// Error is why it failed.
	Error string `json:"error,omitempty"`
	// Report says what was found, and how well.
	Report map[string]string `json:"report,omitempty"`
	Files  []File            `json:"files,omitempty"`
	// Progress is not kept.
	Progress Progress `json:"-"`
}

// idForm is what an id looks like: nothing that leads out of a folder.
var idForm = regexp.MustCompile(`^[a-z-]{1,32}-[0-9a-f]{8}$`)

func invalid(field, format string, a ...any) *retrieval.Error {
	return &retrieval.Error{Kind: retrieval.Invalid, Field: field, Message: fmt.Sprintf(format, a...)}
}

// complete fills in what is left to the defaults, and refuses what cannot be done.
func (s *Spec) complete() error {
	kind := string(s.Kind)
	if !slices.Contains(Kinds(), kind) {
		return invalid("kind", "is missing, or none that there is; the kinds are %s", strings.Join(Kinds(), ", "))
	}
	if s.Format == "" {
		s.Format = "parquet"
	}
	formats := []string{"parquet", "jsonl", "csv"}
	if kind == Export && s.Vectors {
		formats = []string{"parquet", "jsonl", "npy"}
	}
	if !slices.Contains(formats, s.Format) {
		return invalid("format", "is %.20q; must be one of %s", s.Format, strings.Join(formats, ", "))
	}
	graph := []string{string(similar.KnnGraph), string(similar.CrossSimilarity), Pairs}
	for _, f := range []struct {
		name  string
		given bool
		kinds []string
	}{
		{"k", s.K != 0, graph},
		{"min_score", s.MinScore != nil, graph},
		{"exact", s.Exact, graph},
		{"once", s.Once, []string{string(similar.KnnGraph)}},
		{"threshold", s.Threshold != nil, []string{string(similar.NearDuplicates)}},
		{"date_field", s.DateField != "", []string{string(similar.NearDuplicates)}},
		{"other", s.Other != "", []string{string(similar.CrossSimilarity)}},
		{"other_filter", s.OtherFilter != "", []string{string(similar.CrossSimilarity)}},
		{"reranker", s.Reranker != "", []string{Pairs}},
		{"model", s.Model != "", []string{ReEncode}},
		{"filter", s.Filter != "" && kind == ReEncode, nil},
		{"vectors", s.Vectors, []string{Export}},
		{"queries", len(s.Queries) > 0, []string{Evaluate}},
		{"judgments", len(s.Judgments) > 0, []string{Evaluate}},
		{"modes", len(s.Modes) > 0, []string{Evaluate}},
	} {
		if f.given && !slices.Contains(f.kinds, kind) {
			return invalid(f.name, "is given, and a job of the kind %s has no use for it; leave it out", kind)
		}
	}
	switch kind {
	case Pairs:
		if s.K < 0 || s.K > MaxPairsK {
			return invalid("k", "is %d; a cross-encoder scores 1 to %d neighbours of each paper", s.K, MaxPairsK)
		}
	case Evaluate:
		return s.checkQueries()
	case Export:
		return nil
	case ReEncode:
		if s.Model == "" {
			return invalid("model", "is missing: name the model that the papers are encoded by")
		}
		return nil
	case string(similar.CrossSimilarity):
		if s.Other == "" {
			return invalid("other", "is missing: name the collection that the papers are compared with")
		}
	}
	t := s.Task
	if kind == Pairs {
		t.Kind = similar.KnnGraph
	}
	if err := t.Complete(); err != nil {
		if f, ok := err.(*similar.FieldError); ok {
			return invalid(f.Field, "%s", f.Message)
		}
		return err
	}
	if slices.Contains(graph, kind) {
		s.K = t.K
	}
	return nil
}

func (s *Spec) checkQueries() error {
	switch {
	case len(s.Queries) == 0 || len(s.Queries) > MaxQueries:
		return invalid("queries", "has %d; an evaluation has 1 to %d", len(s.Queries), MaxQueries)
	case len(s.Judgments) == 0 || len(s.Judgments) > MaxJudgments:
		return invalid("judgments", "has %d; an evaluation has 1 to %d", len(s.Judgments), MaxJudgments)
	}
	known := map[string]bool{}
	for i, q := range s.Queries {
		switch {
		case q.ID == "":
			return invalid(fmt.Sprintf("queries[%d].id", i), "is empty")
		case strings.TrimSpace(q.Text) == "":
			return invalid(fmt.Sprintf("queries[%d].text", i), "is empty or blank")
		case known[q.ID]:
			return invalid(fmt.Sprintf("queries[%d].id", i), "%.80q is there twice", q.ID)
		}
		known[q.ID] = true
	}
	for i, j := range s.Judgments {
		if !known[j.Query] {
			return invalid(fmt.Sprintf("judgments[%d].query", i), "%.80q is no query of this evaluation", j.Query)
		}
		if j.Paper == "" {
			return invalid(fmt.Sprintf("judgments[%d].paper", i), "is empty")
		}
	}
	for i, m := range s.Modes {
		if !slices.Contains(evaluateModes, m) {
			return invalid(fmt.Sprintf("modes[%d]", i), "is %.20q; must be one of %s", m, strings.Join(evaluateModes, ", "))
		}
		if slices.Contains(s.Modes[:i], m) {
			return invalid(fmt.Sprintf("modes[%d]", i), "%s is there twice", m)
		}
	}
	return nil
}

// evaluateModes are the ways that an evaluation searches by.
var evaluateModes = []string{"dense", "lexical", "hybrid"}
