package retrieval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"embedd/ann"
	"embedd/internal/lexical"
	"embedd/internal/metadata"
	"embedd/internal/store"
)

// Input is a thing to compare: exactly one field is set.
type Input struct {
	// PaperID stands for the stored vector of this paper.
	PaperID string
	// Text is encoded as a query.
	Text *string
	// Vector is scaled to norm 1.
	Vector []float32
	// Paper may not be stored: where it is, with the same text, it stands for that; otherwise it is encoded as a document.
	Paper *Paper
	// Examples are a reading list.
	Examples *Examples
}

// SearchRequest asks for the papers nearest to an input.
type SearchRequest struct {
	Input Input
	// Field is the request's field that Input came from, for errors.
	Field string
	// K is the number of hits, 1 to MaxK; nil is DefaultK.
	K *int
	// Ef is the length of the candidate list, 1 to MaxEf, raised where it is less than K needs; nil chooses it by Recall.
	// Ignored for an exact search.
	Ef *int
	// Recall is the share of the exact answer that is wanted on average, MinRecall to MaxRecall; nil is DefaultRecall. Not
	// beside Ef. Ignored for an exact search.
	Recall *float64
	// Exact compares with every paper by its vector.
	Exact bool
	// Plan forces a way to search. Not beside Exact.
	Plan Plan
	// Which papers may be in the answer. An input paper need not meet the filter, but must be in scope.
	Which Which
	// Mode says by what papers are found. For words, an input paper stands for its text.
	Mode Mode
	// Fusion and DenseWeight, 0 to 1, say how the two sides of a hybrid search are joined; nil is DefaultDenseWeight.
	Fusion      Fusion
	DenseWeight *float64
	// Sentences re-score the best hundred, where the collection keeps them; nil: where it does, and the input is a text.
	Sentences *bool
	// Explain the first MaxExplained hits.
	Explain bool
	// Feedback, where it is not nil, searches twice.
	Feedback *Feedback
	// Rerank, where it is not nil, orders the best anew by a cross-encoder. Not for a vector, which has no text.
	Rerank *Rerank
	// Diversity, 0 to 1, is how much a hit is to differ from those before it; 0: not at all.
	Diversity float64
	// Group, where it is not nil, keeps an answer from being about one value of a field.
	Group *Group
	// HalfLife, where it is not nil, is the age in years at which a paper counts half as much; above 0, to MaxHalfLife. DateField has the date, "" is
	// the year.
	HalfLife  *float64
	DateField string
	// PublishedAfter and PublishedBefore bound the date, each included: see Published.
	PublishedAfter, PublishedBefore string
	// Facets are to be counted, of all papers that Which is about.
	Facets []FacetRequest
	// MinCosine and MinBand leave out what is less alike. Not in a lexical search.
	MinCosine *float64
	MinBand   Band
	// Autocut ends the answer before its largest drop in score, where there is one that stands out.
	Autocut bool
	// Page is Next of the page before. Digest gives what stands for the request, all but what may change from page to page, and is called where there
	// are pages; nil: there is one.
	Page   string
	Digest func() uint64
	// Basic: abstracts and metadata of hits need not be there.
	Basic bool
	// Live: a kept list of neighbours is not to answer.
	Live bool
	// Exclude are papers, by any of their ids, that shall not be in the answer, and neither what is the same work: at most MaxExclude. Those that
	// are not stored are passed over.
	Exclude []string
	// NotAcross: the collection's own model alone answers, also where searches go across to another.
	NotAcross bool
	// as, where it is set, gives what a text is searched with, of the vector that the model makes of it.
	as func(vector []float32) ([]float32, error)
	// SameWork lets other versions of the same work be in the answer, of the input and of hits.
	SameWork bool
}

// Plan is a way to search the index where the search is not exact.
type Plan = ann.Plan

// The plans. Auto takes the one that is expected to be faster, Graph walks the HNSW graph, Scan compares with everything as an exact
// search does.
const (
	Auto  = ann.Auto
	Graph = ann.Graph
	Scan  = ann.Scan
)

// Hit is one paper of an answer.
type Hit struct {
	Paper Paper
	// Score is what the hits are ordered by, more is nearer: the cosine similarity, -1 to 1; by words, BM25, above 0; of a hybrid search, what
	// the fusion makes of both, 0 to 1.
	Score float32
	// Cosine and BM25 are the two sides; nil where a search has not asked for one. Of a reading list, Cosine is what its strategy makes of those
	// with the examples.
	Cosine, BM25 *float32
	// Percentile is the share of random pairs of papers that are less alike, and Band what people would call that; nil and NoBand where
	// there is no cosine, and where there are too few papers to say.
	Percentile *float64
	Band       Band
	Why        Why
	// SameWork are the ids of the papers that this hit stands for: of the same work, and left out of the answer for it. In the order of storing.
	SameWork []string
	// Explanation, where the search asks for it.
	Explanation *Explanation

	ordinal uint64
	label   uint64 // of the passage that was found; 0: ordinal
}

// Why says where a hit's place comes from.
type Why struct {
	// DenseRank and LexicalRank are its ranks by its vector and by its words, from 1; 0: it is not among those that were looked at.
	DenseRank, LexicalRank int
	// Sentence is the cosine of the sentence that fits best, where sentences have re-scored the paper.
	Sentence *float32
	// Passage is the part of a long text that was found, where it is kept in passages; nil where it is one piece, and in a lexical search.
	Passage *FoundPassage
	// Recency is what the score was multiplied by for the paper's age.
	Recency *float32
	// LikeEarlier is the largest cosine to a hit before this one, where the answer is to be diverse.
	LikeEarlier *float32
	// Example is the positive example that is nearest, by its index.
	Example *int
	// Group is the value by which hits are grouped.
	Group string
	// CrossEncoder is the logit of a hit that was re-ranked: see rerank for what its score is then.
	CrossEncoder *float32
	// Estimated: of a search across two models, the new one has not read the paper yet, and its cosine is estimated by the old vector.
	Estimated bool
}

// SearchResult is an answer.
type SearchResult struct {
	// Hits, nearest first; equal scores in the order in which the papers were stored.
	Hits []Hit
	// K and Ef are the parameters used; Ef is 0 where the graph was not walked.
	K, Ef int
	Exact bool
	// Plan is the way that was taken: Auto where Exact was asked for, and where there was nothing to search.
	Plan Plan
	// Version of the collection when the search began; what was stored later may be in the answer too.
	Version uint64
	// TextUse is set for a text.
	TextUse *TextUse
	// Filter is the caller's own.
	Filter *Filter
	// Mode is never UsualMode; Fusion and DenseWeight are of a hybrid search.
	Mode        Mode
	Fusion      Fusion
	DenseWeight float64
	// Sentences have re-scored the best.
	Sentences bool
	// Feedback is as used; nil for none. Strategy is of a reading list.
	Feedback *Feedback
	Strategy Strategy
	// Materialised is set where a kept list of neighbours has answered.
	Materialised *Materialised
	// Rerank is as used; nil for none.
	Rerank *Rerank
	// Across is set where the search went across two models.
	Across *AcrossUse
	// Next is the token of the next page; "" where there are no more hits.
	Next string
	// Stages say where the time went.
	Stages []StageTime
	Facets []Facet
	// LeftOut are stages that the call's deadline left no time for.
	LeftOut []Stage
}

// StageTime is how long a stage took, all its turns together.
type StageTime struct {
	Stage Stage
	Took  time.Duration
}

// ended notes that a stage has ended, and tells the observer.
func (res *SearchResult) ended(ctx context.Context, c *Collection, stage Stage, begin time.Time) {
	c.observe(ctx, OpSearch, stage, begin)
	took := time.Since(begin)
	for i := range res.Stages {
		if res.Stages[i].Stage == stage {
			res.Stages[i].Took += took
			return
		}
	}
	res.Stages = append(res.Stages, StageTime{stage, took})
}

// Search returns the papers nearest to the input. A paper that is the input is not among them, and of each work there is one at most.
func (c *Collection) Search(ctx context.Context, r SearchRequest) (*SearchResult, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	c.searched.Store(time.Now().UnixNano())
	l, res, err := c.prepare(ctx, &r)
	if err != nil {
		return nil, err
	}
	if err := c.resolve(ctx, r, l, res); err != nil {
		return nil, err
	}
	end, err := c.goAcross(ctx, &r, l, res)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := c.least(&l.order); err != nil {
		return nil, err
	}
	l.kept = c.keeps(&r, l)
	if res.Hits, err = c.nearest(ctx, l, r, res); err != nil {
		return nil, err
	}
	if err := l.apart.tell(ctx, res.Hits); err != nil {
		return nil, err
	}
	l.tellAcross(res)
	if err := c.judge(l, res); err != nil {
		return nil, err
	}
	if l.mode != Lexical {
		if err := c.namePassages(l.vector, res.Hits); err != nil {
			return nil, err
		}
	}
	if r.Explain {
		if err := c.explainFound(ctx, r, l, res); err != nil {
			return nil, err
		}
	}
	if err := c.countFacets(ctx, r, res); err != nil {
		return nil, err
	}
	if r.Which.Scope != nil { // the number of all papers shows in how the index is searched, and in how often they change
		res.Ef, res.Plan, res.Version, res.Stages = 0, Auto, 0, nil
	}
	return res, nil
}

// CheckSearch refuses a request that Search would refuse for what is in it, but for its input.
func (c *Collection) CheckSearch(ctx context.Context, r SearchRequest) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	if _, _, err := c.prepare(ctx, &r); err != nil {
		return err
	}
	if _, err := c.chosen(ctx, r.Which); err != nil {
		return err
	}
	_, err := c.facetNames(ctx, r.Which, r.Facets)
	return err
}

// prepare checks a request, and says in the house's words what is to be done, and what is in effect.
func (c *Collection) prepare(ctx context.Context, r *SearchRequest) (*looking, *SearchResult, error) {
	res := &SearchResult{K: DefaultK, Exact: r.Exact, Filter: r.Which.Filter, Version: c.version.load()}
	if r.K != nil {
		res.K = *r.K
	}
	c.usual(r)
	if err := checkExclude(r.Exclude); err != nil {
		return nil, nil, err
	}
	l, err := r.look(res.K)
	if err != nil {
		return nil, nil, err
	}
	res.Mode, res.Fusion, res.DenseWeight, res.Feedback = l.mode, l.fusion, l.weight, l.feedback
	if l.page, err = c.readPage(*r); err != nil {
		return nil, nil, err
	}
	if n := len(l.page.given); n > 0 { // all pages together have MaxK
		res.K = min(res.K, MaxK-n)
	}
	if err := checkFacets(r.Facets); err != nil {
		return nil, nil, err
	}
	if r.Which, err = c.published(ctx, r.Which, Published{After: r.PublishedAfter, Before: r.PublishedBefore, Field: r.DateField}); err != nil {
		return nil, nil, err
	}
	if err := c.nameFields(ctx, *r, &l.order); err != nil {
		return nil, nil, err
	}
	if l.order.rerank, err = c.prepareRerank(*r); err != nil {
		return nil, nil, err
	}
	if l.order.rerank != nil {
		res.Rerank = &l.order.rerank.Rerank
	}
	if l.sentences, err = c.usesSentences(r, l); err != nil {
		return nil, nil, err
	}
	if res.Sentences = l.sentences; l.sentences && l.mode == Hybrid && l.fusion == Convex && r.DenseWeight == nil {
		l.weight = sentenceDenseWeight
		res.DenseWeight = l.weight
	}
	if r.Explain && c.settings.OwnVectors {
		return nil, nil, invalid("explain", "is set, and the papers of this collection bring their own vectors: there is no model that says which sentences are alike; leave it out")
	}
	if r.Explain && r.Input.Examples.forEach() {
		return nil, nil, invalid("explain", "is set, and the strategy of the examples looks for none in particular; use average or sum_scores")
	}
	return l, res, nil
}

// countFacets counts what a search asks for, where there is time.
func (c *Collection) countFacets(ctx context.Context, r SearchRequest, res *SearchResult) (err error) {
	if len(r.Facets) == 0 {
		return nil
	}
	inTime, cancel := beforeDeadline(ctx)
	defer cancel()
	begin := time.Now()
	res.Facets, err = c.facets(inTime, r.Which, r.Facets)
	res.ended(ctx, c, StageFacets, begin)
	if err != nil && inTime.Err() != nil && ctx.Err() == nil {
		res.LeftOut = append(res.LeftOut, StageFacets)
		return nil
	}
	return err
}

// look checks the parameters of a request, and puts them into the house's words.
func (r *SearchRequest) look(k int) (*looking, error) {
	l := &looking{mode: r.Mode, exact: r.Exact, as: r.as}
	text := r.Input.Text != nil || r.Input.Examples != nil && r.Input.Examples.Text != nil
	if l.mode == UsualMode {
		l.mode = Dense
		if text {
			l.mode = Hybrid
		}
	}
	lexical := func(field string) error {
		return invalid(field, "is given, and the mode is lexical, which compares the words of all papers; it is of a search by vectors")
	}
	switch {
	case r.Mode > Hybrid:
		return nil, invalid("mode", "%d is not a mode", r.Mode)
	case l.mode != Dense && r.Input.Vector != nil:
		return nil, invalid("mode", "is %s, which needs words, and the query is a vector; use dense", l.mode)
	case l.mode != Dense && r.Input.Examples != nil && !text:
		return nil, invalid("mode", "is %s, which needs words, and the examples have no text; give one, or use dense", l.mode)
	case l.mode == Lexical && r.Ef != nil:
		return nil, lexical("ef")
	case l.mode == Lexical && r.Recall != nil:
		return nil, lexical("recall")
	case l.mode == Lexical && r.Plan != Auto:
		return nil, lexical("plan")
	case l.mode == Lexical && r.Exact:
		return nil, lexical("exact")
	case r.Fusion > RRF:
		return nil, invalid("fusion", "%d is not a fusion", r.Fusion)
	case r.Fusion != UsualFusion && l.mode != Hybrid:
		return nil, invalid("fusion", "is given, and the mode is %s; it joins the two sides of a hybrid search", l.mode)
	case r.DenseWeight != nil && l.mode != Hybrid:
		return nil, invalid("dense_weight", "is given, and the mode is %s; it is of a hybrid search", l.mode)
	case r.DenseWeight != nil && !(*r.DenseWeight >= 0 && *r.DenseWeight <= 1): // NaN too
		return nil, invalid("dense_weight", "is %v; must be 0 to 1", *r.DenseWeight)
	}
	if err := r.order(l); err != nil {
		return nil, err
	}
	var err error
	if l.query, err = r.query(k); err != nil || l.mode != Hybrid {
		return l, err
	}
	l.fusion, l.weight = Convex, DefaultDenseWeight
	if r.Fusion != UsualFusion {
		l.fusion = r.Fusion
	}
	if r.DenseWeight != nil {
		l.weight = *r.DenseWeight
	}
	return l, nil
}

// query checks the parameters of a request, and puts them into the index's words.
func (r *SearchRequest) query(k int) (ann.Query, error) {
	q := ann.Query{K: k, Plan: r.Plan}
	switch {
	case k < 1 || k > MaxK:
		return q, invalid("k", "is %d; must be 1 to %d", k, MaxK)
	case r.Ef != nil && (*r.Ef < 1 || *r.Ef > MaxEf):
		return q, invalid("ef", "is %d; must be 1 to %d", *r.Ef, MaxEf)
	case r.Recall != nil && !(*r.Recall >= MinRecall && *r.Recall <= MaxRecall): // NaN too
		return q, invalid("recall", "is %v; must be %v to %v", *r.Recall, MinRecall, MaxRecall)
	case r.Ef != nil && r.Recall != nil:
		return q, invalid("recall", "is given beside ef, which it would choose; give ef or recall")
	case r.Plan > Scan:
		return q, invalid("plan", "%d is not a plan", r.Plan)
	case r.Plan != Auto && r.Exact:
		return q, invalid("plan", "is given beside exact, which has its own; give plan or exact")
	}
	if r.Ef != nil {
		q.Ef = *r.Ef
	}
	if r.Which.Scope != nil { // how long a forced plan takes would show the number of all papers
		q.Plan = Auto
	}
	if r.Recall != nil {
		q.Recall = *r.Recall
	}
	return q, nil
}

// fieldOf is the request's field of a member of its input.
func (r *SearchRequest) fieldOf(name string) string {
	if r.Field == "" {
		return name
	}
	return r.Field + "." + name
}

// resolve fills in the vector and the words of the input, as far as the mode needs them.
func (c *Collection) resolve(ctx context.Context, r SearchRequest, l *looking, res *SearchResult) error {
	in, field := r.Input, r.fieldOf
	switch {
	case in.Text != nil:
		return c.resolveText(ctx, l, field("text"), *in.Text, res)
	case in.Vector != nil:
		var err error
		l.vector, err = unit(field("vector"), in.Vector, c.encoder.Model().Dimension)
		return err
	case in.Paper != nil:
		return c.resolvePaper(ctx, r, l, field("paper"), in.Paper, res)
	case in.Examples != nil:
		return c.resolveExamples(ctx, r, l, field("examples"), in.Examples, res)
	}
	name := cmp.Or(r.Field, "id")
	if r.Field != "" {
		name = field("paper_id")
	}
	if err := checkID(name, in.PaperID); err != nil {
		return err
	}
	own := in.PaperID
	if r.Which.Scope != nil || l.mode != Dense {
		rec, err := c.record(ctx, name, in.PaperID, r.Which)
		if err != nil {
			return err
		}
		own = rec.Paper.ID
		if err := c.readWordsOf(ctx, l, PaperText(&rec.Paper)); err != nil {
			return err
		}
	}
	vectorOf := c.searchVectorOf
	if l.exact { // the truth, from what is stored
		vectorOf = c.vectorOfAny
	}
	own, v, ordinal, err := vectorOf(ctx, name, own, r.Which)
	l.vector, l.selves, l.selfIDs = v, []uint64{ordinal}, []string{own}
	return err
}

// resolveText fills in the vector and the words of a text.
func (c *Collection) resolveText(ctx context.Context, l *looking, field, text string, res *SearchResult) error {
	if err := checkText(field, text); err != nil {
		return err
	}
	if err := c.readWordsOf(ctx, l, text); err != nil || l.mode == Lexical {
		return err
	}
	begin := time.Now()
	enc, err := c.encoder.Encode(ctx, Interactive, Query, []string{text})
	res.ended(ctx, c, StageEncode, begin)
	if err != nil {
		return encodeError(err, func(int) string { return field })
	}
	l.vector, res.TextUse = enc[0].Vector, &enc[0].TextUse
	if l.as != nil {
		l.vector, err = l.as(l.vector)
	}
	return err
}

// resolvePaper fills in those of a paper that may not be known here.
func (c *Collection) resolvePaper(ctx context.Context, r SearchRequest, l *looking, field string, p *Paper, res *SearchResult) error {
	own, err := c.knows(ctx, field, p, r.Which)
	if err != nil {
		return err
	}
	if own != "" {
		r.Input, r.Field = Input{PaperID: own}, field
		return c.resolve(ctx, r, l, res)
	}
	l.unknown = []*Paper{p}
	if err := c.readWordsOf(ctx, l, PaperText(p)); err != nil {
		return err
	}
	if err := c.isAlso(l, p.ID); err != nil {
		return err
	}
	if l.mode == Lexical {
		return nil
	}
	if c.settings.OwnVectors {
		l.vector, err = c.inputVector(field+".vector", p)
		return err
	}
	begin := time.Now()
	enc, err := c.encoder.Encode(ctx, Interactive, Document, []string{PaperText(p)})
	res.ended(ctx, c, StageEncode, begin)
	if err != nil {
		return encodeError(err, func(int) string { return field })
	}
	l.vector, res.TextUse = enc[0].Vector, &enc[0].TextUse
	return nil
}

// isAlso notes that the input is a paper with an id, which may be stored with another text or vector: it is not found, nor measures others.
func (c *Collection) isAlso(l *looking, id string) error {
	if id == "" {
		return nil
	}
	l.selfIDs = append(l.selfIDs, id)
	switch at, err := c.ordinalOf(id); {
	case err == nil:
		l.selves = append(l.selves, at)
	case !errors.Is(err, store.ErrNotFound):
		return storeError("look up paper", err)
	}
	return nil
}

// Knows tells whether a paper is stored, in scope, with the text that it is given with. field is the request's, for errors.
func (c *Collection) Knows(ctx context.Context, field string, p *Paper, w Which) (bool, error) {
	if err := c.enter(); err != nil {
		return false, err
	}
	defer c.leave()
	own, err := c.knows(ctx, field, p, w)
	return own != "", err
}

// knows gives the id under which a paper is stored that is given by any of its ids; "" for none.
func (c *Collection) knows(ctx context.Context, field string, p *Paper, w Which) (own string, err error) {
	checked := *p
	checked.ID = cmp.Or(p.ID, "none") // it need not have one
	if err := checkPaper(field, &checked, c.settings.OwnVectors); err != nil {
		return "", err
	}
	if p.Vector != nil { // it is searched with as it is
		_, err := c.inputVector(field+".vector", p)
		return "", err
	}
	for _, id := range idsOfPaper(p) {
		rec, err := c.record(ctx, field+".id", id, w)
		if err != nil && KindOf(err) == NotFound {
			continue
		}
		if err != nil || PaperText(&rec.Paper) == PaperText(p) {
			return rec.Paper.ID, err
		}
	}
	return "", nil
}

// readWordsOf fills in the words of a text where the mode needs them, and waits until there are those of the papers.
func (c *Collection) readWordsOf(ctx context.Context, l *looking, text string) error {
	if l.mode == Dense {
		return nil
	}
	l.words = lexical.ParseQuery(text)
	return c.words.wait(ctx, c)
}

// vectorOf gives the vector and the ordinal of a stored paper. field is the request's, for errors.
func (c *Collection) vectorOf(field, id string) (v []float32, ordinal uint64, err error) {
	// An update between the two reads moves the paper to a new ordinal: look again. An ordinal that is still the
	// paper's has a vector, or the store is damaged.
	for last := uint64(0); ; last = ordinal {
		ordinal, err = c.store.Ordinal(id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, 0, notFound(field, id)
		}
		if err != nil {
			return nil, 0, storeError("look up paper", err)
		}
		if gone, err := c.goneAt(ordinal); err != nil || gone {
			return nil, 0, cmp.Or(err, notFound(field, id))
		}
		v, err = c.store.Vector(ordinal)
		if errors.Is(err, store.ErrNotFound) && ordinal != last {
			continue
		}
		if errors.Is(err, store.ErrNotFound) {
			err = fmt.Errorf("%w: paper %q has no vector", store.ErrCorrupt, id)
		}
		if err != nil {
			return nil, 0, storeError("read vector", err)
		}
		return v, ordinal, nil
	}
}

// searchVectorOf is vectorOfAny with the vector as the index keeps it, which is in memory and as near to what is stored as its distances are; where it is
// not there, as it is stored.
func (c *Collection) searchVectorOf(ctx context.Context, field, id string, w Which) (own string, v []float32, ordinal uint64, err error) {
	if ordinal, err = c.ordinalOf(id); err == nil {
		if gone, err := c.goneAt(ordinal); err == nil && !gone {
			if v, there := c.index.Vector(ordinal); there {
				return id, v, ordinal, nil
			}
		}
	}
	return c.vectorOfAny(ctx, field, id, w)
}

// searchTries is how often a search begins anew because papers moved under it.
const searchTries = 5

// nearest searches, and reads the papers. A paper that was removed between the two is missing from the first try, so the search is
// widened by what was missing until k are found or there are no more. One that moved between the two is searched for again.
func (c *Collection) nearest(ctx context.Context, l *looking, r SearchRequest, res *SearchResult) ([]Hit, error) {
	apart, err := c.keepApart(ctx, &r, l)
	if err != nil {
		return nil, err
	}
	l.apart = apart
	limit := res.K + len(l.page.given)
	l.query.K = limit
	if l.mode == Hybrid || l.order.any() {
		if l.query.K = poolSize; limit > poolMost {
			l.query.K = poolMore
		}
		l.query.K = max(l.query.K, l.order.pool(l.fusion))
	} else if l.sentences {
		l.query.K = max(limit, rescored) // the same pool for every k
	}
	pool := l.query.K
	l.query.K += l.aside()
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		before := c.moves.ended.Load()
		chosen, err := c.chosen(ctx, r.Which) // as they are now
		if err != nil {
			return nil, err
		}
		if err := c.narrow(ctx, l, r.Which); err != nil {
			return nil, err
		}
		apart.begin(chosen)
		found, more, err := c.find(ctx, l, chosen, res)
		if err != nil {
			return nil, err
		}
		found = l.order.near(found)
		want := limit
		if l.order.any() {
			want = min(len(found), pool) // what is missing widens the search, and not the pool
		}
		begin := time.Now()
		hits, missing, err := c.hits(found, chosen, l, r, want)
		res.ended(ctx, c, StageFetch, begin)
		switch {
		case err != nil:
			return nil, err
		case missing > 0 && try < searchTries && c.moves.ended.Load() != before:
			continue
		case chosen != nil && len(hits) < want && try < searchTries && c.moves.ended.Load() != before: // under an ordinal that was not chosen
			continue
		case len(hits) < want && missing > 0 && more:
			l.query.K += missing
			continue
		case len(hits) < want && apart.left > 0 && more && !l.order.any(): // in a pool as many may be left out as there are
			l.query.K += apart.left
			continue
		}
		if l.order.rerank != nil {
			if hits, err = c.rerankFound(ctx, r, l, hits, res); err != nil {
				return nil, err
			}
		}
		if hits, err = c.arrange(ctx, l, hits, limit); err != nil {
			return nil, err
		}
		if l.order.any() && len(hits) < limit && more && l.query.K < poolMore { // too many are alike
			pool = poolMore
			l.query.K = poolMore + l.aside()
			continue
		}
		if l.order.autocut {
			hits = hits[:autocut(hits)]
		}
		more = more || len(hits) > limit || len(found) > want
		return c.page(l, r, res, hits[:min(len(hits), limit)], more)
	}
}

// hits reads the papers of candidates, the best first, until k are there. The input, which has moved meanwhile, is left out. A paper that is moving
// is found where it was. missing counts candidates without a paper of their own, and those that came
// after the first page.
func (c *Collection) hits(found []candidate, chosen *metadata.Set, l *looking, r SearchRequest, k int) (hits []Hit, missing int, err error) {
	hits = make([]Hit, 0, min(k, len(found)))
	var moving map[string]bool // papers among the hits that are
	// Who asks for more than the basic view, or has what is found looked into, reads all of the papers.
	basic := r.Basic && !r.Explain && l.order.rerank == nil && !c.settings.Passages && !(l.apart != nil && l.apart.direct)
	for from := 0; from < len(found) && len(hits) < k; {
		part := found[from:min(len(found), from+k-len(hits)+1)] // a pool is larger than its answer
		from += len(part)
		ordinals := make([]uint64, len(part))
		for i := range part {
			ordinals[i] = part[i].ordinal
		}
		records, present, err := c.records(ordinals, basic)
		if err == nil && basic && chosen != nil && c.fields.index.Version() != chosen.Version() { // whether they still meet the filter is to be seen
			basic = false
			records, present, err = c.records(ordinals, basic)
		}
		if err != nil {
			return nil, 0, storeError("read papers", err)
		}
		for i, of := range part {
			if len(l.page.given) > 0 && of.ordinal > l.page.newest { // stored after the first page
				missing++
				continue
			}
			if len(hits) == k || present[i] && slices.Contains(l.selfIDs, records[i].Paper.ID) { // also where it has moved meanwhile
				continue
			}
			if !present[i] {
				if records[i], present[i] = c.moves.under(of.ordinal); present[i] && (slices.Contains(l.selfIDs, records[i].Paper.ID) || has(records, present, i) || hit(hits, records[i].Paper.ID)) {
					present[i] = false // the input, or found where it has moved to
				}
				if !present[i] {
					missing++
					continue
				}
				if moving == nil {
					moving = map[string]bool{}
				}
				moving[records[i].Paper.ID] = true
			} else if moving[records[i].Paper.ID] {
				continue
			}
			if c.gone(&records[i].Paper) {
				missing++
				continue
			}
			if (basic || r.Which.meets(&records[i].Paper)) && l.apart.takes(of.ordinal, &records[i].Paper) { // which may have changed since the search
				hits = append(hits, of.hit(records[i].Paper))
			}
		}
	}
	return hits, missing, nil
}

// has tells whether the paper of records[i] is in another place too.
func has(records []store.Record, present []bool, i int) bool {
	for j := range records {
		if j != i && present[j] && records[j].Paper.ID == records[i].Paper.ID {
			return true
		}
	}
	return false
}

// hit tells whether a paper is among the hits.
func hit(hits []Hit, id string) bool {
	return slices.ContainsFunc(hits, func(h Hit) bool { return h.Paper.ID == id })
}

// Encode returns a vector for each text, in order.
func (c *Collection) Encode(ctx context.Context, lane Lane, role Role, texts []string) ([]Encoding, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	if n := len(texts); lane == Interactive && n > MaxInteractiveTexts && n <= MaxTextsPerCall {
		return nil, invalid("lane", "is INTERACTIVE, which takes at most %d texts a call, and there are %d; use BULK", MaxInteractiveTexts, n)
	}
	if err := checkTexts(texts); err != nil {
		return nil, err
	}
	enc, err := c.encoder.Encode(ctx, lane, role, texts)
	if err != nil {
		return nil, encodeError(err, textField)
	}
	return enc, nil
}

// encodeError names the field of the text that an encoder's error is about.
func encodeError(err error, field func(i int) string) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var busy *BusyError
	if errors.As(err, &busy) {
		return &Error{Kind: Exhausted, Message: err.Error(), RetryAfter: busy.Wait, Err: err}
	}
	if errors.Is(err, noModel) {
		return noModel
	}
	var about *TextError
	if errors.As(err, &about) {
		if about.Blank {
			return invalid(field(about.Index), "has no word that the model knows; there is nothing to compare")
		}
		return &Error{Kind: Internal, Field: field(about.Index), Message: err.Error(), Err: err}
	}
	return internal("encode", err)
}

// Get returns a stored paper, where it is in scope, and what the model read of it.
func (c *Collection) Get(ctx context.Context, id string, w Which) (Paper, TextUse, error) {
	if err := c.enter(); err != nil {
		return Paper{}, TextUse{}, err
	}
	defer c.leave()
	rec, err := c.record(ctx, "id", id, w)
	return rec.Paper, TextUse{rec.Tokens, rec.Truncated}, err
}

// stored is a paper, and the ordinal that it is stored under.
type stored struct {
	store.Record
	ordinal uint64
}

// record reads a stored paper that is in scope, by any of its ids. field is the request's, for errors.
func (c *Collection) record(ctx context.Context, field, id string, w Which) (stored, error) {
	rec, err := c.recordOf(ctx, field, id, w)
	if err == nil || KindOf(err) != NotFound {
		return rec, err
	}
	own, err := c.byAlias(ctx, field, id, w)
	if err != nil {
		return stored{}, err
	}
	if rec, err = c.recordOf(ctx, field, own, w); err != nil && KindOf(err) == NotFound {
		err = notFound(field, id) // it went meanwhile
	}
	return rec, err
}

// recordOf is record by the paper's own id.
func (c *Collection) recordOf(ctx context.Context, field, id string, w Which) (stored, error) {
	if err := checkID(field, id); err != nil {
		return stored{}, err
	}
	scope := Which{Scope: w.Scope}
	seen, err := c.chosen(ctx, scope) // first: where the scope fits nothing, which ids there are does not show
	if err != nil {
		return stored{}, err
	}
	rec, ordinal, err := c.store.Get(id)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && c.gone(&rec.Paper):
		return stored{}, notFound(field, id)
	case err != nil:
		return stored{}, storeError("read paper", err)
	case seen != nil && !(seen.Contains(ordinal) && scope.meets(&rec.Paper)): // what is beyond it is not looked into: that would take its time
		return stored{}, notFound(field, id)
	}
	return stored{rec, ordinal}, nil
}

// listRead is how many papers are read for one page and put in order, where no more than those meet a filter. Of more, one in a hundred and so
// all of a page is soon come by.
const listRead = 10_000

// List returns up to limit papers (nil: DefaultPageSize) in the byte order of their ids, beginning after the id after, of those that w is about.
// next is the id to go on after, empty where there are no papers beyond.
func (c *Collection) List(ctx context.Context, after string, limit *int, w Which) (papers []Paper, next string, err error) {
	if err := c.enter(); err != nil {
		return nil, "", err
	}
	defer c.leave()
	n := DefaultPageSize
	if limit != nil {
		n = *limit
	}
	if n < 1 || n > MaxPageSize {
		return nil, "", invalid("page_size", "is %d; must be 1 to %d", n, MaxPageSize)
	}
	chosen, err := c.chosen(ctx, w)
	if err != nil {
		return nil, "", err
	}
	if chosen != nil && chosen.Len() <= listRead {
		return c.listChosen(ctx, after, n, w, chosen)
	}
	for {
		records, err := c.store.List(after, n+1)
		if err != nil {
			return nil, "", storeError("list papers", err)
		}
		for i := range records {
			p := &records[i].Paper
			after = p.ID
			if !w.meets(p) || c.gone(p) {
				continue
			}
			if len(papers) == n {
				return papers, papers[n-1].ID, nil
			}
			papers = append(papers, *p)
		}
		if len(records) <= n {
			return papers, "", nil
		}
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
	}
}

// listChosen is List of few papers.
func (c *Collection) listChosen(ctx context.Context, after string, n int, w Which, chosen *metadata.Set) (papers []Paper, next string, err error) {
	for ordinals := range slices.Chunk(slices.Collect(chosen.Ordinals()), 1000) {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		records, present, err := c.store.Records(ordinals)
		if err != nil {
			return nil, "", storeError("list papers", err)
		}
		for i := range records {
			if !present[i] { // it is moving
				records[i], present[i] = c.moves.under(ordinals[i])
			}
			if p := &records[i].Paper; present[i] && p.ID > after && w.meets(p) && !c.gone(p) {
				papers = append(papers, *p)
			}
		}
	}
	slices.SortFunc(papers, func(a, b Paper) int { return strings.Compare(a.ID, b.ID) })
	papers = slices.CompactFunc(papers, func(a, b Paper) bool { return a.ID == b.ID })
	if len(papers) > n {
		return papers[:n:n], papers[n-1].ID, nil
	}
	return papers, "", nil
}
