package retrieval

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// MaxRerankTexts is the most texts of one RerankTexts: as many as a search has re-ranked.
const MaxRerankTexts = min(MaxTextsPerCall, MaxRerank)

// RerankRequest asks how well texts answer a query.
type RerankRequest struct {
	// Query and Texts are not blank. There are 1 to MaxRerankTexts texts.
	Query string
	Texts []string
	// Model is the cross-encoder's name; the first of Options.Rerankers when empty.
	Model string
}

// TextScore is what a cross-encoder makes of one of several texts.
type TextScore struct {
	// Index of the text in the request.
	Index int
	// Score is the logistic of the logit, 0 to 1; 0 where there is none.
	Score float32
	Judged
}

// Read tells whether there is a logit.
func (s TextScore) Read() bool { return s.Logit == s.Logit }

// RerankTexts scores each text against the query, the best first, equal ones in their order, and behind them those that the model cannot read. It
// gives the cross-encoder's name.
func (c *Collection) RerankTexts(ctx context.Context, r RerankRequest) ([]TextScore, string, error) {
	if err := c.enter(); err != nil {
		return nil, "", err
	}
	defer c.leave()
	switch {
	case len(r.Texts) == 0:
		return nil, "", invalid("texts", "is empty; must have 1 to %d texts", MaxRerankTexts)
	case len(r.Texts) > MaxRerankTexts:
		return nil, "", invalid("texts", "has %d texts; the limit is %d", len(r.Texts), MaxRerankTexts)
	}
	if err := checkText("query", r.Query); err != nil {
		return nil, "", err
	}
	if len(r.Query) > MaxRerankBytes { // it is read with each text
		return nil, "", invalid("query", "has %d bytes; the limit is %d where texts are compared with it", len(r.Query), MaxRerankBytes)
	}
	for i, text := range r.Texts {
		if err := checkText(textField(i), text); err != nil {
			return nil, "", err
		}
	}
	by := c.reranker(r.Model)
	switch {
	case len(c.rerankers) == 0:
		return nil, "", &Error{Kind: FailedPrecondition, Message: "the server has no cross-encoder; start it with --reranker ID"}
	case by == nil:
		return nil, "", invalid("reranker", "%q is not a cross-encoder of the server, which has: %s", r.Model, strings.Join(c.Rerankers(), ", "))
	}
	judged, err := by.Score(ctx, r.Query, r.Texts)
	if err != nil {
		return nil, "", encodeError(err, textField)
	}
	out := make([]TextScore, len(judged))
	for i, j := range judged {
		if out[i] = (TextScore{Index: i, Judged: j}); out[i].Read() {
			out[i].Score = logistic(j.Logit)
		}
	}
	slices.SortStableFunc(out, func(a, b TextScore) int { return cmp.Compare(b.Logit, a.Logit) }) // cmp has NaN below all others
	return out, by.Name(), nil
}
