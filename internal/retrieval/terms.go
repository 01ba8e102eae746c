package retrieval

import (
	"cmp"
	"context"
	"slices"

	"embedd/internal/lexical"
)

// What is told of the words that two texts share.
const (
	// maxTerms is how many there are at most, and maxSpans in how many places of each side each is shown.
	maxTerms = 16
	maxSpans = 32
)

// SharedTerm is a stem that two texts have.
type SharedTerm struct {
	Term string
	// Weight is its inverse document frequency, as a search by words weighs it.
	Weight float64
	// Query and Paper are the first places where it stands.
	Query, Paper []Span
}

// Span is a place in a field of a paper, or in a text, in bytes.
type Span struct {
	Field      string
	Begin, End int
}

// stemsOf are where the stems of some fields stand, by stem.
func stemsOf(fields ...[2]string) map[string][]Span {
	out := map[string][]Span{}
	for _, f := range fields {
		for _, p := range lexical.Places(f[1]) {
			if spans := out[p.Stem]; len(spans) < maxSpans {
				out[p.Stem] = append(spans, Span{f[0], p.Begin, p.End})
			}
		}
	}
	return out
}

func stemsOfPaper(p *Paper) map[string][]Span {
	return stemsOf([2]string{"title", p.Title}, [2]string{"abstract", p.Abstract})
}

// addTerms adds, to the explanations of hits, the words that they share with what is asked with. What tells of a paper's words may tell of papers
// that are beyond a scope: nothing is added then.
func (c *Collection) addTerms(ctx context.Context, a *asked, all []*Explanation, hits []Hit) error {
	if a.scoped || a.passage() == nil {
		return nil
	}
	if err := c.words.wait(ctx, c); err != nil {
		return err
	}
	var theirs map[string][]Span
	if a.paper != nil {
		theirs = stemsOfPaper(a.paper)
	} else {
		theirs = stemsOf([2]string{"text", a.text})
	}
	for i, x := range all {
		if x != nil {
			x.Terms = shared(c.words.index, theirs, stemsOfPaper(&hits[i].Paper))
		}
	}
	return nil
}

// shared are the stems that both sides have, the rarest first, of equal ones in the order of the alphabet.
func shared(x *lexical.Index, query, paper map[string][]Span) []SharedTerm {
	var terms []SharedTerm
	var stems []string
	for stem, spans := range query {
		if of, ok := paper[stem]; ok {
			terms, stems = append(terms, SharedTerm{Term: stem, Query: spans, Paper: of}), append(stems, stem)
		}
	}
	for i, weight := range x.Weights(stems) {
		terms[i].Weight = weight
	}
	slices.SortFunc(terms, func(a, b SharedTerm) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Term, b.Term))
	})
	return slices.Clip(terms[:min(len(terms), maxTerms)])
}
