package retrieval

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"embedd/internal/store"
)

// MaxExplained is how many hits of a search are explained, from the first on.
const MaxExplained = 10

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

// Explain says which sentences of a paper make it alike to an input, and which words they share. Both texts are encoded anew, in one Run
// each, beside each other.
func (c *Collection) Explain(ctx context.Context, r ExplainRequest) (*Explanation, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	paper, err := c.record(ctx, "id", r.PaperID, r.Which)
	if err != nil {
		return nil, err
	}
	if r.Input.Examples != nil {
		return nil, invalid(r.Field+".examples", "cannot be explained; ask with one of them")
	}
	l := &looking{mode: Dense}
	if err := c.resolve(ctx, SearchRequest{Input: r.Input, Field: r.Field, Which: r.Which}, l, &SearchResult{}); err != nil {
		return nil, err
	}
	a, err := c.askedOf(ctx, r.Input, r.Field, l, r.Which)
	if err != nil {
		return nil, err
	}
	hits := []Hit{{Paper: paper.Paper, ordinal: paper.ordinal}}
	if err := c.namePassages(a.vector, hits); err != nil {
		return nil, err
	}
	all, err := c.read(ctx, a, hits, []int{0})
	if err == nil {
		err = c.addTerms(ctx, a, all, hits)
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// asked is what papers are explained against: a text, a paper, or a vector alone.
type asked struct {
	vector []float32
	// text is what vector was made of, in a role; with paper it is that paper's. Empty where there is only the vector.
	text string
	role Role
	// paper is what vector stands for, and self the ordinal that it is stored under, 0 for none.
	paper *Paper
	self  uint64
	// scoped: who asks has a key with a filter. Words are weighed by all papers, and are not told of.
	scoped bool
}

// passage is the text of what is asked with, nil where there is none.
func (a *asked) passage() *Passage {
	switch {
	case a.paper != nil:
		p := passageOf(a.paper)
		return &p
	case a.text != "":
		return &Passage{Text: a.text}
	}
	return nil
}

// place fills in the text and the field of the sentences of what is asked with.
func (a *asked) place(sentences []Sentence) {
	if a.paper != nil {
		place(sentences, a.paper)
		return
	}
	for i := range sentences {
		s := &sentences[i]
		s.Text, s.Field = a.text[s.Begin:s.End], "text"
	}
}

// read explains some of the hits by reading them, or of a long text the passage that was found, and what is asked with, once more. Those that were
// not read before ctx ended are nil, beside its error.
func (c *Collection) read(ctx context.Context, a *asked, hits []Hit, which []int) ([]*Explanation, error) {
	texts, begins := make([]Passage, len(which)), make([]int, len(which))
	for j, i := range which {
		texts[j], begins[j] = hits[i].read()
	}
	all, err := c.encoder.Explain(ctx, Asked{Vector: a.vector, Text: a.passage(), Role: a.role}, texts)
	for j, x := range all {
		if x == nil {
			continue
		}
		for k := range x.Sentences {
			x.Sentences[k].Begin += begins[j]
			x.Sentences[k].End += begins[j]
		}
		place(x.Sentences, &hits[which[j]].Paper)
		a.place(x.Query)
	}
	if err != nil {
		err = encodeError(err, func(int) string { return "id" })
	}
	return all, err
}

// read is what the model is to read of a hit, and where in the paper's text that begins.
func (h *Hit) read() (text Passage, begin int) {
	whole := passageOf(&h.Paper)
	if h.Why.Passage == nil {
		return whole, 0
	}
	begin = h.Why.Passage.begin
	text.Text = h.Why.Passage.Text
	if at := whole.Breaks[0] - begin; at > 0 && at < len(text.Text) {
		text.Breaks = []int{at}
	}
	return text, begin
}

// explainFound explains the hits of a search.
func (c *Collection) explainFound(ctx context.Context, r SearchRequest, l *looking, res *SearchResult) error {
	if len(res.Hits) == 0 {
		return nil
	}
	if l.vector == nil { // of a search by words
		again := &looking{mode: Dense}
		until, cancel := beforeDeadline(ctx)
		defer cancel()
		if err := c.resolve(until, SearchRequest{Input: r.Input, Field: r.Field, Which: r.Which}, again, &SearchResult{}); err != nil {
			if !late(ctx, err) {
				return err
			}
			res.LeftOut = append(res.LeftOut, StageExplain)
			return nil
		}
		l = again
	}
	a, err := c.askedOf(ctx, r.Input, r.Field, l, r.Which)
	if err != nil {
		return err
	}
	begin := time.Now()
	done, err := c.explainHits(ctx, a, res.Hits)
	res.ended(ctx, c, StageExplain, begin)
	if err == nil && !done {
		res.LeftOut = append(res.LeftOut, StageExplain)
	}
	return err
}

// askedOf is what an input, which is resolved, asks for an explanation with. Of a reading list it is the vector alone.
func (c *Collection) askedOf(ctx context.Context, in Input, field string, l *looking, w Which) (*asked, error) {
	a := &asked{vector: l.vector, scoped: w.Scope != nil}
	switch {
	case in.Text != nil:
		a.text, a.role = *in.Text, Query
	case in.Paper != nil:
		a.paper = in.Paper
		if rec, ordinal, err := c.store.Get(a.paper.ID); err == nil && PaperText(&rec.Paper) == PaperText(a.paper) {
			a.self = ordinal
		}
	case in.PaperID != "":
		name := "id"
		if field != "" {
			name = field + ".paper_id"
		}
		rec, err := c.record(ctx, name, in.PaperID, w)
		if err != nil {
			return nil, err
		}
		a.paper, a.self = &rec.Paper, rec.ordinal
	}
	if !slices.Contains(l.selves, a.self) { // it has another text since the vector was read, and other sentences
		a.self = 0
	}
	return a, nil
}

// explainHits explains the first MaxExplained of the hits. done is false where some are not, as the call's deadline came near or the encoder had no
// room for it; they have no explanation. With sentences that are kept, these give the scores, without shares, and no paper is read.
func (c *Collection) explainHits(ctx context.Context, a *asked, hits []Hit) (done bool, err error) {
	hits = hits[:min(len(hits), MaxExplained)]
	if len(hits) == 0 {
		return true, nil
	}
	until, cancel := beforeDeadline(ctx)
	defer cancel()
	all, err := c.byKept(until, a, hits)
	if err != nil && !late(ctx, err) {
		return false, err
	}
	var lacking []int
	for i := range hits {
		if all == nil || all[i] == nil {
			lacking = append(lacking, i)
		}
	}
	if all == nil {
		all = make([]*Explanation, len(hits))
	}
	done = true
	if len(lacking) > 0 {
		some, err := c.read(until, a, hits, lacking)
		if err != nil && !late(ctx, err) {
			return false, err
		}
		for j, x := range some {
			all[lacking[j]] = x
		}
		done = err == nil
	}
	if err := c.addTerms(until, a, all, hits); err != nil {
		if !late(ctx, err) {
			return false, err
		}
		done = false
	}
	for i, x := range all {
		hits[i].Explanation = x
	}
	return done, nil
}

// late tells whether an error of what is done before a call's deadline is that there was no time or no room for it; ctx is the call's.
func late(ctx context.Context, err error) bool {
	kind := KindOf(err)
	return ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || kind == Exhausted || kind == Unavailable)
}

// byKept explains the hits whose sentences are kept; the others are nil. It is nil for none at all.
func (c *Collection) byKept(ctx context.Context, a *asked, hits []Hit) ([]*Explanation, error) {
	if !c.settings.Sentences {
		return nil, nil
	}
	ordinals := []uint64{a.self}
	for i := range hits {
		ordinals = append(ordinals, hits[i].ordinal)
	}
	kept, err := c.store.Sentences(ordinals)
	if err != nil {
		return nil, storeError("read sentences", err)
	}
	theirs, err := c.querySentences(ctx, a, kept[0])
	if err != nil {
		return nil, err
	}
	query := widen(a.vector)
	all := make([]*Explanation, len(hits))
	for i, x := range kept[1:] {
		if x == nil {
			continue
		}
		vector, err := c.store.Vector(cmp.Or(hits[i].label, hits[i].ordinal))
		if errors.Is(err, store.ErrNotFound) {
			continue // it has just moved
		}
		if err != nil {
			return nil, storeError("read vector", err)
		}
		all[i] = explainKept(a, &query, theirs, vector, x)
		place(all[i].Sentences, &hits[i].Paper)
		a.place(all[i].Query)
	}
	return all, nil
}

// querySentences are the sentences of what is asked with: those that are kept, or encoded now; none of a vector alone.
func (c *Collection) querySentences(ctx context.Context, a *asked, kept *store.Sentences) (*store.Sentences, error) {
	passage := a.passage()
	switch {
	case passage == nil:
		return nil, nil
	case a.self != 0 && kept != nil:
		return kept, nil
	}
	parts, err := c.encoder.Sentences(ctx, Interactive, []Passage{*passage})
	if err != nil {
		return nil, encodeError(err, func(int) string { return "query" })
	}
	return codesOf(parts[0]), nil
}

// explainKept explains a paper, of which the vector and the sentences are kept, with those of the query, nil for none.
func explainKept(a *asked, query *wideQuery, theirs *store.Sentences, vector []float32, x *store.Sentences) *Explanation {
	out := &Explanation{}
	for i, v := range vector {
		out.Score += float64(v) * float64(a.vector[i])
	}
	list := func(x *store.Sentences, against *wideQuery) (all []Sentence) {
		for i, score := range against.scores(x) {
			all = append(all, Sentence{Begin: int(x.Places[i][0]), End: int(x.Places[i][1]), Score: float64(score), Read: true})
		}
		return all
	}
	out.Sentences = list(x, query)
	if theirs == nil {
		return out
	}
	paper := widen(vector)
	out.Query = list(theirs, &paper)
	for i := range theirs.Scales {
		of := widenCodes(theirs, i, len(vector))
		for j, score := range of.scores(x) {
			if !out.Pair || float64(score) > out.BestScore {
				out.Pair, out.BestQuery, out.Best, out.BestScore = true, i, j, float64(score)
			}
		}
	}
	return out
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
