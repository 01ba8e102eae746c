package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"embedd/embed"
	"embedd/internal/retrieval"
	"embedd/models"
)

// openRerankers loads the cross-encoders that the flags name. Each has slots of its own, at most half of the encoder's, so that searches that are
// re-ranked leave at least half of the cores to what is encoded.
func (en *engine) openRerankers(f *engineFlags) error {
	for i, id := range f.Reranker {
		if slices.Contains(f.Reranker[:i], id) {
			return fmt.Errorf("--reranker: %s is given twice", id)
		}
		m, err := models.Open(f.Models, id)
		if err != nil {
			return fmt.Errorf("--reranker: %w", err)
		}
		s, err := embed.OpenScorer(m, &embed.Options{Library: f.Library, Provider: embed.Provider(f.Provider), Workers: max(1, f.Workers/2)})
		if err != nil {
			return fmt.Errorf("--reranker: %w", err)
		}
		en.scorers = append(en.scorers, s)
	}
	return nil
}

// rerankers are the cross-encoders in the words of package retrieval.
func (en *engine) rerankers() (all []retrieval.Reranker) {
	for _, s := range en.scorers {
		all = append(all, rerankerOf{s})
	}
	return all
}

type rerankerOf struct{ s *embed.Scorer }

func (x rerankerOf) Name() string { return x.s.Manifest().ID }

// Score implements retrieval.Reranker.
func (x rerankerOf) Score(ctx context.Context, query string, texts []string) ([]retrieval.Judged, error) {
	out := make([]retrieval.Judged, len(texts))
	for i := range out {
		out[i].Logit = float32(math.NaN())
	}
	known, err := x.s.Knows(query)
	if err != nil || !known {
		return out, err
	}
	var pairs []embed.Pair
	var at []int
	for i, text := range texts {
		known, err := x.s.Knows(text)
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		if known {
			pairs, at = append(pairs, embed.Pair{Query: query, Text: text}), append(at, i)
		}
	}
	scored, err := x.s.Score(ctx, embed.Interactive, pairs)
	if err != nil {
		err = encodeError(err)
		var about *retrieval.TextError
		if errors.As(err, &about) {
			about.Index = at[about.Index] // of the pairs, some texts have none
		}
		return nil, err
	}
	for i, s := range scored {
		out[at[i]] = retrieval.Judged{Logit: s.Score, TextUse: retrieval.TextUse{Tokens: s.Tokens, Truncated: s.Truncated}}
	}
	return out, nil
}
