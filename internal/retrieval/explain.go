package retrieval

import (
	"context"
	"strings"

	"embedd/internal/store"
)

// ExplainRequest asks why a paper is alike to an input.
type ExplainRequest struct {
	// Input is what the paper was found with, Field the request's field that it came from.
	Input Input
	Field string
	// PaperID is the paper.
	PaperID string
	// Which has the scope that both papers must be in.
	Which Which
}

// Explain says which sentences of a paper make it alike to an input. Both are encoded anew, in one Run each.
func (c *Collection) Explain(ctx context.Context, r ExplainRequest) (*Explanation, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	paper, err := c.record(ctx, "id", r.PaperID, r.Which)
	if err != nil {
		return nil, err
	}
	var query store.Record
	var passage *Passage
	if r.Input.Text == nil && r.Input.Vector == nil {
		if query, err = c.record(ctx, r.Field+".paper_id", r.Input.PaperID, r.Which); err != nil {
			return nil, err
		}
		r.Input.PaperID = query.Paper.ID
		p := passageOf(&query.Paper)
		passage = &p
	}
	l := &looking{mode: Dense}
	if err := c.resolve(ctx, SearchRequest{Input: r.Input, Field: r.Field}, l, &SearchResult{}); err != nil { // in scope, where it is a paper
		return nil, err
	}
	x, err := c.encoder.Explain(ctx, l.vector, passage, passageOf(&paper.Paper))
	if err != nil {
		return nil, encodeError(err, func(int) string { return "id" })
	}
	place(x.Sentences, &paper.Paper)
	if passage != nil {
		place(x.Query, &query.Paper)
	}
	return x, nil
}

// passageOf is a paper's text, with a break where the abstract begins.
func passageOf(p *Paper) Passage {
	return Passage{Text: PaperText(p), Breaks: []int{titleEnd(p)}}
}

// titleEnd is where the title ends in a paper's text.
func titleEnd(p *Paper) int { return len(strings.TrimSpace(p.Title)) }

// place fills in the text and the field of sentences of a paper.
func place(sentences []Sentence, p *Paper) {
	text := PaperText(p)
	for i := range sentences {
		s := &sentences[i]
		s.Text, s.Field = text[s.Begin:s.End], "abstract"
		if s.End <= titleEnd(p) {
			s.Field = "title"
		}
	}
}
