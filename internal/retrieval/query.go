package retrieval

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"embedd/ann"
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
	// Ef is the length of the candidate list, 1 to MaxEf, raised to K where it is less; nil is DefaultEf. Ignored for an
	// exact search.
	Ef *int
	// Exact compares with every paper.
	Exact bool
}

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
	// K and Ef are the parameters used; Ef is 0 for an exact search.
	K, Ef int
	Exact bool
	// Version of the collection when the search began; what was stored later may be in the answer too.
	Version uint64
	// TextUse is set for a text.
	TextUse *TextUse
}

// Search returns the papers nearest to the input. A paper that is the input is not among them.
func (c *Collection) Search(ctx context.Context, r SearchRequest) (*SearchResult, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	res := &SearchResult{K: DefaultK, Exact: r.Exact, Version: c.version.Load()}
	if r.K != nil {
		res.K = *r.K
	}
	if res.K < 1 || res.K > MaxK {
		return nil, invalid("k", "is %d; must be 1 to %d", res.K, MaxK)
	}
	if r.Ef != nil && (*r.Ef < 1 || *r.Ef > MaxEf) {
		return nil, invalid("ef", "is %d; must be 1 to %d", *r.Ef, MaxEf)
	}
	if !r.Exact {
		res.Ef = DefaultEf(res.K)
		if r.Ef != nil {
			res.Ef = max(*r.Ef, res.K)
		}
	}
	vector, self, err := c.resolve(ctx, r, res)
	if err != nil {
		return nil, err
	}
	res.Hits, err = c.nearest(ctx, vector, self, res)
	return res, err
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
		enc, err := c.encoder.Encode(ctx, Interactive, Query, []string{*in.Text})
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
		// An update between the two reads moves the paper to a new ordinal: look again. An ordinal that is still the
		// paper's has a vector, or the store is damaged.
		for last := uint64(0); ; last = self {
			self, err = c.store.Ordinal(in.PaperID)
			if errors.Is(err, store.ErrNotFound) {
				return nil, 0, notFound(name, in.PaperID)
			}
			if err != nil {
				return nil, 0, internal("look up paper", err)
			}
			v, err = c.store.Vector(self)
			if errors.Is(err, store.ErrNotFound) && self != last {
				continue
			}
			if err != nil {
				return nil, 0, internal("read vector", err)
			}
			return v, self, nil
		}
	}
}

// nearest searches the index and reads the papers. A paper that is removed or moved between the two is missing from
// the first try, so the search is widened by what was missing until k are found or there are no more.
func (c *Collection) nearest(ctx context.Context, v []float32, self uint64, res *SearchResult) ([]Hit, error) {
	want := res.K
	if self != 0 {
		want++ // itself
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var found []ann.Neighbor
		var err error
		if res.Exact {
			found, err = c.index.Exact(v, want)
		} else {
			var answer ann.Answer
			answer, err = c.index.Search(v, ann.Query{K: want, Ef: res.Ef})
			found = answer.Neighbors
		}
		if err != nil {
			return nil, internal("search the index", err)
		}
		hits, missing, err := c.hits(found, self, res.K)
		if err != nil {
			return nil, err
		}
		if len(hits) == res.K || missing == 0 || len(found) < want {
			return hits, nil
		}
		want += missing
	}
}

// hits reads the papers of neighbours, leaving out self, until k are there. missing counts those that were removed.
func (c *Collection) hits(found []ann.Neighbor, self uint64, k int) (hits []Hit, missing int, err error) {
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
		return nil, 0, internal("read papers", err)
	}
	hits = make([]Hit, 0, k)
	for i, rec := range records {
		if !present[i] {
			missing++
		} else if len(hits) < k {
			hits = append(hits, Hit{Paper: rec.Paper, Score: scores[i]})
		}
	}
	return hits, missing, nil
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

// Get returns a stored paper and what the model read of it.
func (c *Collection) Get(id string) (Paper, TextUse, error) {
	if err := c.enter(); err != nil {
		return Paper{}, TextUse{}, err
	}
	defer c.leave()
	if err := checkID("id", id); err != nil {
		return Paper{}, TextUse{}, err
	}
	rec, _, err := c.store.Get(id)
	if errors.Is(err, store.ErrNotFound) {
		return Paper{}, TextUse{}, notFound("id", id)
	}
	if err != nil {
		return Paper{}, TextUse{}, internal("read paper", err)
	}
	return rec.Paper, TextUse{rec.Tokens, rec.Truncated}, nil
}

// List returns up to limit papers (nil: DefaultPageSize) in the byte order of their ids, beginning after the id after.
// more tells whether there are papers beyond them.
func (c *Collection) List(after string, limit *int) (papers []Paper, more bool, err error) {
	if err := c.enter(); err != nil {
		return nil, false, err
	}
	defer c.leave()
	n := DefaultPageSize
	if limit != nil {
		n = *limit
	}
	if n < 1 || n > MaxPageSize {
		return nil, false, invalid("page_size", "is %d; must be 1 to %d", n, MaxPageSize)
	}
	records, err := c.store.List(after, n+1)
	if err != nil {
		return nil, false, internal("list papers", err)
	}
	if len(records) > n {
		records, more = records[:n], true
	}
	for _, rec := range records {
		papers = append(papers, rec.Paper)
	}
	return papers, more, nil
}
