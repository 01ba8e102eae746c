package retrieval

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"embedd/ann"
	"embedd/internal/lexical"
	"embedd/internal/metadata"
)

// Mode says by what a search finds papers.
type Mode uint8

const (
	// UsualMode is Hybrid for a text, Dense for a paper and a vector.
	UsualMode Mode = iota
	// Dense: by the vectors of a sentence encoder.
	Dense
	// Lexical: by words, scored by BM25; see package lexical.
	Lexical
	// Hybrid: by both, joined by a Fusion.
	Hybrid
)

func (m Mode) String() string {
	return [...]string{"usual", "dense", "lexical", "hybrid"}[min(m, Hybrid)]
}

// Fusion joins the papers that were found by their vectors with those that were found by their words.
type Fusion uint8

const (
	// UsualFusion is Convex.
	UsualFusion Fusion = iota
	// Convex adds up the two scores, each of which is brought to 0 to 1 before (Bruch, Gai and Ingber, "An Analysis of Fusion Functions for
	// Hybrid Retrieval", 2023, arXiv:2210.11934): the cosine from that of the floorRank-th paper, or of the last, to that of the first; BM25
	// from 0 to that of the first.
	Convex
	// RRF adds up the inverses of the two ranks, to which rrfK is added before (Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion
	// outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009).
	RRF
)

// What is joined. The defaults were chosen on the training questions of SciFact: see docs/search.md.
const (
	// DefaultDenseWeight is the share of the cosine in the score.
	DefaultDenseWeight = 0.4
	// poolSize is how many papers are taken of each side, and poolMore where more than poolMost are asked for: the answer for k is the
	// beginning of that for more as long as the pools are the same.
	poolSize, poolMost, poolMore = 200, 128, 2 * MaxK
	floorRank                    = 200
	rrfK                         = 60
)

// candidate is a paper that was found.
type candidate struct {
	ordinal uint64
	score   float32
	cosine  float32 // NaN: not known
	bm25    float32 // NaN: not asked for
	// Ranks by vectors and by words, from 1; 0: it is not among those found so.
	dense, lexical int32
	// sentence is the cosine of the sentence that fits best; nil: not looked at, or there is none.
	sentence *float32
}

var unknown = float32(math.NaN())

// compare puts the best first, of equal ones the nearest, and then in the order in which they were stored.
func (c candidate) compare(o candidate) int {
	return cmp.Or(cmp.Compare(o.score, c.score), cmp.Compare(o.cosine, c.cosine), cmp.Compare(c.ordinal, o.ordinal))
}

// looking is what a search looks for.
type looking struct {
	mode   Mode
	fusion Fusion
	weight float64 // of the cosine
	vector []float32
	words  lexical.Query
	scope  *lexical.Scope // what words are weighed by; nil: all papers
	// The papers that are the input: they are not in the answer, and are no measure of others.
	selves  []uint64
	selfIDs []string
	query   ann.Query
	exact   bool
	scoped  bool        // the key has a filter
	kept    bool        // a kept list of neighbours may answer
	first   []neighbour // what is kept, as it was when the search began, of a search that goes beyond it
	// sentences re-score the best of what was found by vectors.
	sentences bool

	probes   []probeVector // of a reading list
	strategy Strategy
	scale    float32 // what a cosine is multiplied by to be a score, 0 for 1
	feedback *Feedback
	order    ordering
	page     page
	// unknown are papers of the input that are not stored: other versions of them are not in the answer.
	unknown []*Paper
	apart   *apart                                    // nil: nothing else is kept out
	across  *acrossed                                 // nil: one model answers
	as      func(vector []float32) ([]float32, error) // nil: a text is searched with as its vector
}

// find gives the papers that are nearest, of those chosen (nil: all), and tells whether there are more.
func (c *Collection) find(ctx context.Context, l *looking, chosen *metadata.Set, res *SearchResult) (found []candidate, more bool, err error) {
	var within lexical.Set
	if chosen != nil {
		l.query.Filter = ann.NewFilter(c.passages.with(chosen.Ordinals()))
		within = chosen
	}
	if l.feedback == nil {
		return c.findOnce(ctx, l, within, res)
	}
	if found, _, err = c.findOnce(ctx, l, within, res); err != nil {
		return nil, false, err
	}
	again, err := c.feedBack(l, found)
	if err != nil {
		return nil, false, err
	}
	return c.findOnce(ctx, again, within, res)
}

// findOnce is find without feedback. What is the input, or kept out of the answer beside it, is taken out of each side before anything is made of it: it
// would be ranked, and be the measure of all others.
func (c *Collection) findOnce(ctx context.Context, l *looking, within lexical.Set, res *SearchResult) (found []candidate, more bool, err error) {
	k := l.query.K
	pool := k - l.aside() // of a hybrid search: the same for every k
	var near []ann.Neighbor
	if l.mode != Lexical {
		var there bool
		if near, there = c.kept(l, res); !there {
			more := c.beyondKept(l)
			l.query.K += more
			near, err = c.near(ctx, l, res)
			l.query.K -= more
			if err != nil {
				return nil, false, err
			}
			if more > 0 {
				near = c.keptFirst(l, near)
				near = near[:min(len(near), k)]
			}
		}
	}
	all, beyond := len(near) == k, l.order.beyond(near)
	out := len(near)
	near = slices.DeleteFunc(near, func(n ann.Neighbor) bool { return l.isSelf(n.Label) })
	out -= len(near)
	if l.mode == Dense {
		found, err = c.ofVectors(ctx, l, near, res)
		l.apart.short(out - l.aside())
		return found, all && !beyond, err
	}
	near = near[:min(len(near), pool)]
	labels := make([]uint64, len(near))
	for i, n := range near {
		labels[i] = n.Label
	}
	matches, scores, err := c.byWords(ctx, l, k, within, labels, res)
	if err != nil {
		return nil, false, err
	}
	all = all || len(matches) == k
	most := len(matches)
	matches = slices.DeleteFunc(matches, func(m lexical.Match) bool { return l.isSelf(m.Ordinal) })
	l.apart.short(max(out, most-len(matches)) - l.aside())
	if l.mode == Lexical {
		for i, m := range matches {
			found = append(found, candidate{ordinal: m.Ordinal, score: m.Score, cosine: unknown, bm25: m.Score, lexical: int32(i + 1)})
		}
		return found, all, nil
	}
	found, err = c.join(ctx, l, near, scores, matches[:min(len(matches), pool)], res)
	return found, all && !beyond, err
}

// ofVectors are the candidates of a search by vectors alone.
func (c *Collection) ofVectors(ctx context.Context, l *looking, near []ann.Neighbor, res *SearchResult) ([]candidate, error) {
	found := make([]candidate, len(near))
	for i, n := range near {
		s := cosine(n.Distance)
		found[i] = candidate{ordinal: n.Label, score: s, cosine: s, bm25: unknown}
		if l.scale != 0 {
			found[i].score *= l.scale
		}
	}
	if l.sentences {
		if err := c.rescoreDense(ctx, l, found, res); err != nil {
			return nil, err
		}
	}
	for i := range found {
		found[i].dense = int32(i + 1)
	}
	return found, nil
}

// isSelf tells whether a paper is the input, or kept out of the answer beside it.
func (l *looking) isSelf(ordinal uint64) bool {
	return slices.Contains(l.selves, ordinal) || l.apart.keepsOut(ordinal)
}

// aside is how many more papers are asked for in the place of those.
func (l *looking) aside() int { return len(l.selves) + l.apart.spare(l.mode) }

// byWords searches the words.
func (c *Collection) byWords(ctx context.Context, l *looking, k int, within lexical.Set, of []uint64, res *SearchResult) ([]lexical.Match, []float32, error) {
	begin := time.Now()
	defer func() { res.ended(ctx, c, StageWords, begin) }()
	if l.scope != nil {
		return c.words.index.SearchWithin(ctx, l.words, k, *l.scope, within, of)
	}
	return c.words.index.Search(ctx, l.words, k, within, of)
}

// near searches the index.
func (c *Collection) near(ctx context.Context, l *looking, res *SearchResult) ([]ann.Neighbor, error) {
	begin := time.Now()
	defer func() { res.ended(ctx, c, StageSearch, begin) }()
	q := l.query
	q.Done = ctx.Done()
	if l.exact {
		q = ann.Query{K: q.K, Plan: ann.Scan, Filter: q.Filter, Done: q.Done}
	}
	if l.strategy == BestScore || l.strategy == Sequence {
		return c.nearExamples(ctx, l, q, res)
	}
	return c.nearVector(ctx, l, l.vector, q, res)
}

// nearVector searches the index for what is near to a vector.
func (c *Collection) nearVector(ctx context.Context, l *looking, v []float32, q ann.Query, res *SearchResult) ([]ann.Neighbor, error) {
	if l.across != nil {
		return c.nearAcross(ctx, l, q, res)
	}
	answer, err := c.searchIndex(v, q)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, internal("search the index", err)
	case !l.exact:
		res.Ef, res.Plan = answer.Ef, answer.Plan
	}
	return answer.Neighbors, nil
}

// distances gives the distance of what is looked for from each of some papers; NaN where one is not in the index.
func (c *Collection) distances(l *looking, labels []uint64) ([]float32, error) {
	if l.strategy == BestScore || l.strategy == Sequence {
		return c.distancesOfExamples(l, labels)
	}
	if l.across != nil {
		return c.distancesAcross(l, labels)
	}
	return c.distancesTo(l.vector, labels)
}

// join makes one list of those found by their vectors, whose scores by words are given, and those found by their words.
func (c *Collection) join(ctx context.Context, l *looking, near []ann.Neighbor, scores []float32, matches []lexical.Match, res *SearchResult) ([]candidate, error) {
	all := make([]candidate, 0, len(near)+len(matches))
	byVector := make(map[uint64]int, len(near)) // rank, from 0
	for i, n := range near {
		byVector[n.Label] = i
		all = append(all, candidate{ordinal: n.Label, cosine: cosine(n.Distance), bm25: scores[i], dense: int32(i + 1)})
	}
	var others []uint64
	for _, m := range matches {
		if _, both := byVector[m.Ordinal]; !both {
			others = append(others, m.Ordinal)
		}
	}
	distances, err := c.distances(l, others)
	if err != nil {
		return nil, internal("compare with what was found by words", err)
	}
	byWords := make(map[uint64]int, len(matches))
	for i, m := range matches {
		byWords[m.Ordinal] = i
		if at, both := byVector[m.Ordinal]; both {
			all[at].lexical = int32(i + 1)
			continue
		}
		d := distances[0]
		distances = distances[1:]
		if d == d { // a paper that is in the store and not in the index yet is found where it was
			all = append(all, candidate{ordinal: m.Ordinal, cosine: cosine(d), bm25: m.Score, lexical: int32(i + 1)})
		}
	}
	if l.fusion == RRF {
		if l.sentences {
			if byVector, err = c.rescoreRanks(ctx, l, all[:len(near)], res); err != nil {
				return nil, err
			}
		}
		l.fuseRanks(all, byVector, byWords)
		slices.SortFunc(all, candidate.compare)
		return all, nil
	}
	var s scale
	if len(near) > 0 {
		s.top, s.floor = cosine(near[0].Distance), cosine(near[min(len(near), floorRank)-1].Distance)
	}
	if len(matches) > 0 {
		s.most = matches[0].Score
	}
	for i := range all {
		all[i].score = l.fuse(s, all[i].cosine, all[i].bm25)
	}
	slices.SortFunc(all, candidate.compare)
	if l.sentences {
		return all, c.rescoreHybrid(ctx, l, s, all, res)
	}
	return all, nil
}

// fuseRanks scores by RRF.
func (l *looking) fuseRanks(all []candidate, byVector, byWords map[uint64]int) {
	for i := range all {
		if rank, ok := byVector[all[i].ordinal]; ok {
			all[i].score += float32(2 * l.weight / float64(rrfK+rank+1))
		}
		if rank, ok := byWords[all[i].ordinal]; ok {
			all[i].score += float32(2 * (1 - l.weight) / float64(rrfK+rank+1))
		}
	}
}

// scale says what is 0 and what is 1 of the two sides of a convex fusion: the cosine from floor to top, BM25 from 0 to most.
type scale struct{ floor, top, most float32 }

// fuse is the convex fusion of two scores.
func (l *looking) fuse(s scale, cosine, bm25 float32) float32 {
	dense, words := float32(0), float32(0)
	if s.top > s.floor {
		dense = min(1, max(0, (cosine-s.floor)/(s.top-s.floor)))
	} else if cosine >= s.top {
		dense = 1
	}
	if s.most > 0 {
		words = bm25 / s.most
	}
	return float32(l.weight*float64(dense) + (1-l.weight)*float64(words))
}

// cosine is the similarity at a distance.
func cosine(distance float32) float32 { return min(1, max(-1, 1-distance)) }

// hit is what is told of a candidate.
func (c candidate) hit(p Paper) Hit {
	h := Hit{Paper: p, Score: c.score, Why: Why{DenseRank: int(c.dense), LexicalRank: int(c.lexical), Sentence: c.sentence}, ordinal: c.ordinal}
	if c.cosine == c.cosine {
		h.Cosine = &c.cosine
	}
	if c.bm25 == c.bm25 {
		h.BM25 = &c.bm25
	}
	return h
}
