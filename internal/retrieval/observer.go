package retrieval

import (
	"context"
	"time"
)

// Observer is told how long the parts of a collection's work take, for metrics and traces. It is called from many goroutines at once,
// while a caller waits.
type Observer interface {
	// Observe tells that a stage of an operation has ended, well or not. It began at begin. ctx is the call's.
	Observe(ctx context.Context, op Op, stage Stage, begin time.Time)
}

// Op is what a stage is part of.
type Op string

// The operations.
const (
	OpSearch Op = "search"
	OpUpsert Op = "upsert"
	OpDelete Op = "delete"
)

// Stage is a part of an operation.
type Stage string

// The stages. A search encodes where it is by a text or by a paper that is not stored, searches by vectors and by words, and does so and fetches again where
// papers are removed meanwhile; it re-scores by sentences where they are kept, and re-ranks, explains and counts facets where it is asked to. A write
// commits: to the store, synced, and to the index.
const (
	StageEncode Stage = "encode"
	StageSearch Stage = "search"
	StageWords  Stage = "words"
	StageFetch  Stage = "fetch"
	StageRerank Stage = "rerank"
	StageFacets Stage = "facets"
	StageCommit Stage = "commit"
	// StageSentences: a write encodes sentences, a search re-scores by them.
	StageSentences Stage = "sentences"
	// StagePassages: a write encodes the passages of long texts.
	StagePassages Stage = "passages"
	StageExplain  Stage = "explain"
)

func (c *Collection) observe(ctx context.Context, op Op, stage Stage, begin time.Time) {
	if c.observer != nil {
		c.observer.Observe(ctx, op, stage, begin)
	}
}
