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
	// Score is the cosine similarity, -1 to 1; more is nearer.
	Score float32
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
}

// Search returns the papers nearest to the input. A paper that is the input is not among them.
func (c *Collection) Search(ctx context.Context, r SearchRequest) (*SearchResult, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	res := &SearchResult{K: DefaultK, Exact: r.Exact, Filter: r.Which.Filter, Version: c.version.load()}
	if r.K != nil {
		res.K = *r.K
	}
	query, err := r.query(res.K)
	if err != nil {
		return nil, err
	}
	vector, self, err := c.resolve(ctx, r, res)
	if err != nil {
		return nil, err
	}
	res.Hits, err = c.nearest(ctx, vector, self, query, r, res)
	if r.Which.Scope != nil { // the number of all papers shows in how the index is searched, and in how often they change
		res.Ef, res.Plan, res.Version = 0, Auto, 0
	}
	return res, err
}

// query checks the parameters of a request, and puts them into the index's words.
func (r *SearchRequest) query(k int) (ann.Query, error) {
	q := ann.Query{K: k, Recall: DefaultRecall, Plan: r.Plan}
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

// resolve makes a vector of the input. self is the ordinal of the input paper, 0 if the input is not a paper.
func (c *Collection) resolve(ctx context.Context, r SearchRequest, res *SearchResult) (v []float32, self uint64, err error) {
	in := r.Input
	field := func(name string) string {
		if r.Field == "" {
			return name
		}
		return r.Field + "." + name
	}
	switch {
	case in.Text != nil:
		if err := checkText(field("text"), *in.Text); err != nil {
			return nil, 0, err
		}
		begin := time.Now()
		enc, err := c.encoder.Encode(ctx, Interactive, Query, []string{*in.Text})
		c.observe(ctx, OpSearch, StageEncode, begin)
		if err != nil {
			return nil, 0, encodeError(err, func(int) string { return field("text") })
		}
		res.TextUse = &enc[0].TextUse
		return enc[0].Vector, 0, nil
	case in.Vector != nil:
		v, err := unit(field("vector"), in.Vector, c.encoder.Model().Dimension)
		return v, 0, err
	default:
		name := cmp.Or(r.Field, "id")
		if r.Field != "" {
			name = field("paper_id")
		}
		if err := checkID(name, in.PaperID); err != nil {
			return nil, 0, err
		}
		if r.Which.Scope != nil {
			if _, err := c.record(ctx, name, in.PaperID, r.Which); err != nil {
				return nil, 0, err
			}
		}
		// An update between the two reads moves the paper to a new ordinal: look again. An ordinal that is still the
		// paper's has a vector, or the store is damaged.
		for last := uint64(0); ; last = self {
			self, err = c.store.Ordinal(in.PaperID)
			if errors.Is(err, store.ErrNotFound) {
				return nil, 0, notFound(name, in.PaperID)
			}
			if err != nil {
				return nil, 0, storeError("look up paper", err)
			}
			v, err = c.store.Vector(self)
			if errors.Is(err, store.ErrNotFound) && self != last {
				continue
			}
			if errors.Is(err, store.ErrNotFound) {
				err = fmt.Errorf("%w: paper %q has no vector", store.ErrCorrupt, in.PaperID)
			}
			if err != nil {
				return nil, 0, storeError("read vector", err)
			}
			return v, self, nil
		}
	}
}

// searchTries is how often a search begins anew because papers moved under it.
const searchTries = 5

// nearest searches the index and reads the papers. A paper that was removed between the two is missing from the first try, so the search is
// widened by what was missing until k are found or there are no more. One that moved between the two is searched for again.
func (c *Collection) nearest(ctx context.Context, v []float32, self uint64, query ann.Query, r SearchRequest, res *SearchResult) ([]Hit, error) {
	query.Done = ctx.Done()
	if self != 0 {
		query.K++ // itself
	}
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		before, begin := c.moves.ended.Load(), time.Now()
		var found []ann.Neighbor
		chosen, err := c.chosen(ctx, r.Which) // as they are now
		if err != nil {
			return nil, err
		}
		if chosen != nil {
			query.Filter = ann.NewFilter(chosen.Ordinals())
		}
		if res.Exact {
			var answer ann.Answer
			answer, err = c.index.Search(v, ann.Query{K: query.K, Plan: ann.Scan, Filter: query.Filter, Done: ctx.Done()})
			found = answer.Neighbors
		} else {
			var answer ann.Answer
			answer, err = c.index.Search(v, query)
			found, res.Ef, res.Plan = answer.Neighbors, answer.Ef, answer.Plan
		}
		c.observe(ctx, OpSearch, StageSearch, begin)
		if errors.Is(err, ann.ErrGivenUp) && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, internal("search the index", err)
		}
		begin = time.Now()
		hits, missing, err := c.hits(found, self, r, res.K)
		c.observe(ctx, OpSearch, StageFetch, begin)
		switch {
		case err != nil:
			return nil, err
		case missing > 0 && try < searchTries && c.moves.ended.Load() != before:
		case query.Filter != nil && len(hits) < res.K && try < searchTries && c.moves.ended.Load() != before: // under an ordinal that was not chosen
		case len(hits) == res.K || missing == 0 || len(found) < query.K:
			return hits, nil
		default:
			query.K += missing
		}
	}
}

// hits reads the papers of neighbours, leaving out the paper that is the input, until k are there. A paper that is moving
// is found where it was. missing counts neighbours without a paper of their own.
func (c *Collection) hits(found []ann.Neighbor, self uint64, r SearchRequest, k int) (hits []Hit, missing int, err error) {
	ordinals := make([]uint64, 0, len(found))
	scores := make([]float32, 0, len(found))
	for _, n := range found {
		if n.Label != self {
			ordinals = append(ordinals, n.Label)
			scores = append(scores, min(1, max(-1, 1-n.Distance)))
		}
	}
	records, present, err := c.store.Records(ordinals)
	if err != nil {
		return nil, 0, storeError("read papers", err)
	}
	for i, ordinal := range ordinals {
		if present[i] {
			continue
		}
		if records[i], present[i] = c.moves.under(ordinal); present[i] && (records[i].Paper.ID == r.Input.PaperID || has(records, present, i)) {
			present[i] = false // the input, or found where it has moved to
		}
		if !present[i] {
			missing++
		}
	}
	hits = make([]Hit, 0, k)
	for i, rec := range records {
		if present[i] && len(hits) < k && r.Which.meets(&rec.Paper) { // which may have changed since the search
			hits = append(hits, Hit{Paper: rec.Paper, Score: scores[i]})
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

// Encode returns a vector for each text, in order.
func (c *Collection) Encode(ctx context.Context, lane Lane, role Role, texts []string) ([]Encoding, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	if len(texts) == 0 {
		return nil, invalid("texts", "is empty; must have 1 to %d texts", MaxTextsPerCall)
	}
	if len(texts) > MaxTextsPerCall {
		return nil, invalid("texts", "has %d texts; the limit is %d", len(texts), MaxTextsPerCall)
	}
	if lane == Interactive && len(texts) > MaxInteractiveTexts {
		return nil, invalid("lane", "is INTERACTIVE, which takes at most %d texts a call, and there are %d; use BULK", MaxInteractiveTexts, len(texts))
	}
	field := func(i int) string { return fmt.Sprintf("texts[%d]", i) }
	for i, text := range texts {
		if err := checkText(field(i), text); err != nil {
			return nil, err
		}
	}
	enc, err := c.encoder.Encode(ctx, lane, role, texts)
	if err != nil {
		return nil, encodeError(err, field)
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

// record reads a stored paper that is in scope. field is the request's, for errors.
func (c *Collection) record(ctx context.Context, field, id string, w Which) (store.Record, error) {
	if err := checkID(field, id); err != nil {
		return store.Record{}, err
	}
	scope := Which{Scope: w.Scope}
	seen, err := c.chosen(ctx, scope) // first: where the scope fits nothing, which ids there are does not show
	if err != nil {
		return store.Record{}, err
	}
	rec, ordinal, err := c.store.Get(id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Record{}, notFound(field, id)
	case err != nil:
		return store.Record{}, storeError("read paper", err)
	case seen != nil && !(seen.Contains(ordinal) && scope.meets(&rec.Paper)): // what is beyond it is not looked into: that would take its time
		return store.Record{}, notFound(field, id)
	}
	return rec, nil
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
			if !w.meets(p) {
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
			if p := &records[i].Paper; present[i] && p.ID > after && w.meets(p) {
				papers = append(papers, *p)
			}
		}
	}
	slices.SortFunc(papers, func(a, b Paper) int { return strings.Compare(a.ID, b.ID) })
	if len(papers) > n {
		return papers[:n:n], papers[n-1].ID, nil
	}
	return papers, "", nil
}
