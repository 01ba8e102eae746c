package retrieval

import (
	"context"
	"slices"
	"time"
)

// rescored is how many papers a search scores anew by their sentences: the first of a search by vectors, or of the list that is joined without
// them. It is the same for every k, so that the answer for k is the beginning of that for more.
const rescored = 100

// Chosen on the training questions of SciFact: see docs/search.md.
const (
	// sentenceShare is how much of the cosine of a paper that is scored anew is that of its best sentence.
	sentenceShare = 0.5
	// sentenceDenseWeight is DefaultDenseWeight where sentences are looked at: the cosine says more then.
	sentenceDenseWeight = 0.5
)

// bySentences sets the best sentence of the first papers, and gives their cosines with that in them. A paper without sentences keeps its own.
func (c *Collection) bySentences(ctx context.Context, l *looking, first []candidate, res *SearchResult) ([]float32, error) {
	begin := time.Now()
	defer func() { res.ended(ctx, c, StageSentences, begin) }()
	ordinals := make([]uint64, len(first))
	for i := range first {
		ordinals[i] = first[i].ordinal
	}
	best, err := c.bestSentences(ctx, l.vector, ordinals)
	if err != nil {
		return nil, err
	}
	sides := make([]float32, len(first))
	for i := range first {
		sides[i] = first[i].cosine
		if best[i] == best[i] {
			first[i].sentence = &best[i]
			sides[i] = (1-sentenceShare)*first[i].cosine + sentenceShare*best[i]
		}
	}
	return sides, nil
}

// rescoreDense scores the first of those found by their vectors anew. The others follow in their order, with scores that are brought down to
// where the first end.
func (c *Collection) rescoreDense(ctx context.Context, l *looking, found []candidate, res *SearchResult) error {
	first, rest := found[:min(len(found), rescored)], found[min(len(found), rescored):]
	sides, err := c.bySentences(ctx, l, first, res)
	if err != nil || len(first) == 0 {
		return err
	}
	for i := range first {
		first[i].score = sides[i]
		if l.scale != 0 {
			first[i].score *= l.scale
		}
	}
	slices.SortFunc(first, candidate.compare)
	if len(rest) > 0 {
		down := max(0, rest[0].score-first[len(first)-1].score)
		for i := range rest {
			rest[i].score -= down
		}
	}
	return nil
}

// rescoreHybrid is rescoreDense of a list that was joined on a scale.
func (c *Collection) rescoreHybrid(ctx context.Context, l *looking, s scale, all []candidate, res *SearchResult) error {
	first, rest := all[:min(len(all), rescored)], all[min(len(all), rescored):]
	sides, err := c.bySentences(ctx, l, first, res)
	if err != nil || len(first) == 0 {
		return err
	}
	s.top = slices.Max(sides)
	for i := range first {
		first[i].score = l.fuse(s, sides[i], first[i].bm25)
	}
	slices.SortFunc(first, candidate.compare)
	if last := first[len(first)-1].score; len(rest) > 0 && rest[0].score > last {
		down := last / rest[0].score
		for i := range rest {
			rest[i].score *= down
		}
	}
	return nil
}

// rescoreRanks scores the first of those found by their vectors, which are in their order, anew, and gives the new ranks, from 0.
func (c *Collection) rescoreRanks(ctx context.Context, l *looking, near []candidate, res *SearchResult) (map[uint64]int, error) {
	again := slices.Clone(near)
	for i := range again {
		again[i].score = again[i].cosine
	}
	if err := c.rescoreDense(ctx, l, again, res); err != nil {
		return nil, err
	}
	ranks, best := make(map[uint64]int, len(again)), make(map[uint64]*float32, len(again))
	for i := range again {
		ranks[again[i].ordinal], best[again[i].ordinal] = i, again[i].sentence
	}
	for i := range near {
		near[i].sentence = best[near[i].ordinal]
	}
	return ranks, nil
}
