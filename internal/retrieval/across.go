package retrieval

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"

	"embedd/ann"
	"embedd/internal/align"
	"embedd/internal/store"
)

// While a collection moves to another model, a search may go across both: papers that have come over are compared by the new model, and those that have
// not by both, as far as their old vectors go. The two scores are brought to one scale by what pairs of both say.

// What a map between two models is fitted on.
const (
	// AcrossSample papers have vectors of both.
	AcrossSample = 4500
	// acrossLeast is what it takes at least; acrossHeld of them are kept out to measure by.
	acrossLeast = 200
	acrossHeld  = 500
	// acrossTitles are read as questions by both models, to bring scores to one scale by the acrossNear papers nearest to each.
	acrossTitles = 200
	acrossNear   = 30
)

// Across is a bridge from a collection to one under another model that follows it. It does not change.
type Across struct {
	to   *Collection
	fit  *align.Map // from vectors of the new model to those of the old one
	line align.Line // from scores by old vectors to those of the new model
	// Loss is that of the map, on pairs that it was not fitted on; Pairs are those that it was fitted on.
	Loss  align.Loss
	Pairs int
}

// AcrossUse says that a search went across two models.
type AcrossUse struct {
	// Model is the id of the new one.
	Model string
	// Estimated are the hits whose papers it has not read yet.
	Estimated int
}

// FitAcross fits a bridge on papers that both have.
func (f *Follower) FitAcross(ctx context.Context) (*Across, error) {
	all, err := f.pairs(ctx)
	if err != nil {
		return nil, err
	}
	var olds, news [][]float32
	var titles []string
	for _, p := range all {
		olds, news = append(olds, p.old), append(news, p.new)
		if strings.TrimSpace(p.title) != "" {
			titles = append(titles, p.title)
		}
	}
	if len(all) < acrossLeast {
		return nil, &Error{Kind: FailedPrecondition, Message: "too few papers have vectors of both models yet; try again later"}
	}
	held := min(acrossHeld, len(all)/4)
	a := &Across{to: f.to, Pairs: len(all) - held}
	if a.fit, err = align.Fit(news[held:], olds[held:]); err != nil {
		return nil, internal("fit a map between the models", err)
	}
	if a.Loss, err = align.Measure(a.fit, news[:held], olds[:held]); err != nil {
		return nil, internal("measure the map between the models", err)
	}
	asked, err := f.titlesAsQueries(ctx, titles)
	if err != nil {
		return nil, err
	}
	if len(asked) == 0 { // papers without titles: their texts
		asked = all[:min(held, acrossTitles)]
	}
	var x, y []float64
	for _, q := range asked {
		v, err := a.query(q.old, q.new)
		if err != nil {
			return nil, err
		}
		byOld, byNew := dots(v, olds[:held]), dots(q.new, news[:held])
		at := make([]int, held)
		for j := range at {
			at[j] = j
		}
		slices.SortFunc(at, func(p, q int) int { return cmp.Or(cmp.Compare(byOld[q], byOld[p]), cmp.Compare(p, q)) })
		for _, j := range at[:min(held, acrossNear)] {
			x, y = append(x, byOld[j]), append(y, byNew[j])
		}
	}
	if a.line, err = align.FitLine(x, y); err != nil {
		return nil, internal("bring the scores of the models to one scale", err)
	}
	return a, nil
}

// titlesAsQueries reads some titles as questions, by both models. Some that one of them cannot read are passed over.
func (f *Follower) titlesAsQueries(ctx context.Context, titles []string) (asked []pair, err error) {
	for some := range slices.Chunk(titles[:min(len(titles), acrossTitles)], MaxInteractiveTexts) {
		old, err := f.from.Encode(ctx, Bulk, Query, some)
		var new []Encoding
		if err == nil {
			new, err = f.to.Encode(ctx, Bulk, Query, some)
		}
		if err != nil && KindOf(err) == Invalid {
			continue
		}
		if err != nil {
			return nil, err
		}
		for i := range some {
			asked = append(asked, pair{title: some[i], old: old[i].Vector, new: new[i].Vector})
		}
	}
	return asked, nil
}

// pair is a text with the vectors of both.
type pair struct {
	title    string
	old, new []float32
	at       uint64 // by which they are put in an order
}

// pairs gives papers with the vectors of both, in an order that says nothing of them, and is the same for the same papers.
func (f *Follower) pairs(ctx context.Context) (all []pair, err error) {
	ordinals, err := f.to.randomOrdinals(ctx, AcrossSample)
	if err != nil {
		return nil, err
	}
	if err := f.to.enter(); err != nil {
		return nil, err
	}
	defer f.to.leave()
	if err := f.from.enter(); err != nil {
		return nil, err
	}
	defer f.from.leave()
	for some := range slices.Chunk(ordinals, followAtOnce) {
		records, present, err := f.to.store.Records(some)
		if err != nil {
			return nil, storeError("read papers", err)
		}
		for i := range records {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if !present[i] {
				continue
			}
			p, there, err := f.pairOf(&records[i], some[i])
			if err != nil {
				return nil, err
			}
			if there {
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, func(a, b pair) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.title, b.title)) })
	return all, nil
}

// pairOf gives the vectors of a paper that has come over under an ordinal; there is false where it has gone, or has another text by now.
func (f *Follower) pairOf(r *store.Record, ordinal uint64) (p pair, there bool, err error) {
	other, before, err := f.from.store.Get(r.Paper.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && other.Content != r.Content {
		return p, false, nil
	}
	if err == nil {
		p.old, err = f.from.store.Vector(before)
	}
	if err == nil {
		p.new, err = f.to.store.Vector(ordinal)
	}
	if errors.Is(err, store.ErrNotFound) {
		return p, false, nil
	}
	if err != nil {
		return p, false, storeError("read vectors", err)
	}
	h := fnv.New64a()
	h.Write([]byte(r.Paper.ID))
	p.title, p.at = r.Paper.Title, h.Sum64()
	return p, true, nil
}

// query is what papers that have not come over are compared with: the sum of what the old model makes of a text, and of what the new one does, mapped. It
// finds more than either (package align has the figures).
func (a *Across) query(old, new []float32) ([]float32, error) {
	mapped, err := a.fit.Apply(new)
	if err != nil {
		return nil, internal("map a query", err)
	}
	for i := range mapped {
		mapped[i] += old[i]
	}
	return unit("query", mapped, len(mapped))
}

func dots(v []float32, of [][]float32) []float64 {
	out := make([]float64, len(of))
	for i, w := range of {
		for j := range v {
			out[i] += float64(v[j]) * float64(w[j])
		}
	}
	return out
}

// SetAcross has searches by a text go across to the collection that follows from now on; nil: they do not any more.
func (c *Collection) SetAcross(a *Across) { c.across.Store(a) }

// acrossed is a search that goes across.
type acrossed struct {
	*Across
	vector    []float32 // of the query, by the new model
	which     Which
	estimated map[uint64]bool // papers that were compared by their old vectors
}

// goAcross has a search go across where it may: one by a text and its meaning alone or beside its words. What the answer would need of the old model beyond that
// (bands, sentences, passages, explanations, feedback) is answered by that alone. end is called at the end of the search.
func (c *Collection) goAcross(ctx context.Context, r *SearchRequest, l *looking, res *SearchResult) (end func(), err error) {
	a := c.across.Load()
	if a == nil || r.NotAcross || r.Input.Text == nil || l.mode == Lexical || r.Explain || r.MinBand != NoBand || l.feedback != nil || l.sentences || c.settings.Passages {
		return func() {}, nil
	}
	if a.to.enter() != nil { // it has ended just now
		return func() {}, nil
	}
	begin := time.Now()
	enc, err := a.to.encoder.Encode(ctx, Interactive, Query, []string{*r.Input.Text})
	res.ended(ctx, c, StageEncode, begin)
	var v []float32
	if err == nil {
		if v, err = a.query(l.vector, enc[0].Vector); err == nil {
			l.vector, l.across = v, &acrossed{a, enc[0].Vector, r.Which, map[uint64]bool{}}
			return a.to.leave, nil
		}
	}
	a.to.leave()
	return nil, encodeError(err, func(int) string { return r.fieldOf("text") })
}

// tellAcross says of an answer that it is one across two models, and which hits are estimated.
func (l *looking) tellAcross(res *SearchResult) {
	if l.across == nil {
		return
	}
	res.Across = &AcrossUse{Model: l.across.to.Model().ID}
	for i := range res.Hits {
		if res.Hits[i].Why.Estimated = l.across.estimated[res.Hits[i].ordinal]; res.Hits[i].Why.Estimated {
			res.Across.Estimated++
		}
	}
}

// nearAcross is nearVector across both. Labels are those of the old collection; distances are on the scale of the new model.
func (c *Collection) nearAcross(ctx context.Context, l *looking, q ann.Query, res *SearchResult) ([]ann.Neighbor, error) {
	x, to := l.across, l.across.to
	scores := map[uint64]float64{}
	// What has come over, by the new model.
	other := q
	other.Filter = nil
	empty := false
	if q.Filter != nil {
		chosen, err := to.chosen(ctx, x.which)
		switch kind := KindOf(err); {
		case err == nil:
			other.Filter = ann.NewFilter(chosen.Ordinals())
		case kind == Invalid || kind == FailedPrecondition: // no paper that has come over has what the filter asks for; that it is a filter, the old collection has said
			empty = true
		default:
			return nil, err
		}
	}
	if !empty {
		answer, err := to.searchIndex(x.vector, other)
		if err != nil {
			return nil, cmp.Or(ctx.Err(), error(internal("search the index", err)))
		}
		labels := make([]uint64, len(answer.Neighbors))
		for i, n := range answer.Neighbors {
			labels[i] = n.Label
		}
		records, present, err := to.records(labels, true)
		if err != nil {
			return nil, storeError("read papers", err)
		}
		for i, n := range answer.Neighbors {
			if !present[i] {
				continue
			}
			switch ordinal, err := c.ordinalOf(records[i].Paper.ID); {
			case err == nil:
				if q.Filter == nil || q.Filter.Contains(ordinal) {
					scores[ordinal] = float64(cosine(n.Distance))
				}
			case !errors.Is(err, store.ErrNotFound): // it was removed just now
				return nil, storeError("look up paper", err)
			}
		}
	}
	// What has not, by its old vector. Most of what is near may have come over: then it is looked further.
	for _, wider := range []int{2, 8} {
		old := q
		old.K = wider * q.K
		answer, err := c.searchIndex(l.vector, old)
		switch {
		case err != nil:
			return nil, cmp.Or(ctx.Err(), error(internal("search the index", err)))
		case !l.exact:
			res.Ef, res.Plan = answer.Ef, answer.Plan
		}
		labels := make([]uint64, 0, len(answer.Neighbors))
		for _, n := range answer.Neighbors {
			labels = append(labels, n.Label)
		}
		distances, err := c.distancesAcross(l, labels)
		if err != nil {
			return nil, err
		}
		alone := 0
		for i, label := range labels {
			if d := distances[i]; d == d {
				scores[label] = 1 - float64(d)
			}
			if x.estimated[label] {
				alone++
			}
		}
		if alone >= q.K/2 || len(labels) < old.K {
			break
		}
	}
	out := make([]ann.Neighbor, 0, len(scores))
	for label, score := range scores {
		out = append(out, ann.Neighbor{Label: label, Distance: float32(1 - score)})
	}
	slices.SortFunc(out, func(a, b ann.Neighbor) int {
		return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Label, b.Label))
	})
	return out[:min(len(out), q.K)], nil
}

// distancesAcross gives the distances of what is looked for from some papers of the old collection, on the scale of the new model; NaN where one is in no index.
func (c *Collection) distancesAcross(l *looking, labels []uint64) ([]float32, error) {
	x, to := l.across, l.across.to
	out, err := c.distancesTo(l.vector, labels)
	if err != nil {
		return nil, internal("compare papers", err)
	}
	records, present, err := c.records(labels, true)
	if err != nil {
		return nil, storeError("read papers", err)
	}
	var came []uint64
	var at []int
	for i, label := range labels {
		if out[i] == out[i] {
			out[i] = float32(1 - min(1, max(-1, x.line.At(float64(cosine(out[i]))))))
		}
		if !present[i] {
			continue
		}
		switch ordinal, err := to.ordinalOf(records[i].Paper.ID); {
		case err == nil:
			came, at = append(came, ordinal), append(at, i)
		case errors.Is(err, store.ErrNotFound):
			x.estimated[label] = true
		default:
			return nil, storeError("look up paper", err)
		}
	}
	distances, err := to.distancesTo(x.vector, came)
	if err != nil {
		return nil, internal("compare papers", err)
	}
	for j, i := range at {
		if d := distances[j]; !math.IsNaN(float64(d)) {
			out[i] = d
		}
	}
	return out, nil
}
